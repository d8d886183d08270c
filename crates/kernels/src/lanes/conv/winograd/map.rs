//! From one activation to another: the forward pass and the gradient of the input.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::input::{self, TransformInput};
use super::output::TransformOutput;
use super::product::{Product, Weights};
use super::share::{share, workers};
use super::taps::{Direction, TransformTaps};
use super::tiling::Tiling;
use super::transform::{F2, F4, Transform};
use super::{WinogradTile, position_step};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::conv::tile;
use crate::lanes::{
    Activation, Lanes, Workspace,
    parallel::{DisjointMut, grain},
};

/// How many bytes of transformed input are kept at a time where weights are many.
const INPUT_BYTES: usize = 6 << 20;
/// How many bytes of transformed weights are kept at a time where weights are many.
const WEIGHT_BYTES: usize = 2 << 20;
/// Transformed weights of at most this size are kept whole, and read again for every panel.
const WHOLE_WEIGHT_BYTES: usize = 10 << 20;
/// Channels per task, so that the sums of a panel stay in a second-level cache.
const TASK_CHANNELS: usize = 32;
/// The most columns of a panel, so that its input at one position stays close to the registers.
const PANEL_COLUMNS: usize = 3;

/// A convolution of one shape, or its adjoint.
#[derive(Clone, Debug)]
pub(in crate::lanes::conv) struct WinogradMap {
    tile: WinogradTile,
    tiling: Tiling,
}

