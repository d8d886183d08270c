//! What each verb does.

use crate::args::{
    BenchTrainArgs, CompareArgs, ExportArgs, InspectArgs, RecipeArgs, ReportArgs, ResumeArgs, RunArgs,
    StartArgs,
};
use crate::console::{self, Console};
use crate::tables;
use serde_json::json;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use taper_toolkit::run::Summary;
use taper_toolkit::{
    ComparisonInput, ExportSource, Recipe, Scope, ToolkitError, TrainBenchOptions, evaluate,
    inspect as inspect_network, run as runs,
};

/// The outcome of a verb.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Name of the default recipe in messages.
const DEFAULT_RECIPE: &str = "the default recipe";

/// Starts a run.
pub(crate) fn start(args: &StartArgs, scope: Scope) -> Outcome {
    let recipe = match &args.recipe {
        Some(path) => Recipe::load(path, &args.overrides),
        None => Recipe::parse(Recipe::DEFAULT, DEFAULT_RECIPE, &args.overrides),
    }
    .map_err(ToolkitError::from)?;
    let mut console = Console::new();
    let outcome = runs::start(recipe, scope, &args.runs, &mut console);
    conclude(outcome, console, args.json)
}

/// Takes up an interrupted run.
pub(crate) fn resume(args: &ResumeArgs) -> Outcome {
    let mut console = Console::new();
    let outcome = runs::resume(&args.run, &mut console);
    conclude(outcome, console, args.json)
}

/// Writes a report anew.
pub(crate) fn report(args: &ReportArgs) -> Outcome {
    let page = runs::report(&args.run)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "report": page }))?;
    } else {
        writeln!(out, "{}", page.display())?;
    }
    Ok(())
}

/// Runs a network on data or on arrays.
pub(crate) fn run(args: &RunArgs) -> Outcome {
    if let Some(output) = &args.output {
        return run_on_arrays(args, output);
    }
    let mut console = Console::new();
    let accuracy = evaluate(&args.model, &args.data, args.limit, &mut console);
    console.finish();
    let accuracy = accuracy?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!(accuracy))?;
    } else {
        write!(out, "{}", tables::accuracy(&accuracy))?;
    }
    Ok(())
}

fn run_on_arrays(args: &RunArgs, output: &Path) -> Outcome {
    let outputs = taper_toolkit::run_on_arrays(&args.model, &args.input, output)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "outputs": outputs }))?;
    } else {
        write!(out, "{}", tables::arrays(&outputs))?;
    }
    Ok(())
}

/// Converts a network's file.
pub(crate) fn export(args: &ExportArgs) -> Outcome {
    let source = ExportSource {
        model: args.from.clone(),
        image: args.task.image,
        classes: args.task.classes,
        weights: args.weights.clone(),
    };
    if let Some(note) = taper_toolkit::export(&source, &args.to)? {
        console::warn(&note);
    }
    writeln!(io::stdout().lock(), "{}", args.to.display())?;
    Ok(())
}

/// Compares two networks.
pub(crate) fn compare(args: &CompareArgs) -> Outcome {
    let input = if args.input.is_empty() {
        ComparisonInput::Data { source: args.data.clone(), limit: args.limit }
    } else {
        ComparisonInput::Arrays(args.input.clone())
    };
    let comparison = taper_toolkit::compare(&args.first, &args.second, &input)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!(comparison))?;
    } else {
        write!(out, "{}", tables::comparison(&comparison))?;
    }
    Ok(())
}

/// Tells what a network is.
pub(crate) fn inspect(args: &InspectArgs) -> Outcome {
    let inspection = inspect_network(&args.model, args.task.image, args.task.classes)?;
    let mut out = io::stdout().lock();
    if let Some(path) = &args.html {
        taper_toolkit::write_page(path, &inspection)?;
        writeln!(out, "{}", path.display())?;
    } else if args.json {
        writeln!(out, "{}", json!(inspection))?;
    } else {
        write!(out, "{}", tables::inspection(&inspection))?;
    }
    Ok(())
}

/// Prints the default recipe or the schema.
pub(crate) fn recipe(args: &RecipeArgs) -> Outcome {
    let mut out = io::stdout().lock();
    if args.schema {
        writeln!(out, "{:#}", json!(Recipe::json_schema()))?;
    } else {
        out.write_all(Recipe::DEFAULT.as_bytes())?;
    }
    Ok(())
}

/// Times training steps.
pub(crate) fn bench_train(args: &BenchTrainArgs) -> Outcome {
    let bench = taper_toolkit::bench_train(&TrainBenchOptions {
        network: args.network.clone(),
        batch: args.batch,
        threads: args.threads,
        memory_budget_mb: args.memory_budget_mb,
        duration: Duration::from_secs_f64(args.seconds),
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!(bench))?;
    } else {
        write!(out, "{}", tables::train_bench(&bench))?;
    }
    Ok(())
}

/// A run's summary, for a reader or as the last line for a script; or what stopped it, and how to go on.
fn conclude(outcome: Result<Summary, ToolkitError>, console: Console, as_json: bool) -> Outcome {
    let run = console.finish();
    let summary = match (outcome, run) {
        (Ok(summary), _) => summary,
        (Err(error), None) => return Err(error.into()),
        (Err(error), Some(run)) => {
            let run = run.display();
            return Err(format!("{error}\nwhat was done is kept; to go on: taper resume {run}").into());
        }
    };
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!(summary))?;
    } else {
        write!(out, "{}", tables::summary(&summary))?;
    }
    Ok(())
}
