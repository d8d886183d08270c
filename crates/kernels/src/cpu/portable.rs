//! Vectors of 16 f32 in plain Rust: the definition that every instruction set equals.

use super::{LANES, Simd, WithSimd, sealed::Sealed};

/// Plain Rust, on any CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Sealed for Portable {}

#[inline(always)]
fn map(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out = f(*out, b);
    }
    out
}

#[inline(always)]
fn select(mask: [bool; LANES], yes: [f32; LANES], no: [f32; LANES]) -> [f32; LANES] {
    let mut out = no;
    for ((out, yes), mask) in out.iter_mut().zip(yes).zip(mask) {
        if mask {
            *out = yes;
        }
    }
    out
}

impl Simd for Portable {
    type Vector = [f32; LANES];

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn vectorize<K: WithSimd>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Vector {
        *from
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32; LANES]) {
        *to = vector;
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn sqrt(self, a: Self::Vector) -> Self::Vector {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    fn floor(self, a: Self::Vector) -> Self::Vector {
        a.map(f32::floor)
    }

    #[inline(always)]
    fn power_of_two(self, exponent: Self::Vector) -> Self::Vector {
        exponent.map(|exponent| f32::from_bits((exponent as i32).wrapping_add(127).cast_unsigned() << 23))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        let mut out = c;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a.mul_add(b, *out);
        }
        out
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        map(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn select_gt(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        select(std::array::from_fn(|lane| a[lane] > b[lane]), yes, no)
    }

    #[inline(always)]
    fn select_eq(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        select(std::array::from_fn(|lane| a[lane] == b[lane]), yes, no)
    }

    #[inline(always)]
    fn sum(self, a: Self::Vector) -> f32 {
        let mut part = a;
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                part[lane] += part[lane + half];
            }
            half /= 2;
        }
        part[0]
    }
}
