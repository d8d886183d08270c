//! Convolution as a gather: each output pixel sums the taps that lie on the input.
//!
//! The same code serves the forward pass and, with channels swapped and taps found in the other direction, the
//! gradient of the input. Pixels that use the same taps form boxes of blocks × rows × columns; tiles run along the
//! axis of a box that wastes least. Taps on the padding are skipped, not multiplied by zero.

#![allow(unsafe_code, reason = "register tiles stride through activations and weights by address")]

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Conv2dGeometry, Run};
use super::region::{Region, regions};
use super::tile::{self, Finish, Operand, Repeat, Scalars, Sum, Target};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::{
    Activation, Lanes, blocks,
    parallel::{DisjointMut, grain, tasks_of},
};

/// How many bytes of input a task goes over again and again: about half of a second-level cache.
const CACHED_BYTES: usize = 512 << 10;

/// A gather of one shape.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    blocks: usize,
    groups: usize,
    group_inputs: usize,
    group_outputs: usize,
    input: [usize; 2],
    output: [usize; 2],
    halo: usize,
    taps: usize,
    regions: Vec<Region>,
    tasks: Vec<Task>,
}

/// The part of the output that one task computes.
#[derive(Clone, Debug)]
struct Task {
    group: usize,
    blocks: Range<usize>,
    rows: Range<usize>,
    channels: Range<usize>,
}

/// One axis of a box of pixels: its length, and the distances in f32 between neighbours in input and output.
#[derive(Clone, Copy, Debug)]
struct BoxAxis {
    length: usize,
    input: usize,
    output: usize,
}

impl Gather {
    /// `y = w * x`.
    pub(super) fn forward(geometry: &Conv2dGeometry) -> Self {
        let axes = [geometry.vertical(), geometry.horizontal()];
        let channels = [geometry.group_in_channels(), geometry.group_out_channels()];
        let sizes = [axes.map(|axis| axis.input), axes.map(|axis| axis.output)];
        Self::new(geometry, channels, sizes, axes.map(|axis| axis.forward_runs()))
    }

    /// `dx = wᵀ * dy`, on weights whose input and output channels have changed places.
    pub(super) fn backward(geometry: &Conv2dGeometry) -> Self {
        let axes = [geometry.vertical(), geometry.horizontal()];
        let channels = [geometry.group_out_channels(), geometry.group_in_channels()];
        let sizes = [axes.map(|axis| axis.output), axes.map(|axis| axis.input)];
        Self::new(geometry, channels, sizes, axes.map(|axis| axis.backward_runs()))
    }

    fn new(
        geometry: &Conv2dGeometry,
        [group_inputs, group_outputs]: [usize; 2],
        [input, output]: [[usize; 2]; 2],
        runs: [Vec<Run>; 2],
    ) -> Self {
        let mut gather = Self {
            blocks: blocks(geometry.batch),
            groups: geometry.groups,
            group_inputs,
            group_outputs,
            input,
            output,
            halo: geometry.dilation[0] * (geometry.kernel[0] - 1),
            taps: geometry.taps(),
            regions: regions(geometry, group_inputs, input[1], runs),
            tasks: Vec::new(),
        };
        gather.tasks = gather.tasks();
        gather
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Computes `activation(bias + gather)` into `output`; weights are `[channels of output][taps][channels of a group's
    /// input]`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for.
    pub(super) fn run(
        &self,
        isa: Isa,
        input: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        output: &mut [Lanes],
    ) {
        let channels = [self.group_inputs, self.group_outputs].map(|channels| channels * self.groups);
        assert_eq!(
            input.len(),
            self.blocks * channels[0] * self.input_plane(),
            "length of the gathered activation"
        );
        assert_eq!(output.len(), self.blocks * channels[1] * self.output_plane(), "length of the result");
        assert_eq!(weights.len(), channels[1] * self.taps * self.group_inputs, "length of the weights");
        assert!(bias.is_none_or(|bias| bias.len() == channels[1]), "the bias needs a value per channel");
        let output = DisjointMut::new(output);
        self.tasks.par_iter().with_min_len(grain()).for_each(|task| {
            isa.dispatch(GatherTask { gather: self, task, input, weights, bias, activation, output });
        });
    }

    /// The tasks: bands whose input stays in cache, split by channels where bands alone would leave threads idle.
    fn tasks(&self) -> Vec<Task> {
        let [height, _] = self.output;
        let row_bytes = (self.group_inputs * self.input[1] * size_of::<Lanes>()).max(1);
        let cached_rows = CACHED_BYTES / row_bytes;
        let (band_blocks, band_rows) = if cached_rows >= self.input[0] {
            (cached_rows / self.input[0].max(1), height)
        } else {
            (1, cached_rows.saturating_sub(self.halo) * height / self.input[0].max(1))
        };
        let (band_blocks, band_rows) = (band_blocks.max(1), band_rows.max(1));
        let bands = self.groups * self.blocks.div_ceil(band_blocks) * height.div_ceil(band_rows);
        let wanted = match rayon::current_num_threads() {
            1 => 1,
            threads => tasks_of(4 * threads),
        };
        let splits = wanted.div_ceil(bands.max(1)).min(self.group_outputs.div_ceil(8)).max(1);
        let band_channels = self.group_outputs.div_ceil(splits).next_multiple_of(8);

        let mut tasks = Vec::new();
        for group in 0..self.groups {
            for (block, blocks) in tile::pieces(self.blocks, band_blocks) {
                for (row, rows) in tile::pieces(height, band_rows) {
                    for channel in (0..self.group_outputs).step_by(band_channels) {
                        tasks.push(Task {
                            group,
                            blocks: block..block + blocks,
                            rows: row..row + rows,
                            channels: channel..self.group_outputs.min(channel + band_channels),
                        });
                    }
                }
            }
        }
        tasks
    }
}

struct GatherTask<'a> {
    gather: &'a Gather,
    task: &'a Task,
    input: &'a [Lanes],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    activation: Activation,
    output: DisjointMut<'a, Lanes>,
}

