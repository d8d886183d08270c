//! Depthwise convolution: each channel is convolved with its own kernel, so planes are independent of each other.
//!
//! A plane is computed region by region. Up to 9 weights of a region's taps, broadcast to vectors, stay in registers
//! while a pass goes over its pixels; a 3 × 3 kernel takes one pass. For the gradient of the weights it is their sums
//! over the plane that stay in registers. Every sum adds its terms in one order, that of the taps or of the pixels,
//! however many passes it takes.

#![allow(unsafe_code, reason = "the inner loops go without a check per tap")]

use rayon::prelude::*;

use super::geometry::Conv2dGeometry;
use super::region::{Region, regions};
use super::tile::Part;
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::{Activation, Lanes, Workspace, parallel::grain};

/// The most taps of one pass.
const MAX_TAPS: usize = 9;
/// How many columns are summed side by side, so that none waits for the last addition to its own sum.
const COLUMNS: usize = 4;
/// How many sums of weights' gradients are kept at a time for one plane.
const SUMS: usize = 32;
/// How many vectors of input and output a task should go over to be worth starting.
const TASK_VECTORS: usize = 512;

/// A depthwise convolution of one shape: as many groups as input and output channels.
#[derive(Clone, Debug)]
pub(super) struct Depthwise {
    geometry: Conv2dGeometry,
    forward: Vec<Region>,
    backward: Vec<Region>,
}

/// Runs `$pass` with the slice `$parts` as an array of its length.
macro_rules! with_taps {
    ($simd:ident, $parts:ident, $pass:expr, $($taps:literal)+) => {
        match $parts.len() {
            $($taps => {
                let $parts: [Part; $taps] = $parts.try_into().expect("the slice has this length");
                $simd.vectorize($pass)
            })+
            taps => unreachable!("no pass has {taps} taps"),
        }
    };
}

impl Depthwise {
    /// A plan for `geometry`, or none if its groups hold more than one channel, or if there is but one group.
    pub(super) fn new(geometry: &Conv2dGeometry) -> Option<Self> {
        let Conv2dGeometry { groups, in_channels, out_channels, in_width, .. } = *geometry;
        let axes = [geometry.vertical(), geometry.horizontal()];
        (groups > 1 && in_channels == groups && out_channels == groups).then(|| Self {
            geometry: *geometry,
            forward: regions(geometry, 1, in_width, axes.map(|axis| axis.forward_runs())),
            backward: regions(geometry, 1, axes[1].output, axes.map(|axis| axis.backward_runs())),
        })
    }

    /// Computes `y = activation(w * x + bias)`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for, as do the gradients below.
    pub(super) fn forward(
        &self,
        isa: Isa,
        x: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [Lanes],
    ) {
        let geometry = &self.geometry;
        assert_eq!(x.len(), geometry.input_len(), "length of the input");
        assert_eq!(y.len(), geometry.output_len(), "length of the output");
        let widths = [geometry.in_width, geometry.out_width()];
        self.convolve(isa, &self.forward, widths, x, weights, bias, activation, y);
    }

    /// Overwrites `dx` with the gradient of the input.
    pub(super) fn backward_input(&self, isa: Isa, dy: &[Lanes], weights: &[f32], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        assert_eq!(dx.len(), geometry.input_len(), "length of the input's gradient");
        let widths = [geometry.out_width(), geometry.in_width];
        self.convolve(isa, &self.backward, widths, dy, weights, None, Activation::None, dx);
    }

    /// Convolves planes of `input`, whose rows have `widths[0]` pixels, into planes of `output`, whose rows have
    /// `widths[1]`.
    #[expect(clippy::too_many_arguments, reason = "each is one operand of the formula")]
    fn convolve(
        &self,
        isa: Isa,
        regions: &[Region],
        widths: [usize; 2],
        input: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        output: &mut [Lanes],
    ) {
        let Conv2dGeometry { groups, .. } = self.geometry;
        assert_eq!(weights.len(), self.geometry.weights_len(), "length of the weights");
        assert!(bias.is_none_or(|bias| bias.len() == groups), "the bias needs a value per channel");
        let taps = self.geometry.taps();
        let planes = crate::lanes::blocks(self.geometry.batch) * groups;
        let [input_plane, output_plane] = [input.len(), output.len()].map(|length| length / planes.max(1));
        if output_plane == 0 {
            return;
        }
        let grain = grain().max(TASK_VECTORS / (input_plane + output_plane));
        output.par_chunks_mut(output_plane).with_min_len(grain).enumerate().for_each(|(plane, output)| {
            let channel = plane % groups;
            isa.dispatch(Plane {
                regions,
                widths,
                input: &input[plane * input_plane..][..input_plane],
                weights: &weights[channel * taps..][..taps],
                bias: bias.map_or(0.0, |bias| bias[channel]),
                activation,
                output,
            });
        });
    }

