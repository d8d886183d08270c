//! Pooling: whole pixels at a time, channels side by side.

use super::geometry::PoolShape;

/// The maximum over each window of `x [N,H,W,C]`; a NaN in the window gives NaN.
pub fn max_pool(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    let channels = shape.input[2];
    shape.for_each_window(|pixel, window| {
        let y = &mut y[pixel * channels..][..channels];
        y.fill(f32::NEG_INFINITY);
        for pixel in window.pixels() {
            for (y, &x) in y.iter_mut().zip(&x[pixel * channels..][..channels]) {
                *y = if *y > x || y.is_nan() { *y } else { x };
            }
        }
    });
}

/// The mean over the pixels of each window of `x [N,H,W,C]` that lie inside the image.
pub fn average_pool(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    let channels = shape.input[2];
    shape.for_each_window(|pixel, window| {
        let y = &mut y[pixel * channels..][..channels];
        y.fill(0.0);
        for pixel in window.pixels() {
            for (y, &x) in y.iter_mut().zip(&x[pixel * channels..][..channels]) {
                *y += x;
            }
        }
        for y in y {
            *y /= window.len() as f32;
        }
    });
}