impl WithSimd for GatherTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.compute(simd);
    }
}

impl GatherTask<'_> {
    fn compute<S: Simd>(&self, simd: S) {
        let columns = self.gather.output[1].max(self.task.blocks.len());
        let tile_rows = tile::best_rows::<S>(self.task.channels.len(), columns);
        for (channel, rows) in tile::pieces(self.task.channels.len(), tile_rows) {
            let channel = self.task.channels.start + channel;
            for region in &self.gather.regions {
                self.compute_region(simd, region, channel, rows);
            }
        }
    }

    /// Computes `rows` channels from `channel` on of the task's part of `region`.
    fn compute_region<S: Simd>(&self, simd: S, region: &Region, channel: usize, rows: usize) {
        let Gather { groups, group_inputs, group_outputs, input, output, taps, .. } = *self.gather;
        let [input_plane, output_plane] = [self.gather.input_plane(), self.gather.output_plane()];
        let (skipped_rows, row_count) = region.rows.clip(self.task.rows.start, self.task.rows.end);
        let axes = [
            BoxAxis {
                length: self.task.blocks.len(),
                input: groups * group_inputs * input_plane * LANES,
                output: groups * group_outputs * output_plane * LANES,
            },
            BoxAxis {
                length: row_count,
                input: region.rows.source_step * input[1] * LANES,
                output: region.rows.step * output[1] * LANES,
            },
            BoxAxis {
                length: region.columns.count,
                input: region.columns.source_step * LANES,
                output: region.columns.step * LANES,
            },
        ];
        if axes.iter().any(|axis| axis.length == 0) {
            return;
        }
        let group = self.task.group;
        let first_input = axes[0].input * self.task.blocks.start
            + group * group_inputs * input_plane * LANES
            + axes[1].input * skipped_rows;
        let first_pixel = region.rows.first * output[1] + region.columns.first;
        let first_output = axes[0].output * self.task.blocks.start
            + ((group * group_outputs + channel) * output_plane + first_pixel) * LANES
            + axes[1].output * skipped_rows;
        let row = taps * group_inputs;
        let left = Operand {
            start: self.weights.as_ptr().wrapping_add((group * group_outputs + channel) * row),
            line: row,
            term: 1,
        };
        let bias = self.bias.map(|bias| bias[group * group_outputs + channel..].as_ptr());
        let finish = Finish::Activate { bias, activation: self.activation };

        let most = tile::columns_for::<S>(rows);
        let [outer, middle, along] = run_along(axes, most);
        let input = self.input.as_ptr().cast::<f32>();
        let output = self.output.pointer(0).cast::<f32>();
        for n in 0..outer.length {
            for m in 0..middle.length {
                for (start, columns) in tile::pieces(along.length, most) {
                    let from = first_input + n * outer.input + m * middle.input + start * along.input;
                    let to = first_output + n * outer.output + m * middle.output + start * along.output;
                    let right = Operand {
                        start: input.wrapping_add(from),
                        line: along.input,
                        term: input_plane * LANES,
                    };
                    let target = Target {
                        start: output.wrapping_add(to),
                        row: output_plane * LANES,
                        column: along.output,
                    };
                    let sum = Sum {
                        parts: &region.parts,
                        depth: group_inputs,
                        left,
                        right,
                        target,
                        repeat: Repeat::ONCE,
                    };
                    // SAFETY: `Gather::run` checked the slices against the shape, regions list only taps that lie
                    // on the input, and tasks own disjoint pixels and channels of the output.
                    unsafe { tile::compute::<Scalars, S>(simd, (rows, columns), &sum, finish) };
                }
            }
        }
    }
}

/// Orders the axes so that the last is the one along which tiles of at most `most` columns are fullest.
fn run_along([blocks, rows, columns]: [BoxAxis; 3], most: usize) -> [BoxAxis; 3] {
    let fullness = |axis: BoxAxis| axis.length * 1000 / axis.length.div_ceil(most);
    if fullness(columns) >= fullness(rows).max(fullness(blocks)) {
        [blocks, rows, columns]
    } else if fullness(rows) >= fullness(blocks) {
        [blocks, columns, rows]
    } else {
        [rows, columns, blocks]
    }
}
