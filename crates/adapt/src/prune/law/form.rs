//! A law as a recipe writes it: a bare number, or one flat table for all laws, in which an error names the key at fault.

use super::{Gains, Law, Step};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;

/// A law as a recipe writes it.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum LawForm {
    /// The constant law.
    Number(f64),
    /// Any law.
    Table(LawTable),
}

/// A law with its parameters.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LawTable {
    /// How the value changes from iteration to iteration.
    law: LawName,
    /// The value in the first iteration.
    start: f64,
    /// `linear`: added at each iteration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// `multiplicative`: multiplied by at each iteration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    /// `context`: gain for the change of the number of parameters; the default depends on the hyper-parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<f64>,
    /// `context`: gain for the change of the validation loss; the default depends on the hyper-parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    /// `context`: gain for the change of the estimated run time; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    /// The value never goes below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    /// The value never goes above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

/// The laws by name.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum LawName {
    /// The value stays.
    Constant,
    /// `alpha` is added.
    Linear,
    /// The value is multiplied by `beta`.
    Multiplicative,
    /// The value follows the changes of size, loss and time at the iteration before.
    Context,
}

// By hand, because a derived untagged enum would hide the key at fault.
impl<'de> Deserialize<'de> for LawForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;

        impl<'de> de::Visitor<'de> for FormVisitor {
            type Value = LawForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a law such as { law = \"linear\", start = 1, alpha = 1 }")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<LawForm, E> {
                Ok(LawForm::Number(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<LawForm, E> {
                Ok(LawForm::Number(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<LawForm, E> {
                Ok(LawForm::Number(value as f64))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<LawForm, A::Error> {
                LawTable::deserialize(MapAccessDeserializer::new(map)).map(LawForm::Table)
            }
        }

        deserializer.deserialize_any(FormVisitor)
    }
}

impl TryFrom<LawForm> for Law {
    type Error = String;

    fn try_from(form: LawForm) -> Result<Self, String> {
        let table = match form {
            LawForm::Number(value) => return Ok(Self::constant(value)),
            LawForm::Table(table) => table,
        };
        let LawTable { law, start, alpha, beta, size, loss, time, min, max } = table;
        let (name, takes, strangers): (_, _, &[(&str, Option<f64>)]) = match law {
            LawName::Constant => (
                "constant",
                "`start`, `min`, `max`",
                &[("alpha", alpha), ("beta", beta), ("size", size), ("loss", loss), ("time", time)],
            ),
            LawName::Linear => (
                "linear",
                "`start`, `alpha`, `min`, `max`",
                &[("beta", beta), ("size", size), ("loss", loss), ("time", time)],
            ),
            LawName::Multiplicative => (
                "multiplicative",
                "`start`, `beta`, `min`, `max`",
                &[("alpha", alpha), ("size", size), ("loss", loss), ("time", time)],
            ),
            LawName::Context => (
                "context",
                "`start`, `size`, `loss`, `time`, `min`, `max`",
                &[("alpha", alpha), ("beta", beta)],
            ),
        };
        if let Some((stranger, _)) = strangers.iter().find(|(_, value)| value.is_some()) {
            return Err(format!("expected the keys of the {name} law, {takes}, found `{stranger}`"));
        }
        let missing = |key| format!("expected the keys of the {name} law, {takes}, but `{key}` is missing");
        let step = match law {
            LawName::Constant => Step::Constant,
            LawName::Linear => Step::Linear { alpha: alpha.ok_or_else(|| missing("alpha"))? },
            LawName::Multiplicative => Step::Multiplicative { beta: beta.ok_or_else(|| missing("beta"))? },
            LawName::Context => Step::Context { gains: Gains { size, loss, time } },
        };
        Ok(Self { start, step, min, max })
    }
}

impl From<Law> for LawForm {
    fn from(Law { start, step, min, max }: Law) -> Self {
        let mut table = LawTable {
            law: LawName::Constant,
            start,
            alpha: None,
            beta: None,
            size: None,
            loss: None,
            time: None,
            min,
            max,
        };
        match step {
            Step::Constant if min.is_none() && max.is_none() => return Self::Number(start),
            Step::Constant => {}
            Step::Linear { alpha } => {
                table.law = LawName::Linear;
                table.alpha = Some(alpha);
            }
            Step::Multiplicative { beta } => {
                table.law = LawName::Multiplicative;
                table.beta = Some(beta);
            }
            Step::Context { gains: Gains { size, loss, time } } => {
                table.law = LawName::Context;
                (table.size, table.loss, table.time) = (size, loss, time);
            }
        }
        Self::Table(table)
    }
}
