//! Laws: how a hyper-parameter changes from one iteration of pruning to the next (formulas 3.1–3.4 of the source).

mod form;

use super::CutRule;
use crate::config::{Bounds, ConfigError};
use form::LawForm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one hyper-parameter `P` goes from iteration to iteration. A bare number in a recipe is the constant law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "LawForm", into = "LawForm")]
pub struct Law {
    /// The value in the first iteration.
    pub start: f64,
    /// How each later value follows from the one before.
    pub step: Step,
    /// The value never goes below this.
    pub min: Option<f64>,
    /// The value never goes above this.
    pub max: Option<f64>,
}

/// How a value follows from the one at the iteration before.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// `P_i = P_{i−1}` (3.1).
    Constant,
    /// `P_i = P_{i−1} + α` (3.2).
    Linear {
        /// The summand `α`.
        alpha: f64,
    },
    /// `P_i = β · P_{i−1}` (3.3).
    Multiplicative {
        /// The factor `β`.
        beta: f64,
    },
    /// `P_i = P_{i−1} · exp(g_N·∇N + g_L·∇L + g_t·∇t)`, a form of (3.4), which leaves the function open. The
    /// exponential keeps the sign of `P` and makes opposite changes cancel.
    Context {
        /// The gains that the recipe sets; the others are those of [`HyperParameter::default_gains`].
        gains: Gains,
    },
}

/// The gains of the context law; `None` leaves the default of the hyper-parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gains {
    /// `g_N`, for the change of the number of parameters.
    pub size: Option<f64>,
    /// `g_L`, for the change of the validation loss.
    pub loss: Option<f64>,
    /// `g_t`, for the change of the run time.
    pub time: Option<f64>,
}

/// What a law sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HyperParameter {
    /// Samples in a mini-batch of retraining.
    Batch,
    /// Epochs of retraining.
    Epochs,
    /// The fewest channels that a layer keeps.
    CMin,
    /// The level of a cut rule.
    Cut(CutRule),
    /// The learning rate of retraining.
    LearningRate,
    /// The weight decay of retraining.
    WeightDecay,
}

/// A network as the context law sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Number of parameters `N`.
    pub parameters: f64,
    /// Validation loss `L`.
    pub loss: f64,
    /// Run time `t` by a cost model, in any unit. A measured time would make the outcome depend on the machine's load.
    pub time: f64,
}

/// The relative changes `∇X = ln(X_{i−1} / X_{i−2})` at the iteration before; 0 where there is none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// `∇N`: below 0 when the network shrank.
    pub size: f64,
    /// `∇L`: above 0 when the loss rose.
    pub loss: f64,
    /// `∇t`: below 0 when the network became faster.
    pub time: f64,
}

/// The value that a law set, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The value to use: within the limits, and whole (rounded half up) for counts.
    pub value: f64,
    /// The value before rounding, from which the next one follows: a batch that grows by 1.3 must not stay at 1.
    pub exact: f64,
    /// The reason in words, for the journal and the report.
    pub reason: String,
}

impl Law {
    /// The law under which the value stays at `value`.
    #[must_use]
    pub const fn constant(value: f64) -> Self {
        Self { start: value, step: Step::Constant, min: None, max: None }
    }

    /// The value of `parameter` at the next iteration. `previous` is [`Decision::exact`] of the iteration before, and
    /// `None` at the first. Values outside the limits of the law, or of what `parameter` can be, become the limit.
    #[must_use]
    pub fn next(&self, parameter: HyperParameter, previous: Option<f64>, changes: &Changes) -> Decision {
        let (wanted, term) = match previous {
            None => (self.start, format!("starts at {}", number(self.start))),
            Some(previous) => self.step.apply(parameter, previous, changes),
        };
        let natural = parameter.bounds();
        let (min, max) = (self.min.unwrap_or(natural.min), self.max.unwrap_or(natural.max));
        let exact = wanted.max(min).min(max);
        let value = parameter.round(exact);

        let mut reason = format!("{}: {term}", self.step.name());
        if exact != wanted {
            let limit = if exact == max { ("max", self.max) } else { ("min", self.min) };
            let by = match limit {
                (name, Some(_)) => name,
                (_, None) => "what it can be",
            };
            reason += &format!(", limited to {} by {by}", number(exact));
        }
        if value != exact {
            reason += &format!(", rounded to {}", number(value));
        }
        Decision { value, exact, reason }
    }

