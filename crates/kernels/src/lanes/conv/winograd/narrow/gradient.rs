//! The gradients of the weights and, where they are asked for, of the input.
//!
//! `dw = Gᵀ [Σ (Bᵀ dy B) ⊙ (A x Aᵀ)] G` over tiles and images: the input is cut into tiles of outputs of the adjoint,
//! so that the adjoint itself, `dx = wᵀ * dy`, starts from the same transform of `dy`.
//!
//! The sums are kept in vectors of 16 images, whose lanes are added up after the transform back.

#![allow(unsafe_code, reason = "register tiles stride through operands by address")]

use std::ops::Range;

use rayon::prelude::*;

use super::map::{Products, TransformInput, taps_len, transform_taps};
use super::tile;
use super::{INPUTS, Line, OUTPUTS};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile::{
    Finish, Operand, Part, Repeat, Store, Sum, Target, Vectors, best_rows, columns_for, compute, pieces,
};
use crate::lanes::conv::winograd::tiles::Window;
use crate::lanes::conv::winograd::tiling::Tiling;
use crate::lanes::conv::winograd::transform::{F4, OutputGradient, TapsGradient, along_both};
use crate::lanes::conv::winograd::{WinogradTile, position_step};
use crate::lanes::{
    Activation, Lanes, Workspace,
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

/// The gradients of one shape.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct NarrowGradient {
    /// Of the adjoint: its inputs are the convolution's outputs.
    tiling: Tiling,
    /// Parts of the tiles with their own sums.
    splits: Vec<Range<usize>>,
}

/// What the gradient of the input needs, and where it goes.
pub(in crate::lanes::conv) struct InputGradient<'a> {
    /// `[o][9][i]`.
    pub(in crate::lanes::conv) weights: &'a [f32],
    pub(in crate::lanes::conv) dx: &'a mut [Lanes],
}

impl NarrowGradient {
    pub(in crate::lanes::conv) fn new(geometry: &Conv2dGeometry) -> Self {
        let tiling = Tiling::backward(geometry, WinogradTile::Four);
        let tiles = tiling.columns();
        let splits = tasks_of(TASKS).min(tiles / TASK_TILES).max(1);
        Self {
            tiling,
            splits: pieces(tiles, tiles.div_ceil(splits))
                .map(|(start, count)| start..start + count)
                .collect(),
        }
    }

    /// Overwrites `dw`, and the gradient of the input if there is a place for it.
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
        input: Option<InputGradient>,
        workspace: &mut Workspace,
    ) {
        self.tiling.check_gradient(dy, x, dw);
        let (splits, length) = (&self.splits, dw.len());
        let (taps, partial) = workspace.buffers(
            input.as_ref().map_or(0, |_| taps_len(&self.tiling)),
            if splits.len() == 1 { 0 } else { splits.len() * length },
        );
        let products = input.map(|InputGradient { weights, dx }| {
            self.tiling.check(dy, weights, None, dx);
            Products {
                tiling: &self.tiling,
                taps: transform_taps(isa, &self.tiling, weights, taps),
                bias: None,
                activation: Activation::None,
                output: DisjointMut::new(dx),
            }
        });
        let compute = |tiles: &Range<usize>, dw: &mut [f32]| {
            with_scratch(self.scratch(), |scratch| {
                let (products, tiles) = (products.as_ref(), tiles.clone());
                isa.dispatch(ComputeSplit { gradient: self, tiles, x, dy, products, scratch, dw });
            });
        };
        if let [tiles] = &splits[..] {
            return compute(tiles, dw);
        }
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

    /// Vectors of transformed gradient, transformed input, sums, and what products need.
    fn scratch_parts(&self) -> [usize; 4] {
        let (chunk, Tiling { inputs, outputs, .. }) = (self.chunk_tiles(), &self.tiling);
        [
            chunk * tile_step(*inputs),
            chunk * tile_step(*outputs),
            POSITIONS * position_step(inputs * outputs),
            super::product::SCRATCH,
        ]
    }

    fn scratch(&self) -> usize {
        self.scratch_parts().iter().sum()
    }
}

/// The vectors from one transformed tile of some channels to the next, in different sets of a cache.
fn tile_step(channels: usize) -> usize {
    POSITIONS * channels + 1
}

/// Computes the gradients from some tiles.
struct ComputeSplit<'a> {
    gradient: &'a NarrowGradient,
    tiles: Range<usize>,
    x: &'a [Lanes],
    dy: &'a [Lanes],
    /// Those of the gradient of the input.
    products: Option<&'a Products<'a>>,
    scratch: &'a mut [Lanes],
    dw: &'a mut [f32],
}

