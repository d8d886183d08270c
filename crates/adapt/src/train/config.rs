//! The recipe's `[train]` table.

use super::network::NetworkSettings;
use super::optimizer::OptimizerSettings;
use crate::config::{Bounds, ConfigError, check_count};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the network is trained before it is pruned. Optimiser, momentum, warm-up, clipping, frozen layers and the memory
/// budget hold for retraining too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Whether to train at all.
    pub when: TrainWhen,
    /// Passes over the training samples.
    pub epochs: usize,
    /// Samples in a mini-batch.
    pub batch: usize,
    /// How gradients become changes of the weights.
    pub optimizer: OptimizerKind,
    /// `sgd` only: share of the last change that goes on, from 0 to below 1.
    pub momentum: f64,
    /// Learning rate at the start, above 0.
    pub learning_rate: f64,
    /// Weight decay, of weights alone. With `adam`, each step takes this share, times the learning rate, off every
    /// weight; with `sgd`, this share of the weight is added to its gradient.
    pub weight_decay: f64,
    /// How the learning rate changes over the epochs.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly from 0 to its start; 0 for none.
    pub warm_up_steps: usize,
    /// When training ends before all epochs have passed.
    pub early_stopping: EarlyStopping,
    /// Gradients whose norm over all parameters exceeds this are scaled down to it. If absent, none are.
    pub clip_norm: Option<f64>,
    /// Layers whose parameters stay as they are. A name may end in `*`, which stands for anything.
    pub freeze: Vec<String>,
    /// The most megabytes (10⁶ bytes) that the activations of a batch and their gradients may take. A batch that needs
    /// more is cut into smaller ones, whose gradients are added up. If absent, batches are never cut.
    pub memory_budget_mb: Option<usize>,
}

/// Whether to train a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrainWhen {
    /// Only if its weights are untrained, as those from the zoo are.
    #[default]
    IfUntrained,
    /// Always; trained weights are the start.
    Always,
    /// Never.
    Never,
}

/// How gradients become changes of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Adam (Kingma & Ba, 2015), with decoupled weight decay (Loshchilov & Hutter, 2019).
    #[default]
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// How the learning rate changes over the epochs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "ScheduleTable", into = "ScheduleTable")]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` epochs.
    Step {
        /// Epochs from one change to the next.
        every: usize,
        /// Above 0, at most 1.
        factor: f64,
    },
    /// Half a cosine wave from the start, at the first step, to `floor` times the start, at the last
    /// (Loshchilov & Hutter, 2017).
    Cosine {
        /// From 0 to 1.
        floor: f64,
    },
    /// Multiplied by `factor` when the validation loss has not improved for `patience` epochs.
    Plateau {
        /// Epochs without improvement.
        patience: usize,
        /// Above 0, at most 1.
        factor: f64,
    },
}

/// When training ends before all epochs have passed: after `patience` epochs in which the validation loss has not
/// improved by more than `min_delta` over the best.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Epochs without improvement; 0 never ends early.
    pub patience: usize,
    /// The least improvement that counts.
    pub min_delta: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            when: TrainWhen::default(),
            epochs: 3,
            batch: 64,
            optimizer: OptimizerKind::default(),
            momentum: 0.9,
            learning_rate: 3e-4,
            weight_decay: 0.0,
            schedule: Schedule::Cosine { floor: 0.02 },
            warm_up_steps: 30,
            early_stopping: EarlyStopping::default(),
            clip_norm: Some(5.0),
            freeze: Vec::new(),
            memory_budget_mb: None,
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_count("train.batch", self.batch)?;
        Bounds::BELOW_ONE.check("train.momentum", self.momentum)?;
        Bounds::POSITIVE.check("train.learning_rate", self.learning_rate)?;
        Bounds::NOT_NEGATIVE.check("train.weight_decay", self.weight_decay)?;
        self.schedule.validate("train.schedule")?;
        self.early_stopping.validate("train.early_stopping")?;
        if let Some(norm) = self.clip_norm {
            Bounds::POSITIVE.check("train.clip_norm", norm)?;
        }
        match self.memory_budget_mb {
            None => Ok(()),
            Some(budget) => check_count("train.memory_budget_mb", budget),
        }
    }

    /// What does not change from step to step.
    #[must_use]
    pub fn optimizer_settings(&self) -> OptimizerSettings {
        OptimizerSettings {
            kind: self.optimizer,
            momentum: self.momentum as f32,
            weight_decay: self.weight_decay as f32,
            clip_norm: self.clip_norm.map(|norm| norm as f32),
        }
    }

    /// What a network is prepared for, with the seed of its random numbers.
    #[must_use]
    pub fn network_settings(&self, seed: u64) -> NetworkSettings {
        NetworkSettings {
            freeze: self.freeze.clone(),
            memory_budget: self.memory_budget_mb.map(|budget| budget.saturating_mul(1_000_000)),
            seed,
            ..NetworkSettings::default()
        }
    }
}

