//! Batch normalisation (Ioffe and Szegedy, 2015), per channel over images and pixels.

use rayon::prelude::*;

use super::parallel::grain;
use super::{LANES, Lanes, Workspace, blocks, valid_lanes};
use crate::cpu::{Isa, Simd, WithSimd};

/// Mean and variance of each channel over a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics {
    /// Mean per channel.
    pub mean: Vec<f32>,
    /// Population variance (divided by the count) per channel.
    pub variance: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)` per channel.
    pub inverse_deviation: Vec<f32>,
}

impl BatchStatistics {
    /// Moves running statistics towards these: `running = momentum · running + (1 - momentum) · batch`. The
    /// variance is the population's, as in Keras.
    pub fn update_running(&self, momentum: f32, running_mean: &mut [f32], running_variance: &mut [f32]) {
        let pairs = [(running_mean, &self.mean), (running_variance, &self.variance)];
        for (running, batch) in pairs {
            for (running, batch) in running.iter_mut().zip(batch) {
                *running = momentum * *running + (1.0 - momentum) * batch;
            }
        }
    }
}

/// Batch normalisation of one shape: `y = gamma · (x - mean) / sqrt(variance + epsilon) + beta`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels per channel, `H · W`.
    pub pixels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// The instruction set to use.
    pub isa: Isa,
}

/// A channel's line `y = scale · x + offset`.
#[derive(Clone, Copy)]
struct Line {
    scale: f32,
    offset: f32,
}

impl BatchNorm {
    /// Normalises with the batch's own statistics, which it stores into `statistics`. Lanes past the last image do
    /// not count.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, as do the functions below.
    pub fn forward(
        &self,
        x: &[Lanes],
        gamma: &[f32],
        beta: &[f32],
        y: &mut [Lanes],
        statistics: &mut BatchStatistics,
        workspace: &mut Workspace,
    ) {
        self.check(x.len());
        let planes = blocks(self.batch) * self.channels;
        let (_, moments) = workspace.buffers(0, 2 * planes);
        let (moments, _) = moments.as_chunks_mut::<2>();
        moments.par_iter_mut().with_min_len(grain()).enumerate().for_each(|(plane, moments)| {
            let lanes = valid_lanes(self.batch, plane / self.channels);
            let x = &x[plane * self.pixels..][..self.pixels];
            *moments = self.isa.dispatch(Moments { x, lanes });
        });
        let BatchStatistics { mean, variance, inverse_deviation } = statistics;
        for values in [&mut *mean, &mut *variance, &mut *inverse_deviation] {
            values.resize(self.channels, 0.0);
        }
        for channel in 0..self.channels {
            let (channel_mean, channel_variance) = self.merge(moments, channel);
            mean[channel] = channel_mean as f32;
            variance[channel] = channel_variance as f32;
            inverse_deviation[channel] = (channel_variance + f64::from(self.epsilon)).sqrt().recip() as f32;
        }
        self.apply(x, y, |channel| {
            let scale = gamma[channel] * inverse_deviation[channel];
            Line { scale, offset: beta[channel] - mean[channel] * scale }
        });
    }

    /// Normalises with given statistics.
    pub fn inference(
        &self,
        x: &[Lanes],
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        variance: &[f32],
        y: &mut [Lanes],
    ) {
        self.check(x.len());
        self.apply(x, y, |channel| {
            let scale = gamma[channel] / (variance[channel] + self.epsilon).sqrt();
            Line { scale, offset: beta[channel] - mean[channel] * scale }
        });
    }

    /// Overwrites `dx`, `dgamma` and `dbeta` with the gradients of input, scale and offset, given the input, the
    /// gradient of the output and the statistics that [`BatchNorm::forward`] stored. Lanes of `dx` past the last
    /// image become 0.
    #[expect(clippy::too_many_arguments, reason = "each is one tensor of the formula")]
    pub fn backward(
        &self,
        x: &[Lanes],
        dy: &[Lanes],
        gamma: &[f32],
        statistics: &BatchStatistics,
        dx: &mut [Lanes],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
        workspace: &mut Workspace,
    ) {
        for length in [x.len(), dy.len(), dx.len()] {
            self.check(length);
        }
        assert_eq!([dgamma.len(), dbeta.len()], [self.channels; 2], "gradients per channel");
        let planes = blocks(self.batch) * self.channels;
        let (_, sums) = workspace.buffers(0, 2 * planes);
        let (sums, _) = sums.as_chunks_mut::<2>();
        sums.par_iter_mut().with_min_len(grain()).enumerate().for_each(|(plane, sums)| {
            let lanes = valid_lanes(self.batch, plane / self.channels);
            let part = plane * self.pixels..(plane + 1) * self.pixels;
            let mean = statistics.mean[plane % self.channels];
            *sums = self.isa.dispatch(GradientSums { x: &x[part.clone()], dy: &dy[part], mean, lanes });
        });
        for channel in 0..self.channels {
            let of_channel = || sums.iter().skip(channel).step_by(self.channels);
            let product: f64 = of_channel().map(|sums| f64::from(sums[1])).sum();
            dbeta[channel] = of_channel().map(|sums| f64::from(sums[0])).sum::<f64>() as f32;
            dgamma[channel] = (product * f64::from(statistics.inverse_deviation[channel])) as f32;
        }
        let count = (self.batch * self.pixels) as f32;
        dx.par_chunks_mut(self.pixels.max(1)).with_min_len(grain()).enumerate().for_each(|(plane, dx)| {
            let channel = plane % self.channels;
            let lanes = valid_lanes(self.batch, plane / self.channels);
            let part = plane * self.pixels..(plane + 1) * self.pixels;
            let inverse = statistics.inverse_deviation[channel];
            // dx = gamma · inverse · (dy - dbeta / count - (x - mean) · inverse · dgamma / count), as a line in
            // dy and x.
            let scale = gamma[channel] * inverse;
            let slope = -scale * inverse * dgamma[channel] / count;
            let offset = -scale * dbeta[channel] / count - slope * statistics.mean[channel];
            self.isa.dispatch(InputGradient {
                x: &x[part.clone()],
                dy: &dy[part],
                scale,
                slope,
                offset,
                lanes,
                dx,
            });
        });
    }

    fn check(&self, length: usize) {
        let expect = blocks(self.batch) * self.channels * self.pixels;
        assert_eq!(length, expect, "length of an activation of a batch normalisation");
    }

    /// Mean and population variance of a channel from those of its blocks (Chan, Golub and LeVeque, 1979).
    fn merge(&self, moments: &[[f32; 2]], channel: usize) -> (f64, f64) {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (block, moments) in moments.iter().skip(channel).step_by(self.channels).enumerate() {
            let added = (valid_lanes(self.batch, block) * self.pixels) as f64;
            let total: f64 = count + added;
            let difference = f64::from(moments[0]) - mean;
            mean += difference * added / total;
            squares += f64::from(moments[1]) + difference * difference * count * added / total;
            count = total;
        }
        (mean, squares / count)
    }

    fn apply(&self, x: &[Lanes], y: &mut [Lanes], line: impl Fn(usize) -> Line + Sync) {
        self.check(y.len());
        let size = self.pixels.max(1);
        y.par_chunks_mut(size).with_min_len(grain()).zip(x.par_chunks(size)).enumerate().for_each(
            |(plane, (y, x))| {
                self.isa.dispatch(Apply { line: line(plane % self.channels), x, y });
            },
        );
    }
}

struct Apply<'a> {
    line: Line,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (scale, offset) = (simd.splat(self.line.scale), simd.splat(self.line.offset));
        for (x, y) in self.x.iter().zip(self.y) {
            simd.store(simd.mul_add(scale, simd.load(&x.0), offset), &mut y.0);
        }
    }
}

/// The sum of the first `lanes` lanes.
#[inline(always)]
fn sum_valid<S: Simd>(simd: S, vector: S::Vector, lanes: usize) -> f32 {
    simd.sum(keep_valid(simd, vector, lanes))
}

/// The vector with zero in all but the first `lanes` lanes.
#[inline(always)]
fn keep_valid<S: Simd>(simd: S, vector: S::Vector, lanes: usize) -> S::Vector {
    let mut mask = [0.0; LANES];
    mask[..lanes].fill(1.0);
    simd.select_gt(simd.load(&mask), simd.zero(), vector, simd.zero())
}

/// Mean and sum of squared deviations of one channel of one block.
struct Moments<'a> {
    x: &'a [Lanes],
    lanes: usize,
}

impl WithSimd for Moments<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; 2] {
        let mut sum = simd.zero();
        for x in self.x {
            sum = simd.add(sum, simd.load(&x.0));
        }
        let mean = sum_valid(simd, sum, self.lanes) / (self.lanes * self.x.len()) as f32;
        let mut squares = simd.zero();
        for x in self.x {
            let deviation = simd.sub(simd.load(&x.0), simd.splat(mean));
            squares = simd.mul_add(deviation, deviation, squares);
        }
        [mean, sum_valid(simd, squares, self.lanes)]
    }
}

/// Sums of `dy` and of `dy · (x - mean)` of one channel of one block.
struct GradientSums<'a> {
    x: &'a [Lanes],
    dy: &'a [Lanes],
    mean: f32,
    lanes: usize,
}

impl WithSimd for GradientSums<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; 2] {
        let (mut sum, mut product) = (simd.zero(), simd.zero());
        for (x, dy) in self.x.iter().zip(self.dy) {
            let dy = simd.load(&dy.0);
            sum = simd.add(sum, dy);
            product = simd.mul_add(dy, simd.sub(simd.load(&x.0), simd.splat(self.mean)), product);
        }
        [sum_valid(simd, sum, self.lanes), sum_valid(simd, product, self.lanes)]
    }
}

/// `dx = scale · dy + slope · x + offset`, and 0 in lanes past the last image.
struct InputGradient<'a> {
    x: &'a [Lanes],
    dy: &'a [Lanes],
    scale: f32,
    slope: f32,
    offset: f32,
    lanes: usize,
    dx: &'a mut [Lanes],
}

impl WithSimd for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (scale, slope, offset) =
            (simd.splat(self.scale), simd.splat(self.slope), simd.splat(self.offset));
        for ((x, dy), dx) in self.x.iter().zip(self.dy).zip(self.dx) {
            let line = simd.mul_add(slope, simd.load(&x.0), offset);
            let gradient = simd.mul_add(scale, simd.load(&dy.0), line);
            simd.store(keep_valid(simd, gradient, self.lanes), &mut dx.0);
        }
    }
}
