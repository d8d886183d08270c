//! Plain loops that define what the kernels compute. Never optimised.

use super::Fused;
use super::geometry::{ConvShape, PoolShape};

/// Convolution of `x [N,H,W,I]` with `weights [O,KH,KW,I]`, then the bias, then the nonlinearity.
pub fn conv(
    shape: &ConvShape,
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    fused: Fused,
    y: &mut [f32],
) {
    let [in_h, in_w, channels] = shape.input;
    let [out_h, out_w, outputs] = shape.output;
    let [kernel_h, kernel_w] = shape.kernel;
    for image in 0..shape.batch {
        for out_y in 0..out_h {
            for out_x in 0..out_w {
                for output in 0..outputs {
                    let mut sum = bias.map_or(0.0, |bias| bias[output]);
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
                            for channel in 0..channels {
                                sum += x[((image * in_h + in_y) * in_w + in_x) * channels + channel]
                                    * weights
                                        [((output * kernel_h + ky) * kernel_w + kx) * channels + channel];
                            }
                        }
                    }
                    y[((image * out_h + out_y) * out_w + out_x) * outputs + output] = fused.apply(sum);
                }
            }
        }
    }
}

/// The maximum over each window of `x [N,H,W,C]`.
pub fn max_pool(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    pool(shape, x, y, |window| window.iter().copied().fold(f32::NEG_INFINITY, f32::max));
}

/// The mean over the pixels of each window of `x [N,H,W,C]` that lie inside the image.
pub fn average_pool(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    pool(shape, x, y, |window| window.iter().sum::<f32>() / window.len() as f32);
}

fn pool(shape: &PoolShape, x: &[f32], y: &mut [f32], over: impl Fn(&[f32]) -> f32) {
    let channels = shape.input[2];
    shape.for_each_window(|pixel, window| {
        for channel in 0..channels {
            let values: Vec<f32> = window.pixels().map(|pixel| x[pixel * channels + channel]).collect();
            y[pixel * channels + channel] = over(&values);
        }
    });
}
