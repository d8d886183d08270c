//! From one activation to another: the forward pass and the gradient of the input.

#![allow(unsafe_code, reason = "register tiles stride through operands by address")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::WinogradTile;
use super::input::{self, TransformInput};
use super::share::{share, workers};
use super::tiles::Tiles;
use super::transform::{F2, F4, Transform, along_both};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile::{self, Finish, Operand, Part, Scalars, Store, Sum};
use crate::lanes::{
    Activation, Lanes, Workspace, blocks,
    parallel::{DisjointMut, grain},
};

/// How many bytes of transformed input are kept at a time: half of a last-level cache.
const INPUT_BYTES: usize = 16 << 20;
/// How many bytes of transformed weights are kept at a time.
const WEIGHT_BYTES: usize = 4 << 20;
/// Channels per task, so that the products of a few tiles stay in a second-level cache.
const TASK_CHANNELS: usize = 32;

/// How the weights `[o][taps][i]` act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// From i to o.
    Forward,
    /// From o to i, turned by 180°.
    Backward,
}

/// A convolution of one shape, or its adjoint.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct WinogradMap {
    tile: WinogradTile,
    direction: Direction,
    blocks: usize,
    inputs: usize,
    outputs: usize,
    source: Tiles,
    result: Tiles,
}

impl WinogradMap {
    /// `y = w * x`.
    pub(in crate::lanes::conv) fn forward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        let [source, result] = tile.tiles(
            [geometry.in_height, geometry.in_width],
            [geometry.padding.top, geometry.padding.left],
            [geometry.out_height(), geometry.out_width()],
        );
        Self {
            tile,
            direction: Direction::Forward,
            blocks: blocks(geometry.batch),
            inputs: geometry.in_channels,
            outputs: geometry.out_channels,
            source,
            result,
        }
    }

    /// `dx = wᵀ * dy`.
    pub(in crate::lanes::conv) fn backward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        let [source, result] = tile.tiles(
            [geometry.out_height(), geometry.out_width()],
            [2 - geometry.padding.top, 2 - geometry.padding.left],
            [geometry.in_height, geometry.in_width],
        );
        Self {
            tile,
            direction: Direction::Backward,
            blocks: blocks(geometry.batch),
            inputs: geometry.out_channels,
            outputs: geometry.in_channels,
            source,
            result,
        }
    }

    /// Overwrites `output` with `activation(bias + map)`; weights are `[o][taps][i]` in both directions.
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
        let Self { blocks, inputs, outputs, source, result, .. } = self;
        assert_eq!(input.len(), blocks * inputs * source.plane(), "length of the convolved activation");
        assert_eq!(output.len(), blocks * outputs * result.plane(), "length of the result");
        assert_eq!(weights.len(), outputs * 9 * inputs, "length of the weights");
        assert!(bias.is_none_or(|bias| bias.len() == *outputs), "the bias needs a value per channel");
        let operands = Operands { map: self, isa, input, weights, bias, activation };
        match self.tile {
            WinogradTile::Two => operands.compute::<F2, 2, 4>(output, workspace),
            WinogradTile::Four => operands.compute::<F4, 4, 6>(output, workspace),
        }
    }

    /// Tiles of all blocks.
    fn columns(&self) -> usize {
        self.blocks * self.source.counts[0] * self.source.counts[1]
    }

    /// How many tiles have `INPUT_BYTES` of transformed input.
    fn chunk_columns(&self) -> usize {
        let column = self.tile.positions() * self.inputs * size_of::<Lanes>();
        (INPUT_BYTES / column.max(1)).clamp(1, self.columns().max(1))
    }

    /// How many channels of the output have `WEIGHT_BYTES` of transformed weights.
    fn band_channels(&self) -> usize {
        let channel = self.tile.positions() * self.inputs * size_of::<f32>();
        let channels = WEIGHT_BYTES / channel.max(1) / TASK_CHANNELS * TASK_CHANNELS;
        channels.max(TASK_CHANNELS).min(self.outputs)
    }
}

/// What a map is applied to.
struct Operands<'a> {
    map: &'a WinogradMap,
    isa: Isa,
    input: &'a [Lanes],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Activation,
}

