//! The gradient of the weights: `dw = Gᵀ [Σ (Bᵀ x B) ⊙ (A dy Aᵀ)] G` over tiles and images.
//!
//! At each position the sum is a product of matrices, of input channels × images and images × output channels. So
//! that it needs no sums over lanes, the gradient of the output is first turned around to vectors of 16 output
//! channels; its tiles have the fewest pixels to turn.

#![allow(unsafe_code, reason = "register tiles stride through operands by address")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::input::{self, TransformInput};
use super::tiles::Tiles;
use super::tiling::Tiling;
use super::transform::{F2, F4, Transform, along_both};
use super::{WinogradTile, position_step};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile::{self, Finish, Operand, Part, Repeat, Scalars, Store, Sum};
use crate::lanes::{
    Lanes, Workspace,
    parallel::{DisjointMut, grain},
};

/// How many bytes of transformed input and gradient are kept at a time.
const OPERAND_BYTES: usize = 4 << 20;
/// How many bytes of sums are kept at a time.
const SUM_BYTES: usize = 4 << 20;
/// Input channels per task.
const TASK_CHANNELS: usize = 64;

/// The gradient of weights of one shape.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct WinogradGradient {
    tile: WinogradTile,
    tiling: Tiling,
}

impl WinogradGradient {
    pub(in crate::lanes::conv) fn new(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        Self { tile, tiling: Tiling::forward(geometry, tile) }
    }

    /// Overwrites `dw` with the gradient.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for.
    pub(in crate::lanes::conv) fn run(
        &self,
        isa: Isa,
        x: &[Lanes],
        dy: &[Lanes],
        dw: &mut [f32],
        workspace: &mut Workspace,
    ) {
        self.tiling.check_gradient(x, dy, dw);
        let operands = Operands { gradient: self, isa, x, dy };
        match self.tile {
            WinogradTile::Two => operands.compute::<F2, 2, 4>(dw, workspace),
            WinogradTile::Four => operands.compute::<F4, 4, 6>(dw, workspace),
        }
    }

    /// Vectors of output channels.
    fn vectors(&self) -> usize {
        self.tiling.outputs.div_ceil(LANES)
    }

    /// How many input channels have `SUM_BYTES` of sums.
    fn band_channels(&self) -> usize {
        let channel = self.tile.positions() * self.vectors() * size_of::<Lanes>();
        let channels = SUM_BYTES / channel.max(1) / TASK_CHANNELS * TASK_CHANNELS;
        channels.max(TASK_CHANNELS).min(self.tiling.inputs)
    }

    /// How many tiles have `OPERAND_BYTES` of transformed input and gradient.
    fn chunk_columns(&self, band: usize) -> usize {
        let column = self.tile.positions() * (band + self.vectors() * LANES) * size_of::<Lanes>();
        (OPERAND_BYTES / column.max(1)).clamp(1, self.tiling.columns().max(1))
    }
}

/// What a gradient is computed from.
struct Operands<'a> {
    gradient: &'a WinogradGradient,
    isa: Isa,
    x: &'a [Lanes],
    dy: &'a [Lanes],
}