    /// Checks every number of the law of `parameter`, which stands under `key` in the recipe.
    ///
    /// # Errors
    /// If a number is not finite, lies outside what `parameter` can be, or the limits exclude each other.
    pub fn validate(&self, key: &str, parameter: HyperParameter) -> Result<(), ConfigError> {
        let bounds = parameter.bounds();
        bounds.check(format!("{key}.start"), self.start)?;
        match &self.step {
            Step::Constant => {}
            Step::Linear { alpha } => Bounds::FINITE.check(format!("{key}.alpha"), *alpha)?,
            Step::Multiplicative { beta } => Bounds::POSITIVE.check(format!("{key}.beta"), *beta)?,
            Step::Context { gains: Gains { size, loss, time } } => {
                for (name, gain) in [("size", size), ("loss", loss), ("time", time)] {
                    Bounds::FINITE.check(format!("{key}.{name}"), gain.unwrap_or(0.0))?;
                }
            }
        }
        for (name, limit) in [("min", self.min), ("max", self.max)] {
            if let Some(limit) = limit {
                bounds.check(format!("{key}.{name}"), limit)?;
            }
        }
        match (self.min, self.max) {
            (Some(min), Some(max)) if min > max => Err(ConfigError {
                key: format!("{key}.min"),
                expected: format!("a number of at most max = {max}"),
                found: min.to_string(),
            }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear { .. } => "linear",
            Self::Multiplicative { .. } => "multiplicative",
            Self::Context { .. } => "context",
        }
    }

    /// The next value and the term that gave it, for a reader.
    fn apply(&self, parameter: HyperParameter, previous: f64, changes: &Changes) -> (f64, String) {
        let before = number(previous);
        match self {
            Self::Constant => (previous, before),
            Self::Linear { alpha } => {
                let sign = if *alpha < 0.0 { '−' } else { '+' };
                let next = previous + alpha;
                (next, format!("{before} {sign} {} = {}", number(alpha.abs()), number(next)))
            }
            Self::Multiplicative { beta } => {
                let next = previous * beta;
                (next, format!("{before} × {} = {}", number(*beta), number(next)))
            }
            Self::Context { gains } => {
                let [size, loss, time] = parameter.default_gains();
                let terms = [
                    ("size", gains.size.unwrap_or(size), changes.size),
                    ("loss", gains.loss.unwrap_or(loss), changes.loss),
                    ("time", gains.time.unwrap_or(time), changes.time),
                ];
                let exponent: f64 = terms.iter().map(|(_, gain, change)| gain * change).sum();
                // Within ±700 the exponential is finite and above 0, so that the product is never 0 × ∞.
                let next = previous * exponent.clamp(-700.0, 700.0).exp();
                let causes: Vec<String> = terms
                    .iter()
                    .filter(|(_, gain, change)| *gain != 0.0 && *change != 0.0)
                    .map(|(name, gain, change)| {
                        format!("{name} {:+.1} % at gain {}", change.exp_m1() * 100.0, number(*gain))
                    })
                    .collect();
                let why = if causes.is_empty() { "no change".to_owned() } else { causes.join(", ") };
                (next, format!("{before} becomes {} ({why})", number(next)))
            }
        }
    }
}

impl HyperParameter {
    /// The gains `[g_N, g_L, g_t]` of the context law where the recipe sets none:
    ///
    /// | | size | loss | because |
    /// |---|---|---|---|
    /// | batch | −0.5 | | a smaller network leaves room for a larger batch |
    /// | epochs | −0.25 | 0.5 | a smaller network, and one that lost accuracy, needs longer retraining |
    /// | `c_min` | | 0.25 | after a loss, keep more |
    /// | cut | | 0.5 (fraction: −0.5) | after a loss, cut more gently; after a gain, harder |
    /// | learning rate | −0.25 | | goes with the square root of the batch |
    /// | weight decay | 0.5 | | a smaller network overfits less |
    ///
    /// The run time has no influence unless a recipe gives it one.
    #[must_use]
    pub const fn default_gains(self) -> [f64; 3] {
        match self {
            Self::Batch => [-0.5, 0.0, 0.0],
            Self::Epochs => [-0.25, 0.5, 0.0],
            Self::CMin => [0.0, 0.25, 0.0],
            Self::Cut(CutRule::Deviations | CutRule::Threshold) => [0.0, 0.5, 0.0],
            Self::Cut(CutRule::Fraction) => [0.0, -0.5, 0.0],
            Self::LearningRate => [-0.25, 0.0, 0.0],
            Self::WeightDecay => [0.5, 0.0, 0.0],
        }
    }

    /// What the value can be at all.
    fn bounds(self) -> Bounds {
        match self {
            Self::Batch | Self::CMin => Bounds::COUNT,
            Self::Epochs => Bounds::COUNT_OR_NONE,
            Self::Cut(CutRule::Deviations) => Bounds::FINITE,
            Self::Cut(CutRule::Threshold | CutRule::Fraction) => Bounds::SHARE,
            Self::LearningRate => Bounds::POSITIVE,
            Self::WeightDecay => Bounds::NOT_NEGATIVE,
        }
    }

    fn round(self, exact: f64) -> f64 {
        match self {
            Self::Batch | Self::Epochs | Self::CMin => (exact + 0.5).floor(),
            Self::Cut(_) | Self::LearningRate | Self::WeightDecay => exact,
        }
    }
}

impl Changes {
    /// The changes from the network of one iteration to that of the next. A loss, or anything else, that is not finite
    /// has no change.
    #[must_use]
    pub fn between(earlier: &Measure, later: &Measure) -> Self {
        Self {
            size: log_ratio(later.parameters, earlier.parameters),
            loss: log_ratio(later.loss, earlier.loss),
            time: log_ratio(later.time, earlier.time),
        }
    }
}

impl Decision {
    /// The value as a count, for batch, epochs and `c_min`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.value as usize
    }
}

fn log_ratio(later: f64, earlier: f64) -> f64 {
    /// A loss can reach 0, whose logarithm is not a number to reckon with.
    const FLOOR: f64 = 1e-9;
    if later.is_finite() && earlier.is_finite() { (later.max(FLOOR) / earlier.max(FLOOR)).ln() } else { 0.0 }
}

/// `value` for a reader: whole numbers in full, others with six significant digits.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return value.to_string();
    }
    let short = format!("{value:.5e}");
    short.parse::<f64>().map_or(short, |rounded| {
        if (1e-4..1e15).contains(&rounded.abs()) { rounded.to_string() } else { format!("{rounded:e}") }
    })
}

#[cfg(test)]
mod tests;