    /// Overwrites `dw` with the gradient of the weights, given that of the output, which must be zero in padding lanes.
    pub(super) fn backward_weights(
        &self,
        isa: Isa,
        x: &[Lanes],
        dy: &[Lanes],
        dw: &mut [f32],
        workspace: &mut Workspace,
    ) {
        let geometry = &self.geometry;
        assert_eq!(x.len(), geometry.input_len(), "length of the input");
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        assert_eq!(dw.len(), geometry.weights_len(), "length of the weights' gradient");
        let (taps, length) = (geometry.taps(), dw.len());
        let blocks = crate::lanes::blocks(geometry.batch);
        let planes = blocks * geometry.groups;
        let [input_plane, output_plane] = [x.len(), dy.len()].map(|length| length / planes.max(1));
        let (_, partial) = workspace.buffers(0, blocks * length);
        let grain = grain().max(TASK_VECTORS / (input_plane + output_plane).max(1));
        partial.par_chunks_mut(taps).with_min_len(grain).enumerate().for_each(|(plane, dw)| {
            isa.dispatch(PlaneGradient {
                regions: &self.forward,
                widths: [geometry.in_width, geometry.out_width()],
                x: &x[plane * input_plane..][..input_plane],
                dy: &dy[plane * output_plane..][..output_plane],
                dw,
            });
        });
        for (at, dw) in dw.iter_mut().enumerate() {
            *dw = partial.iter().skip(at).step_by(length).sum();
        }
    }
}

/// One plane's convolution.
struct Plane<'a> {
    regions: &'a [Region],
    widths: [usize; 2],
    input: &'a [Lanes],
    weights: &'a [f32],
    bias: f32,
    activation: Activation,
    output: &'a mut [Lanes],
}

/// Where the sums of a pass begin.
#[derive(Clone, Copy)]
enum Start {
    Bias(f32),
    EarlierPass,
}

impl WithSimd for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for region in self.regions {
            // A region that lies on the padding alone still takes one pass, for its bias.
            for pass in 0..region.parts.len().div_ceil(MAX_TAPS).max(1) {
                let rest = &region.parts[pass * MAX_TAPS..];
                let start = if pass == 0 { Start::Bias(self.bias) } else { Start::EarlierPass };
                let last = rest.len() <= MAX_TAPS;
                let activation = if last { self.activation } else { Activation::None };
                let parts = &rest[..rest.len().min(MAX_TAPS)];
                with_taps!(simd, parts, Pass {
                    parts,
                    region,
                    widths: self.widths,
                    input: self.input,
                    weights: self.weights,
                    start,
                    activation,
                    output: &mut *self.output,
                }, 0 1 2 3 4 5 6 7 8 9);
            }
        }
    }
}

/// Some taps of one region of one plane.
struct Pass<'a, const TAPS: usize> {
    parts: [Part; TAPS],
    region: &'a Region,
    widths: [usize; 2],
    input: &'a [Lanes],
    weights: &'a [f32],
    start: Start,
    activation: Activation,
    output: &'a mut [Lanes],
}

impl<const TAPS: usize> WithSimd for Pass<'_, TAPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Region { rows, columns, .. } = self.region;
        let mut weights = [simd.zero(); TAPS];
        for (weight, part) in weights.iter_mut().zip(&self.parts) {
            *weight = simd.splat(self.weights[part.left]);
        }
        let taps = Taps::new(self.region, self.parts, self.widths, self.input, self.output);
        let (input, output) = (self.input.as_ptr(), self.output.as_mut_ptr());
        for row in 0..rows.count {
            let (from, to) = taps.row(row);
            let (mut from, mut to) = (input.wrapping_add(from), output.wrapping_add(to));
            let mut left = columns.count;
            // SAFETY: `Taps::new` checked that all pixels of the region and all that they read lie in the planes.
            unsafe {
                while left >= COLUMNS {
                    self.sum_columns::<S, COLUMNS>(simd, &weights, &taps.offsets, from, to);
                    from = from.wrapping_add(COLUMNS * columns.source_step);
                    to = to.wrapping_add(COLUMNS * columns.step);
                    left -= COLUMNS;
                }
                while left > 0 {
                    self.sum_columns::<S, 1>(simd, &weights, &taps.offsets, from, to);
                    from = from.wrapping_add(columns.source_step);
                    to = to.wrapping_add(columns.step);
                    left -= 1;
                }
            }
        }
    }
}

impl<const TAPS: usize> Pass<'_, TAPS> {
    /// Computes `COUNT` neighbouring columns.
    ///
    /// # Safety
    ///
    /// For each of the columns, `to` must address a vector that nobody else reads or writes, and `from` at each of the
    /// offsets a vector of the input.
    #[inline(always)]
    unsafe fn sum_columns<S: Simd, const COUNT: usize>(
        &self,
        simd: S,
        weights: &[S::Vector; TAPS],
        offsets: &[usize; TAPS],
        from: *const Lanes,
        to: *mut Lanes,
    ) {
        let columns = &self.region.columns;
        let mut sums = [simd.zero(); COUNT];
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum = match self.start {
                Start::Bias(bias) => simd.splat(bias),
                // SAFETY: the caller's promise.
                Start::EarlierPass => simd.load(unsafe { &(*to.add(column * columns.step)).0 }),
            };
        }
        for (weight, offset) in weights.iter().zip(offsets) {
            for (column, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let source = unsafe { &(*from.add(offset + column * columns.source_step)).0 };
                *sum = simd.mul_add(*weight, simd.load(source), *sum);
            }
        }
        for (column, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            let target = unsafe { &mut (*to.add(column * columns.step)).0 };
            simd.store(self.activation.apply(simd, *sum), target);
        }
    }
}

