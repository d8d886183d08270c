//! Gradient of a convolution's weights; weights with their channels turned around.
//!
//! `dw[o][tap][i] = Σ dy[o][pixel] · x[i][pixel at tap]` over images and pixels. Two methods, chosen by the shape:
//! [`Method::ReduceLanes`] multiplies vectors of 16 images and adds their lanes up at the end;
//! [`Method::TransposeInput`] first turns the input around so that 16 input channels lie in a vector, which needs no
//! adding up and reads fewer vectors, and pays where there are many channels on maps that are not large.
//!
//! Each task goes over its rows of output pixels in chunks. Sums of a chunk are kept in registers, those of a span
//! of chunks in a small buffer, and spans are added to the gradient, so long sums are added up in stages.

#![allow(unsafe_code, reason = "register tiles stride through activations and gradients by address")]

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Axis, Conv2dGeometry};
use super::tile::{self, Finish, Operand, Part, Repeat, Scalars, Store, Sum, Target, Vectors};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::{
    Lanes, Workspace, blocks,
    parallel::{DisjointMut, grain, tasks_of, with_scratch},
};

/// How many bytes a tile goes over once per tap: most of a first-level cache.
const CHUNK_BYTES: usize = 24 << 10;
/// How many bytes all tiles of a task go over: a share of a last-level cache.
const SPAN_BYTES: usize = 2 << 20;
/// How many tasks there should be, whatever the number of threads.
const TASKS: usize = 32;
/// How many multiply-adds of vectors a task needs to be worth starting.
const TASK_WORK: usize = 1 << 15;
/// Output channels per task, so that their gradients stay in a second-level cache.
const TASK_CHANNELS: usize = 32;

/// How the gradient is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    ReduceLanes,
    TransposeInput,
}

/// The gradient of weights of one shape.
#[derive(Clone, Debug)]
pub(super) struct WeightGradient {
    geometry: Conv2dGeometry,
    vertical: Axis,
    horizontal: Axis,
    method: Method,
    /// The rows of output pixels, numbered through all blocks, fall into parts with their own sums, each of which falls
    /// into spans.
    splits: Vec<Vec<Span>>,
    tasks: Vec<Task>,
}

/// What one task computes: the gradients of some channels of a group over one part of the rows.
#[derive(Clone, Debug)]
struct Task {
    split: usize,
    group: usize,
    channels: Range<usize>,
}

/// Where the rows of a span begin in both operands: those of each chunk, by tap.
#[derive(Clone, Debug, Default)]
struct Span {
    parts: Vec<Part>,
    ends: Vec<usize>,
}

impl WeightGradient {
    pub(super) fn new(geometry: &Conv2dGeometry) -> Self {
        let (vertical, horizontal) = (geometry.vertical(), geometry.horizontal());
        // On larger maps turning the input around costs more than it saves, as measured on Zen 4.
        let small_map = vertical.output * horizontal.output <= 256;
        let transpose = geometry.groups == 1
            && geometry.stride[1] == 1
            && geometry.in_channels.is_multiple_of(LANES)
            && small_map;
        let units = blocks(geometry.batch) * vertical.output;
        let work = units * horizontal.output * geometry.weights_len();
        let channels = geometry.group_out_channels();
        let channel_tasks = geometry.groups * channels.div_ceil(TASK_CHANNELS);
        let splits = tasks_of(TASKS).div_ceil(channel_tasks).min(work / TASK_WORK).min(units).max(1);
        let mut gradient = Self {
            geometry: *geometry,
            vertical,
            horizontal,
            method: if transpose { Method::TransposeInput } else { Method::ReduceLanes },
            splits: Vec::new(),
            tasks: Vec::new(),
        };
        if units == 0 || horizontal.output == 0 || geometry.weights_len() == 0 {
            return gradient;
        }
        for (split, (unit, count)) in tile::pieces(units, units.div_ceil(splits)).enumerate() {
            gradient.splits.push(gradient.spans(unit..unit + count));
            for group in 0..geometry.groups {
                for channel in (0..channels).step_by(TASK_CHANNELS) {
                    let channels = channel..channels.min(channel + TASK_CHANNELS);
                    gradient.tasks.push(Task { split, group, channels });
                }
            }
        }
        gradient
    }

