//! What a run came to, in the form that scripts read.

use crate::error::Result;
use crate::events::{Event, NetworkTime, TimedNetwork};
use crate::run::{FLOAT_MODEL, INTEGER_MODEL, unfinished};
use crate::run_dir::checkpoint_name;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use taper_adapt::prune::Iteration;
use taper_formats::Checkpoint;
use taper_graph::{GraphCost, cost};

/// What a run came to. The names are stable; what the run's scope leaves out is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Directory of the run.
    pub run: PathBuf,
    /// The integer network's file; the float network's where there is none.
    pub model: PathBuf,
    /// The page to look at.
    pub report: PathBuf,
    /// Parameters of the network before pruning.
    pub parameters_before: u64,
    /// Parameters of the adapted network.
    pub parameters_after: u64,
    /// Multiply–accumulates for one image, before pruning.
    pub macs_before: u64,
    /// Multiply–accumulates for one image, adapted.
    pub macs_after: u64,
    /// Accuracy on the test split before pruning, float.
    pub accuracy_before: f64,
    /// Accuracy on the test split, adapted, float.
    pub accuracy_after: f64,
    /// Accuracy on the test split, adapted, integers.
    pub accuracy_int8: Option<f64>,
    /// Median measured time for one image before pruning: float, batch 1, one thread.
    pub seconds_per_image_before: f64,
    /// The same for the adapted float network.
    pub seconds_per_image_after: f64,
    /// The same for the integer network.
    pub seconds_per_image_int8: Option<f64>,
    /// `seconds_per_image_before / seconds_per_image_after`: floats against floats.
    pub speedup: f64,
    /// The report's rows, iteration 0 (before pruning) first.
    pub iterations: Vec<IterationRow>,
}

/// One row of the table of iterations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IterationRow {
    /// The iteration; 0 is before pruning.
    pub iteration: usize,
    /// The attempt at it, from 1.
    pub attempt: usize,
    /// Whether it stands; if not, it was rolled back.
    pub accepted: bool,
    /// Samples in a mini-batch of retraining.
    pub batch: Option<usize>,
    /// Epochs of retraining.
    pub epochs: Option<usize>,
    /// Level of the cut rule.
    pub cut: Option<f64>,
    /// Parameters `N`.
    pub parameters: u64,
    /// Share of the parameters removed, `Z = 1 − N_i/N_0`.
    pub removed_share: f64,
    /// Multiply–accumulates for one image.
    pub macs: u64,
    /// Median measured time for one image; `null` for what was rolled back.
    pub seconds_per_image: Option<f64>,
    /// `S = t_0 / t_i`.
    pub speedup: Option<f64>,
    /// Validation accuracy before retraining.
    pub accuracy_before_retraining: Option<f64>,
    /// Validation accuracy after retraining.
    pub accuracy_after_retraining: f64,
    /// Validation loss after retraining.
    pub loss: f64,
}

impl Summary {
    /// The summary of the finished run in `path`.
    pub(super) fn of(path: &Path, events: &[Event]) -> Result<Self> {
        let tested = events.iter().find_map(|event| match event {
            Event::Tested(tested) => Some(tested),
            _ => None,
        });
        let tested = tested
            .ok_or_else(|| unfinished(path, "expected a finished run, found one that is not tested"))?;
        let quantized = events.iter().any(|event| matches!(event, Event::Quantized { .. }));
        let iterations = rows(path, events)?;
        let standing: Vec<&IterationRow> = iterations.iter().filter(|row| row.accepted).collect();
        let (Some(first), Some(last)) = (standing.first(), standing.last()) else {
            return Err(unfinished(path, "expected a finished run, found one without a network"));
        };
        Ok(Self {
            run: path.to_owned(),
            model: path.join(if quantized { INTEGER_MODEL } else { FLOAT_MODEL }),
            report: path.join(super::REPORT),
            parameters_before: first.parameters,
            parameters_after: last.parameters,
            macs_before: first.macs,
            macs_after: last.macs,
            accuracy_before: tested.before,
            accuracy_after: tested.after,
            accuracy_int8: tested.integers.as_ref().map(|integers| integers.accuracy),
            seconds_per_image_before: first.seconds_per_image.unwrap_or(f64::NAN),
            seconds_per_image_after: last.seconds_per_image.unwrap_or(f64::NAN),
            seconds_per_image_int8: time_of(events, TimedNetwork::Integers).map(|time| time.median),
            speedup: last.speedup.unwrap_or(f64::NAN),
            iterations,
        })
    }
}

/// The table of iterations as far as the run has come.
pub(crate) fn rows(path: &Path, events: &[Event]) -> Result<Vec<IterationRow>> {
    let mut rows: Vec<IterationRow> = Vec::new();
    let seconds = |iteration| time_of(events, TimedNetwork::Iteration(iteration)).map(|time| time.median);
    for event in events {
        match event {
            Event::Trained { validation, .. } => {
                let GraphCost { parameters, macs, .. } = cost_before(path)?;
                rows.push(IterationRow {
                    iteration: 0,
                    attempt: 1,
                    accepted: true,
                    batch: None,
                    epochs: None,
                    cut: None,
                    parameters,
                    removed_share: 0.0,
                    macs,
                    seconds_per_image: seconds(0),
                    speedup: seconds(0).map(|_| 1.0),
                    accuracy_before_retraining: None,
                    accuracy_after_retraining: validation.accuracy,
                    loss: validation.loss,
                });
            }
            Event::Judged { iteration, .. } => {
                let all = rows.first().map_or(1, |row| row.parameters).max(1);
                let time = iteration.accepted.then(|| seconds(iteration.iteration)).flatten();
                let speedup = seconds(0).zip(time).map(|(before, after)| before / after);
                rows.push(row(iteration, all, time, speedup));
            }
            _ => {}
        }
    }
    Ok(rows)
}

fn row(judged: &Iteration, all: u64, seconds_per_image: Option<f64>, speedup: Option<f64>) -> IterationRow {
    IterationRow {
        iteration: judged.iteration,
        attempt: judged.attempt,
        accepted: judged.accepted,
        batch: Some(judged.decisions.batch.count()),
        epochs: Some(judged.decisions.epochs.count()),
        cut: Some(judged.decisions.cut.value),
        parameters: judged.parameters,
        removed_share: 1.0 - judged.parameters as f64 / all as f64,
        macs: judged.macs,
        seconds_per_image,
        speedup,
        accuracy_before_retraining: Some(judged.before.accuracy),
        accuracy_after_retraining: judged.after.accuracy,
        loss: judged.after.loss,
    }
}

/// The measured time of a network, if it was timed.
pub(crate) fn time_of(events: &[Event], network: TimedNetwork) -> Option<&NetworkTime> {
    events.iter().find_map(|event| match event {
        Event::Timed { times } => times.iter().find(|time| time.network == network),
        _ => None,
    })
}

/// The cost of the network before pruning.
fn cost_before(path: &Path) -> Result<GraphCost> {
    Ok(cost(&Checkpoint::load(&path.join(checkpoint_name(0)))?.graph))
}