impl Operands<'_> {
    fn compute<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        output: &mut [Lanes],
        workspace: &mut Workspace,
    ) {
        let WinogradMap { inputs, outputs, .. } = *self.map;
        let positions = T * T;
        let (chunk, band) = (self.map.chunk_columns(), self.map.band_channels());
        let tile = self.isa.dispatch(ChooseTile { rows: band.min(TASK_CHANNELS), columns: chunk });
        let (workers, products) = (workers(), positions * TASK_CHANNELS * tile.1);
        let (vectors, transformed_weights) = workspace
            .buffers(chunk * inputs * positions + workers * products, positions * band * inputs);
        let (transformed_input, scratch) = vectors.split_at_mut(chunk * inputs * positions);
        let output = DisjointMut::new(output);
        for first in (0..self.map.columns()).step_by(chunk) {
            let columns = chunk.min(self.map.columns() - first);
            let panels = Panels { first, columns, most: tile.1 };
            self.transform_input::<F, M, T>(panels, transformed_input);
            for channel in (0..outputs).step_by(band) {
                let channels = channel..outputs.min(channel + band);
                if first == 0 || band < outputs {
                    self.transform_weights::<F, M, T>(channels.clone(), transformed_weights);
                }
                let slabs = channels.len().div_ceil(TASK_CHANNELS);
                share(scratch, products, panels.count() * slabs, |task, products| {
                    let (panel, slab) = (task / slabs, task % slabs * TASK_CHANNELS);
                    self.isa.dispatch(MultiplyPanel::<F, M, T> {
                        transform: PhantomData,
                        operands: self,
                        band: channels.clone(),
                        slab: slab..channels.len().min(slab + TASK_CHANNELS),
                        panel: panels.get(panel),
                        tile_rows: tile.0,
                        input: transformed_input,
                        weights: transformed_weights,
                        products,
                        output,
                    });
                });
            }
        }
    }

    /// Transforms the input of a chunk to `[panels][T²][inputs][columns of the panel]`.
    fn transform_input<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        panels: Panels,
        target: &mut [Lanes],
    ) {
        let inputs = self.map.inputs;
        let target = DisjointMut::new(target);
        let slabs = inputs.div_ceil(TASK_CHANNELS);
        (0..panels.count() * slabs).into_par_iter().with_min_len(grain()).for_each(|task| {
            let panel = panels.get(task / slabs);
            let channel = task % slabs * TASK_CHANNELS;
            for column in 0..panel.columns {
                self.isa.dispatch(TransformInput::<F, M, T> {
                    transform: PhantomData,
                    tiles: &self.map.source,
                    tile: panels.first + panel.start + column,
                    input: self.input,
                    all_channels: inputs,
                    channels: channel..inputs.min(channel + TASK_CHANNELS),
                    target: input::Target {
                        lanes: target,
                        start: panel.start * inputs * T * T + channel * panel.columns + column,
                        channel: panel.columns,
                        position: inputs * panel.columns,
                    },
                });
            }
        });
    }

    /// Transforms the weights of some channels of the output, to `[T²][o][i]` for the o and i of these channels.
    fn transform_weights<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        channels: Range<usize>,
        target: &mut [f32],
    ) {
        let (row, outer, inner) = match self.map.direction {
            Direction::Forward => (self.map.inputs, channels, 0..self.map.inputs),
            Direction::Backward => (self.map.outputs, 0..self.map.inputs, channels),
        };
        let target = DisjointMut::new(target);
        outer.clone().into_par_iter().with_min_len(grain()).for_each(|n| {
            self.isa.dispatch(TransformWeights::<F, M, T> {
                transform: PhantomData,
                direction: self.map.direction,
                weights: &self.weights[n * 9 * row..][..9 * row],
                row,
                channels: inner.clone(),
                target,
                start: (n - outer.start) * inner.len(),
                position: outer.len() * inner.len(),
            });
        });
    }
}

/// Columns of a chunk in panels as wide as a register tile.
#[derive(Clone, Copy, Debug)]
struct Panels {
    /// The chunk's first tile among those of all blocks.
    first: usize,
    columns: usize,
    most: usize,
}

/// Columns `start..start + columns` of a chunk.
#[derive(Clone, Copy, Debug)]
struct Panel {
    first: usize,
    start: usize,
    columns: usize,
}

impl Panels {
    fn count(&self) -> usize {
        self.columns.div_ceil(self.most)
    }

    fn get(&self, n: usize) -> Panel {
        let start = n * self.columns / self.count();
        let end = (n + 1) * self.columns / self.count();
        Panel { first: self.first, start, columns: end - start }
    }
}

/// The best rows and columns of a register tile.
struct ChooseTile {
    rows: usize,
    columns: usize,
}

impl WithSimd for ChooseTile {
    type Output = tile::Shape;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> tile::Shape {
        let rows = tile::best_rows::<S>(self.rows, self.columns);
        (rows, tile::columns_for::<S>(rows))
    }
}

