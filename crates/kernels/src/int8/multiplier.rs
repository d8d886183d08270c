//! Multiplication of an integer by a real factor.

use crate::cpu::LANES;

/// How the sums of a layer's output channels become outputs: one factor for each channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Factors {
    /// In fixed point, as TFLite's reference convolutions.
    Fixed(Vec<Multiplier>),
    /// In f64, rounded half away from zero, as LiteRT's reference fully connected layers.
    Real(Vec<f64>),
}

impl Factors {
    /// The sum of output channel `channel` times its factor.
    #[must_use]
    pub fn apply(&self, channel: usize, sum: i32) -> i32 {
        match self {
            Self::Fixed(multipliers) => multipliers[channel].apply(sum),
            Self::Real(factors) => apply_real(factors[channel], sum),
        }
    }
}

/// [`Factors`] of output channels that lie in the lanes of blocks.
#[derive(Debug, Clone)]
pub(super) enum LaneFactors {
    Fixed(Vec<[Multiplier; LANES]>),
    Real(Vec<[f64; LANES]>),
}

impl LaneFactors {
    /// The factors of the channel that `channel(block, lane)` gives; any in lanes past the last channel.
    pub(super) fn new(
        factors: &Factors,
        blocks: usize,
        channel: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        match factors {
            Factors::Fixed(factors) => Self::Fixed(per_lane(blocks, |block, lane| {
                channel(block, lane).map(|channel| factors[channel])
            })),
            Factors::Real(factors) => Self::Real(per_lane(blocks, |block, lane| {
                channel(block, lane).map(|channel| factors[channel])
            })),
        }
    }

    /// Multiplies the sums of a block.
    #[inline(always)]
    pub(super) fn apply(&self, block: usize, lanes: &mut [i32; LANES]) {
        match self {
            Self::Fixed(factors) => {
                for (lane, factor) in lanes.iter_mut().zip(&factors[block]) {
                    *lane = factor.apply(*lane);
                }
            }
            Self::Real(factors) => {
                for (lane, factor) in lanes.iter_mut().zip(&factors[block]) {
                    *lane = apply_real(*factor, *lane);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Fixed(factors) => size_of_val(&factors[..]),
            Self::Real(factors) => size_of_val(&factors[..]),
        }
    }
}

/// A value for each lane of each block; the default where there is none.
pub(super) fn per_lane<V: Copy + Default>(
    blocks: usize,
    of: impl Fn(usize, usize) -> Option<V>,
) -> Vec<[V; LANES]> {
    (0..blocks).map(|block| std::array::from_fn(|lane| of(block, lane).unwrap_or_default())).collect()
}

/// `x` times the factor, rounded half away from zero and saturated.
#[inline(always)]
pub(super) fn apply_real(factor: f64, x: i32) -> i32 {
    (f64::from(x) * factor).round() as i32
}

/// The factor `input · weights / output` in f64.
#[must_use]
pub fn real_factor(input: f32, weights: f32, output: f32) -> f64 {
    f64::from(input) * f64::from(weights) / f64::from(output)
}

/// A real factor `multiplier · 2^(shift − 31)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Multiplier {
    /// 0, or in `2^29 .. 2^31`.
    multiplier: i32,
    /// Powers of two to the left; negative to the right, −31 at least.
    shift: i32,
}

impl Multiplier {
    /// The fixed-point form of a factor that is not negative, as TFLite's `QuantizeMultiplier` rounds it.
    #[must_use]
    pub fn from_real(factor: f64) -> Self {
        let (fraction, mut shift) = frexp(factor);
        let mut multiplier = (fraction * f64::from(1u32 << 31)).round() as i64;
        if multiplier == 1 << 31 {
            multiplier /= 2;
            shift += 1;
        }
        match i32::try_from(multiplier) {
            Ok(multiplier) if shift >= -31 => Self { multiplier, shift },
            Ok(_) | Err(_) => Self::default(),
        }
    }

    /// The factor `input · weights / output` with the product in f64: convolutions with `i8` weights.
    #[must_use]
    pub fn of_layer(input: f32, weights: f32, output: f32) -> Self {
        Self::from_real(real_factor(input, weights, output))
    }

    /// The factor `input · weights / output` with the product rounded to f32: convolutions with `u8` weights.
    #[must_use]
    pub fn of_layer_f32(input: f32, weights: f32, output: f32) -> Self {
        Self::from_real(f64::from(input * weights) / f64::from(output))
    }

    /// The factor `input / output` in f64: requantization and means.
    #[must_use]
    pub fn of_ratio(input: f32, output: f32) -> Self {
        Self::from_real(f64::from(input) / f64::from(output))
    }

    /// The factor `input / output` rounded to f32: nonlinearities that stand alone.
    #[must_use]
    pub fn of_ratio_f32(input: f32, output: f32) -> Self {
        Self::from_real(f64::from(input / output))
    }

    /// This factor over `count`, as TFLite's `MEAN` divides it: the fraction is cut off, not rounded.
    #[must_use]
    pub fn over(self, count: usize) -> Self {
        let count = count.max(1) as u64;
        let shift = (63 - count.leading_zeros() as i32).min(32).min(31 + self.shift);
        let multiplier = (i64::from(self.multiplier) << shift) / count as i64;
        Self { multiplier: multiplier as i32, shift: self.shift - shift }
    }

    /// `x` times the factor, rounded twice as TFLite's `MultiplyByQuantizedMultiplier` does: to the nearest at the
    /// doubling high multiplication (ties up), then at the shift to the right (ties away from zero).
    #[inline(always)]
    #[must_use]
    pub fn apply(self, x: i32) -> i32 {
        let (left, right) = (self.shift.max(0), (-self.shift).max(0));
        round_shift(high_mul(x.wrapping_shl(left as u32), self.multiplier), right)
    }

    /// The multiplier and the shift to the left.
    pub(super) fn parts(self) -> [i32; 2] {
        [self.multiplier, self.shift]
    }
}

/// The high half of `2 · a · b`, rounded to the nearest, ties up. Not both are `i32::MIN`, whose product has no i32:
/// multipliers and fixed-point constants never are.
#[inline(always)]
pub(super) fn high_mul(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// `x / 2^exponent` rounded to the nearest, ties away from zero; `exponent` in `0..=31`.
#[inline(always)]
pub(super) fn round_shift(x: i32, exponent: i32) -> i32 {
    let mask = ((1u32 << exponent) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> exponent) + i32::from((x & mask) > threshold)
}

/// `x = fraction · 2^exponent` with the fraction in `0.5..1`; zeros for zero and for what is not finite.
fn frexp(x: f64) -> (f64, i32) {
    const EXPONENT: u64 = 0x7ff << 52;
    if x == 0.0 || !x.is_finite() {
        return (0.0, 0);
    }
    if x.is_subnormal() {
        let (fraction, exponent) = frexp(x * f64::from(2).powi(64));
        return (fraction, exponent - 64);
    }
    let exponent = ((x.to_bits() & EXPONENT) >> 52) as i32 - 1022;
    (f64::from_bits(x.to_bits() & !EXPONENT | 1022 << 52), exponent)
}
