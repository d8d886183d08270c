//! The recipe's `[prune]` table.

use super::{Changes, CutRule, Decision, Gains, HyperParameter, Law, Step};
use crate::config::{ConfigError, check_count};
use crate::train::{EarlyStopping, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adaptive iterative pruning: score, cut, retrain, with hyper-parameters that change from iteration to iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneConfig {
    /// What marks a channel as surplus.
    pub criterion: Criterion,
    /// How the cut level `laws.cut` is read.
    pub rule: CutRule,
    /// Iterations at most; 0 leaves the network as it is.
    pub iterations: usize,
    /// How often an iteration that loses too much accuracy is rolled back and tried again, more gently each time,
    /// before pruning ends with the best network.
    pub tries: usize,
    /// Pruning ends when the network has at most this many parameters.
    pub target_parameters: Option<usize>,
    /// How the hyper-parameters change from iteration to iteration.
    pub laws: Laws,
    /// How the learning rate changes over the epochs of one retraining.
    pub schedule: Schedule,
    /// When a retraining ends before all its epochs have passed.
    pub early_stopping: EarlyStopping,
}

/// What marks a channel as surplus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The average percentage of zeros of its activations behind the nonlinearity, over the validation samples.
    #[default]
    Apoz,
}

/// How the hyper-parameters of pruning change from iteration to iteration: each is a number, which stays, or a table
/// `{ law = "constant" | "linear" | "multiplicative" | "context", start = …, … }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Laws {
    /// Samples in a mini-batch of retraining, at least 1.
    pub batch: Law,
    /// Epochs of retraining, at least 0.
    pub epochs: Law,
    /// The fewest channels that a layer keeps, at least 1.
    pub c_min: Law,
    /// The level of the cut rule: standard deviations over the layer's mean, a score, or a fraction of channels.
    pub cut: Law,
    /// Learning rate of retraining, above 0.
    pub learning_rate: Law,
    /// Weight decay of retraining, at least 0.
    pub weight_decay: Law,
}

/// What the laws set for one iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// Samples in a mini-batch of retraining.
    pub batch: Decision,
    /// Epochs of retraining.
    pub epochs: Decision,
    /// The fewest channels that a layer keeps.
    pub c_min: Decision,
    /// The level of the cut rule.
    pub cut: Decision,
    /// Learning rate of retraining.
    pub learning_rate: Decision,
    /// Weight decay of retraining.
    pub weight_decay: Decision,
}

impl Default for PruneConfig {
    fn default() -> Self {
        Self {
            criterion: Criterion::default(),
            rule: CutRule::default(),
            iterations: 8,
            tries: 3,
            target_parameters: None,
            laws: Laws::default(),
            schedule: Schedule::Cosine { floor: 0.02 },
            early_stopping: EarlyStopping::default(),
        }
    }
}

impl Default for Laws {
    fn default() -> Self {
        let multiplicative =
            |start, beta, max| Law { start, step: Step::Multiplicative { beta }, min: None, max: Some(max) };
        let gains = Gains { size: None, loss: Some(0.2), time: Some(-0.05) };
        Self {
            batch: multiplicative(32.0, 1.15, 96.0),
            epochs: multiplicative(1.0, 1.7, 40.0),
            c_min: Law::constant(5.0),
            cut: Law { step: Step::Context { gains }, ..Law::constant(0.45) },
            learning_rate: multiplicative(4e-4, 1.25, 1.5e-3),
            weight_decay: Law::constant(0.0),
        }
    }
}

