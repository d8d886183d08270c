//! Transforming the inputs of tiles.

#![allow(unsafe_code, reason = "tasks write disjoint, interleaved parts of the transformed input")]

use std::marker::PhantomData;
use std::ops::Range;

use super::tiles::Tiles;
use super::transform::{Transform, along_both};
use crate::cpu::{Simd, WithSimd};
use crate::lanes::{Lanes, parallel::DisjointMut};

/// Transforms some tiles of some channels of an activation.
pub(super) struct TransformInput<'a, F, const M: usize, const T: usize> {
    pub(super) transform: PhantomData<F>,
    pub(super) tiles: &'a Tiles,
    pub(super) columns: Range<usize>,
    /// `[blocks][all_channels][map]`.
    pub(super) input: &'a [Lanes],
    pub(super) all_channels: usize,
    pub(super) channels: Range<usize>,
    pub(super) target: Target<'a>,
}

/// Where transformed tiles go: the place of the first tile's first channel's first position, and the distances from
/// channel to channel and from position to position. Tiles lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) lanes: DisjointMut<'a, Lanes>,
    pub(super) start: usize,
    pub(super) channel: usize,
    pub(super) position: usize,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformInput<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let plane = self.tiles.plane();
        for (n, channel) in self.channels.enumerate() {
            for (column, tile) in self.columns.clone().enumerate() {
                let (block, window) = self.tiles.window(tile);
                let input = &self.input[(block * self.all_channels + channel) * plane..][..plane];
                let start = self.target.start + n * self.target.channel + column;
                along_both::<F::Input, S, T, T>(
                    simd,
                    |row, column| match window.pixel(row, column) {
                        Some(pixel) => simd.load(&input[pixel].0),
                        None => simd.zero(),
                    },
                    |position, value| {
                        // SAFETY: a target takes each position of each channel of a tile from one task only.
                        let to =
                            unsafe { self.target.lanes.slice(start + position * self.target.position, 1) };
                        simd.store(value, &mut to[0].0);
                    },
                );
            }
        }
    }
}