impl Operands<'_> {
    fn compute<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        dw: &mut [f32],
        workspace: &mut Workspace,
    ) {
        let inputs = self.gradient.tiling.inputs;
        let (columns, vectors) = (self.gradient.tiling.columns(), self.gradient.vectors());
        let band = self.gradient.band_channels();
        let chunk = self.gradient.chunk_columns(band);
        let lengths = [band * chunk, vectors * LANES * chunk, band * vectors]
            .map(|length| T * T * position_step(length));
        let (buffer, _) = workspace.buffers(lengths.iter().sum(), 0);
        let (x, buffer) = buffer.split_at_mut(lengths[0]);
        let (dy, sums) = buffer.split_at_mut(lengths[1]);
        for channel in (0..inputs).step_by(band) {
            let channels = channel..inputs.min(channel + band);
            for first in (0..columns).step_by(chunk) {
                let chunk = first..columns.min(first + chunk);
                self.transform_input::<F, M, T>(channels.clone(), chunk.clone(), x);
                if channel == 0 || chunk.len() < columns {
                    self.transform_gradient::<F, M, T>(chunk.clone(), dy);
                }
                let slabs = channels.len().div_ceil(TASK_CHANNELS);
                let sums = DisjointMut::new(sums);
                (0..T * T * slabs).into_par_iter().with_min_len(grain()).for_each(|task| {
                    let (position, slab) = (task / slabs, task % slabs * TASK_CHANNELS);
                    self.isa.dispatch(Multiply {
                        position,
                        channels: channels.len(),
                        slab: slab..channels.len().min(slab + TASK_CHANNELS),
                        vectors,
                        columns: chunk.len(),
                        x,
                        dy,
                        sums,
                        store: if first == 0 { Store::Replace } else { Store::Add },
                    });
                });
            }
            self.transform_back::<F, M, T>(channels, sums, dw);
        }
    }

    /// Transforms some channels of the input of a chunk to `[T²][channels][columns]`.
    fn transform_input<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        channels: Range<usize>,
        chunk: Range<usize>,
        target: &mut [Lanes],
    ) {
        let target = DisjointMut::new(target);
        let slabs = channels.len().div_ceil(LANES);
        (0..slabs).into_par_iter().with_min_len(grain()).for_each(|slab| {
            let slab = slab * LANES..channels.len().min((slab + 1) * LANES);
            self.isa.dispatch(TransformInput::<F, M, T> {
                transform: PhantomData,
                tiles: &self.gradient.tiling.source,
                columns: chunk.clone(),
                input: self.x,
                all_channels: self.gradient.tiling.inputs,
                channels: channels.start + slab.start..channels.start + slab.end,
                target: input::Target {
                    lanes: target,
                    start: slab.start * chunk.len(),
                    channel: chunk.len(),
                    position: position_step(channels.len() * chunk.len()),
                },
            });
        });
    }

    /// Transforms the gradient of the output of a chunk to `[T²][vectors][columns][images]`.
    fn transform_gradient<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        chunk: Range<usize>,
        target: &mut [Lanes],
    ) {
        let target = DisjointMut::new(target);
        let vectors = self.gradient.vectors();
        (0..vectors * chunk.len()).into_par_iter().with_min_len(grain()).for_each(|task| {
            let (column, vector) = (task / vectors, task % vectors);
            self.isa.dispatch(TransformGradient::<F, M, T> {
                transform: PhantomData,
                tiles: &self.gradient.tiling.result,
                tile: chunk.start + column,
                dy: self.dy,
                all_channels: self.gradient.tiling.outputs,
                vector,
                target,
                start: (vector * chunk.len() + column) * LANES,
                position: position_step(vectors * chunk.len() * LANES),
            });
        });
    }

    /// Transforms sums `[T²][channels][vectors]` to the gradient of the weights from some channels.
    fn transform_back<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        channels: Range<usize>,
        sums: &[Lanes],
        dw: &mut [f32],
    ) {
        let dw = DisjointMut::new(dw);
        let Tiling { inputs, outputs, .. } = self.gradient.tiling;
        (0..self.gradient.vectors()).into_par_iter().with_min_len(grain()).for_each(|vector| {
            self.isa.dispatch(TransformBack::<F, M, T> {
                transform: PhantomData,
                channels: channels.clone(),
                inputs,
                outputs: vector * LANES..outputs.min((vector + 1) * LANES),
                sums: &sums[vector..],
                row: self.gradient.vectors(),
                dw,
            });
        });
    }
}