    /// Overwrites `dw` with the gradient.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for.
    pub(super) fn run(&self, isa: Isa, x: &[Lanes], dy: &[Lanes], dw: &mut [f32], workspace: &mut Workspace) {
        let geometry = &self.geometry;
        assert_eq!(x.len(), geometry.input_len(), "length of the input");
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        assert_eq!(dw.len(), geometry.weights_len(), "length of the weights' gradient");
        if self.tasks.is_empty() {
            return dw.fill(0.0);
        }
        let transposed = match self.method {
            Method::ReduceLanes => 0,
            Method::TransposeInput => x.len(),
        };
        let (length, splits) = (dw.len(), self.splits.len());
        let partial = if splits == 1 { 0 } else { splits * length };
        let (transposed, partial) = workspace.buffers(transposed, partial);
        let right = match self.method {
            Method::ReduceLanes => x,
            Method::TransposeInput => {
                transpose_input(geometry, x, transposed);
                transposed
            }
        };
        let target = DisjointMut::new(if splits == 1 { &mut *dw } else { &mut *partial });
        self.tasks.par_iter().with_min_len(grain()).for_each(|task| {
            let Task { split, group, channels } = task.clone();
            let (spans, offset) = (&self.splits[split][..], split * length);
            isa.dispatch(GradientTask { gradient: self, group, channels, spans, right, dy, target, offset });
        });
        if splits > 1 {
            dw.par_iter_mut().with_min_len(grain().max(1024)).enumerate().for_each(|(at, dw)| {
                *dw = partial.iter().skip(at).step_by(length).sum();
            });
        }
    }

    /// The spans of the rows `units` of output pixels.
    fn spans(&self, units: Range<usize>) -> Vec<Span> {
        let geometry = &self.geometry;
        let (channels, depth) =
            (geometry.group_out_channels().min(TASK_CHANNELS), geometry.group_in_channels());
        let span = self.units_within(SPAN_BYTES, channels, depth);
        let chunk = match self.method {
            Method::ReduceLanes => self.units_within(CHUNK_BYTES, channels.min(8), depth.min(3)),
            Method::TransposeInput => self.units_within(CHUNK_BYTES, channels.min(8), 3 * LANES),
        };
        let mut spans = Vec::new();
        for start in units.clone().step_by(span) {
            let units = start..units.end.min(start + span);
            let mut span = Span::default();
            for start in units.clone().step_by(chunk) {
                for tap in 0..geometry.taps() {
                    self.push_parts(start..units.end.min(start + chunk), tap, &mut span.parts);
                    span.ends.push(span.parts.len());
                }
            }
            spans.push(span);
        }
        spans
    }

    /// How many rows of output pixels of `left` channels, with the rows of `right` vectors that they read, fill `bytes`.
    fn units_within(&self, bytes: usize, left: usize, right: usize) -> usize {
        let right_row = right * self.geometry.in_width * self.vertical.stride();
        let row = left * self.horizontal.output + right_row;
        (bytes / (row * size_of::<Lanes>()).max(1)).max(1)
    }

    /// Adds to `parts` where the pixels of `units` begin in both operands, for those rows on which `tap` lies on the
    /// input.
    fn push_parts(&self, units: Range<usize>, tap: usize, parts: &mut Vec<Part>) {
        let geometry = &self.geometry;
        let Axis { input: in_height, output: out_height, .. } = self.vertical;
        let Axis { input: in_width, output: out_width, .. } = self.horizontal;
        let [tap_row, tap_column] = [tap / geometry.kernel[1], tap % geometry.kernel[1]];
        let valid_rows = self.vertical.outputs_of_tap(tap_row);
        let valid_columns = self.horizontal.outputs_of_tap(tap_column);
        if valid_columns.is_empty() {
            return;
        }
        let from_column = self.horizontal.source(valid_columns.start, tap_column);
        for unit in units {
            let (block, row) = (unit / out_height, unit % out_height);
            if !valid_rows.contains(&row) {
                continue;
            }
            let from_row = self.vertical.source(row, tap_row);
            let left = (block * geometry.out_channels * out_height + row) * out_width + valid_columns.start;
            let right = match self.method {
                Method::ReduceLanes => {
                    (block * geometry.in_channels * in_height + from_row) * in_width + from_column
                }
                Method::TransposeInput => ((block * in_height + from_row) * in_width + from_column) * LANES,
            };
            parts.push(Part { left: left * LANES, right: right * LANES });
        }
    }
}

