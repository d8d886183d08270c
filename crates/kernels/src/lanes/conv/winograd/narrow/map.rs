//! From one activation to another: the forward pass and the gradient of the input.

use std::ops::Range;

use rayon::prelude::*;

use super::product::{self, Channels};
use super::taps::TransformTaps;
use super::tile;
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
        let Tiling { inputs, .. } = self.tiling;
        let (taps, _) = workspace.buffers(taps_len(&self.tiling), 0);
        let products = Products {
            tiling: &self.tiling,
            taps: transform_taps(isa, &self.tiling, weights, taps),
            bias,
            activation,
            output: DisjointMut::new(output),
        };
        let tiles = self.tiling.columns();
        (0..tiles.div_ceil(TASK_TILES)).into_par_iter().with_min_len(grain()).for_each(|task| {
            let tiles = task * TASK_TILES..tiles.min((task + 1) * TASK_TILES);
            with_scratch(INPUTS * INPUTS * inputs + product::SCRATCH, |scratch| {
                let (transformed, half) = scratch.split_at_mut(INPUTS * INPUTS * inputs);
                let (transformed, _) = transformed.as_chunks_mut();
                let (half, _) = half.as_chunks_mut();
                isa.dispatch(ComputeTiles { products: &products, tiles, input, transformed, half });
            });
        });
    }
}

/// How many vectors the transformed weights of a map need.
pub(super) fn taps_len(tiling: &Tiling) -> usize {
    tiling.outputs.div_ceil(LANES) * INPUTS * tiling.inputs * INPUTS
}

/// Transforms the weights `[o][9][i]` of a map into `target`.
pub(super) fn transform_taps<'a>(
    isa: Isa,
    tiling: &Tiling,
    weights: &[f32],
    target: &'a mut [Lanes],
) -> &'a [Line] {
    let Tiling { direction, inputs, outputs, .. } = *tiling;
    let (target, _) = target.as_chunks_mut();
    isa.dispatch(TransformTaps { direction, inputs, outputs, weights, target: &mut *target });
    target
}

/// Computes all channels of some tiles.
struct ComputeTiles<'a> {
    products: &'a Products<'a>,
    tiles: Range<usize>,
    input: &'a [Lanes],
    /// Place for `[columns of positions][inputs]`.
    transformed: &'a mut [Line],
    /// Place for what channels of one product need.
    half: &'a mut [[Lanes; OUTPUTS]],
}

impl WithSimd for ComputeTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { products, tiles, input, transformed, half } = self;
        let Tiling { inputs, ref source, .. } = *products.tiling;
        for tile in tiles {
            let (block, window) = source.window(tile);
            simd.vectorize(TransformInput {
                window,
                input: &input[block * inputs * source.plane()..][..inputs * source.plane()],
                plane: source.plane(),
                target: &mut *transformed,
            });
            products.compute(simd, tile, transformed, half);
        }
    }
}

/// The products of a map, and where they go.
pub(super) struct Products<'a> {
    pub(super) tiling: &'a Tiling,
    /// `[vectors of outputs][columns of positions][inputs]`.
    pub(super) taps: &'a [Line],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    pub(super) output: DisjointMut<'a, Lanes>,
}

impl Products<'_> {
    /// Computes a tile of all channels from its transformed input, `[columns of positions][inputs]`.
    #[inline(always)]
    pub(super) fn compute<S: Simd>(
        &self,
        simd: S,
        tile: usize,
        transformed: &[Line],
        half: &mut [[Lanes; OUTPUTS]],
    ) {
        let Self { tiling, taps, bias, activation, output } = *self;
        let Tiling { inputs, outputs, ref result, .. } = *tiling;
        let (block, window) = result.window(tile);
        for (vector, taps) in taps.chunks_exact(INPUTS * inputs).enumerate() {
            let first = vector * LANES;
            for (lane, count) in pieces(LANES.min(outputs - first), product::most_channels::<S>()) {
                let channel = first + lane;
                let channels = Channels {
                    input: transformed,
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

/// Transforms a tile of all channels.
pub(super) struct TransformInput<'a> {
    pub(super) window: &'a Window,
    /// `[inputs][plane]`.
    pub(super) input: &'a [Lanes],
    pub(super) plane: usize,
    /// `[columns of positions][inputs]`.
    pub(super) target: &'a mut [Line],
}

impl WithSimd for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { window, input, plane, target } = self;
        let inputs = target.len() / INPUTS;
        for (channel, plane) in input.chunks_exact(plane).enumerate() {
            tile::transform::<Input<F4>, S, INPUTS>(
                simd,
                window,
                plane,
                #[inline(always)]
                |row, column, value| simd.store(value, &mut target[column * inputs + channel][row].0),
            );
        }
    }
}
