//! Training a network epoch by epoch.

use super::config::{Schedule, TrainConfig};
use super::cpu::take;
use super::engine::{Engine, Learner, Step};
use super::evaluate::{check_data, evaluate, with_cause};
use super::layer::Mode;
use super::loss::Targets;
use crate::error::{AdaptError, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;
use taper_data::{AugmentConfig, Batch, Batches, Dataset, Preprocess};
use taper_graph::{Graph, TensorData};
use taper_kernels::lanes::LossSummary;

/// By how much a loss may grow over that of the first step, or over 1 if that is greater, before training has failed.
const EXPLOSION: f64 = 1e6;

/// How a network is trained, and on what variations of the images.
#[derive(Debug, Clone, PartialEq)]
pub struct FitSettings {
    /// Optimizer, epochs and learning rate. Whether to train at all is the caller's question.
    pub train: TrainConfig,
    /// How bytes become inputs.
    pub preprocess: Preprocess,
    /// How training images are varied.
    pub augment: AugmentConfig,
    /// Seed of order, augmentation and dropout.
    pub seed: u64,
}

/// What one epoch came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Mean cross-entropy over the training samples, while the weights changed.
    pub train_loss: f64,
    /// Share of the training samples that were right, while the weights changed.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the validation samples after the epoch.
    pub validation_loss: f64,
    /// Share of the validation samples that were right after the epoch.
    pub validation_accuracy: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Time that training took, without validation.
    pub seconds: f64,
}

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepProgress {
    /// From 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Training samples seen in this epoch.
    pub samples: usize,
    /// Training samples of an epoch.
    pub samples_in_all: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
}

/// Where a training stands between two epochs; with the settings and the data, all that is needed to go on to the same
/// bytes. Random numbers are drawn from seed and epoch, so there is no random state.
#[derive(Debug, Clone, PartialEq)]
pub struct FitState {
    /// Counters and bests.
    pub progress: FitProgress,
    /// Parameters (`value/NAME`), moments of the optimizer (`moment0/NAME`, …) and the best parameters so far
    /// (`best/NAME`).
    pub tensors: BTreeMap<String, Vec<f32>>,
}

/// The scalars of a [`FitState`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitProgress {
    /// Epochs done.
    pub epochs: usize,
    /// Optimizer steps done.
    pub steps: u64,
    /// What reductions on a plateau have multiplied the learning rate by; absent before the first.
    pub plateau_factor: Option<f64>,
    /// The loss of the first step.
    #[serde(default)]
    pub first_loss: Option<f64>,
    /// The lowest validation loss.
    pub best_loss: Option<f64>,
    /// Epochs since the validation loss last improved, for the schedule.
    pub stale_for_schedule: usize,
    /// Epochs since the validation loss last improved, for early stopping.
    pub stale_for_stopping: usize,
}

/// A training in progress. Drive it with [`Fit::epoch`] until it returns `None`; [`Fit::finish`] gives the network of
/// the epoch with the lowest validation loss.
pub struct Fit<'a> {
    settings: FitSettings,
    train: &'a Dataset,
    validation: &'a Dataset,
    learner: Box<dyn Learner>,
    progress: FitProgress,
    /// The network of the best epoch; absent before the first.
    best: Option<Graph>,
    /// Samples of a mini-batch.
    batch: usize,
}

impl<'a> Fit<'a> {
    /// Prepares to train `graph` on `engine`.
    ///
    /// # Errors
    /// If the network cannot be trained or does not fit the data.
    pub fn new(
        engine: &dyn Engine,
        graph: &Graph,
        train: &'a Dataset,
        validation: &'a Dataset,
        settings: FitSettings,
    ) -> Result<Self> {
        let FitSettings { train: config, seed, .. } = &settings;
        let learner = engine.learner(graph, &config.network_settings(*seed), config.optimizer_settings())?;
        check_data(learner.network(), train)?;
        check_data(learner.network(), validation)?;
        Ok(Self {
            learner,
            batch: settings.train.batch.clamp(1, train.len()),
            progress: FitProgress::default(),
            best: None,
            train,
            validation,
            settings,
        })
    }