impl WinogradMap {
    /// `y = w * x`.
    pub(in crate::lanes::conv) fn forward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        Self { tile, tiling: Tiling::forward(geometry, tile) }
    }

    /// `dx = wᵀ * dy`.
    pub(in crate::lanes::conv) fn backward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        Self { tile, tiling: Tiling::backward(geometry, tile) }
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
        self.tiling.check(input, weights, bias, output);
        let operands = Operands { map: self, isa, input, weights, bias, activation };
        match self.tile {
            WinogradTile::Two => operands.compute::<F2, 2, 4>(output, workspace),
            WinogradTile::Four => operands.compute::<F4, 4, 6>(output, workspace),
        }
    }

    /// How many tiles have `INPUT_BYTES` of transformed input.
    fn chunk_columns(&self) -> usize {
        let column = self.tile.positions() * self.tiling.inputs * size_of::<Lanes>();
        (INPUT_BYTES / column.max(1)).clamp(1, self.tiling.columns().max(1))
    }

    /// How many channels of the output have `WEIGHT_BYTES` of transformed weights.
    fn band_channels(&self) -> usize {
        let channel = self.tile.positions() * self.tiling.inputs * size_of::<f32>();
        let channels = WEIGHT_BYTES / channel.max(1) / TASK_CHANNELS * TASK_CHANNELS;
        channels.max(TASK_CHANNELS).min(self.tiling.outputs)
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
        let Tiling { inputs, outputs, .. } = self.map.tiling;
        let columns = self.map.tiling.columns();
        let tile = self.isa.dispatch(ChooseTile { rows: outputs.min(TASK_CHANNELS), columns });
        let panels = Panels { first: 0, columns, most: tile.1 };
        let weights = T * T * outputs * inputs * size_of::<f32>();
        let output = DisjointMut::new(output);
        if weights <= WHOLE_WEIGHT_BYTES && panels.count() >= 4 * workers() {
            self.panel_by_panel::<F, M, T>(panels, tile.0, output, workspace);
        } else {
            self.position_by_position::<F, M, T>(tile, output, workspace);
        }
    }

    /// Gives each thread whole panels, whose transformed input and products stay in its cache.
    fn panel_by_panel<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        panels: Panels,
        tile_rows: usize,
        output: DisjointMut<Lanes>,
        workspace: &mut Workspace,
    ) {
        let Tiling { inputs, outputs, .. } = self.map.tiling;
        let weights_step = self.weights_step(outputs);
        let input_length = T * T * position_step(inputs * panels.most);
        let scratch_length = input_length + T * T * position_step(TASK_CHANNELS * panels.most);
        let (buffer, _) = workspace.buffers(T * T * weights_step + workers() * scratch_length, 0);
        let (weights, scratch) = buffer.split_at_mut(T * T * weights_step);
        self.transform_weights::<F, M, T>(0..outputs, weights);
        share(scratch, scratch_length, panels.count(), |n, scratch| {
            let panel = panels.get(n);
            let (input, sums) = scratch.split_at_mut(input_length);
            let input_step = position_step(inputs * panel.columns);
            self.transform_input::<F, M, T>(panel, 0..inputs, DisjointMut::new(input), 0, input_step);
            for channel in (0..outputs).step_by(TASK_CHANNELS) {
                let channels = channel..outputs.min(channel + TASK_CHANNELS);
                let step = position_step(channels.len() * panel.columns);
                let target = DisjointMut::new(&mut *sums);
                for position in 0..T * T {
                    self.isa.dispatch(Product {
                        depth: inputs,
                        tile_rows,
                        rows: channels.clone(),
                        weights: self.weights_at(position, weights_step, outputs, weights),
                        columns: panel.columns,
                        input: &input[position * input_step..],
                        target,
                        start: position * step,
                        row: panel.columns,
                    });
                }
                self.transform_output::<F, M, T>(panel, channels, sums, panel.columns, step, output);
            }
        });
    }

    /// Works on all columns of a chunk and all channels of a band at one position after the other, so that what is
    /// read again stays in a cache.
    fn position_by_position<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        (tile_rows, most): tile::Shape,
        output: DisjointMut<Lanes>,
        workspace: &mut Workspace,
    ) {
        let Tiling { inputs, outputs, .. } = self.map.tiling;
        let (columns, chunk, band) =
            (self.map.tiling.columns(), self.map.chunk_columns(), self.map.band_channels());
        let lengths = [position_step(inputs * chunk), self.weights_step(band), position_step(band * chunk)]
            .map(|step| T * T * step);
        let (buffer, _) = workspace.buffers(lengths.iter().sum(), 0);
        let (input, buffer) = buffer.split_at_mut(lengths[0]);
        let (weights, sums) = buffer.split_at_mut(lengths[1]);
        for first in (0..columns).step_by(chunk) {
            let panels = Panels { first, columns: chunk.min(columns - first), most };
            let input_step = position_step(inputs * panels.columns);
            let target = DisjointMut::new(&mut *input);
            tasks(panels.count(), inputs, |n, channels| {
                let panel = panels.get(n);
                let start = (panel.first - first) * inputs;
                self.transform_input::<F, M, T>(panel, channels, target, start, input_step);
            });
            for channel in (0..outputs).step_by(band) {
                let channels = channel..outputs.min(channel + band);
                if first == 0 || channels.len() < outputs {
                    self.transform_weights::<F, M, T>(channels.clone(), weights);
                }
                let weights_step = self.weights_step(channels.len());
                let step = position_step(channels.len() * panels.columns);
                let target = DisjointMut::new(&mut *sums);
                tasks(T * T, channels.len(), |position, rows| {
                    for n in 0..panels.count() {
                        let panel = panels.get(n);
                        let column = panel.first - first;
                        self.isa.dispatch(Product {
                            depth: inputs,
                            tile_rows,
                            weights: self.weights_at(position, weights_step, channels.len(), weights),
                            columns: panel.columns,
                            input: &input[position * input_step + column * inputs..],
                            target,
                            start: position * step + rows.start * panels.columns + column,
                            row: panels.columns,
                            rows: rows.clone(),
                        });
                    }
                });
                let sums = &*sums;
                tasks(panels.count(), channels.len(), |n, rows| {
                    let panel = panels.get(n);
                    let sums = &sums[rows.start * panels.columns + panel.first - first..];
                    let channels = channel + rows.start..channel + rows.end;
                    self.transform_output::<F, M, T>(panel, channels, sums, panels.columns, step, output);
                });
            }
        }
    }

    /// Transforms some channels of the input of a panel, to `[inputs][columns]` at each position.
    fn transform_input<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        panel: Panel,
        channels: Range<usize>,
        target: DisjointMut<Lanes>,
        start: usize,
        position: usize,
    ) {
        self.isa.dispatch(TransformInput::<F, M, T> {
            transform: PhantomData,
            tiles: &self.map.tiling.source,
            columns: panel.first..panel.first + panel.columns,
            input: self.input,
            all_channels: self.map.tiling.inputs,
            target: input::Target {
                lanes: target,
                start: start + channels.start * panel.columns,
                channel: panel.columns,
                position,
            },
            channels,
        });
    }

    /// Computes the output of some channels of a panel.
    fn transform_output<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        panel: Panel,
        channels: Range<usize>,
        sums: &[Lanes],
        channel: usize,
        position: usize,
        output: DisjointMut<Lanes>,
    ) {
        self.isa.dispatch(TransformOutput::<F, M, T> {
            transform: PhantomData,
            tiles: &self.map.tiling.result,
            columns: panel.first..panel.first + panel.columns,
            channels,
            all_channels: self.map.tiling.outputs,
            sums,
            channel,
            position,
            bias: self.bias,
            activation: self.activation,
            output,
        });
    }

    /// The transformed weights at a position, of `channels` channels of the output.
    fn weights_at<'a>(
        &self,
        position: usize,
        step: usize,
        channels: usize,
        weights: &'a [Lanes],
    ) -> Weights<'a> {
        let (line, term) = match self.map.tiling.direction {
            Direction::Forward => (self.map.tiling.inputs.next_multiple_of(LANES), 1),
            Direction::Backward => (1, channels.next_multiple_of(LANES)),
        };
        Weights { values: &weights[position * step..][..step], line, term }
    }

    /// The channels of both sides of transformed weights `[T²][o][i]` for some channels of the output.
    fn weights_sides(&self, channels: Range<usize>) -> [Range<usize>; 2] {
        match self.map.tiling.direction {
            Direction::Forward => [channels, 0..self.map.tiling.inputs],
            Direction::Backward => [0..self.map.tiling.inputs, channels],
        }
    }

    /// Vectors from one position to the next of the transformed weights for `channels` of the output.
    fn weights_step(&self, channels: usize) -> usize {
        let [outer, inner] = self.weights_sides(0..channels);
        position_step(outer.len() * inner.len().div_ceil(LANES))
    }

    /// Transforms the weights of some channels of the output to `[T²][o][i]`, in whole vectors of i.
    fn transform_weights<F: Transform<M, T>, const M: usize, const T: usize>(
        &self,
        channels: Range<usize>,
        target: &mut [Lanes],
    ) {
        let position = self.weights_step(channels.len());
        let [outer, inner] = self.weights_sides(channels);
        let row = match self.map.tiling.direction {
            Direction::Forward => self.map.tiling.inputs,
            Direction::Backward => self.map.tiling.outputs,
        };
        let target = DisjointMut::new(target);
        outer.clone().into_par_iter().with_min_len(grain()).for_each(|n| {
            self.isa.dispatch(TransformTaps::<F, M, T> {
                transform: PhantomData,
                direction: self.map.tiling.direction,
                weights: &self.weights[n * 9 * row..][..9 * row],
                row,
                channels: inner.clone(),
                target,
                start: (n - outer.start) * inner.len().div_ceil(LANES),
                position,
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

/// Columns of a chunk that are worked on together.
#[derive(Clone, Copy, Debug)]
struct Panel {
    /// The first tile among those of all blocks.
    first: usize,
    columns: usize,
}

impl Panels {
    fn count(&self) -> usize {
        self.columns.div_ceil(self.most)
    }

    fn get(&self, n: usize) -> Panel {
        let start = n * self.columns / self.count();
        let end = (n + 1) * self.columns / self.count();
        Panel { first: self.first + start, columns: end - start }
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
        let rows = tile::best_rows::<S>(self.rows, self.columns.min(PANEL_COLUMNS));
        (rows, tile::columns_for::<S>(rows).min(PANEL_COLUMNS))
    }
}

/// Runs a task for each of `count` and each slab of `channels`.
fn tasks(count: usize, channels: usize, work: impl Fn(usize, Range<usize>) + Sync + Send) {
    let slabs = channels.div_ceil(TASK_CHANNELS);
    (0..count * slabs).into_par_iter().with_min_len(grain()).for_each(|task| {
        let channel = task % slabs * TASK_CHANNELS;
        work(task / slabs, channel..channels.min(channel + TASK_CHANNELS));
    });
}
