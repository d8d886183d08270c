//! The table of iterations, and accuracy and size over them.

use super::Told;
use crate::events::Event;
use crate::run::IterationRow;
use taper_report::{
    Axis, Block, Column, Format, Guide, LinePlot, Marks, Note, NoteKind, Panel, Row, Section, Series, Status,
    Table,
};

/// What each iteration did. Nothing if there was no pruning.
pub(super) fn iterations(told: &Told<'_>) -> Option<Section> {
    let reason = told.events.iter().find_map(|event| match event {
        Event::Pruned { reason, .. } => Some(reason),
        _ => None,
    });
    if told.rows.len() < 2 && reason.is_none() {
        return None;
    }
    let validation = "Validation accuracy";
    let table = Table {
        name: "iterations".to_owned(),
        caption: "Iterations of pruning. Z is the share of parameters removed, S the measured speed-up at batch 1 on \
                  one thread; accuracy and loss are on the validation split."
            .to_owned(),
        columns: vec![
            Column::number("iteration", "i", Format::Integer),
            Column::number("batch", "Batch", Format::Integer),
            Column::number("epochs", "Epochs", Format::Integer),
            Column::number("cut", "Cut", Format::Significant(3)),
            Column::number("parameters", "Parameters N", Format::Integer),
            Column::number("removed_share", "Z", Format::Percent(2)),
            Column::number("macs", "MACs", Format::Si(3)),
            Column::number("seconds_per_image", "Time per image", Format::Seconds(3)),
            Column::number("speedup", "S", Format::Factor(1)),
            Column::number("accuracy_before_retraining", "before", Format::Percent(2)).group(validation),
            Column::number("accuracy_after_retraining", "after retraining", Format::Percent(2)).group(validation),
            Column::number("loss", "Loss", Format::Significant(3)),
        ],
        rows: told.rows.iter().map(|row| table_row(row, told)).collect(),
    };
    let mut blocks = vec![Block::Table(table)];
    if let Some(reason) = reason {
        let text = format!("Pruning ended because {reason}.");
        blocks.push(Block::Note(Note { kind: NoteKind::Information, text }));
    }
    Some(Section {
        title: "Iterations".to_owned(),
        lead: "Each iteration removes the channels whose activations are zero most often (APoZ), then retrains what is \
               left. Iteration 0 is the network before pruning."
            .to_owned(),
        blocks,
    })
}

fn table_row(row: &IterationRow, told: &Told<'_>) -> Row {
    let chosen = told.standing().next_back() == Some(row);
    let status = match (row.accepted, chosen) {
        (false, _) => Status::RolledBack,
        (true, true) => Status::Chosen,
        (true, false) => Status::Plain,
    };
    Row::from([
        row.iteration.into(),
        row.batch.into(),
        row.epochs.into(),
        row.cut.into(),
        row.parameters.into(),
        row.removed_share.into(),
        row.macs.into(),
        row.seconds_per_image.into(),
        row.speedup.into(),
        row.accuracy_before_retraining.into(),
        row.accuracy_after_retraining.into(),
        row.loss.into(),
    ])
    .status(status)
}

/// Accuracy and size over the iterations that stand.
pub(super) fn progress(told: &Told<'_>) -> Option<Section> {
    if told.standing().count() < 2 {
        return None;
    }
    let points = |value: fn(&IterationRow) -> Option<f64>| {
        told.standing().filter_map(|row| Some((row.iteration as f64, value(row)?).into())).collect()
    };
    let line = |name: &str, value: fn(&IterationRow) -> Option<f64>| Series {
        name: name.to_owned(),
        marks: Marks::LineAndMarkers,
        points: points(value),
    };
    let baseline = told.standing().next().map(|row| row.accuracy_after_retraining);
    let plot = LinePlot {
        name: "accuracy-and-size".to_owned(),
        title: "Accuracy and size over the iterations".to_owned(),
        caption: "Validation accuracy before and after retraining; parameters and multiply–accumulates on logarithmic \
                  axes."
            .to_owned(),
        x: Axis::linear("Iteration", Format::Integer),
        guides: Vec::new(),
        panels: vec![
            Panel {
                y: Axis::linear("Validation accuracy", Format::Percent(1)),
                guides: baseline.map(|value| Guide::new(value, "before pruning")).into_iter().collect(),
                series: vec![
                    line("after retraining", |row| Some(row.accuracy_after_retraining)),
                    line("before retraining", |row| row.accuracy_before_retraining),
                ],
            },
            Panel {
                y: Axis::log("Parameters, MACs", Format::Si(2)),
                guides: Vec::new(),
                series: vec![
                    line("parameters", |row| Some(row.parameters as f64)),
                    line("MACs", |row| Some(row.macs as f64)),
                ],
            },
            Panel {
                y: Axis::log("Speed-up", Format::Factor(0)),
                guides: Vec::new(),
                series: vec![line("speed-up", |row| row.speedup)],
            },
        ],
    };
    Some(Section {
        title: "Accuracy and size".to_owned(),
        lead: String::new(),
        blocks: vec![Block::LinePlot(plot)],
    })
}
