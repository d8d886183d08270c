//! The networks: layer widths before and after, and integers against floats.

use super::Told;
use crate::error::Result;
use crate::events::{Event, IntegersTested, TimedNetwork};
use crate::run::{FLOAT_MODEL, time_of};
use crate::run_dir::checkpoint_name;
use std::path::Path;
use taper_formats::Checkpoint;
use taper_graph::ChannelGroups;
use taper_report::{Block, Cell, Column, Format, LayerWidth, Row, Section, Status, Table, WidthBars};

/// The widths of the layers before and after pruning, as a picture.
pub(super) fn widths(path: &Path, told: &Told<'_>) -> Result<Option<Section>> {
    if !told.events.iter().any(|event| matches!(event, Event::Pruned { .. })) {
        return Ok(None);
    }
    let load = |name: &str| {
        Checkpoint::load(&path.join(name)).map(|checkpoint| ChannelGroups::of(&checkpoint.graph))
    };
    let (before, after) = (load(&checkpoint_name(0))?, load(FLOAT_MODEL)?);
    let layers = before.0.iter().filter_map(|group| {
        let left = after.0.iter().find(|other| other.name == group.name)?;
        Some(LayerWidth {
            name: group.name.clone(),
            before: group.units.len() as u64,
            after: left.units.len() as u64,
        })
    });
    let bars = WidthBars {
        name: "widths".to_owned(),
        title: "Layer widths before and after pruning".to_owned(),
        caption: "Channels that each layer makes.".to_owned(),
        unit: "channels".to_owned(),
        layers: layers.collect(),
    };
    Ok(Some(Section {
        title: "Layer widths".to_owned(),
        lead: String::new(),
        blocks: vec![Block::WidthBars(bars)],
    }))
}

/// The integer network beside the float one. Nothing if there is none.
pub(super) fn integers(told: &Told<'_>) -> Option<Section> {
    let tested = told.tested?;
    let integers = tested.integers.as_ref()?;
    let last = told.standing().next_back()?;
    let (bytes, samples) = told.events.iter().find_map(|event| match event {
        Event::Quantized { bytes, samples } => Some((*bytes, *samples)),
        _ => None,
    })?;
    let row = |name: &str, accuracy: f64, bytes: u64, network: TimedNetwork| {
        let time = time_of(told.events, network);
        Row::from([
            name.into(),
            accuracy.into(),
            bytes.into(),
            time.map(|time| time.median).into(),
            time.map(|time| time.min).into(),
            time.map(|time| time.arena_bytes).into(),
        ])
    };
    let float = row("float", tested.after, 4 * last.parameters, TimedNetwork::Iteration(last.iteration));
    let integer = row("INT8", integers.accuracy, bytes, TimedNetwork::Integers).status(Status::Chosen);
    let table = Table {
        name: "formats".to_owned(),
        caption: "The adapted network in floats and in integers, on the test split. Times at batch 1 on one thread; \
                  the float network's size is that of its parameters, the integer network's that of its file."
            .to_owned(),
        columns: vec![
            Column::text("format", "Format"),
            Column::number("accuracy", "Test accuracy", Format::Percent(2)),
            Column::number("bytes", "Size", Format::Si(3)).unit("B"),
            Column::number("seconds_per_image", "median", Format::Seconds(3)).group("Time per image"),
            Column::number("seconds_per_image_min", "least", Format::Seconds(3)).group("Time per image"),
            Column::number("arena_bytes", "Activations", Format::Si(3)).unit("B"),
        ],
        rows: vec![float, integer],
    };
    Some(Section {
        title: "INT8 against float".to_owned(),
        lead: format!(
            "Weights are int8, symmetric; activations int8; biases int32. Ranges were found on {samples} training \
             images. Both networks name the same class on {:.2} % of the test images.",
            100.0 * integers.agreement
        ),
        blocks: vec![Block::Table(table), Block::Table(per_class(told, integers))],
    })
}

fn per_class(told: &Told<'_>, integers: &IntegersTested) -> Table {
    let names = told.started.map(|started| started.data.classes.as_slice()).unwrap_or_default();
    let rows = integers.classes.iter().enumerate().map(|(class, &[images, float, integer])| {
        let name = names.get(class).cloned().unwrap_or_else(|| class.to_string());
        let share = |right: usize| {
            if images > 0 { Cell::Number(right as f64 / images as f64) } else { Cell::Missing }
        };
        Row::from([name.into(), images.into(), share(float), share(integer)])
    });
    Table {
        name: "classes".to_owned(),
        caption: "Share of each class's test images that are named rightly.".to_owned(),
        columns: vec![
            Column::text("class", "Class"),
            Column::number("images", "Images", Format::Integer),
            Column::number("float", "Float", Format::Percent(2)),
            Column::number("int8", "INT8", Format::Percent(2)),
        ],
        rows: rows.collect(),
    }
}
