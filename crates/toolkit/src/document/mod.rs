//! The report of a run: its journal as a document.

mod iterations;
mod networks;
mod training;

use crate::error::Result;
use crate::events::{Event, Started, Tested, TimedNetwork};
use crate::recipe::Recipe;
use crate::run::{IterationRow, rows, time_of};
use std::path::Path;
use taper_report::{Block, Code, Document, Entry, Figure, Format, KeyValues, Note, NoteKind, Section, Value};

/// A run's journal, sorted for the report.
struct Told<'a> {
    events: &'a [Event],
    rows: Vec<IterationRow>,
    started: Option<&'a Started>,
    tested: Option<&'a Tested>,
}

/// The document of the run in `path`, as far as its journal goes.
pub(crate) fn of_run(name: &str, path: &Path, recipe: &Recipe, events: &[Event]) -> Result<Document> {
    let told = Told {
        events,
        rows: rows(path, events)?,
        started: events.iter().find_map(|event| match event {
            Event::Started(started) => Some(started),
            _ => None,
        }),
        tested: events.iter().find_map(|event| match event {
            Event::Tested(tested) => Some(tested),
            _ => None,
        }),
    };
    let sections = [
        warnings(&told),
        iterations::iterations(&told),
        iterations::progress(&told),
        networks::widths(path, &told)?,
        networks::integers(&told),
        training::curves(&told),
        training::decisions(&told),
        Some(provenance(recipe, &told)?),
    ];
    Ok(Document {
        title: format!("{} on {}, adapted", recipe.model.name(), recipe.data.source),
        subtitle: format!("Run {name}"),
        summary: summary(&told),
        sections: sections.into_iter().flatten().collect(),
        footer: told.started.map_or_else(String::new, |started| format!("Taper {}", started.taper)),
    })
}

impl Told<'_> {
    /// The rows of networks that stand; the one before pruning comes first.
    fn standing(&self) -> impl DoubleEndedIterator<Item = &IterationRow> {
        self.rows.iter().filter(|row| row.accepted)
    }
}

/// What went wrong or is likely a mistake. Nothing if nothing did.
fn warnings(told: &Told<'_>) -> Option<Section> {
    let warning = |text| Block::Note(Note { kind: NoteKind::Warning, text });
    let blocks: Vec<Block> = told
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Noted { text } => Some(warning(text.clone())),
            Event::Diverged { iteration, attempt, reason, .. } => {
                Some(warning(format!("Try {attempt} at iteration {iteration} was rolled back: {reason}")))
            }
            _ => None,
        })
        .collect();
    (!blocks.is_empty()).then(|| Section { title: "Warnings".to_owned(), lead: String::new(), blocks })
}

fn summary(told: &Told<'_>) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut figure = |label: &str, value: Value, note: String| {
        figures.push(Figure { label: label.to_owned(), value, note });
    };
    if let Some(tested) = told.tested {
        let percent = |share: f64| Value::new(share, Format::Percent(2));
        let before = format!("before pruning {}", percent(tested.before).text());
        match &tested.integers {
            Some(integers) => {
                let note = format!("float {}, {before}", percent(tested.after).text());
                figure("Test accuracy, INT8", percent(integers.accuracy), note);
            }
            None => figure("Test accuracy, float", percent(tested.after), before),
        }
    }
    if let (Some(first), Some(last)) = (told.standing().next(), told.standing().next_back()) {
        let factor = first.parameters as f64 / last.parameters.max(1) as f64;
        let of = Value::new(first.parameters, Format::Integer).text();
        let note = format!("of {of}, {} fewer", Value::new(factor, Format::Factor(0)).text());
        figure("Parameters", Value::new(last.parameters, Format::Integer), note);
        if let (Some(speedup), Some(slow), Some(fast)) =
            (last.speedup, first.seconds_per_image, last.seconds_per_image)
        {
            let seconds = |value| Value::new(value, Format::Seconds(3)).text();
            let note = format!("{} → {} per image, float, one thread", seconds(slow), seconds(fast));
            figure("Speed-up on the CPU", Value::new(speedup, Format::Factor(1)), note);
        }
    }
    for event in told.events {
        match event {
            Event::Quantized { bytes, .. } => {
                let note = time_of(told.events, TimedNetwork::Integers).map_or_else(String::new, |time| {
                    format!("{} per image", Value::new(time.median, Format::Seconds(3)).text())
                });
                figure("INT8 file", Value::new(*bytes, Format::Si(3)).unit("B"), note);
            }
            Event::Finished { seconds } => {
                let cores = told.started.map_or(1, |started| started.machine.cores);
                figure("Run time", Value::new(*seconds, Format::Duration), format!("{cores} cores"));
            }
            _ => {}
        }
    }
    figures
}

/// Where the figures come from: machine, versions, seed, data, recipe.
fn provenance(recipe: &Recipe, told: &Told<'_>) -> Result<Section> {
    let mut entries = vec![Entry::new("Seed", Value::new(recipe.seed, Format::Plain))];
    if let Some(Started { taper, machine, data, .. }) = told.started {
        entries.push(Entry::new("Taper", taper.as_str()));
        entries.push(Entry::new("Processor", machine.processor.as_str()));
        entries.push(Entry::new("Cores", Value::new(machine.cores, Format::Plain)));
        entries.push(Entry::new("Instructions", machine.instructions.as_str()));
        entries.push(Entry::new("System", machine.system.as_str()));
        let [height, width, channels] = data.image;
        entries.push(Entry::new("Images", format!("{height} × {width} × {channels}")));
        entries.push(Entry::new("Classes", data.classes.join(", ")));
        for (name, split) in
            [("Training", &data.train), ("Validation", &data.validation), ("Test", &data.test)]
        {
            let samples = Value::new(split.samples, Format::Integer).text();
            entries.push(Entry::new(
                format!("{name} split"),
                format!("{samples} samples, SHA-256 {}", split.sha256),
            ));
        }
    }
    let interruptions = told.events.iter().filter(|event| matches!(event, Event::Resumed { .. })).count();
    if interruptions > 0 {
        entries.push(Entry::new("Resumed", Value::new(interruptions, Format::Plain)));
    }
    Ok(Section {
        title: "Where this comes from".to_owned(),
        lead: "The same recipe, seed and data give the same networks, byte for byte; times differ from machine to \
               machine. Choices were made on the validation split; the test split was used for nothing but the \
               accuracies named so."
            .to_owned(),
        blocks: vec![
            Block::KeyValues(KeyValues { title: "Machine, versions and data".to_owned(), entries }),
            Block::Code(Code { title: "Recipe as resolved".to_owned(), text: recipe.to_toml()? }),
        ],
    })
}
