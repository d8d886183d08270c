//! The recipe's `[quantize]` table.

use crate::config::{Bounds, ConfigError, check_count};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Post-training quantization to full integers by TFLite's specification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeConfig {
    /// Number format of weights and activations.
    pub dtype: QuantizedType,
    /// Number format of the network's inputs and outputs.
    pub io: IoType,
    /// What shares one scale within the weights of a convolution. Fully connected weights always share one.
    pub weights: WeightScales,
    /// How the ranges of activations are found.
    pub calibration: Calibration,
}

/// Number format of weights and activations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuantizedType {
    /// 8-bit signed integers, with 32-bit biases.
    #[default]
    Int8,
}

/// Number format of the network's inputs and outputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IoType {
    /// 8-bit signed integers.
    #[default]
    Int8,
    /// 8-bit unsigned integers, as images come.
    Uint8,
}

/// What shares one scale within the weights of a convolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightScales {
    /// Each output channel has its own.
    #[default]
    PerChannel,
    /// The whole tensor has one.
    PerTensor,
}

/// How the ranges of activations are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Calibration {
    /// Representative samples, drawn from the training split; 100 to 300 are usual.
    pub samples: usize,
    /// What of the values seen makes the range.
    pub method: CalibrationMethod,
    /// `percentile` only: share of the values that the range holds, above 50 and at most 100.
    pub percentile: f64,
}

/// What of the values seen makes the range of an activation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationMethod {
    /// The least and the greatest.
    #[default]
    MinMax,
    /// Without the outermost values, so that rare ones do not coarsen all others.
    Percentile,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { samples: 200, method: CalibrationMethod::default(), percentile: 99.99 }
    }
}

impl QuantizeConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const PERCENTILE: Bounds = Bounds::new(50.0 + 1e-9, 100.0, "a number above 50 and at most 100");
        check_count("quantize.calibration.samples", self.calibration.samples)?;
        PERCENTILE.check("quantize.calibration.percentile", self.calibration.percentile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key() {
        fn check(change: impl Fn(&mut Calibration), key: &str) {
            let mut config = QuantizeConfig::default();
            change(&mut config.calibration);
            assert_eq!(config.validate().expect_err(key).key, key);
        }
        check(|c| c.samples = 0, "quantize.calibration.samples");
        check(|c| c.percentile = 50.0, "quantize.calibration.percentile");
        check(|c| c.percentile = f64::NAN, "quantize.calibration.percentile");
        QuantizeConfig::default().validate().expect("the defaults are sound");
    }
}