    /// Trains one epoch and validates; `None` when training has ended. `report` is called after each step.
    ///
    /// # Errors
    /// If a loss or a gradient is no longer finite.
    pub fn epoch(&mut self, report: &mut dyn FnMut(&StepProgress)) -> Result<Option<EpochRecord>> {
        if self.ended() {
            return Ok(None);
        }
        let started = Instant::now();
        let epoch = self.progress.epochs + 1;
        let FitSettings { preprocess, augment, seed, .. } = self.settings;
        let batches = Batches::shuffled(self.train, preprocess, augment, seed, epoch as u64);
        let (mut samples, mut loss, mut correct) = (0, 0.0, 0);
        let mut learning_rate = 0.0;
        // The next batch is decoded and varied while this one is learned from.
        thread::scope(|scope| {
            let mut batches = batches.prefetch(scope, self.batch)?;
            let mut step = 0;
            while let Some(batch) = batches.next_batch()? {
                step += 1;
                learning_rate = self.learning_rate();
                let result = self.step(batch, learning_rate, epoch, step)?;
                let count = batch.labels.len();
                samples += count;
                loss += result.loss * count as f64;
                correct += result.correct;
                report(&StepProgress {
                    epoch,
                    epochs: self.settings.train.epochs,
                    samples,
                    samples_in_all: self.train.len(),
                    loss: loss / samples as f64,
                });
            }
            Ok::<_, AdaptError>(())
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let validation = match evaluate(self.learner.network_mut(), self.validation, preprocess) {
            Err(AdaptError::NotFinite { what, .. }) => {
                let what = format!("on the validation samples {what}");
                return Err(AdaptError::Diverged {
                    epoch,
                    step: self.train.len().div_ceil(self.batch),
                    what,
                });
            }
            validation => validation?,
        };
        self.progress.epochs = epoch;
        self.judge(validation.loss);
        Ok(Some(EpochRecord {
            epoch,
            train_loss: loss / samples as f64,
            train_accuracy: correct as f64 / samples as f64,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            learning_rate,
            seconds,
        }))
    }

    /// Learns from one batch.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite, and then the weights stay as they were, or if the loss explodes.
    fn step(
        &mut self,
        batch: Batch<'_>,
        learning_rate: f64,
        epoch: usize,
        step: usize,
    ) -> Result<LossSummary> {
        let (images, targets) = (batch.images, Targets::from(batch.labels));
        let Step { summary, gradient_norm } = self.learner.step(images, targets, learning_rate as f32)?;
        self.progress.steps = self.learner.steps();
        let first_loss = *self.progress.first_loss.get_or_insert(summary.loss);
        let what = if !summary.loss.is_finite() {
            format!("the loss is {}", summary.loss)
        } else if !gradient_norm.is_finite() {
            format!("the norm of the gradient is {gradient_norm}")
        } else if summary.loss > EXPLOSION * first_loss.max(1.0) {
            let (name, norm) = self.learner.largest_gradient();
            let what = format!(
                "the loss grew from {first_loss:.3e} to {:.3e}, and the largest gradient, of `{name}`, has a norm of \
                 {norm:.3e}",
                summary.loss
            );
            return Err(AdaptError::Diverged { epoch, step, what });
        } else {
            return Ok(summary);
        };
        let network = self.learner.network_mut();
        Err(AdaptError::Diverged { epoch, step, what: with_cause(network, what, batch, Mode::Train)? })
    }

    /// The network of the epoch with the lowest validation loss; `None` if there was no epoch yet.
    #[must_use]
    pub fn best(&self) -> Option<&Graph> {
        self.best.as_ref()
    }

    /// The network of the epoch with the lowest validation loss; the one that came in if there was no epoch.
    #[must_use]
    pub fn finish(self) -> Graph {
        self.best.unwrap_or_else(|| self.learner.to_graph())
    }

    /// Where training stands.
    #[must_use]
    pub fn state(&self) -> FitState {
        let mut tensors = self.learner.state();
        for tensor in self.best.iter().flat_map(|best| &best.tensors) {
            if let Some(TensorData::F32(values)) = &tensor.data {
                tensors.insert(format!("best/{}", tensor.name), values.clone());
            }
        }
        FitState { progress: self.progress.clone(), tensors }
    }

    /// Goes on from where `state` stood. Settings and data must be those of then.
    ///
    /// # Errors
    /// If the state is of another network.
    pub fn restore(&mut self, mut state: FitState) -> Result<()> {
        let mut best = self.learner.to_graph();
        self.learner.restore(state.progress.steps, &mut state.tensors)?;
        if state.progress.best_loss.is_some() {
            for tensor in &mut best.tensors {
                if let Some(TensorData::F32(values)) = &mut tensor.data {
                    *values =
                        take(&best.name, &mut state.tensors, &format!("best/{}", tensor.name), values.len())?;
                }
            }
        }
        // What is left over is of more layers or of another optimizer, whose moments mean something else.
        if let Some(name) = state.tensors.keys().next() {
            let message = format!("`{name}` has no place in it");
            return Err(AdaptError::State { network: best.name, message });
        }
        self.best = state.progress.best_loss.map(|_| best);
        self.progress = state.progress;
        Ok(())
    }

    fn ended(&self) -> bool {
        let patience = self.settings.train.early_stopping.patience;
        self.progress.epochs >= self.settings.train.epochs
            || (patience > 0 && self.progress.stale_for_stopping >= patience)
    }

    /// The learning rate of the step that is about to be taken.
    fn learning_rate(&self) -> f64 {
        let steps_per_epoch = self.train.len().div_ceil(self.batch);
        let scheduled = match self.settings.train.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => factor.powf((self.progress.epochs / every.max(1)) as f64),
            Schedule::Cosine { floor } => {
                let last = (steps_per_epoch * self.settings.train.epochs).saturating_sub(1).max(1);
                let share = self.progress.steps as f64 / last as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
            Schedule::Plateau { .. } => self.progress.plateau_factor.unwrap_or(1.0),
        };
        let warm_up = match self.settings.train.warm_up_steps {
            0 => 1.0,
            steps => ((self.progress.steps + 1) as f64 / steps as f64).min(1.0),
        };
        self.settings.train.learning_rate * scheduled * warm_up
    }

    /// Takes note of a validation loss: keeps the best parameters, counts epochs without improvement, and lowers the
    /// learning rate on a plateau.
    fn judge(&mut self, loss: f64) {
        let best = self.progress.best_loss.unwrap_or(f64::INFINITY);
        let improved_clearly = loss < best - self.settings.train.early_stopping.min_delta;
        let stale = |count: usize, improved: bool| if improved { 0 } else { count + 1 };
        self.progress.stale_for_stopping = stale(self.progress.stale_for_stopping, improved_clearly);
        self.progress.stale_for_schedule = stale(self.progress.stale_for_schedule, loss < best);
        if let Schedule::Plateau { patience, factor } = self.settings.train.schedule
            && self.progress.stale_for_schedule >= patience
        {
            self.progress.plateau_factor = Some(self.progress.plateau_factor.unwrap_or(1.0) * factor);
            self.progress.stale_for_schedule = 0;
        }
        if loss < best {
            self.progress.best_loss = Some(loss);
            self.best = Some(self.learner.to_graph());
        }
    }
}