/// Transforms one tile of the gradient of 16 channels of the output, turned around.
struct TransformGradient<'a, F, const M: usize, const T: usize> {
    transform: PhantomData<F>,
    tiles: &'a Tiles,
    tile: usize,
    /// `[blocks][all_channels][map]`.
    dy: &'a [Lanes],
    all_channels: usize,
    vector: usize,
    target: DisjointMut<'a, Lanes>,
    start: usize,
    position: usize,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformGradient<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (block, window) = self.tiles.window(self.tile);
        let plane = self.tiles.plane();
        let first = self.vector * LANES;
        let channels = LANES.min(self.all_channels - first);
        let dy = &self.dy[(block * self.all_channels + first) * plane..][..channels * plane];
        let mut turned = [[[Lanes::ZERO; M]; M]; LANES];
        for row in 0..M {
            for column in 0..M {
                let Some(pixel) = window.pixel(row, column) else { continue };
                for channel in 0..channels {
                    for (turned, value) in turned.iter_mut().zip(dy[channel * plane + pixel].0) {
                        turned[row][column].0[channel] = value;
                    }
                }
            }
        }
        for (image, turned) in turned.iter().enumerate() {
            along_both::<F::OutputGradient, S, M, T>(
                simd,
                |row, column| simd.load(&turned[row][column].0),
                |position, value| {
                    // SAFETY: each task writes its own tile of its own channels.
                    let to = unsafe { self.target.slice(self.start + position * self.position + image, 1) };
                    simd.store(value, &mut to[0].0);
                },
            );
        }
    }
}

/// Multiplies a slab of input channels with all output channels at one position.
struct Multiply<'a> {
    position: usize,
    channels: usize,
    slab: Range<usize>,
    vectors: usize,
    columns: usize,
    /// `[T²][channels][columns]` of vectors of images.
    x: &'a [Lanes],
    /// `[T²][vectors][columns][images]` of vectors of channels.
    dy: &'a [Lanes],
    /// `[T²][channels][vectors]`.
    sums: DisjointMut<'a, Lanes>,
    store: Store,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let size = self.channels * self.columns;
        let x = &self.x[self.position * position_step(size)..][..size];
        let size = self.vectors * self.columns * LANES;
        let dy = &self.dy[self.position * position_step(size)..][..size];
        let sums = self.position * position_step(self.channels * self.vectors);
        let tile_rows = tile::best_rows::<S>(self.slab.len(), self.vectors);
        for (vector, columns) in tile::pieces(self.vectors, tile::columns_for::<S>(tile_rows)) {
            for (row, rows) in tile::pieces(self.slab.len(), tile_rows) {
                let channel = self.slab.start + row;
                let target = sums + channel * self.vectors + vector;
                let line = self.columns * LANES;
                let sum = Sum {
                    parts: &[Part { left: 0, right: 0 }],
                    depth: self.columns * LANES,
                    left: Operand { start: x[channel * self.columns..].as_ptr().cast(), line, term: 1 },
                    right: Operand {
                        start: dy[vector * self.columns * LANES..].as_ptr().cast(),
                        line: line * LANES,
                        term: LANES,
                    },
                    target: tile::Target {
                        start: self.sums.pointer(target).cast(),
                        row: self.vectors * LANES,
                        column: LANES,
                    },
                    repeat: Repeat::ONCE,
                };
                // SAFETY: the slices above hold the position's operands, and the task owns the slab's sums.
                unsafe { tile::compute::<Scalars, S>(simd, (rows, columns), &sum, Finish::Sums(self.store)) };
            }
        }
    }
}

/// Transforms the sums of 16 channels of the output to the gradient of their weights.
struct TransformBack<'a, F, const M: usize, const T: usize> {
    transform: PhantomData<F>,
    channels: Range<usize>,
    inputs: usize,
    outputs: Range<usize>,
    /// The vector's sums, with `row` vectors from one channel of the input to the next.
    sums: &'a [Lanes],
    row: usize,
    /// `[o][9][i]`.
    dw: DisjointMut<'a, f32>,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformBack<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let position = position_step(self.channels.len() * self.row);
        for (n, channel) in self.channels.clone().enumerate() {
            let sums = &self.sums[n * self.row..];
            along_both::<F::TapsGradient, S, T, 3>(
                simd,
                |row, column| simd.load(&sums[(row * T + column) * position].0),
                |tap, value| {
                    let mut values = [0.0; LANES];
                    simd.store(value, &mut values);
                    for (output, value) in self.outputs.clone().zip(values) {
                        let at = (output * 9 + tap) * self.inputs + channel;
                        // SAFETY: each task writes the gradients of its own channels.
                        let to = unsafe { self.dw.slice(at, 1) };
                        to[0] = value;
                    }
                },
            );
        }
    }
}
