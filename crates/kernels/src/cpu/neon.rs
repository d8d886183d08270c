//! Advanced SIMD of AArch64, part of the base instruction set.

use std::arch::aarch64::*;

use super::{LANES, Simd, WithSimd, sealed::Sealed};

/// Proof that the CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub struct Neon {
    _private: (),
}

impl Neon {
    /// A proof if the CPU has the instructions.
    pub fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self { _private: () })
    }
}

impl Sealed for Neon {}

#[target_feature(enable = "neon")]
fn with_neon<K: WithSimd>(simd: Neon, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// `2^exponent` by writing the exponents into the bits of f32.
#[target_feature(enable = "neon")]
#[inline]
fn power_of_two4(exponent: float32x4_t) -> float32x4_t {
    let biased = vaddq_s32(vcvtq_s32_f32(exponent), vdupq_n_s32(127));
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
}

/// Applies an intrinsic to each of the four registers of its operands.
macro_rules! each {
    ($operation:ident, $($operand:ident),+) => {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe {
            [
                $operation($($operand[0]),+),
                $operation($($operand[1]),+),
                $operation($($operand[2]),+),
                $operation($($operand[3]),+),
            ]
        }
    };
}

impl Simd for Neon {
    type Vector = [float32x4_t; 4];

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn vectorize<K: WithSimd>(self, kernel: K) -> K::Output {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe { with_neon(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Vector {
        let from = from.as_ptr();
        // SAFETY: the reference covers 16 f32, and `self` proves the instructions.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32; LANES]) {
        for (quarter, part) in to.as_chunks_mut::<4>().0.iter_mut().zip(vector) {
            // SAFETY: the reference covers 4 f32, and `self` proves the instructions.
            unsafe { vst1q_f32(quarter.as_mut_ptr(), part) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        each!(vdivq_f32, a, b)
    }

    #[inline(always)]
    fn sqrt(self, a: Self::Vector) -> Self::Vector {
        each!(vsqrtq_f32, a)
    }

    #[inline(always)]
    fn floor(self, a: Self::Vector) -> Self::Vector {
        each!(vrndmq_f32, a)
    }

    #[inline(always)]
    fn power_of_two(self, exponent: Self::Vector) -> Self::Vector {
        each!(power_of_two4, exponent)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        each!(vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.select_gt(a, b, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.select_gt(b, a, a, b)
    }

    #[inline(always)]
    fn select_gt(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        let mask = each!(vcgtq_f32, a, b);
        each!(vbslq_f32, mask, yes, no)
    }

    #[inline(always)]
    fn select_eq(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        let mask = each!(vceqq_f32, a, b);
        each!(vbslq_f32, mask, yes, no)
    }

    #[inline(always)]
    fn sum(self, a: Self::Vector) -> f32 {
        // SAFETY: `self` exists only where the CPU has the instructions.
        unsafe {
            let four = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
}
