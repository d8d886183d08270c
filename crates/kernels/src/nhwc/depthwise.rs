//! Depthwise convolution with as many outputs as inputs: channels in the lanes, several pixels in registers.

use super::Fused;
use super::conv::{fuse, in_parts};
use super::geometry::{Aligned, ConvShape, LANES};
use crate::cpu::{Isa, Simd, WithSimd};
use std::ops::Range;

/// A depthwise convolution, its weights packed as `[C/16][KH·KW][16]`.
#[derive(Debug, Clone)]
pub struct Depthwise {
    isa: Isa,
    shape: ConvShape,
    weights: Vec<Aligned<[f32; LANES]>>,
    bias: Vec<[f32; LANES]>,
    fused: Fused,
    /// Output columns whose whole kernel lies inside the image.
    inside: Range<usize>,
}

impl Depthwise {
    /// Packs `weights [C,KH,KW,1]` and `bias [C]` of a convolution with `C` input and output channels.
    #[must_use]
    pub fn new(isa: Isa, shape: ConvShape, weights: &[f32], bias: Option<&[f32]>, fused: Fused) -> Self {
        let channels = shape.output[2];
        assert_eq!(shape.input[2], channels, "channels");
        let taps = shape.kernel[0] * shape.kernel[1];
        let blocks = channels.div_ceil(LANES);
        let mut packed = vec![Aligned([0.0; LANES]); blocks * taps];
        let mut packed_bias = vec![[0.0; LANES]; blocks];
        for channel in 0..channels {
            let (block, lane) = (channel / LANES, channel % LANES);
            for tap in 0..taps {
                packed[block * taps + tap].0[lane] = weights[channel * taps + tap];
            }
            packed_bias[block][lane] = bias.map_or(0.0, |bias| bias[channel]);
        }
        let all = |column: usize| taps_inside(&shape, 1, column).len() == shape.kernel[1];
        let first = (0..shape.output[1]).find(|&column| all(column)).unwrap_or(0);
        let inside = first..first + (first..shape.output[1]).take_while(|&column| all(column)).count();
        Self { isa, shape, weights: packed, bias: packed_bias, fused, inside }
    }

    /// Bytes of the packed weights and the bias.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Convolves `x [N,H,W,C]` into `y [N,OH,OW,C]`.
    ///
    /// With more than one thread, parts of the output run on rayon's current pool; each output is computed as with
    /// one thread.
    ///
    /// # Panics
    /// If a slice has another length than the shape says.
    pub fn run(&self, x: &[f32], y: &mut [f32], threads: usize) {
        let shape = &self.shape;
        assert_eq!(x.len(), shape.input_len(), "input length");
        assert_eq!(y.len(), shape.output_len(), "output length");
        let macs = shape.output_len().saturating_mul(shape.kernel[0] * shape.kernel[1]);
        in_parts(threads, shape, macs, y, |first, y| self.isa.dispatch(Rows { conv: self, x, y, first }));
    }
}

/// The kernel's taps along `axis` that lie inside the image at output position `position`.
pub(crate) fn taps_inside(shape: &ConvShape, axis: usize, position: usize) -> Range<usize> {
    let start = position * shape.stride[axis];
    let (padding, dilation) = (shape.padding[axis], shape.dilation[axis]);
    let before = padding.saturating_sub(start).div_ceil(dilation);
    let end = (padding + shape.input[axis]).saturating_sub(start).div_ceil(dilation);
    before.min(shape.kernel[axis])..end.clamp(before.min(shape.kernel[axis]), shape.kernel[axis])
}

/// Some whole output rows of a depthwise convolution.
struct Rows<'a> {
    conv: &'a Depthwise,
    x: &'a [f32],
    y: &'a mut [f32],
    first: usize,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Depthwise { shape, inside, .. } = self.conv;
        let [out_h, out_w, channels] = shape.output;
        let image_len = shape.input.iter().product::<usize>();
        for (offset, y) in self.y.chunks_exact_mut(out_w * channels).enumerate() {
            let (image, row) = ((self.first + offset) / out_h, (self.first + offset) % out_h);
            let mut line = Line {
                conv: self.conv,
                x: &self.x[image * image_len..][..image_len],
                y,
                row,
                rows: taps_inside(shape, 0, row),
            };
            let mut column = 0;
            while column < out_w {
                let whole = if inside.contains(&column) { inside.end - column } else { 0 };
                column += match whole {
                    8.. if S::REGISTERS >= 16 => line.tile::<S, 8>(simd, column),
                    4.. if S::REGISTERS >= 8 => line.tile::<S, 4>(simd, column),
                    2.. => line.tile::<S, 2>(simd, column),
                    _ => line.tile::<S, 1>(simd, column),
                };
            }
        }
    }
}

/// One output row.
struct Line<'a> {
    conv: &'a Depthwise,
    /// The row's image.
    x: &'a [f32],
    y: &'a mut [f32],
    row: usize,
    /// Kernel rows that lie inside the image.
    rows: Range<usize>,
}

impl Line<'_> {
    /// `T` pixels from `column` on, which all see the same kernel columns; returns `T`.
    #[inline(always)]
    fn tile<S: Simd, const T: usize>(&mut self, simd: S, column: usize) -> usize {
        let shape = &self.conv.shape;
        let [_, in_w, channels] = shape.input;
        let taps = shape.kernel[0] * shape.kernel[1];
        let columns = taps_inside(shape, 1, column);
        let step = shape.stride[1] * channels;
        for (block, bias) in self.conv.bias.iter().enumerate() {
            let weights = &self.conv.weights[block * taps..][..taps];
            let width = (channels - block * LANES).min(LANES);
            let mut sums = [simd.load(bias); T];
            for tap_row in self.rows.clone() {
                let y = self.row * shape.stride[0] + tap_row * shape.dilation[0] - shape.padding[0];
                for tap_column in columns.clone() {
                    let x = column * shape.stride[1] + tap_column * shape.dilation[1] - shape.padding[1];
                    let weight = simd.load(&weights[tap_row * shape.kernel[1] + tap_column].0);
                    let x = &self.x[(y * in_w + x) * channels + block * LANES..];
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let x = load(simd, &x[pixel * step..]);
                        *sum = simd.mul_add(x, weight, *sum);
                    }
                }
            }
            for (pixel, sum) in sums.into_iter().enumerate() {
                let sum = fuse(simd, self.conv.fused, sum);
                let y = &mut self.y[(column + pixel) * channels + block * LANES..][..width];
                match y.first_chunk_mut::<LANES>() {
                    Some(whole) => simd.store(sum, whole),
                    None => {
                        let mut lanes = [0.0; LANES];
                        simd.store(sum, &mut lanes);
                        y.copy_from_slice(&lanes[..width]);
                    }
                }
            }
        }
        T
    }
}

/// The first 16 values. Past a pixel's last channel they are those of the next pixel, or 0 at the end of the image: what
/// such lanes compute is never stored.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> S::Vector {
    match values.first_chunk::<LANES>() {
        Some(whole) => simd.load(whole),
        None => {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            simd.load(&lanes)
        }
    }
}
