//! Integer depthwise convolution: output channels in the lanes, one pixel at a time.

use super::multiplier::LaneFactors;
use super::{ConvQuantization, Integer};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::nhwc::{ConvShape, in_parts, taps_inside};

/// A depthwise convolution, its weights packed as `[O/16][KH·KW][16]` with their zero point subtracted.
#[derive(Debug, Clone)]
pub struct Depthwise {
    isa: Isa,
    shape: ConvShape,
    weights: Vec<[i32; LANES]>,
    bias: Vec<[i32; LANES]>,
    factors: LaneFactors,
    input_zero: i32,
    output_zero: i32,
    range: [i32; 2],
}

impl Depthwise {
    /// Packs `weights [O,KH,KW,1]` and `bias [O]` of a convolution with `m` output channels for each input channel: those
    /// from `m · i` to `m · i + m − 1` see input channel `i`.
    #[must_use]
    pub fn new<W: Integer>(
        isa: Isa,
        shape: ConvShape,
        quantization: &ConvQuantization,
        weights: &[W],
        bias: Option<&[i32]>,
    ) -> Self {
        let [inputs, outputs] = [shape.input[2], shape.output[2]];
        assert!(outputs.is_multiple_of(inputs), "whole multiplier");
        let taps = shape.kernel[0] * shape.kernel[1];
        let blocks = outputs.div_ceil(LANES);
        let mut packed = vec![[0; LANES]; blocks * taps];
        let mut packed_bias = vec![[0; LANES]; blocks];
        for channel in 0..outputs {
            let (block, lane) = (channel / LANES, channel % LANES);
            for tap in 0..taps {
                let weight = weights[channel * taps + tap].widen() - quantization.weights_zero;
                packed[block * taps + tap][lane] = weight;
            }
            packed_bias[block][lane] = bias.map_or(0, |bias| bias[channel]);
        }
        let channel =
            |block: usize, lane: usize| Some(block * LANES + lane).filter(|&channel| channel < outputs);
        Self {
            isa,
            weights: packed,
            bias: packed_bias,
            factors: LaneFactors::new(&quantization.factors, blocks, channel),
            input_zero: quantization.input_zero,
            output_zero: quantization.output_zero,
            range: quantization.range,
            shape,
        }
    }

    /// Bytes of the packed weights, the bias and the factors.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..]) + self.factors.bytes()
    }

    /// Convolves `x [N,H,W,I]` into `y [N,OH,OW,O]`.
    ///
    /// With more than one thread, parts of the output run on rayon's current pool.
    ///
    /// # Panics
    /// If a slice has another length than the shape says.
    pub fn run<T: Integer>(&self, x: &[T], y: &mut [T], threads: usize) {
        let shape = &self.shape;
        assert_eq!(x.len(), shape.input_len(), "input length");
        assert_eq!(y.len(), shape.output_len(), "output length");
        let macs = shape.output_len().saturating_mul(shape.kernel[0] * shape.kernel[1]);
        in_parts(threads, shape, macs, y, |first, y| self.isa.dispatch(Rows { conv: self, x, y, first }));
    }
}

/// Some whole output rows.
struct Rows<'a, T> {
    conv: &'a Depthwise,
    x: &'a [T],
    y: &'a mut [T],
    first: usize,
}

impl<T: Integer> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let shape = &self.conv.shape;
        let [out_h, out_w, outputs] = shape.output;
        let image_len = shape.input.iter().product::<usize>();
        for (offset, y) in self.y.chunks_exact_mut(out_w * outputs).enumerate() {
            let (image, row) = ((self.first + offset) / out_h, (self.first + offset) % out_h);
            let x = &self.x[image * image_len..][..image_len];
            for (column, y) in y.chunks_exact_mut(outputs).enumerate() {
                self.conv.pixel(x, [row, column], y);
            }
        }
    }
}

impl Depthwise {
    /// The output pixel at `row` and `column` of the image `x`.
    #[inline(always)]
    fn pixel<T: Integer>(&self, x: &[T], [row, column]: [usize; 2], y: &mut [T]) {
        let shape = &self.shape;
        let [_, in_w, inputs] = shape.input;
        let multiplier = shape.output[2] / inputs;
        let taps = shape.kernel[0] * shape.kernel[1];
        let (rows, columns) = (taps_inside(shape, 0, row), taps_inside(shape, 1, column));
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let weights = &self.weights[block * taps..][..taps];
            let mut sums = self.bias[block];
            for tap_row in rows.clone() {
                let in_y = row * shape.stride[0] + tap_row * shape.dilation[0] - shape.padding[0];
                for tap_column in columns.clone() {
                    let in_x = column * shape.stride[1] + tap_column * shape.dilation[1] - shape.padding[1];
                    let x = &x[(in_y * in_w + in_x) * inputs..][..inputs];
                    let values = lanes(x, block * LANES, multiplier, self.input_zero);
                    let weights = &weights[tap_row * shape.kernel[1] + tap_column];
                    for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
                        *sum = sum.wrapping_add(value * weight);
                    }
                }
            }
            self.factors.apply(block, &mut sums);
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = T::saturate(sum.saturating_add(self.output_zero).max(self.range[0]).min(self.range[1]));
            }
        }
    }
}

/// What 16 output channels from `first` on see of the pixel `x`, less its zero point; 0 past the last channel.
#[inline(always)]
fn lanes<T: Integer>(x: &[T], first: usize, multiplier: usize, zero: i32) -> [i32; LANES] {
    match (multiplier, x.get(first..).and_then(<[T]>::first_chunk::<LANES>)) {
        (1, Some(whole)) => whole.map(|value| value.widen() - zero),
        (_, _) => std::array::from_fn(|lane| {
            x.get((first + lane) / multiplier).map_or(0, |value| value.widen() - zero)
        }),
    }
}