/// Where some taps of a region read a plane, and where the region's pixels lie in another.
struct Taps<'a, const TAPS: usize> {
    region: &'a Region,
    widths: [usize; 2],
    offsets: [usize; TAPS],
}

impl<'a, const TAPS: usize> Taps<'a, TAPS> {
    /// # Panics
    ///
    /// Panics if a pixel of the region does not lie in `output`, or what one of the taps reads for it not in `input`.
    #[inline(always)]
    fn new(
        region: &'a Region,
        parts: [Part; TAPS],
        widths: [usize; 2],
        input: &[Lanes],
        output: &[Lanes],
    ) -> Self {
        let taps = Self { region, widths, offsets: parts.map(|part| part.right / LANES) };
        let Region { rows, columns, .. } = region;
        let (from, to) = taps.row(rows.count - 1);
        let from = from + (columns.count - 1) * columns.source_step;
        let to = to + (columns.count - 1) * columns.step;
        assert!(to < output.len(), "the region lies past the plane's end");
        assert!(
            taps.offsets.iter().all(|offset| from + offset < input.len()),
            "a tap lies past the plane's end"
        );
        taps
    }

    /// How far the inputs of row `row` lie behind those of the first, and the place of its first pixel.
    #[inline(always)]
    fn row(&self, row: usize) -> (usize, usize) {
        let Region { rows, columns, .. } = self.region;
        let to = (rows.first + row * rows.step) * self.widths[1] + columns.first;
        (row * rows.source_step * self.widths[0], to)
    }
}

/// One plane's gradient of the weights.
struct PlaneGradient<'a> {
    regions: &'a [Region],
    widths: [usize; 2],
    x: &'a [Lanes],
    dy: &'a [Lanes],
    dw: &'a mut [f32],
}

impl WithSimd for PlaneGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let most = MAX_TAPS.min(S::REGISTERS - 2);
        for (n, dw) in self.dw.chunks_mut(SUMS).enumerate() {
            let mut sums = [Lanes::ZERO; SUMS];
            let first = n * SUMS;
            for region in self.regions {
                let begin = region.parts.partition_point(|part| part.left < first);
                let end = region.parts.partition_point(|part| part.left < first + SUMS);
                for parts in region.parts[begin..end].chunks(most) {
                    with_taps!(simd, parts, GradientPass {
                        parts,
                        region,
                        widths: self.widths,
                        x: self.x,
                        dy: self.dy,
                        first,
                        sums: &mut sums,
                    }, 1 2 3 4 5 6 7 8 9);
                }
            }
            for (dw, sum) in dw.iter_mut().zip(&sums) {
                *dw = simd.sum(simd.load(&sum.0));
            }
        }
    }
}

/// Some taps of one region of one plane's gradient; `sums` begins at tap `first`.
struct GradientPass<'a, const TAPS: usize> {
    parts: [Part; TAPS],
    region: &'a Region,
    widths: [usize; 2],
    x: &'a [Lanes],
    dy: &'a [Lanes],
    first: usize,
    sums: &'a mut [Lanes; SUMS],
}

impl<const TAPS: usize> WithSimd for GradientPass<'_, TAPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Region { rows, columns, .. } = self.region;
        let mut sums = [simd.zero(); TAPS];
        for (sum, part) in sums.iter_mut().zip(&self.parts) {
            *sum = simd.load(&self.sums[part.left - self.first].0);
        }
        let taps = Taps::new(self.region, self.parts, self.widths, self.x, self.dy);
        for row in 0..rows.count {
            let (from, to) = taps.row(row);
            for column in 0..columns.count {
                // SAFETY: `Taps::new` checked that all pixels of the region and all that they read lie in the planes.
                let (sources, dy) = unsafe {
                    let from = self.x.as_ptr().add(from + column * columns.source_step);
                    let to = self.dy.as_ptr().add(to + column * columns.step);
                    (taps.offsets.map(|offset| &(*from.add(offset)).0), &(*to).0)
                };
                let dy = simd.load(dy);
                for (sum, source) in sums.iter_mut().zip(sources) {
                    *sum = simd.mul_add(dy, simd.load(source), *sum);
                }
            }
        }
        for (sum, part) in sums.iter().zip(self.parts) {
            simd.store(*sum, &mut self.sums[part.left - self.first].0);
        }
    }
}
