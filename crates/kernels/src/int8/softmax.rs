//! Softmax in fixed point: TFLite's reference kernel over gemmlowp's fixed-point functions.
//!
//! `Qm.n` is an i32 with `m` integer and `n` fractional bits. A product of two such numbers is their doubling high
//! multiplication, which has `m₁ + m₂` integer bits.

use super::multiplier::{high_mul, round_shift};
use super::{Affine, Integer, Multiplier};

/// Integer bits of scaled differences (Q5.26).
const DIFFERENCE_BITS: i32 = 5;

/// Integer bits of the sum of exponentials (Q12.19).
const SUM_BITS: i32 = 12;

/// Softmax over the innermost axis. The output has scale 1/256 and the least integer as its zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    channels: usize,
    multiplier: i32,
    left_shift: u32,
    least_difference: i32,
}

impl Softmax {
    /// The quantization of the output, for outputs of type `T`.
    #[must_use]
    pub fn output<T: Integer>() -> Affine {
        Affine { scale: 1.0 / 256.0, zero_point: T::MIN }
    }

    /// Softmax of inputs of scale `scale` over `channels`, with the factor `beta` on the logits; `None` if
    /// `beta · scale` is below the 2^-26 that the fixed-point form can hold.
    #[must_use]
    pub fn new(channels: usize, scale: f32, beta: f32) -> Option<Self> {
        let fraction_bits = 31 - DIFFERENCE_BITS;
        let factor = f64::from(beta) * f64::from(scale) * f64::from(1 << fraction_bits);
        if factor.is_nan() || factor <= 1.0 {
            return None;
        }
        let [multiplier, shift] = Multiplier::from_real(factor.min(f64::from(i32::MAX))).parts();
        let most = f64::from((1 << DIFFERENCE_BITS) - 1) * f64::from(1 << fraction_bits);
        let least_difference = -((most / f64::from(shift).exp2()).floor() as i32);
        Some(Self { channels, multiplier, left_shift: u32::try_from(shift).ok()?, least_difference })
    }

    /// The probabilities of each row of `x`.
    pub fn run<T: Integer>(&self, x: &[T], y: &mut [T]) {
        for (x, y) in x.chunks_exact(self.channels).zip(y.chunks_exact_mut(self.channels)) {
            let most = x.iter().map(|x| x.widen()).max().unwrap_or(0);
            let exponential = |x: T| {
                let difference = x.widen() - most;
                (difference >= self.least_difference)
                    .then(|| exp_negative(high_mul(difference << self.left_shift, self.multiplier)))
            };
            let sum = x
                .iter()
                .filter_map(|&x| exponential(x))
                .fold(0i32, |sum, value| sum.saturating_add(round_shift(value, SUM_BITS)));
            let (scale, bits_over_unit) = reciprocal(sum);
            let exponent = bits_over_unit + 31 - 8;
            for (y, &x) in y.iter_mut().zip(x) {
                // With a larger exponent no probability reaches half a step. TFLite's reference kernel aborts there.
                let steps = exponential(x)
                    .filter(|_| exponent <= 31)
                    .map_or(0, |value| round_shift(high_mul(scale, value), exponent));
                *y = T::saturate(steps + T::MIN);
            }
        }
    }
}

/// `1 / sum` for a sum in Q12.19 of at least 1, as a Q0.31 factor in `0.5..1` and the power of two to divide by.
fn reciprocal(sum: i32) -> (i32, i32) {
    let headroom = sum.leading_zeros();
    let fraction = ((sum as u32) << headroom).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus(fraction), SUM_BITS - headroom as i32)
}

/// `1 / (1 + x)` for `x` in Q0.31 in `0..1`: three steps of Newton and Raphson in Q2.29.
fn one_over_one_plus(x: i32) -> i32 {
    const ONE: i32 = 1 << 29;
    const CONSTANT_48_OVER_17: i32 = 1_515_870_810;
    const CONSTANT_NEG_32_OVER_17: i32 = -1_010_580_540;
    let half_denominator = ((i64::from(x) + i64::from(i32::MAX) + 1) / 2) as i32;
    let mut estimate = CONSTANT_48_OVER_17.wrapping_add(high_mul(half_denominator, CONSTANT_NEG_32_OVER_17));
    for _ in 0..3 {
        let error = ONE - high_mul(half_denominator, estimate);
        estimate = estimate.wrapping_add(saturating_shift(high_mul(estimate, error), 2));
    }
    saturating_shift(estimate, 1)
}

/// `exp(x)` in Q0.31 for `x ≤ 0` in Q5.26: a polynomial on the last quarter, then a factor for each bit above it.
fn exp_negative(x: i32) -> i32 {
    const FRACTION_BITS: i32 = 31 - DIFFERENCE_BITS;
    const QUARTER: i32 = 1 << (FRACTION_BITS - 2);
    /// `exp(-2^exponent)` in Q0.31 for exponents from −2 on.
    const FACTORS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if x == 0 {
        return i32::MAX;
    }
    let last_quarter = (x & (QUARTER - 1)) - QUARTER;
    let mut result = exp_on_last_quarter(saturating_shift(last_quarter, DIFFERENCE_BITS));
    let remainder = last_quarter.wrapping_sub(x);
    for (bit, factor) in FACTORS.into_iter().enumerate() {
        if remainder & (QUARTER << bit) != 0 {
            result = high_mul(result, factor);
        }
    }
    result
}

/// `exp(x)` in Q0.31 for `x` in `-1/4..0`: Taylor's series around −1/8.
fn exp_on_last_quarter(x: i32) -> i32 {
    const EXP_OF_MINUS_EIGHTH: i32 = 1_895_147_668;
    const ONE_THIRD: i32 = 715_827_883;
    let x = x + (1 << 28);
    let x2 = high_mul(x, x);
    let x3 = high_mul(x2, x);
    let x4 = high_mul(x2, x2);
    let higher = round_shift(high_mul(round_shift(x4, 2) + x3, ONE_THIRD) + x2, 1);
    EXP_OF_MINUS_EIGHTH + high_mul(EXP_OF_MINUS_EIGHTH, x + higher)
}

/// `x · 2^exponent`, saturated.
fn saturating_shift(x: i32, exponent: i32) -> i32 {
    (i64::from(x) << exponent).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}
