//! Plain loops that define what the kernels compute. Never optimised.

use super::geometry::{ConvShape, PoolShape};
use super::{Binary, Coordinates, Fused};

/// Convolution of `x [N,H,W,I]` with `weights [O,KH,KW,I/groups]`, then the bias, then the nonlinearity.
pub fn conv(
    shape: &ConvShape,
    groups: usize,
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
                    let group = output / (outputs / groups);
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
                            let seen = channels / groups;
                            for channel in 0..seen {
                                let pixel = ((image * in_h + in_y) * in_w + in_x) * channels;
                                sum += x[pixel + group * seen + channel]
                                    * weights[((output * kernel_h + ky) * kernel_w + kx) * seen + channel];
                            }
                        }
                    }
                    y[((image * out_h + out_y) * out_w + out_x) * outputs + output] = fused.apply(sum);
                }
            }
        }
    }
}

/// Transposed convolution of `x [N,H,W,I]` with `weights [O,KH,KW,I]`, then the bias, then the nonlinearity. The padding
/// is cut off the output.
pub fn conv_transpose(
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
    for (index, y) in y.iter_mut().enumerate() {
        *y = bias.map_or(0.0, |bias| bias[index % outputs]);
    }
    for (pixel, x) in x.chunks_exact(channels).enumerate() {
        let (image, in_y, in_x) = (pixel / in_w / in_h, pixel / in_w % in_h, pixel % in_w);
        for (tap, output) in (0..kernel_h * kernel_w).flat_map(|tap| (0..outputs).map(move |o| (tap, o))) {
            let [ky, kx] = [tap / kernel_w, tap % kernel_w];
            let (Some(out_y), Some(out_x)) = (
                (in_y * shape.stride[0] + ky * shape.dilation[0]).checked_sub(shape.padding[0]),
                (in_x * shape.stride[1] + kx * shape.dilation[1]).checked_sub(shape.padding[1]),
            ) else {
                continue;
            };
            if out_y < out_h && out_x < out_w {
                let weights = &weights[(output * kernel_h * kernel_w + tap) * channels..];
                y[((image * out_h + out_y) * out_w + out_x) * outputs + output] +=
                    x.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
            }
        }
    }
    y.iter_mut().for_each(|y| *y = fused.apply(*y));
}

/// A function of `a` and `b`, whose sizes are equal or 1 at each axis, then the nonlinearity.
pub fn elementwise(
    function: Binary,
    fused: Fused,
    [a_sizes, b_sizes]: [&[usize]; 2],
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
) {
    let sizes: Vec<usize> = a_sizes.iter().zip(b_sizes).map(|(&a, &b)| a.max(b)).collect();
    for (index, y) in y.iter_mut().enumerate() {
        let mut left = index;
        let (mut at, mut steps) = ([0, 0], [1, 1]);
        for axis in (0..sizes.len()).rev() {
            let position = left % sizes[axis];
            left /= sizes[axis];
            for (side, own) in [a_sizes[axis], b_sizes[axis]].into_iter().enumerate() {
                at[side] += position.min(own - 1) * steps[side];
                steps[side] *= own;
            }
        }
        *y = fused.apply(function.apply(a[at[0]], b[at[1]]));
    }
}

/// The pixel of each image of `x` that is nearest to each pixel of `y [N, output, C]`.
pub fn nearest(input: [usize; 3], output: [usize; 2], coordinates: Coordinates, x: &[f32], y: &mut [f32]) {
    resize(input, output, y, |image, row, column, channel| {
        let row = coordinates.nearest(row, input[0], output[0]);
        let column = coordinates.nearest(column, input[1], output[1]);
        x[((image * input[0] + row) * input[1] + column) * input[2] + channel]
    });
}

/// What lies between the four pixels of `x` around each pixel of `y [N, output, C]`.
pub fn bilinear(input: [usize; 3], output: [usize; 2], coordinates: Coordinates, x: &[f32], y: &mut [f32]) {
    resize(input, output, y, |image, row, column, channel| {
        let row = coordinates.between(row, input[0], output[0]);
        let column = coordinates.between(column, input[1], output[1]);
        let mut sum = 0.0;
        for (y, y_share) in [(row.first, 1.0 - row.share), (row.second, row.share)] {
            for (x_at, x_share) in [(column.first, 1.0 - column.share), (column.second, column.share)] {
                sum += x[((image * input[0] + y) * input[1] + x_at) * input[2] + channel] * y_share * x_share;
            }
        }
        sum
    });
}

fn resize(
    input: [usize; 3],
    output: [usize; 2],
    y: &mut [f32],
    value: impl Fn(usize, usize, usize, usize) -> f32,
) {
    for (index, y) in y.iter_mut().enumerate() {
        let (pixel, channel) = (index / input[2], index % input[2]);
        let (row, column) = (pixel / output[1], pixel % output[1]);
        *y = value(row / output[0], row % output[0], column, channel);
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