impl Schedule {
    /// Checks the parameters of the schedule under `key`.
    pub(crate) fn validate(&self, key: &str) -> Result<(), ConfigError> {
        match *self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => {
                check_count(format!("{key}.every"), every)?;
                Bounds::FACTOR.check(format!("{key}.factor"), factor)
            }
            Self::Cosine { floor } => Bounds::SHARE.check(format!("{key}.floor"), floor),
            Self::Plateau { patience, factor } => {
                check_count(format!("{key}.patience"), patience)?;
                Bounds::FACTOR.check(format!("{key}.factor"), factor)
            }
        }
    }
}

impl EarlyStopping {
    /// Checks the values under `key`.
    pub(crate) fn validate(&self, key: &str) -> Result<(), ConfigError> {
        Bounds::NOT_NEGATIVE.check(format!("{key}.min_delta"), self.min_delta)
    }
}

/// A schedule as a recipe writes it. One flat table, because a derived tagged enum would hide the key at fault.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleTable {
    /// How the learning rate changes.
    kind: ScheduleKind,
    /// `step`: epochs from one change to the next; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<usize>,
    /// `plateau`: epochs without improvement; 2 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patience: Option<usize>,
    /// `step`, `plateau`: what the learning rate is multiplied by; 0.5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    /// `cosine`: the learning rate at the end, as a share of its start; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<f64>,
}

/// The schedules by name.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ScheduleKind {
    /// The learning rate stays.
    Constant,
    /// It falls by a factor after every few epochs.
    Step,
    /// It falls along half a cosine wave.
    Cosine,
    /// It falls by a factor when the validation loss no longer improves.
    Plateau,
}

impl TryFrom<ScheduleTable> for Schedule {
    type Error = String;

    fn try_from(table: ScheduleTable) -> Result<Self, String> {
        let ScheduleTable { kind, every, patience, factor, floor } = table;
        let [every_set, patience_set] = [("every", every.is_some()), ("patience", patience.is_some())];
        let [factor_set, floor_set] = [("factor", factor.is_some()), ("floor", floor.is_some())];
        let (takes, strangers): (_, &[(&str, bool)]) = match kind {
            ScheduleKind::Constant => (
                "expected no other key beside kind = \"constant\"",
                &[every_set, patience_set, factor_set, floor_set],
            ),
            ScheduleKind::Step => {
                ("expected `every` and `factor` beside kind = \"step\"", &[patience_set, floor_set])
            }
            ScheduleKind::Cosine => {
                ("expected `floor` beside kind = \"cosine\"", &[every_set, patience_set, factor_set])
            }
            ScheduleKind::Plateau => {
                ("expected `patience` and `factor` beside kind = \"plateau\"", &[every_set, floor_set])
            }
        };
        if let Some((stranger, _)) = strangers.iter().find(|(_, set)| *set) {
            return Err(format!("{takes}, found `{stranger}`"));
        }
        let factor = factor.unwrap_or(0.5);
        Ok(match kind {
            ScheduleKind::Constant => Self::Constant,
            ScheduleKind::Step => Self::Step { every: every.unwrap_or(1), factor },
            ScheduleKind::Cosine => Self::Cosine { floor: floor.unwrap_or(0.0) },
            ScheduleKind::Plateau => Self::Plateau { patience: patience.unwrap_or(2), factor },
        })
    }
}

impl From<Schedule> for ScheduleTable {
    fn from(schedule: Schedule) -> Self {
        let table = |kind| Self { kind, every: None, patience: None, factor: None, floor: None };
        match schedule {
            Schedule::Constant => table(ScheduleKind::Constant),
            Schedule::Step { every, factor } => {
                Self { every: Some(every), factor: Some(factor), ..table(ScheduleKind::Step) }
            }
            Schedule::Cosine { floor } => Self { floor: Some(floor), ..table(ScheduleKind::Cosine) },
            Schedule::Plateau { patience, factor } => {
                Self { patience: Some(patience), factor: Some(factor), ..table(ScheduleKind::Plateau) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key() {
        fn check(change: impl Fn(&mut TrainConfig), key: &str) {
            let mut config = TrainConfig::default();
            change(&mut config);
            assert_eq!(config.validate().expect_err(key).key, key);
        }
        check(|c| c.batch = 0, "train.batch");
        check(|c| c.momentum = 1.0, "train.momentum");
        check(|c| c.learning_rate = 0.0, "train.learning_rate");
        check(|c| c.weight_decay = f64::NAN, "train.weight_decay");
        check(|c| c.schedule = Schedule::Step { every: 0, factor: 0.5 }, "train.schedule.every");
        check(|c| c.schedule = Schedule::Plateau { patience: 1, factor: 1.5 }, "train.schedule.factor");
        check(|c| c.schedule = Schedule::Cosine { floor: -0.1 }, "train.schedule.floor");
        check(|c| c.early_stopping.min_delta = -1.0, "train.early_stopping.min_delta");
        check(|c| c.clip_norm = Some(0.0), "train.clip_norm");
        check(|c| c.memory_budget_mb = Some(0), "train.memory_budget_mb");
        TrainConfig::default().validate().expect("the defaults are sound");
    }
}