impl PruneConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(target) = self.target_parameters {
            check_count("prune.target_parameters", target)?;
        }
        let Laws { batch, epochs, c_min, cut, learning_rate, weight_decay } = &self.laws;
        batch.validate("prune.laws.batch", HyperParameter::Batch)?;
        epochs.validate("prune.laws.epochs", HyperParameter::Epochs)?;
        c_min.validate("prune.laws.c_min", HyperParameter::CMin)?;
        cut.validate("prune.laws.cut", HyperParameter::Cut(self.rule))?;
        learning_rate.validate("prune.laws.learning_rate", HyperParameter::LearningRate)?;
        weight_decay.validate("prune.laws.weight_decay", HyperParameter::WeightDecay)?;
        self.schedule.validate("prune.schedule")?;
        self.early_stopping.validate("prune.early_stopping")
    }

    /// The hyper-parameters of the next iteration, from those of the iteration before (`None` at the first) and the
    /// changes that it made.
    #[must_use]
    pub fn decide(&self, previous: Option<&Decisions>, changes: &Changes) -> Decisions {
        let Laws { batch, epochs, c_min, cut, learning_rate, weight_decay } = &self.laws;
        let next = |law: &Law, parameter, before: fn(&Decisions) -> &Decision| {
            law.next(parameter, previous.map(|decisions| before(decisions).exact), changes)
        };
        Decisions {
            batch: next(batch, HyperParameter::Batch, |d| &d.batch),
            epochs: next(epochs, HyperParameter::Epochs, |d| &d.epochs),
            c_min: next(c_min, HyperParameter::CMin, |d| &d.c_min),
            cut: next(cut, HyperParameter::Cut(self.rule), |d| &d.cut),
            learning_rate: next(learning_rate, HyperParameter::LearningRate, |d| &d.learning_rate),
            weight_decay: next(weight_decay, HyperParameter::WeightDecay, |d| &d.weight_decay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hyper_parameter_follows_its_own_law() {
        PruneConfig::default().validate().expect("the defaults are sound");
        let law = |start, step, max| Law { start, step, min: None, max };
        let laws = Laws {
            batch: law(64.0, Step::Multiplicative { beta: 1.5 }, Some(256.0)),
            epochs: law(1.0, Step::Multiplicative { beta: 1.3 }, None),
            c_min: law(5.0, Step::Linear { alpha: -2.0 }, None),
            cut: law(0.5, Step::Context { gains: Gains { size: Some(-1.0), ..Gains::default() } }, None),
            learning_rate: law(1e-3, Step::Multiplicative { beta: 0.5 }, None),
            weight_decay: Law::constant(0.25),
        };
        let config = PruneConfig { laws, ..PruneConfig::default() };
        let halved = Changes { size: 0.5_f64.ln(), ..Changes::default() };
        let mut previous = None;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let next = config.decide(previous.as_ref(), &halved);
            let Decisions { batch, epochs, c_min, cut, learning_rate, weight_decay } = &next;
            assert_eq!(weight_decay.value, 0.25);
            seen.push((batch.value, epochs.value, c_min.value, cut.value, learning_rate.value * 16e3));
            previous = Some(next);
        }
        let expected = [
            (64.0, 1.0, 5.0, 0.5, 16.0),
            (96.0, 1.0, 3.0, 1.0, 8.0),
            (144.0, 2.0, 1.0, 2.0, 4.0),
            (216.0, 2.0, 1.0, 4.0, 2.0),
            (256.0, 3.0, 1.0, 8.0, 1.0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn errors_name_the_key() {
        fn check(change: impl Fn(&mut PruneConfig), key: &str) {
            let mut config = PruneConfig::default();
            change(&mut config);
            assert_eq!(config.validate().expect_err(key).key, key);
        }
        check(|c| c.target_parameters = Some(0), "prune.target_parameters");
        check(|c| c.laws.batch.start = -5.0, "prune.laws.batch.start");
        check(|c| c.laws.epochs.max = Some(f64::NAN), "prune.laws.epochs.max");
        check(|c| c.laws.c_min = Law::constant(0.0), "prune.laws.c_min.start");
        check(|c| c.laws.cut.start = f64::NAN, "prune.laws.cut.start");
        check(|c| c.laws.learning_rate.start = 0.0, "prune.laws.learning_rate.start");
        check(|c| c.laws.weight_decay.start = -1.0, "prune.laws.weight_decay.start");
        check(|c| (c.rule, c.laws.cut.start) = (CutRule::Fraction, 1.5), "prune.laws.cut.start");
        check(|c| c.schedule = Schedule::Step { every: 1, factor: 0.0 }, "prune.schedule.factor");
        check(|c| c.early_stopping.min_delta = f64::INFINITY, "prune.early_stopping.min_delta");
    }
}
