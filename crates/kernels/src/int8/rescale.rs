//! The same real values in another quantization, and nonlinearities that stand alone.

use super::{Affine, Integer, Multiplier};
use crate::nhwc::Fused;

/// A change of quantization with a range of outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescale {
    multiplier: Multiplier,
    input_zero: i32,
    output_zero: i32,
    range: [i32; 2],
}

impl Rescale {
    /// TFLite's `QUANTIZE` between integers, to outputs of type `U`.
    #[must_use]
    pub fn requantize<U: Integer>(input: Affine, output: Affine) -> Self {
        Self {
            multiplier: Multiplier::of_ratio(input.scale, output.scale),
            input_zero: input.zero_point,
            output_zero: output.zero_point,
            range: output.range::<U>(Fused::Identity),
        }
    }

    /// TFLite's `RELU` and `RELU6` of integers, to outputs of type `U`.
    #[must_use]
    pub fn activation<U: Integer>(fused: Fused, input: Affine, output: Affine) -> Self {
        Self {
            multiplier: Multiplier::of_ratio_f32(input.scale, output.scale),
            range: output.range::<U>(fused),
            ..Self::requantize::<U>(input, output)
        }
    }

    /// Applies it to each value.
    pub fn run<T: Integer, U: Integer>(&self, x: &[T], y: &mut [U]) {
        for (y, x) in y.iter_mut().zip(x) {
            let scaled = self.multiplier.apply(x.widen() - self.input_zero).saturating_add(self.output_zero);
            *y = U::saturate(scaled.max(self.range[0]).min(self.range[1]));
        }
    }
}
