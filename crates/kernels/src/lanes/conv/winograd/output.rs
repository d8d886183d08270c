//! Transforming sums of products to outputs.

#![allow(unsafe_code, reason = "tasks write disjoint, interleaved parts of the output")]

use std::marker::PhantomData;
use std::ops::Range;

use super::tiles::Tiles;
use super::transform::{Transform, along_both};
use crate::cpu::{Simd, WithSimd};
use crate::lanes::{Activation, Lanes, parallel::DisjointMut};

/// Computes `activation(bias + sum)` for some tiles of some channels.
pub(super) struct TransformOutput<'a, F, const M: usize, const T: usize> {
    pub(super) transform: PhantomData<F>,
    pub(super) tiles: &'a Tiles,
    pub(super) columns: Range<usize>,
    pub(super) channels: Range<usize>,
    pub(super) all_channels: usize,
    /// From the first tile's first channel's first position on; the distances from channel to channel and from
    /// position to position follow. Tiles lie side by side.
    pub(super) sums: &'a [Lanes],
    pub(super) channel: usize,
    pub(super) position: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// `[blocks][all_channels][map]`.
    pub(super) output: DisjointMut<'a, Lanes>,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformOutput<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let plane = self.tiles.plane();
        for (n, channel) in self.channels.enumerate() {
            let bias = simd.splat(self.bias.map_or(0.0, |bias| bias[channel]));
            for (column, tile) in self.columns.clone().enumerate() {
                let (block, window) = self.tiles.window(tile);
                let start = (block * self.all_channels + channel) * plane;
                let sums = &self.sums[n * self.channel + column..];
                along_both::<F::Output, S, T, M>(
                    simd,
                    |row, column| simd.load(&sums[(row * T + column) * self.position].0),
                    |at, value| {
                        if let Some(pixel) = window.pixel(at / M, at % M) {
                            // SAFETY: each pixel of a channel lies in one tile, and each tile in one task.
                            let to = unsafe { self.output.slice(start + pixel, 1) };
                            simd.store(self.activation.apply(simd, simd.add(value, bias)), &mut to[0].0);
                        }
                    },
                );
            }
        }
    }
}
