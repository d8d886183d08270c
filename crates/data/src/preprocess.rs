//! From a byte of an image to an input of the network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::within;
use crate::error::DataError;

/// How a byte x of an image becomes an input of the network: `scale · (x − mean)`.
///
/// Training, calibration, evaluation and deployment all use this one rule. It has the form of TFLite's
/// dequantization, so that a network with 8-bit inputs whose scale and zero point are `scale` and `mean`
/// takes the bytes as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Subtracted from each byte, from 0 to 255.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub mean: f64,
    /// Multiplies the difference. Greater than 0. The default 1/255 gives inputs from 0 to 1.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub scale: f64,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self { mean: 0.0, scale: 1.0 / 255.0 }
    }
}

impl Preprocess {
    /// The input for a byte, or for a value between two bytes as an interpolation gives it.
    pub fn apply(&self, value: f32) -> f32 {
        ((f64::from(value) - self.mean) * self.scale) as f32
    }

    /// The inputs for the bytes of an image.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn fill(&self, image: &[u8], inputs: &mut [f32]) {
        assert_eq!(image.len(), inputs.len(), "one input per byte");
        for (input, &byte) in inputs.iter_mut().zip(image) {
            *input = self.apply(f32::from(byte));
        }
    }

    pub(crate) fn validate(&self) -> Result<(), DataError> {
        within("data.preprocess.mean", self.mean, 0.0..=255.0, "a number from 0 to 255")?;
        within("data.preprocess.scale", self.scale, f64::MIN_POSITIVE..=255.0, "a number above 0 up to 255")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_follows_the_formula() {
        fn check(preprocess: Preprocess, expected: [f32; 3]) {
            let mut inputs = [0.0; 3];
            preprocess.fill(&[0, 128, 255], &mut inputs);
            assert_eq!(inputs, expected);
        }
        check(Preprocess::default(), [0.0, 128.0 / 255.0, 1.0]);
        check(Preprocess { mean: 127.5, scale: 1.0 / 127.5 }, [-1.0, 0.5 / 127.5, 1.0]);
        check(Preprocess { mean: 128.0, scale: 1.0 }, [-128.0, 0.0, 127.0]);
    }
}
