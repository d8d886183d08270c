//! Pooling of integers. Input and output of a pooling over windows have the same quantization.

use super::{Affine, Integer, Multiplier};
use crate::nhwc::PoolShape;

/// The maximum over each window of `x [N,H,W,C]`.
pub fn max_pool<T: Integer>(shape: &PoolShape, x: &[T], y: &mut [T]) {
    let channels = shape.input[2];
    shape.for_each_window(|pixel, window| {
        let y = &mut y[pixel * channels..][..channels];
        y.fill(T::saturate(T::MIN));
        for pixel in window.pixels() {
            for (y, &x) in y.iter_mut().zip(&x[pixel * channels..][..channels]) {
                *y = x.max(*y);
            }
        }
    });
}

/// The mean over the pixels of each window of `x [N,H,W,C]` that lie inside the image, rounded to the nearest, ties
/// away from zero.
pub fn average_pool<T: Integer>(shape: &PoolShape, x: &[T], y: &mut [T]) {
    let channels = shape.input[2];
    shape.for_each_window(|pixel, window| {
        let count = window.len() as i32;
        for (channel, y) in y[pixel * channels..][..channels].iter_mut().enumerate() {
            let sum: i32 = window.pixels().map(|pixel| x[pixel * channels + channel].widen()).sum();
            let half = if sum > 0 { count / 2 } else { -(count / 2) };
            *y = T::saturate((sum + half) / count);
        }
    });
}

/// The mean over whole images: TFLite's `MEAN`, which also changes the quantization.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalAverage {
    shape: PoolShape,
    multiplier: Multiplier,
    input_zero: i32,
    output_zero: i32,
}

impl GlobalAverage {
    /// The mean over each of `batch` images of height, width and channels `image`.
    #[must_use]
    pub fn new(batch: usize, image: [usize; 3], input: Affine, output: Affine) -> Self {
        Self {
            shape: PoolShape::global(batch, image),
            multiplier: Multiplier::of_ratio(input.scale, output.scale).over(image[0] * image[1]),
            input_zero: input.zero_point,
            output_zero: output.zero_point,
        }
    }

    /// The means of `x [N,H,W,C]` in `y [N,C]`.
    pub fn run<T: Integer>(&self, x: &[T], y: &mut [T]) {
        let channels = self.shape.input[2];
        self.shape.for_each_window(|image, window| {
            let zeros = self.input_zero * window.len() as i32;
            for (channel, y) in y[image * channels..][..channels].iter_mut().enumerate() {
                let sum: i32 = window.pixels().map(|pixel| x[pixel * channels + channel].widen()).sum();
                *y = T::saturate(self.multiplier.apply(sum - zeros).saturating_add(self.output_zero));
            }
        });
    }
}
