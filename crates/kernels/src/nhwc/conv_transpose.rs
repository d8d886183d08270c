//! Transposed convolution: each row of the output gathers the products of the input rows whose windows reach it.

use super::Fused;
use super::conv::in_parts;
use super::geometry::ConvShape;
use crate::cpu::{Isa, Simd, WithSimd};

/// A transposed convolution, its weights packed as `[KH,KW,I,O]`, so that the output's channels are contiguous.
#[derive(Debug, Clone)]
pub struct ConvTranspose {
    isa: Isa,
    shape: ConvShape,
    weights: Vec<f32>,
    bias: Vec<f32>,
    fused: Fused,
}

impl ConvTranspose {
    /// Packs `weights [O,KH,KW,I]` and `bias [O]`. The shape's padding is cut off the output.
    #[must_use]
    pub fn new(isa: Isa, shape: ConvShape, weights: &[f32], bias: Option<&[f32]>, fused: Fused) -> Self {
        let outputs = shape.output[2];
        let row = shape.weights_len() / outputs;
        let packed = (0..weights.len()).map(|at| weights[at % outputs * row + at / outputs]);
        Self {
            isa,
            shape,
            weights: packed.collect(),
            bias: bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec),
            fused,
        }
    }

    /// Bytes of the packed weights and the bias.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Computes `y [N,OH,OW,O]` from `x [N,H,W,I]`.
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
        let macs = (x.len() / shape.input[2]).saturating_mul(self.weights.len());
        in_parts(threads, shape, macs, y, |first, y| self.isa.dispatch(Rows { conv: self, x, y, first }));
    }
}

/// Rows of the output, counted through all images from `first`.
struct Rows<'a> {
    conv: &'a ConvTranspose,
    x: &'a [f32],
    y: &'a mut [f32],
    first: usize,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let ConvTranspose { shape, weights, bias, fused, .. } = self.conv;
        let [in_h, in_w, channels] = shape.input;
        let [out_h, out_w, outputs] = shape.output;
        for (row, y) in self.y.chunks_exact_mut(out_w * outputs).enumerate() {
            let (image, out_y) = ((self.first + row) / out_h, (self.first + row) % out_h);
            y.chunks_exact_mut(outputs).for_each(|y| y.copy_from_slice(bias));
            for ky in 0..shape.kernel[0] {
                let Some(in_y) = source(out_y + shape.padding[0], ky * shape.dilation[0], shape.stride[0])
                else {
                    continue;
                };
                if in_y >= in_h {
                    continue;
                }
                let x = &self.x[(image * in_h + in_y) * in_w * channels..][..in_w * channels];
                for (in_x, x) in x.chunks_exact(channels).enumerate() {
                    for kx in 0..shape.kernel[1] {
                        let out_x = in_x * shape.stride[1] + kx * shape.dilation[1];
                        let Some(out_x) = out_x.checked_sub(shape.padding[1]).filter(|&out_x| out_x < out_w)
                        else {
                            continue;
                        };
                        let y = &mut y[out_x * outputs..][..outputs];
                        let weights = &weights[(ky * shape.kernel[1] + kx) * channels * outputs..];
                        for (x, weights) in x.iter().zip(weights.chunks_exact(outputs)) {
                            for (y, w) in y.iter_mut().zip(weights) {
                                *y += x * w;
                            }
                        }
                    }
                }
            }
            y.iter_mut().for_each(|y| *y = fused.apply(*y));
        }
    }
}

/// The input coordinate whose tap at `offset` reaches output coordinate `output`, counted with what is cut off.
fn source(output: usize, offset: usize, stride: usize) -> Option<usize> {
    let distance = output.checked_sub(offset)?;
    distance.is_multiple_of(stride).then_some(distance / stride)
}
