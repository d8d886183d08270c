//! Exponential and logarithm without branches or calls, which compilers turn into vector code, and which give the
//! same bytes on every machine.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// `ln 2` cut off after 32 bits, so that its products with exponents are exact, and what it lacks.
const LN_2_HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0xf_ffff);
/// `ln 2 - LN_2_HIGH`; the last 20 bits of `ln 2` and those that an f64 no longer holds.
const LN_2_LOW: f64 = (LN_2 - LN_2_HIGH) + 2.319_046_813_846_299_6e-17;
/// Adding it rounds to a whole number, which then stands in the lowest bits.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
/// Below it the exponential would be subnormal.
const LOWEST: f64 = -708.0;

/// `exp(x)` for `x <= 0`, to a few units in the last place; `exp(-708)` below -708. NaN gives NaN.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let x = if x < LOWEST { LOWEST } else { x };
    let rounded = x * LOG2_E + ROUND;
    let exponent = rounded - ROUND;
    let rest = (x - exponent * LN_2_HIGH) - exponent * LN_2_LOW;
    // Taylor's series; |rest| <= ln 2 / 2, so the first term left out is below 2^-58.
    let mut sum = 1.0 / 6_227_020_800.0;
    for reciprocal in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * rest + reciprocal;
    }
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    sum * power
}

/// `ln(x)` for normal `x > 0`, to a few units in the last place of the larger of 1 and the result. NaN and infinity
/// give NaN.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    // With an offset of sqrt 2 mantissas fall into sqrt(1/2)..sqrt(2), on both sides of 1.
    let offset = bits.wrapping_sub((SQRT_2 / 2.0).to_bits());
    let exponent = offset & !((1 << 52) - 1);
    let mantissa = f64::from_bits(bits.wrapping_sub(exponent));
    // The exponent as a number: below 2^12 in size, it fits the lowest bits of a f64 of 1.5 · 2^52.
    let exponent = f64::from_bits(((exponent as i64 >> 52) as u64).wrapping_add(ROUND.to_bits())) - ROUND;
    // ln m = 2 artanh((m - 1) / (m + 1)), whose argument is below 0.172.
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut sum = 1.0 / 21.0;
    for reciprocal in [
        1.0 / 19.0,
        1.0 / 17.0,
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ] {
        sum = sum * square + reciprocal;
    }
    let nan_unless_finite = x * 0.0;
    exponent * LN_2 + 2.0 * ratio * sum + nan_unless_finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_and_logarithms_agree_with_the_standard_library() {
        for n in 0..100_000 {
            let x = f64::from(n) * -0.00707;
            let (actual, expect) = (exp(x), x.exp());
            assert!((actual - expect).abs() <= 4.0 * f64::EPSILON * expect, "exp {x}: {actual} for {expect}");
            let x = x.exp() * 1e6;
            let (actual, expect) = (ln(x), x.ln());
            let tolerance = 2.0 * f64::EPSILON * expect.abs().max(1.0);
            assert!((actual - expect).abs() <= tolerance, "ln {x}: {actual} for {expect}");
        }
        assert_eq!([exp(0.0), ln(1.0)], [1.0, 0.0]);
        assert!(exp(-1e9) < 1e-300 && exp(f64::NEG_INFINITY) < 1e-300);
        assert!(exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan() && ln(f64::INFINITY).is_nan());
    }
}
