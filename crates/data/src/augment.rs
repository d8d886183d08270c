//! Random shifts, rotations and changes of size of training images, in one resampling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::within;
use crate::dataset::ImageShape;
use crate::error::DataError;
use crate::preprocess::Preprocess;
use crate::rng::{Rng, Use};

/// Random changes to training images. Each image of each epoch gets its own, uniform within these bounds;
/// what comes in from beyond the edge is black. All zero changes nothing. The defaults suit handwriting and small objects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Largest shift along each axis, as a fraction of that side: 0.1 moves an image of 28 pixels by up to
    /// 2.8.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub shift: f64,
    /// Largest rotation about the centre in either direction, in degrees.
    #[schemars(range(min = 0.0, max = 180.0))]
    pub rotation: f64,
    /// Largest change of size about the centre: 0.1 draws factors from 0.9 to 1.1.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub scale: f64,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { shift: 0.07, rotation: 8.0, scale: 0.08 }
    }
}

impl AugmentConfig {
    /// No changes at all.
    pub const NONE: Self = Self { shift: 0.0, rotation: 0.0, scale: 0.0 };

    pub(crate) fn validate(&self) -> Result<(), DataError> {
        within("data.augment.shift", self.shift, 0.0..=1.0, "a number from 0 to 1")?;
        within("data.augment.rotation", self.rotation, 0.0..=180.0, "a number from 0 to 180")?;
        within("data.augment.scale", self.scale, 0.0..=0.9, "a number from 0 to 0.9")
    }

    /// The transformation of one sample in one epoch.
    pub(crate) fn draw(&self, shape: ImageShape, seed: u64, epoch: u64, sample: usize) -> Affine {
        let mut rng = Rng::for_use(seed, Use::Augment, [epoch, sample as u64]);
        Affine::new(
            shape,
            Motion {
                right: rng.symmetric(self.shift) * shape.width as f64,
                down: rng.symmetric(self.shift) * shape.height as f64,
                degrees: rng.symmetric(self.rotation),
                factor: 1.0 + rng.symmetric(self.scale),
            },
        )
    }
}

/// What happens to an image: it is enlarged by `factor` and turned by `degrees` about its centre, then moved.
struct Motion {
    /// Pixels.
    right: f64,
    /// Pixels.
    down: f64,
    /// From the x axis towards the y axis, which is clockwise on the screen.
    degrees: f64,
    factor: f64,
}

/// Where each pixel of a transformed image comes from: the inverse of a [`Motion`] as a 2×3 matrix.
pub(crate) struct Affine {
    shape: ImageShape,
    /// The source's x is `x[0]·column + x[1]·row + x[2]`.
    x: [f32; 3],
    /// The source's y likewise.
    y: [f32; 3],
}

impl Affine {
    fn new(shape: ImageShape, motion: Motion) -> Self {
        let (sin, cos) = motion.degrees.to_radians().sin_cos();
        let (sin, cos) = (sin / motion.factor, cos / motion.factor);
        let centre = ((shape.width as f64 - 1.0) / 2.0, (shape.height as f64 - 1.0) / 2.0);
        // source = centre + R⁻¹ · (target − centre − shift) / factor
        let moved = (centre.0 + motion.right, centre.1 + motion.down);
        let row = |a: f64, b: f64, centre: f64| [a, b, centre - a * moved.0 - b * moved.1].map(|v| v as f32);
        Self { shape, x: row(cos, sin, centre.0), y: row(-sin, cos, centre.1) }
    }

    /// Fills `inputs` with the transformed and preprocessed image, by bilinear interpolation between bytes.
    ///
    /// `image` and `inputs` are `[H][W][C]`; a position beyond the edge counts as a byte 0.
    pub(crate) fn resample(
        &self,
        image: &[u8],
        preprocess: &Preprocess,
        frame: &mut Frame,
        inputs: &mut [f32],
    ) {
        let ImageShape { width, channels, .. } = self.shape;
        frame.enclose(image, self.shape);
        for (row, line) in inputs.chunks_exact_mut(width * channels).enumerate() {
            for (run, pixels) in line.chunks_mut(RUN * channels).enumerate() {
                frame.interpolate(&self.positions(run * RUN, row), pixels);
            }
        }
        for input in inputs {
            *input = preprocess.apply(*input);
        }
    }

    /// Where the pixels from `column` on in `row` come from.
    fn positions(&self, column: usize, row: usize) -> Positions {
        let ImageShape { height, width, .. } = self.shape;
        let mut positions = Positions::default();
        for i in 0..RUN {
            let (column, row) = ((column + i) as f32, row as f32);
            let x = self.x[0] * column + self.x[1] * row + self.x[2];
            let y = self.y[0] * column + self.y[1] * row + self.y[2];
            let (x, y) = (x.clamp(-1.0, width as f32) + 1.0, y.clamp(-1.0, height as f32) + 1.0);
            // Neither is negative, so that cutting the fraction off rounds down.
            (positions.left[i], positions.top[i]) = (x as i32, y as i32);
            positions.right_share[i] = x - positions.left[i] as f32;
            positions.bottom_share[i] = y - positions.top[i] as f32;
        }
        positions
    }
}

/// Pixels that are computed side by side, so that the compiler puts them into vectors.
const RUN: usize = 16;

/// Where [`RUN`] pixels come from: the upper left of four neighbours in a [`Frame`], and the shares of the others.
#[derive(Default)]
struct Positions {
    left: [i32; RUN],
    top: [i32; RUN],
    right_share: [f32; RUN],
    bottom_share: [f32; RUN],
}

/// An image in a black frame, one pixel wide on the left and above, two on the right and below: every position, once
/// it is clamped to the frame, has four neighbours. One frame serves one image after another.
#[derive(Default)]
pub(crate) struct Frame {
    /// Values per pixel.
    channels: usize,
    /// Elements from one row to the next.
    stride: usize,
    values: Vec<f32>,
}