impl WithSimd for ComputeSplit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { gradient, tiles: all_tiles, x: all_x, dy: all_dy, products, scratch, dw } = self;
        let Tiling { inputs: outputs, outputs: inputs, ref source, ref result, .. } = gradient.tiling;
        let [dy, x, sums, _] = gradient.scratch_parts();
        let (dy, scratch) = scratch.split_at_mut(dy);
        let (x, scratch) = scratch.split_at_mut(x);
        let (sums, half) = scratch.split_at_mut(sums);
        let (half, _) = half.as_chunks_mut();
        for (n, (first, count)) in pieces(all_tiles.len(), gradient.chunk_tiles()).enumerate() {
            let first = all_tiles.start + first;
            let places = dy.chunks_exact_mut(tile_step(outputs)).zip(x.chunks_exact_mut(tile_step(inputs)));
            for (tile, (dy, x)) in (first..first + count).zip(places) {
                let (block, window) = source.window(tile);
                let (dy, _) = dy.as_chunks_mut();
                simd.vectorize(TransformInput {
                    window,
                    input: &all_dy[block * outputs * source.plane()..][..outputs * source.plane()],
                    plane: source.plane(),
                    target: &mut *dy,
                });
                if let Some(products) = products {
                    products.compute(simd, tile, dy, half);
                }
                let (_, window) = result.window(tile);
                simd.vectorize(TransformTile {
                    window,
                    input: &all_x[block * inputs * result.plane()..][..inputs * result.plane()],
                    plane: result.plane(),
                    target: x.as_chunks_mut().0,
                });
            }
            let product = Sums {
                tiles: count,
                dy: &*dy,
                x: &*x,
                sums: &mut *sums,
                inputs,
                outputs,
                store: if n == 0 { Store::Replace } else { Store::Add },
            };
            product.compute(simd);
        }
        simd.vectorize(TransformBack { inputs, outputs, sums, dw });
    }
}

/// Transforms a tile of the input of all channels.
struct TransformTile<'a> {
    window: &'a Window,
    /// `[inputs][plane]`.
    input: &'a [Lanes],
    plane: usize,
    /// `[columns of positions][inputs]`.
    target: &'a mut [Line],
}

impl WithSimd for TransformTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { window, input, plane, target } = self;
        let inputs = target.len() / INPUTS;
        for (channel, plane) in input.chunks_exact(plane).enumerate() {
            tile::transform::<OutputGradient<F4>, S, OUTPUTS>(
                simd,
                window,
                plane,
                #[inline(always)]
                |row, column, value| simd.store(value, &mut target[column * inputs + channel][row].0),
            );
        }
    }
}

/// `sums[position][output][input] = Σ dy[output] · x[input]` over tiles.
struct Sums<'a> {
    tiles: usize,
    /// Tiles of `[columns of positions][outputs]` lines.
    dy: &'a [Lanes],
    /// Tiles of `[columns of positions][inputs]` lines.
    x: &'a [Lanes],
    sums: &'a mut [Lanes],
    inputs: usize,
    outputs: usize,
    store: Store,
}

impl Sums<'_> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S) {
        let Self { tiles, dy, x, sums, inputs, outputs, store } = self;
        let [dy_step, x_step] = [outputs, inputs].map(tile_step);
        let step = position_step(outputs * inputs);
        assert!(dy.len() >= tiles * dy_step && x.len() >= tiles * x_step && sums.len() >= POSITIONS * step);
        let target = DisjointMut::new(sums);
        let tile_rows = best_rows::<S>(outputs, inputs);
        for position in 0..INPUTS {
            for (row, rows) in pieces(outputs, tile_rows) {
                for (column, columns) in pieces(inputs, columns_for::<S>(rows)) {
                    let operand =
                        |transformed: &[Lanes], channels: usize, channel: usize, step: usize| Operand {
                            start: transformed[(position * channels + channel) * INPUTS..].as_ptr().cast(),
                            line: INPUTS * LANES,
                            term: step * LANES,
                        };
                    let sum = Sum {
                        parts: &[Part { left: 0, right: 0 }],
                        depth: tiles,
                        left: operand(dy, outputs, row, dy_step),
                        right: operand(x, inputs, column, x_step),
                        target: Target {
                            start: target.pointer(position * step + row * inputs + column).cast(),
                            row: inputs * LANES,
                            column: LANES,
                        },
                        // Down a column of positions.
                        repeat: Repeat {
                            count: INPUTS,
                            left: LANES,
                            right: LANES,
                            target: INPUTS * step * LANES,
                        },
                    };
                    // SAFETY: the slices have a vector for each position, channel and tile, and for each position and
                    // pair of channels.
                    unsafe { compute::<Vectors, S>(simd, (rows, columns), &sum, Finish::Sums(store)) };
                }
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
                    // The adjoint's taps are the convolution's, turned around.
                    |tap, value| dw[(8 - tap) * inputs + input] = simd.sum(value),
                );
            }
        }
    }
}
