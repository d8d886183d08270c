//! Training and retraining within a run, interrupted at any moment and taken up again.

use super::{ENGINE, Run};
use crate::error::{Result, ToolkitError};
use crate::events::{Event, Phase, Progress};
use crate::source::Source;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use taper_adapt::AdaptError;
use taper_adapt::train::{
    Engine, Evaluation, Fit, FitProgress, FitSettings, FitState, TrainConfig, TrainWhen, evaluate,
};
use taper_data::Splits;
use taper_formats::{Checkpoint, ExtraTensor};
use taper_graph::{Graph, TensorData};

/// Where a training in progress is kept between epochs.
const PROGRESS: &str = "progress.taper";
/// The best network of a training that diverged.
const LAST_GOOD: &str = "last-good.taper";
/// A training is kept at most this often: small networks take many short epochs.
const KEEP_EVERY: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// The network before pruning, trained if it was not; from its checkpoint if the journal says that it is done.
    pub(super) fn train(&mut self, data: &Splits, source: Source) -> Result<Graph> {
        if self.events.iter().any(|event| matches!(event, Event::Trained { .. })) {
            return self.checkpoint(0);
        }
        let Source { mut graph, untrained, note: _ } = source;
        let train = match self.recipe.train.when {
            TrainWhen::IfUntrained => !untrained.is_empty(),
            TrainWhen::Always => true,
            TrainWhen::Never => false,
        };
        if train {
            let settings = self.fit_settings(self.recipe.train.clone(), self.recipe.seed);
            graph = self.fit(data, &graph, settings, Phase::Train)?;
        }
        let validation = self.validate(data, &graph)?;
        self.keep_checkpoint(0, &graph)?;
        self.note(Event::Trained { in_this_run: train, validation })?;
        self.forget_progress()?;
        Ok(graph)
    }

    /// Training by `train` on the recipe's data.
    pub(super) fn fit_settings(&self, train: TrainConfig, seed: u64) -> FitSettings {
        let data = &self.recipe.data;
        FitSettings { train, preprocess: data.preprocess, augment: data.augment, seed }
    }

    /// Trains `graph`, from where an interruption left it if that was in the same phase.
    pub(super) fn fit(
        &mut self,
        data: &Splits,
        graph: &Graph,
        settings: FitSettings,
        phase: Phase,
    ) -> Result<Graph> {
        if let Some(note) = data.train.large_batch(settings.train.batch) {
            self.warn(note.to_string())?;
        }
        let mut fit = Fit::new(&ENGINE, graph, &data.train, &data.validation, settings)?;
        if let Some(state) = self.kept_progress(phase)? {
            fit.restore(state)?;
        }
        let mut kept = Instant::now();
        loop {
            let observer = &mut self.observer;
            let mut report = |step: &_| observer.progress(&Progress::Training { phase, step: *step });
            let record = match fit.epoch(&mut report) {
                Err(error @ AdaptError::Diverged { .. }) => return Err(self.keep_best(&fit, error, phase)?),
                record => record?,
            };
            let Some(record) = record else { break };
            // The journal comes first: an interruption in between tells an epoch twice, never not at all.
            self.note(Event::Epoch { phase, record })?;
            if kept.elapsed() >= KEEP_EVERY {
                self.keep_progress(phase, &fit.state())?;
                kept = Instant::now();
            }
        }
        Ok(fit.finish())
    }

    /// Keeps the best network of a training that diverged. Returns the error that tells of both.
    fn keep_best(&self, fit: &Fit<'_>, error: AdaptError, phase: Phase) -> Result<ToolkitError> {
        match (phase, fit.best()) {
            (Phase::Train, Some(best)) => {
                let path = self.dir.path().join(LAST_GOOD);
                Checkpoint::new(best.clone()).save(&path)?;
                Ok(ToolkitError::Diverged { error, kept: path.display().to_string() })
            }
            // The network before the cut is kept anyway.
            (Phase::Retrain { .. }, _) | (Phase::Train, None) => Ok(error.into()),
        }
    }

    /// How a network does on the validation split.
    pub(super) fn validate(&self, data: &Splits, graph: &Graph) -> Result<Evaluation> {
        let settings = self.recipe.train.network_settings(self.recipe.seed);
        let mut network = ENGINE.evaluator(graph, &settings)?;
        Ok(evaluate(&mut *network, &data.validation, self.recipe.data.preprocess)?)
    }

    /// The network that an iteration left.
    pub(super) fn checkpoint(&self, iteration: usize) -> Result<Graph> {
        Ok(Checkpoint::load(&self.dir.checkpoint_path(iteration))?.graph)
    }

    /// Keeps the network of an iteration.
    pub(super) fn keep_checkpoint(&self, iteration: usize, graph: &Graph) -> Result<()> {
        Ok(Checkpoint::new(graph.clone()).save(&self.dir.checkpoint_path(iteration))?)
    }

    /// Drops the training in progress once its result is kept.
    pub(super) fn forget_progress(&self) -> Result<()> {
        let path = self.dir.path().join(PROGRESS);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(crate::run_dir::RunDirError::Io { path, action: "remove", error }.into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn keep_progress(&self, phase: Phase, state: &FitState) -> Result<()> {
        let mut checkpoint = Checkpoint::new(Graph::new("progress"));
        let json = |value: serde_json::Value| value.to_string();
        checkpoint.extra.insert("phase".to_owned(), json(serde_json::json!(phase)));
        checkpoint.extra.insert("progress".to_owned(), json(serde_json::json!(state.progress)));
        checkpoint.extra_tensors = state
            .tensors
            .iter()
            .map(|(name, values)| {
                let tensor = ExtraTensor { sizes: vec![values.len()], data: TensorData::F32(values.clone()) };
                (name.clone(), tensor)
            })
            .collect();
        self.dir.write(PROGRESS, &checkpoint.to_bytes()?)?;
        Ok(())
    }

    /// The training that an interruption left in this phase.
    fn kept_progress(&self, phase: Phase) -> Result<Option<FitState>> {
        let path = self.dir.path().join(PROGRESS);
        if !path.exists() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::load(&path)?;
        let extra = |key: &str| checkpoint.extra.get(key).map_or("", String::as_str);
        let of_phase = serde_json::from_str(extra("phase")).is_ok_and(|kept: Phase| kept == phase);
        let progress: Option<FitProgress> = serde_json::from_str(extra("progress")).ok();
        let (true, Some(progress)) = (of_phase, progress) else { return Ok(None) };
        let tensors = checkpoint.extra_tensors.into_iter().filter_map(|(name, tensor)| match tensor.data {
            TensorData::F32(values) => Some((name, values)),
            TensorData::I8(_)
            | TensorData::U8(_)
            | TensorData::I16(_)
            | TensorData::I32(_)
            | TensorData::I64(_) => None,
        });
        Ok(Some(FitState { progress, tensors: tensors.collect() }))
    }
}
