//! Transforming weights.

#![allow(unsafe_code, reason = "tasks write disjoint, interleaved parts of the transformed weights")]

use std::marker::PhantomData;
use std::ops::Range;

use super::transform::{Transform, along_both};
use crate::cpu::{LANES, Simd, WithSimd};
use crate::lanes::{Lanes, parallel::DisjointMut};

/// How the weights `[o][taps][i]` act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From i to o.
    Forward,
    /// From o to i, turned by 180°.
    Backward,
}

/// Transforms the weights between one o and some i.
pub(super) struct TransformTaps<'a, F, const M: usize, const T: usize> {
    pub(super) transform: PhantomData<F>,
    pub(super) direction: Direction,
    /// `[9][row]`.
    pub(super) weights: &'a [f32],
    pub(super) row: usize,
    pub(super) channels: Range<usize>,
    pub(super) target: DisjointMut<'a, Lanes>,
    /// Where the first vector of channels goes, and the distance from position to position.
    pub(super) start: usize,
    pub(super) position: usize,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformTaps<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (n, first) in self.channels.clone().step_by(LANES).enumerate() {
            let width = LANES.min(self.channels.end - first);
            along_both::<F::Taps, S, 3, T>(
                simd,
                |row, column| {
                    let tap = match self.direction {
                        Direction::Forward => 3 * row + column,
                        Direction::Backward => 8 - (3 * row + column),
                    };
                    let weights = &self.weights[tap * self.row + first..][..width];
                    match weights.as_array() {
                        Some(weights) => simd.load(weights),
                        None => {
                            let mut padded = [0.0; LANES];
                            padded[..width].copy_from_slice(weights);
                            simd.load(&padded)
                        }
                    }
                },
                |position, value| {
                    // SAFETY: each task writes the transformed weights of its own o.
                    let to = unsafe { self.target.slice(self.start + n + position * self.position, 1) };
                    simd.store(value, &mut to[0].0);
                },
            );
        }
    }
}
