//! From one activation to another: the forward pass and the gradient of the input.

use std::ops::Range;

use rayon::prelude::*;

use super::product::{self, Channels};
use super::taps::TransformTaps;
use super::tile::{self, Margin};
use super::{INPUTS, Line, OUTPUTS};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile::pieces;
use crate::lanes::conv::winograd::WinogradTile;
use crate::lanes::conv::winograd::tiles::Window;
use crate::lanes::conv::winograd::tiling::Tiling;
use crate::lanes::conv::winograd::transform::{F4, Input};
use crate::lanes::{
    Activation, Lanes, Workspace,
    parallel::{DisjointMut, grain, with_scratch},
};

/// Tiles per task.
const TASK_TILES: usize = 8;

/// A convolution of one shape, or its adjoint.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct NarrowMap {
    tiling: Tiling,
}

impl NarrowMap {
    /// `y = w * x`.
    pub(in crate::lanes::conv) fn forward(geometry: &Conv2dGeometry) -> Self {
        Self { tiling: Tiling::forward(geometry, WinogradTile::Four) }
    }

    /// `dx = wᵀ * dy`.
    pub(in crate::lanes::conv) fn backward(geometry: &Conv2dGeometry) -> Self {
        Self { tiling: Tiling::backward(geometry, WinogradTile::Four) }
    }

    /// Overwrites `output` with `activation(bias + map)`; weights are `[o][9][i]` in both directions.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    pub(in crate::lanes::conv) fn run(
        &self,
        isa: Isa,
        input: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        output: &mut [Lanes],
        workspace: &mut Workspace,
    ) {
        self.tiling.check(input, weights, bias, output);
        let Tiling { direction, inputs, outputs, .. } = self.tiling;
        let (taps, _) = workspace.buffers(outputs.div_ceil(LANES) * INPUTS * inputs * INPUTS, 0);
        let (taps, _) = taps.as_chunks_mut();
        isa.dispatch(TransformTaps { direction, inputs, outputs, weights, target: taps });
        let taps = &*taps;
        let output = DisjointMut::new(output);
        let tiles = self.tiling.columns();
        (0..tiles.div_ceil(TASK_TILES)).into_par_iter().with_min_len(grain()).for_each(|task| {
            let tiles = task * TASK_TILES..tiles.min((task + 1) * TASK_TILES);
            with_scratch(INPUTS * INPUTS * inputs + product::SCRATCH, |scratch| {
                let (transformed, half) = scratch.split_at_mut(INPUTS * INPUTS * inputs);
                let (transformed, _) = transformed.as_chunks_mut();
                let (half, _) = half.as_chunks_mut();
                isa.dispatch(ComputeTiles {
                    map: self,
                    tiles,
                    input,
                    taps,
                    bias,
                    activation,
                    output,
                    transformed,
                    half,
                });
            });
        });
    }
}

/// Computes all channels of some tiles.
struct ComputeTiles<'a> {
    map: &'a NarrowMap,
    tiles: Range<usize>,
    input: &'a [Lanes],
    /// `[vectors of outputs][columns of positions][inputs]`.
    taps: &'a [Line],
    bias: Option<&'a [f32]>,
    activation: Activation,
    output: DisjointMut<'a, Lanes>,
    /// Place for `[columns of positions][inputs]`.
    transformed: &'a mut [Line],
    /// Place for what channels of one product need.
    half: &'a mut [[Lanes; OUTPUTS]],
}

impl WithSimd for ComputeTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { map, tiles, input, taps, bias, activation, output, transformed, half } = self;
        let Tiling { inputs, outputs, ref source, ref result, .. } = map.tiling;
        let mut margin = Margin::new();
        for tile in tiles {
            let (block, window) = source.window(tile);
            simd.vectorize(TransformInput {
                window,
                input: &input[block * inputs * source.plane()..][..inputs * source.plane()],
                plane: source.plane(),
                margin: &mut margin,
                target: &mut *transformed,
            });
            let (_, window) = result.window(tile);
            for (vector, taps) in taps.chunks_exact(INPUTS * inputs).enumerate() {
                let first = vector * LANES;
                for (lane, count) in pieces(LANES.min(outputs - first), product::most_channels::<S>()) {
                    let channel = first + lane;
                    let channels = Channels {
                        input: &*transformed,
                        taps,
                        inputs,
                        lane,
                        bias: bias.map(|bias| &bias[channel..channel + count]),
                        activation,
                        half: &mut *half,
                        output,
                        start: (block * outputs + channel) * result.plane(),
                        plane: result.plane(),
                        window,
                    };
                    product::compute(simd, count, channels);
                }
            }
        }
    }
}

/// Transforms a tile of all channels.
struct TransformInput<'a> {
    window: &'a Window,
    /// `[inputs][plane]`.
    input: &'a [Lanes],
    plane: usize,
    margin: &'a mut Margin<INPUTS>,
    /// `[columns of positions][inputs]`.
    target: &'a mut [Line],
}

impl WithSimd for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { window, input, plane, margin, target } = self;
        let inputs = target.len() / INPUTS;
        for (channel, plane) in input.chunks_exact(plane).enumerate() {
            tile::transform::<Input<F4>, S, INPUTS>(
                simd,
                window,
                plane,
                margin,
                #[inline(always)]
                |row, column, value| simd.store(value, &mut target[column * inputs + channel][row].0),
            );
        }
    }
}