/// Transforms the weights `[9][row]` between one channel on one side and some on the other.
struct TransformWeights<'a, F, const M: usize, const T: usize> {
    transform: PhantomData<F>,
    direction: Direction,
    weights: &'a [f32],
    row: usize,
    channels: Range<usize>,
    target: DisjointMut<'a, f32>,
    start: usize,
    position: usize,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for TransformWeights<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for first in self.channels.clone().step_by(LANES) {
            let width = LANES.min(self.channels.end - first);
            let to = self.start + first - self.channels.start;
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
                    // SAFETY: each task writes the transformed weights of its own channel.
                    let to = unsafe { self.target.slice(to + position * self.position, width) };
                    match to.as_mut_array() {
                        Some(to) => simd.store(value, to),
                        None => {
                            let mut padded = [0.0; LANES];
                            simd.store(value, &mut padded);
                            to.copy_from_slice(&padded[..width]);
                        }
                    }
                },
            );
        }
    }
}

/// Computes a slab of channels of the tiles of a panel.
struct MultiplyPanel<'a, F, const M: usize, const T: usize> {
    transform: PhantomData<F>,
    operands: &'a Operands<'a>,
    /// The channels whose weights are there, and which of them are computed.
    band: Range<usize>,
    slab: Range<usize>,
    panel: Panel,
    tile_rows: usize,
    input: &'a [Lanes],
    weights: &'a [f32],
    /// `[T²][slab][columns of the panel]`.
    products: &'a mut [Lanes],
    output: DisjointMut<'a, Lanes>,
}

impl<F: Transform<M, T>, const M: usize, const T: usize> WithSimd for MultiplyPanel<'_, F, M, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.multiply(simd);
        self.transform_back(simd);
    }
}

impl<F: Transform<M, T>, const M: usize, const T: usize> MultiplyPanel<'_, F, M, T> {
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S) {
        let inputs = self.operands.map.inputs;
        let columns = self.panel.columns;
        let size = inputs * columns;
        let input = &self.input[self.panel.start * inputs * T * T..][..T * T * size];
        let weights = &self.weights[..T * T * self.band.len() * inputs];
        // In f32, how far the weights are from one channel of the output to the next, and from one of the input.
        let (line, term) = match self.operands.map.direction {
            Direction::Forward => (inputs, 1),
            Direction::Backward => (1, self.band.len()),
        };
        let products = DisjointMut::new(&mut self.products[..T * T * self.slab.len() * columns]);
        for position in 0..T * T {
            for (row, rows) in tile::pieces(self.slab.len(), self.tile_rows) {
                let left = position * self.band.len() * inputs + (self.slab.start + row) * line;
                let target = (position * self.slab.len() + row) * columns;
                let sum = Sum {
                    parts: &[Part { left: 0, right: 0 }],
                    depth: inputs,
                    left: Operand { start: weights.as_ptr().wrapping_add(left), line, term },
                    right: Operand {
                        start: input[position * size..].as_ptr().cast(),
                        line: LANES,
                        term: columns * LANES,
                    },
                    target: tile::Target {
                        start: products.pointer(target).cast(),
                        row: columns * LANES,
                        column: LANES,
                    },
                };
                let finish = Finish::Sums(Store::Replace);
                // SAFETY: the slices above hold the panel's input, the band's weights and the slab's products.
                unsafe { tile::compute::<Scalars, S>(simd, (rows, columns), &sum, finish) };
            }
        }
    }

    #[inline(always)]
    fn transform_back<S: Simd>(&mut self, simd: S) {
        let Operands { map, bias, activation, .. } = *self.operands;
        let (columns, plane) = (self.panel.columns, map.result.plane());
        for column in 0..columns {
            let window = map.result.window(self.panel.first + self.panel.start + column);
            for row in 0..self.slab.len() {
                let channel = self.band.start + self.slab.start + row;
                let bias = simd.splat(bias.map_or(0.0, |bias| bias[channel]));
                let start = (window.block * map.outputs + channel) * plane;
                let products = &self.products[row * columns + column..];
                let position = self.slab.len() * columns;
                along_both::<F::Output, S, T, M>(
                    simd,
                    |row, column| simd.load(&products[(row * T + column) * position].0),
                    |at, value| {
                        if let Some(pixel) = window.pixel(at / M, at % M) {
                            // SAFETY: each pixel of a channel lies in one tile, and each tile in one task.
                            let to = unsafe { self.output.slice(start + pixel, 1) };
                            simd.store(activation.apply(simd, simd.add(value, bias)), &mut to[0].0);
                        }
                    },
                );
            }
        }
    }
}