/// Writes weights `[groups][o][taps][i]` as `[groups][i][taps][o]`.
pub(super) fn transpose(geometry: &Conv2dGeometry, weights: &[f32], transposed: &mut [f32]) {
    assert_eq!(weights.len(), geometry.weights_len(), "length of the weights");
    let (inputs, outputs) = (geometry.group_in_channels(), geometry.group_out_channels());
    let (taps, row) = (geometry.taps(), geometry.taps() * outputs);
    let group = (inputs * row).max(1);
    transposed.par_chunks_mut(group).with_min_len(grain()).zip(weights.par_chunks(group)).for_each(
        |(transposed, weights)| {
            transposed.par_chunks_mut(LANES * row).with_min_len(grain()).enumerate().for_each(|(n, rows)| {
                // Squares of 16 by 16 weights, so that whole cache lines are read and written.
                let height = rows.len() / row;
                for output in (0..outputs).step_by(LANES) {
                    let width = LANES.min(outputs - output);
                    for tap in 0..taps {
                        let mut square = [[0.0; LANES]; LANES];
                        for (at, line) in square[..width].iter_mut().enumerate() {
                            let from = ((output + at) * taps + tap) * inputs + n * LANES;
                            line[..height].copy_from_slice(&weights[from..from + height]);
                        }
                        for (at, row) in rows.chunks_exact_mut(row).enumerate() {
                            let to = &mut row[tap * outputs + output..][..width];
                            for (to, line) in to.iter_mut().zip(&square) {
                                *to = line[at];
                            }
                        }
                    }
                }
            });
        },
    );
}

/// Turns `[blocks][C][H][W]` around into `[C/16][blocks][H][W][16 images]` of vectors of 16 channels, for C a multiple
/// of 16.
fn transpose_input(geometry: &Conv2dGeometry, x: &[Lanes], transposed: &mut [Lanes]) {
    let plane = geometry.in_height * geometry.in_width;
    let blocks = blocks(geometry.batch);
    transposed.par_chunks_mut(plane * LANES).with_min_len(grain()).enumerate().for_each(|(n, to)| {
        let (vector, block) = (n / blocks, n % blocks);
        let first = (block * geometry.in_channels + vector * LANES) * plane;
        for (pixel, to) in to.chunks_exact_mut(LANES).enumerate() {
            for channel in 0..LANES {
                let from = &x[first + channel * plane + pixel];
                for (to, from) in to.iter_mut().zip(from.0) {
                    to.0[channel] = from;
                }
            }
        }
    });
}

struct GradientTask<'a> {
    gradient: &'a WeightGradient,
    group: usize,
    channels: Range<usize>,
    spans: &'a [Span],
    right: &'a [Lanes],
    dy: &'a [Lanes],
    target: DisjointMut<'a, f32>,
    offset: usize,
}

impl WithSimd for GradientTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.compute(simd);
    }
}

