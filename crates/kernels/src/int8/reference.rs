//! Plain loops that define what the kernels compute. Never optimised.

use super::{ConvQuantization, Integer};
use crate::nhwc::ConvShape;

/// Convolution of `x [N,H,W,I]` with `weights [O,KH,KW,I/groups]` and `bias [O]`: the definition of [`super::Conv`] and
/// [`super::Depthwise`].
///
/// Padding holds the input's zero point, that is real zeros.
pub fn conv<T: Integer, W: Integer>(
    shape: &ConvShape,
    groups: usize,
    quantization: &ConvQuantization,
    x: &[T],
    weights: &[W],
    bias: Option<&[i32]>,
    y: &mut [T],
) {
    let [in_h, in_w, channels] = shape.input;
    let [out_h, out_w, outputs] = shape.output;
    let [kernel_h, kernel_w] = shape.kernel;
    for (index, y) in y.iter_mut().enumerate() {
        let (pixel, output) = (index / outputs, index % outputs);
        let (row, out_x) = (pixel / out_w, pixel % out_w);
        let (image, out_y) = (row / out_h, row % out_h);
        let (seen, group) = (channels / groups, output / (outputs / groups));
        let mut sum = bias.map_or(0, |bias| bias[output]);
        for ky in 0..kernel_h {
            for kx in 0..kernel_w {
                let in_y = out_y * shape.stride[0] + ky * shape.dilation[0];
                let in_x = out_x * shape.stride[1] + kx * shape.dilation[1];
                let (Some(in_y), Some(in_x)) =
                    (in_y.checked_sub(shape.padding[0]), in_x.checked_sub(shape.padding[1]))
                else {
                    continue;
                };
                if in_y >= in_h || in_x >= in_w {
                    continue;
                }
                for channel in 0..seen {
                    let pixel = ((image * in_h + in_y) * in_w + in_x) * channels;
                    let value = x[pixel + group * seen + channel];
                    let weight = weights[((output * kernel_h + ky) * kernel_w + kx) * seen + channel];
                    let product = (value.widen() - quantization.input_zero)
                        * (weight.widen() - quantization.weights_zero);
                    sum = sum.wrapping_add(product);
                }
            }
        }
        let scaled = quantization.factors.apply(output, sum).saturating_add(quantization.output_zero);
        *y = T::saturate(scaled.max(quantization.range[0]).min(quantization.range[1]));
    }
}
