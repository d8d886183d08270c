//! The gradient of the weights: `dw = Gᵀ [Σ (Bᵀ x B) ⊙ (A dy Aᵀ)] G` over tiles and images.
//!
//! The sums are kept in vectors of 16 images, whose lanes are added up after the transform back.

#![allow(unsafe_code, reason = "register tiles stride through operands by address")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::tile::{self, Margin};
use super::{INPUTS, OUTPUTS};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile::{
    Finish, Operand, Part, Store, Sum, Target, Vectors, best_rows, columns_for, compute, pieces,
};
use crate::lanes::conv::winograd::tiles::Tiles;
use crate::lanes::conv::winograd::tiling::Tiling;
use crate::lanes::conv::winograd::transform::{F4, Input, Linear, OutputGradient, TapsGradient, along_both};
use crate::lanes::conv::winograd::{WinogradTile, position_step};
use crate::lanes::{
    Lanes, Workspace,
    parallel::{DisjointMut, grain, tasks_of, with_scratch},
};

/// How many bytes of transformed input and gradient are kept at a time: most of a second-level cache.
const CHUNK_BYTES: usize = 640 << 10;
/// How many tasks there should be, whatever the number of threads.
const TASKS: usize = 32;
/// How many tiles a task needs to be worth its transforms back.
const TASK_TILES: usize = 32;
/// The products per tile.
const POSITIONS: usize = INPUTS * INPUTS;

/// The gradient of weights of one shape.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct NarrowGradient {
    tiling: Tiling,
    /// Parts of the tiles with their own sums.
    splits: Vec<Range<usize>>,
}

impl NarrowGradient {
    pub(in crate::lanes::conv) fn new(geometry: &Conv2dGeometry) -> Self {
        let tiling = Tiling::forward(geometry, WinogradTile::Four);
        let tiles = tiling.columns();
        let splits = tasks_of(TASKS).min(tiles / TASK_TILES).max(1);
        Self {
            tiling,
            splits: pieces(tiles, tiles.div_ceil(splits))
                .map(|(start, count)| start..start + count)
                .collect(),
        }
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
        let splits = &self.splits;
        let compute = |tiles: &Range<usize>, dw: &mut [f32]| {
            with_scratch(self.scratch(), |scratch| {
                isa.dispatch(ComputeSplit { gradient: self, tiles: tiles.clone(), x, dy, scratch, dw });
            });
        };
        if let [tiles] = &splits[..] {
            return compute(tiles, dw);
        }
        let length = dw.len();
        let (_, partial) = workspace.buffers(0, splits.len() * length);
        partial
            .par_chunks_exact_mut(length)
            .zip(splits)
            .with_min_len(grain())
            .for_each(|(partial, tiles)| compute(tiles, partial));
        for (at, dw) in dw.iter_mut().enumerate() {
            *dw = partial.iter().skip(at).step_by(length).sum();
        }
    }

    /// How many tiles are transformed at a time.
    fn chunk_tiles(&self) -> usize {
        let Tiling { inputs, outputs, ref source, .. } = self.tiling;
        (CHUNK_BYTES / (POSITIONS * (inputs + outputs) * size_of::<Lanes>())).clamp(1, source.per_map())
    }

    /// Vectors of transformed input, transformed gradient and sums.
    fn scratch_parts(&self) -> [usize; 3] {
        let (chunk, Tiling { inputs, outputs, .. }) = (self.chunk_tiles(), &self.tiling);
        [inputs * chunk, outputs * chunk, inputs * outputs].map(|length| POSITIONS * position_step(length))
    }

    fn scratch(&self) -> usize {
        self.scratch_parts().iter().sum()
    }
}

/// Computes the gradient from some tiles.
struct ComputeSplit<'a> {
    gradient: &'a NarrowGradient,
    tiles: Range<usize>,
    x: &'a [Lanes],
    dy: &'a [Lanes],
    scratch: &'a mut [Lanes],
    dw: &'a mut [f32],
}