impl GradientTask<'_> {
    fn compute<S: Simd>(&self, simd: S) {
        let geometry = &self.gradient.geometry;
        let columns = match self.gradient.method {
            Method::ReduceLanes => geometry.group_in_channels(),
            Method::TransposeInput => geometry.group_in_channels() / LANES,
        };
        let tile_rows = tile::best_rows::<S>(self.channels.len(), columns);
        for (number, span) in self.spans.iter().enumerate() {
            let store = if number == 0 { Store::Replace } else { Store::Add };
            for (row, rows) in tile::pieces(self.channels.len(), tile_rows) {
                for (column, columns) in tile::pieces(columns, tile::columns_for::<S>(rows)) {
                    let tile = TileOfGradient { channel: self.channels.start + row, rows, column, columns };
                    with_scratch(geometry.taps() * rows * columns, |sums| {
                        self.sum_tile(simd, &tile, span, sums);
                        self.finish_tile(simd, &tile, sums, store);
                    });
                }
            }
        }
    }

    /// Sums a tile over a span into `sums` (`[taps][rows][columns]`).
    fn sum_tile<S: Simd>(&self, simd: S, tile: &TileOfGradient, span: &Span, sums: &mut [Lanes]) {
        let geometry = &self.gradient.geometry;
        let taps = geometry.taps();
        let (in_plane, out_plane) =
            (geometry.in_height * geometry.in_width, geometry.out_height() * geometry.out_width());
        let size = tile.rows * tile.columns;
        let sums = DisjointMut::new(sums);
        let first_row = (self.group * geometry.group_out_channels() + tile.channel) * out_plane * LANES;
        let dy = self.dy.as_ptr().cast::<f32>().wrapping_add(first_row);
        let right = self.right.as_ptr().cast::<f32>();
        let shape = (tile.rows, tile.columns);
        let mut start = 0;
        for (n, &end) in span.ends.iter().enumerate() {
            let parts = &span.parts[start..end];
            start = end;
            let target = Target {
                start: sums.pointer(n % taps * size).cast(),
                row: tile.columns * LANES,
                column: LANES,
            };
            let finish = Finish::Sums(if n < taps { Store::Replace } else { Store::Add });
            let run = self.gradient.horizontal.outputs_of_tap(n % taps % geometry.kernel[1]).len();
            let (dy_line, in_line) = (out_plane * LANES, in_plane * LANES);
            match self.gradient.method {
                Method::ReduceLanes => {
                    let channel = self.group * geometry.group_in_channels() + tile.column;
                    let start = right.wrapping_add(channel * in_line);
                    let term = self.gradient.horizontal.stride() * LANES;
                    let sum = Sum {
                        parts,
                        depth: run,
                        left: Operand { start: dy, line: dy_line, term: LANES },
                        right: Operand { start, line: in_line, term },
                        target,
                        repeat: Repeat::ONCE,
                    };
                    // SAFETY: `WeightGradient::run` checked the slices against the geometry, `parts` lists only
                    // pixels that lie on the input, and `sums` belongs to this task.
                    unsafe { tile::compute::<Vectors, S>(simd, shape, &sum, finish) };
                }
                Method::TransposeInput => {
                    let line = blocks(geometry.batch) * in_line * LANES;
                    let start = right.wrapping_add(tile.column * line);
                    let sum = Sum {
                        parts,
                        depth: run * LANES,
                        left: Operand { start: dy, line: dy_line, term: 1 },
                        right: Operand { start, line, term: LANES },
                        target,
                        repeat: Repeat::ONCE,
                    };
                    // SAFETY: as above; the transposed input has as many values as the input.
                    unsafe { tile::compute::<Scalars, S>(simd, shape, &sum, finish) };
                }
            }
        }
    }

    /// Moves a tile's sums to the gradient.
    fn finish_tile<S: Simd>(&self, simd: S, tile: &TileOfGradient, sums: &[Lanes], store: Store) {
        let geometry = &self.gradient.geometry;
        let depth = geometry.group_in_channels();
        let size = tile.rows * tile.columns;
        let (width, column) = match self.gradient.method {
            Method::ReduceLanes => (tile.columns, tile.column),
            Method::TransposeInput => (tile.columns * LANES, tile.column * LANES),
        };
        for row in 0..tile.rows {
            let channel = self.group * geometry.group_out_channels() + tile.channel + row;
            for tap in 0..geometry.taps() {
                let at = self.offset + (channel * geometry.taps() + tap) * depth + column;
                // SAFETY: tasks own disjoint channels and splits of the target.
                let to = unsafe { self.target.slice(at, width) };
                let sums = &sums[tap * size + row * tile.columns..][..tile.columns];
                match self.gradient.method {
                    Method::ReduceLanes => simd.vectorize(AddLanes { sums, to, store }),
                    Method::TransposeInput => simd.vectorize(AddVectors { sums, to, store }),
                }
            }
        }
    }
}

/// Which rows and columns of a group's gradient a tile covers; columns are input channels or vectors of them.
struct TileOfGradient {
    channel: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

struct AddLanes<'a> {
    sums: &'a [Lanes],
    to: &'a mut [f32],
    store: Store,
}

impl WithSimd for AddLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (sum, to) in self.sums.iter().zip(self.to) {
            let sum = simd.sum(simd.load(&sum.0));
            match self.store {
                Store::Add => *to += sum,
                Store::Replace => *to = sum,
            }
        }
    }
}

struct AddVectors<'a> {
    sums: &'a [Lanes],
    to: &'a mut [f32],
    store: Store,
}

impl WithSimd for AddVectors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (sum, to) in self.sums.iter().zip(self.to.as_chunks_mut::<LANES>().0) {
            let sum = simd.load(&sum.0);
            let sum = match self.store {
                Store::Add => simd.add(simd.load(to), sum),
                Store::Replace => sum,
            };
            simd.store(sum, to);
        }
    }
}
