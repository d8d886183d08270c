//! Training curves, and which law set which value.

use super::Told;
use crate::events::{Event, Phase};
use std::collections::BTreeMap;
use taper_adapt::prune::{Decision, Decisions};
use taper_adapt::train::EpochRecord;
use taper_report::{
    Axis, Block, Column, Format, Guide, LinePlot, Marks, Panel, Row, Section, Series, Status, Table,
};

/// Loss and accuracy over all epochs of training and retraining, one after the other.
pub(super) fn curves(told: &Told<'_>) -> Option<Section> {
    let epochs = epochs(told);
    if epochs.is_empty() {
        return None;
    }
    let mut guides: Vec<Guide> = Vec::new();
    for (position, pair) in epochs.windows(2).enumerate() {
        let Phase::Retrain { iteration, attempt } = pair[1].0 else { continue };
        if pair[0].0 != pair[1].0 {
            let label =
                if attempt > 1 { format!("{iteration}, try {attempt}") } else { iteration.to_string() };
            guides.push(Guide::new(position as f64 + 1.5, label));
        }
    }
    let line = |name: &str, value: fn(&EpochRecord) -> f64| Series {
        name: name.to_owned(),
        marks: Marks::Line,
        points: epochs
            .iter()
            .enumerate()
            .map(|(position, (_, record))| (position as f64 + 1.0, value(record)).into())
            .collect(),
    };
    let plot = LinePlot {
        name: "training".to_owned(),
        title: "Training and retraining".to_owned(),
        caption: "Loss and accuracy after each epoch; a vertical line begins the retraining of an iteration. Training \
                  figures are taken while the weights change and on augmented images."
            .to_owned(),
        x: Axis::linear("Epoch", Format::Integer),
        guides,
        panels: vec![
            Panel {
                y: Axis::log("Loss", Format::Significant(2)),
                guides: Vec::new(),
                series: vec![
                    line("validation", |record| record.validation_loss),
                    line("training", |record| record.train_loss),
                ],
            },
            Panel {
                y: Axis::linear("Accuracy", Format::Percent(1)),
                guides: Vec::new(),
                series: vec![
                    line("validation", |record| record.validation_accuracy),
                    line("training", |record| record.train_accuracy),
                ],
            },
        ],
    };
    let seconds: f64 = epochs.iter().map(|(_, record)| record.seconds).sum();
    Some(Section {
        title: "Training".to_owned(),
        lead: format!("{} epochs took {}.", epochs.len(), Format::Duration.text(seconds)),
        blocks: vec![Block::LinePlot(plot)],
    })
}

/// All epochs in order. An epoch that an interruption made run twice counts once, as it ran last.
fn epochs(told: &Told<'_>) -> Vec<(Phase, EpochRecord)> {
    let mut epochs: BTreeMap<(usize, usize, usize), (Phase, EpochRecord)> = BTreeMap::new();
    for event in told.events {
        if let Event::Epoch { phase, record } = event {
            let (iteration, attempt) = match *phase {
                Phase::Train => (0, 0),
                Phase::Retrain { iteration, attempt } => (iteration, attempt),
            };
            epochs.insert((iteration, attempt, record.epoch), (*phase, *record));
        }
    }
    epochs.into_values().collect()
}

/// Which law set which value in which iteration, and why.
pub(super) fn decisions(told: &Told<'_>) -> Option<Section> {
    let mut rows = Vec::new();
    for event in told.events {
        let Event::Judged { iteration, .. } = event else { continue };
        let Decisions { batch, epochs, c_min, cut, learning_rate, weight_decay } = &iteration.decisions;
        let all: [(&str, &Decision); 6] = [
            ("batch", batch),
            ("epochs", epochs),
            ("c_min", c_min),
            ("cut", cut),
            ("learning rate", learning_rate),
            ("weight decay", weight_decay),
        ];
        let status = if iteration.accepted { Status::Plain } else { Status::RolledBack };
        for (name, Decision { value, reason, .. }) in all {
            let cells = [iteration.iteration.into(), name.into(), (*value).into(), reason.as_str().into()];
            rows.push(Row::from(cells).status(status));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let table = Table {
        name: "decisions".to_owned(),
        caption: "Each hyper-parameter's value in each iteration, and the law that set it.".to_owned(),
        columns: vec![
            Column::number("iteration", "i", Format::Integer),
            Column::text("parameter", "Hyper-parameter"),
            Column::number("value", "Value", Format::Significant(4)),
            Column::text("reason", "Law"),
        ],
        rows,
    };
    Some(Section {
        title: "Laws".to_owned(),
        lead: "Hyper-parameters change from iteration to iteration by laws. The context law reads the changes of \
               parameters, validation loss and estimated time at the iteration before."
            .to_owned(),
        blocks: vec![Block::Table(table)],
    })
}
