//! The exponential function, with the same bytes on every instruction set.

use crate::cpu::Simd;

/// The coefficients of `(exp(r) - 1 - r) / r²` for |r| ≤ ln(2) / 2, highest power first (`expf` of Cephes, Moshier).
const COEFFICIENTS: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// ln(2) as a number of few bits, whose product with an exponent is exact, and the rest.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Beyond these, the result is 0 or infinite anyway, while exponents would leave their range.
const RANGE: [f32; 2] = [-104.0, 89.0];

/// `exp(x)` to within 2 units in the last place, subnormal results included.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let x = simd.min(simd.splat(RANGE[1]), simd.max(simd.splat(RANGE[0]), x));
    let exponent = simd.floor(simd.mul_add(x, simd.splat(std::f32::consts::LOG2_E), simd.splat(0.5)));
    let r = simd.mul_add(exponent, simd.splat(-LN_2[0]), x);
    let r = simd.mul_add(exponent, simd.splat(-LN_2[1]), r);
    let mut polynomial = simd.zero();
    for coefficient in COEFFICIENTS {
        polynomial = simd.mul_add(polynomial, r, simd.splat(coefficient));
    }
    let mantissa = simd.add(simd.mul_add(polynomial, simd.mul(r, r), r), simd.splat(1.0));
    // Two factors, since exponents reach from -150 to 128 and those of f32 only from -126 to 127.
    let half = simd.floor(simd.mul(exponent, simd.splat(0.5)));
    let scaled = simd.mul(mantissa, simd.power_of_two(half));
    simd.mul(scaled, simd.power_of_two(simd.sub(exponent, half)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Isa, LANES, WithSimd};

    struct Exp([f32; LANES]);

    impl WithSimd for Exp {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            simd.store(exp(simd, simd.load(&self.0)), &mut out);
            out
        }
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        let all = Isa::available();
        for step in -55_000i32..45_000 {
            let x: [f32; LANES] = std::array::from_fn(|lane| (step as f32 + lane as f32 / 16.0) * 2e-3);
            let [y, others @ ..] = &*all.iter().map(|isa| isa.dispatch(Exp(x))).collect::<Vec<_>>() else {
                unreachable!("there is always a portable one");
            };
            assert!(others.iter().all(|other| other.map(f32::to_bits) == y.map(f32::to_bits)), "{x:?}");
            for (x, y) in x.into_iter().zip(*y) {
                let expect = f64::from(x).exp();
                let rounded = expect as f32;
                let unit = f64::from(rounded.next_up()) - f64::from(rounded);
                let close = (f64::from(y) - expect).abs() <= 2.0 * unit;
                assert!(close || y == rounded, "exp({x}) = {y} instead of {expect}");
            }
        }
    }

    #[test]
    fn exp_has_its_limits() {
        for isa in Isa::available() {
            let mut x = [0.0; LANES];
            x[..5].copy_from_slice(&[f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -0.0, -1e30]);
            let y = isa.dispatch(Exp(x));
            assert_eq!([y[0], y[1], y[3], y[4], y[5]], [0.0, f32::INFINITY, 1.0, 0.0, 1.0], "{}", isa.name());
            assert!(y[2].is_nan(), "{}", isa.name());
        }
    }
}
