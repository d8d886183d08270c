//! INT8 inference in NHWC: TFLite's reference kernels, bit for bit.
//!
//! An activation is `i8` or `u8` with one [`Affine`] quantization; weights have zero point 0 (`i8`) or one for the
//! whole tensor (`u8`); sums and biases are `i32`. The arithmetic is that of TFLite's reference kernels
//! (`tflite/kernels/internal/reference`): convolutions round twice in fixed point, fully connected layers once in f64
//! (see [`Factors`]). [`mod@reference`] defines convolution; [`Conv`] and [`Depthwise`] equal it.

pub mod reference;

mod arrange;
mod conv;
mod depthwise;
mod dot;
mod elementwise;
mod multiplier;
mod pool;
mod rescale;
mod softmax;

#[cfg(test)]
mod tests;

pub use arrange::{ScaledPart, bilinear};
pub use conv::Conv;
pub use depthwise::Depthwise;
pub use elementwise::{Elementwise, IntegerBinary};
pub use multiplier::{Factors, Multiplier, real_factor};
pub use pool::{GlobalAverage, average_pool, max_pool};
pub use rescale::Rescale;
pub use softmax::Softmax;

use crate::nhwc::Fused;

/// The integer types of activations and weights.
pub trait Integer: Copy + Default + Ord + Into<i32> + Send + Sync + 'static {
    /// Least value.
    const MIN: i32;
    /// Greatest value.
    const MAX: i32;

    /// The value, exactly.
    fn widen(self) -> i32;

    /// The nearest value of this type.
    fn saturate(value: i32) -> Self;
}

impl Integer for i8 {
    const MIN: i32 = i8::MIN as i32;
    const MAX: i32 = i8::MAX as i32;

    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }

    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(<Self as Integer>::MIN, <Self as Integer>::MAX) as Self
    }
}

impl Integer for u8 {
    const MIN: i32 = u8::MIN as i32;
    const MAX: i32 = u8::MAX as i32;

    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }

    #[inline(always)]
    fn saturate(value: i32) -> Self {
        value.clamp(<Self as Integer>::MIN, <Self as Integer>::MAX) as Self
    }
}

/// What integers mean: `real = scale · (integer − zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Real size of one integer step.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl Affine {
    /// The integer that stands for `real`: `real / scale` rounded half away from zero, plus the zero point,
    /// saturated. NaN becomes the zero point.
    #[must_use]
    pub fn quantize<T: Integer>(self, real: f32) -> T {
        T::saturate(((real / self.scale).round() as i32).saturating_add(self.zero_point))
    }

    /// The real value of `integer`.
    #[must_use]
    pub fn dequantize<T: Integer>(self, integer: T) -> f32 {
        self.scale * (integer.widen() - self.zero_point) as f32
    }

    /// The range of integers that a nonlinearity leaves.
    #[must_use]
    pub fn range<T: Integer>(self, fused: Fused) -> [i32; 2] {
        let quantize = |real: f32| self.quantize::<T>(real).widen();
        match fused {
            Fused::Identity => [T::MIN, T::MAX],
            Fused::Relu => [quantize(0.0), T::MAX],
            Fused::Relu6 => [quantize(0.0), quantize(6.0)],
        }
    }
}

/// Quantizes each value.
pub fn quantize<T: Integer>(to: Affine, reals: &[f32], integers: &mut [T]) {
    for (integer, &real) in integers.iter_mut().zip(reals) {
        *integer = to.quantize(real);
    }
}

/// Dequantizes each value.
pub fn dequantize<T: Integer>(from: Affine, integers: &[T], reals: &mut [f32]) {
    for (real, &integer) in reals.iter_mut().zip(integers) {
        *real = from.dequantize(integer);
    }
}

/// How a convolution or fully connected layer is quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvQuantization {
    /// Zero point of the input.
    pub input_zero: i32,
    /// Zero point of the weights.
    pub weights_zero: i32,
    /// Zero point of the output.
    pub output_zero: i32,
    /// From sums to the output's scale, for each output channel.
    pub factors: Factors,
    /// Least and greatest output, from [`Affine::range`].
    pub range: [i32; 2],
}
