//! Sums over consecutive vectors.

use super::{LANES, Lanes};
use crate::cpu::Simd;

/// Partial sums that run side by side, so that additions need not wait for each other.
const SUMS: usize = 4;

/// Folds `values` from zero: vector n into partial sum n mod 4, by `step(sum, value)`; then adds the partial sums.
#[inline(always)]
pub(super) fn fold<S: Simd>(
    simd: S,
    values: &[Lanes],
    step: impl Fn(S::Vector, S::Vector) -> S::Vector,
) -> S::Vector {
    let mut sums = [simd.zero(); SUMS];
    let (groups, rest) = values.as_chunks::<SUMS>();
    for group in groups {
        for (sum, value) in sums.iter_mut().zip(group) {
            *sum = step(*sum, simd.load(&value.0));
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum = step(*sum, simd.load(&value.0));
    }
    simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))
}

/// The sum of the first `lanes` lanes.
#[inline(always)]
pub(super) fn sum_valid<S: Simd>(simd: S, vector: S::Vector, lanes: usize) -> f32 {
    simd.sum(keep_valid(simd, valid(simd, lanes), vector))
}

/// 1 in the first `lanes` lanes, 0 in the others.
#[inline(always)]
pub(super) fn valid<S: Simd>(simd: S, lanes: usize) -> S::Vector {
    /// Ones, then zeros: a vector read between them is a mask.
    static STEP: [f32; 2 * LANES] = {
        let mut step = [0.0; 2 * LANES];
        step.split_at_mut(LANES).0.copy_from_slice(&[1.0; LANES]);
        step
    };
    let from = STEP[LANES - lanes..].first_chunk().expect("there are at most as many valid lanes as lanes");
    simd.load(from)
}

/// The vector where `valid` is 1, zero elsewhere, whatever stands there.
#[inline(always)]
pub(super) fn keep_valid<S: Simd>(simd: S, valid: S::Vector, vector: S::Vector) -> S::Vector {
    simd.select_gt(valid, simd.zero(), vector, simd.zero())
}
