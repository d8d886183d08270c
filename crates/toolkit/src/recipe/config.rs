//! The recipe's small tables: `[model]`, `[goal]`, `[measure]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taper_adapt::ConfigError;

/// The network to adapt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// `zoo:` and the name of a built-in network, such as `zoo:vgg16`, whose weights are untrained; or the path of a
    /// `.taper`, `.tflite`, `.onnx`, `.keras` or `.h5` file.
    pub source: String,
    /// The path of a file with weights for the network: `.h5`, `.keras`, `.safetensors`, `.pth` or `.taper`. Layers that it has no
    /// weights for, such as the last one in a file without a head, keep theirs.
    pub weights: Option<String>,
}

/// What the adapted network must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Goal {
    /// How much validation accuracy pruning may lose against the trained network, from 0 to 1. An iteration that loses
    /// more is rolled back.
    pub max_accuracy_loss: f64,
}

/// Measurement of the time per image, at batch 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Measure {
    /// Images that are timed, at least 1.
    pub repeats: usize,
    /// Images before them that are not.
    pub warm_up: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self { source: "zoo:vgg16".to_owned(), weights: None }
    }
}

impl Default for Goal {
    fn default() -> Self {
        Self { max_accuracy_loss: 0.01 }
    }
}

impl Default for Measure {
    fn default() -> Self {
        Self { repeats: 100, warm_up: 10 }
    }
}

impl Model {
    /// The network's name for a reader: without `zoo:`, or the file's path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.source.strip_prefix("zoo:").unwrap_or(&self.source)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let known = match self.source.strip_prefix("zoo:") {
            Some(name) => taper_zoo::NAMES.contains(&name),
            None => !self.source.is_empty(),
        };
        if known {
            return Ok(());
        }
        let zoo: Vec<String> = taper_zoo::NAMES.iter().map(|name| format!("`zoo:{name}`")).collect();
        let expected = format!("{} or a path", zoo.join(", "));
        Err(error("model.source", &expected, format!("`{}`", self.source)))
    }
}

impl Goal {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if (0.0..=1.0).contains(&self.max_accuracy_loss) {
            Ok(())
        } else {
            let found = self.max_accuracy_loss.to_string();
            Err(error("goal.max_accuracy_loss", "a number from 0 to 1", found))
        }
    }
}

impl Measure {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match self.repeats {
            0 => Err(error("measure.repeats", "a whole number of at least 1", "0".to_owned())),
            _ => Ok(()),
        }
    }
}

fn error(key: &str, expected: &str, found: String) -> ConfigError {
    ConfigError { key: key.to_owned(), expected: expected.to_owned(), found }
}
