//! A run: a recipe at work in its directory, from start or from wherever it was interrupted.

mod adapt;
mod measure;
mod summary;
mod train;

pub use summary::{IterationRow, Summary};
pub(crate) use summary::{rows, time_of};

use crate::document;
use crate::error::{Result, ToolkitError};
use crate::events::{DataSummary, Event, Observer, Scope, SplitSummary, Started};
use crate::machine::Machine;
use crate::recipe::Recipe;
use crate::run_dir::{RunDir, RunName};
use crate::threads::thread_pool;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;
use taper_adapt::AdaptError;
use taper_adapt::train::Cpu;
use taper_data::{Dataset, Splits};
use taper_formats::Checkpoint;
use taper_graph::Graph;

/// The float network that a run ends with.
pub const FLOAT_MODEL: &str = "model.taper";
/// The integer network that a run ends with.
pub const INTEGER_MODEL: &str = "model.tflite";
/// The report as one page.
pub const REPORT: &str = "report.html";

/// What networks are trained on.
const ENGINE: Cpu = Cpu;

/// A recipe at work. What it does is written to the journal before anything is built on it.
pub struct Run<'a> {
    dir: RunDir,
    recipe: Recipe,
    scope: Scope,
    events: Vec<Event>,
    observer: &'a mut dyn Observer,
}

/// Starts a run of `recipe` in a new directory under `root` and works through its whole scope.
///
/// # Errors
/// If the recipe, the data or the network cannot be used, or the directory cannot be written. What was written stays,
/// and [`resume`] goes on from there.
pub fn start(recipe: Recipe, scope: Scope, root: &Path, observer: &mut dyn Observer) -> Result<Summary> {
    recipe.validate().map_err(AdaptError::from)?;
    // Data and network are loaded before the directory is made: a misspelt path must not leave an empty run behind.
    let (data, source) = crate::source::load(&recipe)?;
    let stem = recipe.stem();
    let name = recipe.name.as_deref().map_or(RunName::Numbered(&stem), RunName::Exact);
    let threads = thread_pool(recipe.threads)?;
    let started = Event::Started(Started {
        taper: env!("CARGO_PKG_VERSION").to_owned(),
        scope,
        machine: Machine::this(),
        data: summary_of(&recipe.data.source, &data)?,
    });
    let dir = RunDir::create(root, name, &recipe.to_toml()?, &started)?;
    observer.opened(dir.path());
    observer.event(&started);
    let mut run = Run { dir, recipe, scope, events: vec![started], observer };
    for note in data.notes.iter().map(ToString::to_string).chain(source.note.clone()) {
        run.warn(note)?;
    }
    threads.install(|| run.work(&data, source))
}

/// Takes up the run in the directory `path` where it was interrupted; a finished run only tells its summary again.
///
/// # Errors
/// As [`start`], and if the directory is no run, or its data changed since.
pub fn resume(path: &Path, observer: &mut dyn Observer) -> Result<Summary> {
    let dir = RunDir::open(path)?;
    let recipe = Recipe::load(&dir.recipe_path(), &[])?;
    let events: Vec<Event> = dir.events()?;
    let Some(Event::Started(started)) = events.first() else {
        return Err(unfinished(path, "the journal holds no start"));
    };
    let (scope, then) = (started.scope, started.data.clone());
    let mut run = Run { dir, recipe, scope, events, observer };
    if run.finished() {
        write_report(&run.dir, &run.recipe, &run.events)?;
        return run.summary();
    }
    let (data, source) = crate::source::load(&run.recipe)?;
    let now = summary_of(&run.recipe.data.source, &data)?;
    if now != then {
        return Err(unfinished(path, &format!("the data in `{}` changed since the run began", now.source)));
    }
    let threads = thread_pool(run.recipe.threads)?;
    run.observer.opened(run.dir.path());
    run.note(Event::Resumed { taper: env!("CARGO_PKG_VERSION").to_owned() })?;
    threads.install(|| run.work(&data, source))
}

/// Writes the report of the run in the directory `path` anew from its journal, and returns the page's path.
///
/// # Errors
/// If the directory is no run or cannot be written.
pub fn report(path: &Path) -> Result<PathBuf> {
    let dir = RunDir::open(path)?;
    let recipe = Recipe::load(&dir.recipe_path(), &[])?;
    let events: Vec<Event> = dir.events()?;
    write_report(&dir, &recipe, &events)
}

impl Run<'_> {
    /// The whole run, as a table of contents. Each step looks into the journal first and does only what is not done.
    fn work(&mut self, data: &Splits, source: crate::source::Source) -> Result<Summary> {
        let begun = Instant::now();
        let before = self.train(data, source)?;
        let after = match self.scope {
            Scope::Train | Scope::Quantize => before.clone(),
            Scope::Prune | Scope::Adapt => self.prune(data, &before)?,
        };
        self.keep_float_model(&after)?;
        let integers = match self.scope {
            Scope::Train | Scope::Prune => None,
            Scope::Quantize | Scope::Adapt => Some(self.quantize(data, &after)?),
        };
        self.test(data, &before, &after, integers.as_ref())?;
        self.time(data, integers.as_ref())?;
        self.forget_progress()?;
        self.note(Event::Finished { seconds: begun.elapsed().as_secs_f64() })?;
        write_report(&self.dir, &self.recipe, &self.events)?;
        self.summary()
    }

    /// Writes an event to the journal and tells the observer.
    fn note(&mut self, event: Event) -> Result<()> {
        self.dir.append(&event)?;
        self.observer.event(&event);
        self.events.push(event);
        Ok(())
    }

    /// Tells of a likely mistake, once.
    fn warn(&mut self, text: String) -> Result<()> {
        let warning = Event::Noted { text };
        if self.events.contains(&warning) { Ok(()) } else { self.note(warning) }
    }

    fn finished(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Finished { .. }))
    }

    fn keep_float_model(&self, graph: &Graph) -> Result<()> {
        Ok(Checkpoint::new(graph.clone()).save(&self.dir.path().join(FLOAT_MODEL))?)
    }

    fn summary(&self) -> Result<Summary> {
        Summary::of(self.dir.path(), &self.events)
    }
}

/// The report in its three forms: one page, all of it as JSON, and each table as CSV.
fn write_report(dir: &RunDir, recipe: &Recipe, events: &[Event]) -> Result<PathBuf> {
    let document = document::of_run(&dir.name(), dir.path(), recipe, events)?;
    for table in document.tables() {
        dir.write(&format!("report-{}.csv", table.name), taper_report::csv(&table).as_bytes())?;
    }
    dir.write("report.json", format!("{:#}\n", json!(document)).as_bytes())?;
    Ok(dir.write(REPORT, taper_report::html(&document).as_bytes())?)
}

fn summary_of(source: &str, data: &Splits) -> Result<DataSummary> {
    let split = |dataset: &Dataset| -> Result<SplitSummary> {
        Ok(SplitSummary { samples: dataset.len(), sha256: dataset.sha256()? })
    };
    let shape = data.train.shape();
    Ok(DataSummary {
        source: source.to_owned(),
        image: [shape.height, shape.width, shape.channels],
        classes: data.train.classes().to_vec(),
        train: split(&data.train)?,
        validation: split(&data.validation)?,
        test: split(&data.test)?,
    })
}

fn unfinished(path: &Path, message: &str) -> ToolkitError {
    ToolkitError::Unfinished { run: path.display().to_string(), message: message.to_owned() }
}
