//! Pruning and quantization within a run.

use super::{ENGINE, INTEGER_MODEL, Run, unfinished};
use crate::error::{Result, ToolkitError};
use crate::events::{Event, Phase, Progress};
use taper_adapt::AdaptError;
use taper_adapt::prune::{Decisions, PruneState, Pruner};
use taper_adapt::quantize;
use taper_adapt::train::{Evaluation, FitSettings, TrainConfig};
use taper_data::{Rng, Splits};
use taper_formats::tflite;
use taper_graph::Graph;

impl Run<'_> {
    /// The best network that adaptive iterative pruning finds.
    pub(super) fn prune(&mut self, data: &Splits, before: &Graph) -> Result<Graph> {
        let max_loss = self.recipe.goal.max_accuracy_loss;
        let config = self.recipe.prune.clone();
        let (mut pruner, mut graph) = match self.pruned_so_far() {
            Some(state) => {
                let graph = self.checkpoint(state.iterations)?;
                (Pruner::restore(config, max_loss, state), graph)
            }
            None => (Pruner::new(config, max_loss, before, self.baseline()?), before.clone()),
        };
        loop {
            let (what, total) = ("scoring the channels", data.validation.len());
            self.observer.progress(&Progress::Images { what, done: 0, total });
            let proposal = pruner.propose(&ENGINE, &graph, &data.validation, self.recipe.data.preprocess)?;
            let Some(proposal) = proposal else { break };
            let (iteration, attempt) = (proposal.iteration, proposal.attempt);
            self.note(Event::Proposed {
                iteration,
                attempt,
                decisions: Box::new(proposal.decisions.clone()),
                layers: proposal.layers.clone(),
                before: proposal.before,
            })?;
            let settings = self.retraining(&proposal.decisions, iteration, attempt);
            let phase = Phase::Retrain { iteration, attempt };
            let retrained = match self.fit(data, &proposal.graph, settings, phase) {
                Err(ToolkitError::Adapt(error @ AdaptError::Diverged { .. })) => {
                    pruner.diverge(&proposal);
                    let (reason, state) = (error.to_string(), Box::new(pruner.state().clone()));
                    self.note(Event::Diverged { iteration, attempt, reason, state })?;
                    self.forget_progress()?;
                    continue;
                }
                retrained => retrained?,
            };
            let after = self.validate(data, &retrained)?;
            let judged = pruner.conclude(&proposal, after);
            if judged.accepted {
                self.keep_checkpoint(iteration, &retrained)?;
                graph = retrained;
            }
            self.note(Event::Judged {
                iteration: Box::new(judged),
                state: Box::new(pruner.state().clone()),
            })?;
            self.forget_progress()?;
        }
        if !self.events.iter().any(|event| matches!(event, Event::Pruned { .. })) {
            let PruneState { iterations, ended, .. } = pruner.state().clone();
            self.note(Event::Pruned { iterations, reason: ended.unwrap_or_default() })?;
        }
        Ok(graph)
    }

    /// The integer network, written as TFLite and read back, so that what is tested is what was written.
    pub(super) fn quantize(&mut self, data: &Splits, graph: &Graph) -> Result<Graph> {
        let path = self.dir.path().join(INTEGER_MODEL);
        if !self.events.iter().any(|event| matches!(event, Event::Quantized { .. })) {
            let config = &self.recipe.quantize;
            let folded = quantize::fold(graph)?;
            let samples = data.train.representative(config.calibration.samples, self.recipe.seed);
            let preprocess = self.recipe.data.preprocess;
            let ranges =
                quantize::calibrate(&folded, &data.train, &samples, preprocess, &config.calibration)?;
            let bytes = tflite::write(&quantize::quantize(&folded, &ranges, config)?)?;
            self.dir.write(INTEGER_MODEL, &bytes)?;
            self.note(Event::Quantized { bytes: bytes.len() as u64, samples: samples.len() })?;
        }
        Ok(taper_formats::load(&path)?)
    }

    /// Where pruning stood when the run was interrupted.
    fn pruned_so_far(&self) -> Option<PruneState> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Judged { state, .. } | Event::Diverged { state, .. } => Some((**state).clone()),
            _ => None,
        })
    }

    /// The network before pruning on the validation split.
    fn baseline(&self) -> Result<Evaluation> {
        let trained = self.events.iter().find_map(|event| match event {
            Event::Trained { validation, .. } => Some(*validation),
            _ => None,
        });
        trained.ok_or_else(|| {
            unfinished(self.dir.path(), "the journal does not tell of the network before pruning")
        })
    }

    /// The settings of one retraining: those of training, but for what the laws set. Each has random numbers of its own.
    fn retraining(&self, decisions: &Decisions, iteration: usize, attempt: usize) -> FitSettings {
        let Decisions { batch, epochs, learning_rate, weight_decay, .. } = decisions;
        let seed = Rng::keyed(self.recipe.seed, &[iteration as u64, attempt as u64]).next_u64();
        let train = TrainConfig {
            epochs: epochs.count(),
            batch: batch.count(),
            learning_rate: learning_rate.value,
            weight_decay: weight_decay.value,
            schedule: self.recipe.prune.schedule,
            early_stopping: self.recipe.prune.early_stopping,
            ..self.recipe.train.clone()
        };
        self.fit_settings(train, seed)
    }
}