impl WithSimd for ComputeSplit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { gradient, tiles: all_tiles, x: all_x, dy: all_dy, scratch, dw } = self;
        let Tiling { inputs, outputs, ref source, ref result, .. } = gradient.tiling;
        let [x, dy, _] = gradient.scratch_parts();
        let (x, scratch) = scratch.split_at_mut(x);
        let (dy, sums) = scratch.split_at_mut(dy);
        let tile_rows = best_rows::<S>(outputs, inputs);
        for (n, (first, count)) in pieces(all_tiles.len(), gradient.chunk_tiles()).enumerate() {
            let first = all_tiles.start + first;
            let tiles = first..first + count;
            let [x_step, dy_step] = [inputs, outputs].map(|channels| position_step(channels * tiles.len()));
            simd.vectorize(TransformTiles::<Input<F4>, INPUTS> {
                transform: PhantomData,
                tiles: source,
                chunk: tiles.clone(),
                channels: inputs,
                map: all_x,
                target: x,
            });
            simd.vectorize(TransformTiles::<OutputGradient<F4>, OUTPUTS> {
                transform: PhantomData,
                tiles: result,
                chunk: tiles.clone(),
                channels: outputs,
                map: all_dy,
                target: dy,
            });
            for position in 0..POSITIONS {
                let product = Product {
                    tiles: tiles.len(),
                    x: &x[position * x_step..][..inputs * tiles.len()],
                    dy: &dy[position * dy_step..][..outputs * tiles.len()],
                    sums: &mut sums[position * position_step(inputs * outputs)..][..inputs * outputs],
                    inputs,
                    outputs,
                    tile_rows,
                    store: if n == 0 { Store::Replace } else { Store::Add },
                };
                product.compute(simd);
            }
        }
        simd.vectorize(TransformBack { inputs, outputs, sums, dw });
    }
}

/// Transforms some tiles of `N` × `N` pixels of an activation to `[positions][channels][tiles]`.
struct TransformTiles<'a, L, const N: usize> {
    transform: PhantomData<L>,
    tiles: &'a Tiles,
    chunk: Range<usize>,
    channels: usize,
    /// `[blocks][channels][plane]`.
    map: &'a [Lanes],
    target: &'a mut [Lanes],
}

impl<L: Linear<N, INPUTS>, const N: usize> WithSimd for TransformTiles<'_, L, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { transform: _, tiles, chunk, channels, map, target } = self;
        let count = chunk.len();
        let step = position_step(channels * count);
        let mut margin = Margin::new();
        for (n, tile) in chunk.enumerate() {
            let (block, window) = tiles.window(tile);
            let planes = map.chunks_exact(tiles.plane()).skip(block * channels).take(channels);
            for (channel, plane) in planes.enumerate() {
                let target = &mut target[channel * count + n..];
                tile::transform::<L, S, N>(
                    simd,
                    window,
                    plane,
                    &mut margin,
                    #[inline(always)]
                    |row, column, value| simd.store(value, &mut target[(row * INPUTS + column) * step].0),
                );
            }
        }
    }
}

/// `sums[output][input] = Σ dy[output] · x[input]` over tiles, at one position.
struct Product<'a> {
    tiles: usize,
    x: &'a [Lanes],
    dy: &'a [Lanes],
    sums: &'a mut [Lanes],
    inputs: usize,
    outputs: usize,
    tile_rows: usize,
    store: Store,
}

impl Product<'_> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S) {
        let Self { tiles, x, dy, sums, inputs, outputs, tile_rows, store } = self;
        assert!(x.len() == inputs * tiles && dy.len() == outputs * tiles && sums.len() == outputs * inputs);
        let target = DisjointMut::new(sums);
        for (row, rows) in pieces(outputs, tile_rows) {
            for (column, columns) in pieces(inputs, columns_for::<S>(rows)) {
                let sum = Sum {
                    parts: &[Part { left: 0, right: 0 }],
                    depth: tiles,
                    left: Operand {
                        start: dy[row * tiles..].as_ptr().cast(),
                        line: tiles * LANES,
                        term: LANES,
                    },
                    right: Operand {
                        start: x[column * tiles..].as_ptr().cast(),
                        line: tiles * LANES,
                        term: LANES,
                    },
                    target: Target {
                        start: target.pointer(row * inputs + column).cast(),
                        row: inputs * LANES,
                        column: LANES,
                    },
                };
                // SAFETY: the slices have a vector for each channel and tile, and for each pair of channels.
                unsafe { compute::<Vectors, S>(simd, (rows, columns), &sum, Finish::Sums(store)) };
            }
        }
    }
}

/// Transforms sums `[positions][outputs][inputs]` to gradients `[o][9][i]`.
struct TransformBack<'a> {
    inputs: usize,
    outputs: usize,
    sums: &'a [Lanes],
    dw: &'a mut [f32],
}

impl WithSimd for TransformBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { inputs, outputs, sums, dw } = self;
        let step = position_step(outputs * inputs);
        for (output, dw) in dw.chunks_exact_mut(9 * inputs).enumerate() {
            for input in 0..inputs {
                let sums = &sums[output * inputs + input..];
                along_both::<TapsGradient<F4>, S, INPUTS, 3>(
                    simd,
                    #[inline(always)]
                    |row, column| simd.load(&sums[(row * INPUTS + column) * step].0),
                    #[inline(always)]
                    |tap, value| dw[tap * inputs + input] = simd.sum(value),
                );
            }
        }
    }
}
