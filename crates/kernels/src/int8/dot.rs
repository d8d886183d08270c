//! Dot products of pairs of i16 over 16 lanes of i32 sums.

#![allow(
    unsafe_code,
    reason = "vendor intrinsics need it; each value's existence proves that the CPU has them"
)]

use crate::cpu::{LANES, Portable, Simd};

/// Two neighbouring elements for each lane.
pub(super) type Pairs = [[i16; 2]; LANES];

/// Instruction sets with dot products of i16.
pub(super) trait Dot: Simd {
    /// 16 sums of i32, or 16 pairs of i16.
    type Integers: Copy;

    /// Reads sums.
    fn sums(self, from: &[i32; LANES]) -> Self::Integers;

    /// Writes sums.
    fn store_sums(self, sums: Self::Integers, to: &mut [i32; LANES]);

    /// Reads a pair for each lane.
    fn pairs(self, from: &Pairs) -> Self::Integers;

    /// The same pair in every lane.
    fn splat_pair(self, pair: [i16; 2]) -> Self::Integers;

    /// `sums + a₀·b₀ + a₁·b₁` in every lane, wrapping.
    fn dot(self, sums: Self::Integers, a: Self::Integers, b: Self::Integers) -> Self::Integers;
}

fn packed(pair: [i16; 2]) -> i32 {
    i32::from(pair[1]) << 16 | i32::from(pair[0] as u16)
}

fn unpacked(pair: i32) -> [i32; 2] {
    [i32::from(pair as i16), pair >> 16]
}

impl Dot for Portable {
    type Integers = [i32; LANES];

    #[inline(always)]
    fn sums(self, from: &[i32; LANES]) -> Self::Integers {
        *from
    }

    #[inline(always)]
    fn store_sums(self, sums: Self::Integers, to: &mut [i32; LANES]) {
        *to = sums;
    }

    #[inline(always)]
    fn pairs(self, from: &Pairs) -> Self::Integers {
        let mut pairs = [0; LANES];
        for (to, from) in pairs.iter_mut().zip(from) {
            *to = packed(*from);
        }
        pairs
    }

    #[inline(always)]
    fn splat_pair(self, pair: [i16; 2]) -> Self::Integers {
        [packed(pair); LANES]
    }

    #[inline(always)]
    fn dot(self, mut sums: Self::Integers, a: Self::Integers, b: Self::Integers) -> Self::Integers {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            let (a, b) = (unpacked(a), unpacked(b));
            *sum = sum.wrapping_add(a[0].wrapping_mul(b[0])).wrapping_add(a[1].wrapping_mul(b[1]));
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Dot, LANES, Pairs, packed};
    use crate::cpu::{Avx2Fma, Avx512};
    use std::arch::x86_64::*;

    impl Dot for Avx512 {
        type Integers = __m512i;

        #[inline(always)]
        fn sums(self, from: &[i32; LANES]) -> Self::Integers {
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store_sums(self, sums: Self::Integers, to: &mut [i32; LANES]) {
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums) }
        }

        #[inline(always)]
        fn pairs(self, from: &Pairs) -> Self::Integers {
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
        }

        #[inline(always)]
        fn splat_pair(self, pair: [i16; 2]) -> Self::Integers {
            // SAFETY: `self` proves the instructions.
            unsafe { _mm512_set1_epi32(packed(pair)) }
        }

        #[inline(always)]
        fn dot(self, sums: Self::Integers, a: Self::Integers, b: Self::Integers) -> Self::Integers {
            // SAFETY: `self` proves the instructions.
            unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)) }
        }
    }

    impl Dot for Avx2Fma {
        type Integers = [__m256i; 2];

        #[inline(always)]
        fn sums(self, from: &[i32; LANES]) -> Self::Integers {
            let from = from.as_ptr();
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(LANES / 2).cast())] }
        }

        #[inline(always)]
        fn store_sums(self, sums: Self::Integers, to: &mut [i32; LANES]) {
            let to = to.as_mut_ptr();
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe {
                _mm256_storeu_si256(to.cast(), sums[0]);
                _mm256_storeu_si256(to.add(LANES / 2).cast(), sums[1]);
            }
        }

        #[inline(always)]
        fn pairs(self, from: &Pairs) -> Self::Integers {
            let from = from.as_ptr();
            // SAFETY: the reference covers 64 bytes, and `self` proves the instructions.
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(LANES / 2).cast())] }
        }

        #[inline(always)]
        fn splat_pair(self, pair: [i16; 2]) -> Self::Integers {
            // SAFETY: `self` proves the instructions.
            unsafe { [_mm256_set1_epi32(packed(pair)); 2] }
        }

        #[inline(always)]
        fn dot(self, sums: Self::Integers, a: Self::Integers, b: Self::Integers) -> Self::Integers {
            // SAFETY: `self` proves the instructions.
            unsafe {
                [
                    _mm256_add_epi32(sums[0], _mm256_madd_epi16(a[0], b[0])),
                    _mm256_add_epi32(sums[1], _mm256_madd_epi16(a[1], b[1])),
                ]
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{Dot, LANES, Pairs, packed};
    use crate::cpu::Neon;
    use std::arch::aarch64::*;

    impl Dot for Neon {
        type Integers = [int32x4_t; 4];

        #[inline(always)]
        fn sums(self, from: &[i32; LANES]) -> Self::Integers {
            let from = from.as_ptr();
            // SAFETY: the reference covers 16 i32, and `self` proves the instructions.
            unsafe {
                [vld1q_s32(from), vld1q_s32(from.add(4)), vld1q_s32(from.add(8)), vld1q_s32(from.add(12))]
            }
        }

        #[inline(always)]
        fn store_sums(self, sums: Self::Integers, to: &mut [i32; LANES]) {
            for (quarter, part) in to.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                // SAFETY: the reference covers 4 i32, and `self` proves the instructions.
                unsafe { vst1q_s32(quarter.as_mut_ptr(), part) };
            }
        }

        #[inline(always)]
        fn pairs(self, from: &Pairs) -> Self::Integers {
            let from: *const i16 = from.as_ptr().cast();
            // SAFETY: the reference covers 32 i16, and `self` proves the instructions.
            unsafe {
                [
                    vreinterpretq_s32_s16(vld1q_s16(from)),
                    vreinterpretq_s32_s16(vld1q_s16(from.add(8))),
                    vreinterpretq_s32_s16(vld1q_s16(from.add(16))),
                    vreinterpretq_s32_s16(vld1q_s16(from.add(24))),
                ]
            }
        }

        #[inline(always)]
        fn splat_pair(self, pair: [i16; 2]) -> Self::Integers {
            // SAFETY: `self` proves the instructions.
            unsafe { [vdupq_n_s32(packed(pair)); 4] }
        }

        #[inline(always)]
        fn dot(self, mut sums: Self::Integers, a: Self::Integers, b: Self::Integers) -> Self::Integers {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                // SAFETY: `self` proves the instructions.
                unsafe {
                    let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
                    let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
                    let high = vmull_high_s16(a, b);
                    *sum = vaddq_s32(*sum, vpaddq_s32(low, high));
                }
            }
            sums
        }
    }
}