impl Frame {
    fn enclose(&mut self, image: &[u8], shape: ImageShape) {
        let ImageShape { height, width, channels } = shape;
        self.channels = channels;
        self.stride = (width + 3) * channels;
        self.values.clear();
        self.values.resize((height + 3) * self.stride, 0.0);
        let lines = self.values.chunks_exact_mut(self.stride).skip(1);
        for (line, bytes) in lines.zip(image.chunks_exact(width * channels)) {
            for (value, &byte) in line[channels..].iter_mut().zip(bytes) {
                *value = f32::from(byte);
            }
        }
    }

    /// Fills up to [`RUN`] `pixels` with what lies at `positions`.
    fn interpolate(&self, positions: &Positions, pixels: &mut [f32]) {
        for channel in 0..self.channels {
            // Upper left, upper right, lower left, lower right.
            let mut neighbours = [[0.0; RUN]; 4];
            for (i, (&left, &top)) in positions.left.iter().zip(&positions.top).enumerate() {
                let (left, top) = (left as usize, top as usize);
                let upper = &self.values[top * self.stride + left * self.channels + channel..];
                neighbours[0][i] = upper[0];
                neighbours[1][i] = upper[self.channels];
                neighbours[2][i] = upper[self.stride];
                neighbours[3][i] = upper[self.stride + self.channels];
            }
            let mut values = [0.0; RUN];
            for (i, value) in values.iter_mut().enumerate() {
                let share = positions.right_share[i];
                let upper = mix(neighbours[0][i], neighbours[1][i], share);
                let lower = mix(neighbours[2][i], neighbours[3][i], share);
                *value = mix(upper, lower, positions.bottom_share[i]);
            }
            for (pixel, value) in pixels.chunks_exact_mut(self.channels).zip(values) {
                pixel[channel] = value;
            }
        }
    }
}

/// From `a` at share 0 to `b` at share 1; exactly `a` at 0.
fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: Preprocess = Preprocess { mean: 0.0, scale: 1.0 };
    const STILL: Motion = Motion { right: 0.0, down: 0.0, degrees: 0.0, factor: 1.0 };

    fn transform(shape: ImageShape, motion: Motion, image: &[u8]) -> Vec<f32> {
        let mut inputs = vec![f32::NAN; image.len()];
        Affine::new(shape, motion).resample(image, &BYTES, &mut Frame::default(), &mut inputs);
        inputs
    }

    fn images() -> impl Strategy<Value = (ImageShape, Vec<u8>)> {
        (1usize..40, 1usize..40, 1usize..4).prop_flat_map(|(height, width, channels)| {
            let shape = ImageShape { height, width, channels };
            prop::collection::vec(any::<u8>(), shape.elements()).prop_map(move |image| (shape, image))
        })
    }

    proptest! {
        #[test]
        fn no_augmentation_gives_the_identical_image((shape, image) in images(), seed: u64, epoch: u64) {
            let preprocess = Preprocess::default();
            let (mut plain, mut augmented) = (vec![0.0; image.len()], vec![f32::NAN; image.len()]);
            preprocess.fill(&image, &mut plain);
            let still = AugmentConfig::NONE.draw(shape, seed, epoch, 3);
            still.resample(&image, &preprocess, &mut Frame::default(), &mut augmented);
            prop_assert_eq!(plain, augmented);
        }

        #[test]
        fn values_stay_between_the_bytes_and_black(
            (shape, image) in images(),
            (shift, rotation, scale) in (0.0..1.0, 0.0..180.0, 0.0..0.9),
            seed: u64,
        ) {
            let config = AugmentConfig { shift, rotation, scale };
            let mut inputs = vec![f32::NAN; image.len()];
            let affine = config.draw(shape, seed, 0, 0);
            affine.resample(&image, &BYTES, &mut Frame::default(), &mut inputs);
            let most = f32::from(image.iter().copied().max().unwrap_or(0)) * 1.000_001;
            prop_assert!(inputs.iter().all(|value| (0.0..=most).contains(value)));
        }

        #[test]
        fn whole_pixels_move_exactly((shape, image) in images(), right in -5i64..6, down in -5i64..6) {
            let motion = Motion { right: right as f64, down: down as f64, ..STILL };
            let moved = transform(shape, motion, &image);
            let ImageShape { height, width, channels } = shape;
            for (i, &value) in moved.iter().enumerate() {
                let (y, x) = ((i / channels / width) as i64 - down, (i / channels % width) as i64 - right);
                let inside = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
                let expected = match inside {
                    true => image[(y as usize * width + x as usize) * channels + i % channels],
                    false => 0,
                };
                prop_assert_eq!(value, f32::from(expected));
            }
        }
    }

    #[test]
    fn motions_have_the_documented_direction() {
        const SQUARE: ImageShape = ImageShape { height: 3, width: 3, channels: 1 };
        fn check(motion: Motion, image: [u8; 9], expected: [f32; 9]) {
            let found = transform(SQUARE, motion, &image);
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close, "expected {expected:?}, found {found:?}");
        }
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        check(STILL, image, [1., 2., 3., 4., 5., 6., 7., 8., 9.]);
        check(Motion { degrees: 90.0, ..STILL }, image, [7., 4., 1., 8., 5., 2., 9., 6., 3.]);
        check(Motion { right: 0.5, ..STILL }, image, [0.5, 1.5, 2.5, 2., 4.5, 5.5, 3.5, 7.5, 8.5]);
        check(Motion { factor: 2.0, ..STILL }, image, [3., 3.5, 4., 4.5, 5., 5.5, 6., 6.5, 7.]);
    }
}
