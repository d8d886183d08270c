//! Optimizers on flat slices of weights.

use rayon::prelude::*;

use super::parallel::{grain, threads};
use crate::cpu::{Isa, LANES, Simd, WithSimd};

/// How many weights one task takes.
const WEIGHTS_PER_TASK: usize = 16 << 10;

/// Adam (Kingma and Ba, 2015) with bias correction and decoupled weight decay (AdamW, Loshchilov and Hutter, 2019):
///
/// ```text
/// m = beta1 · m + (1 - beta1) · g          v = beta2 · v + (1 - beta2) · g²
/// w = w - rate · (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay · w)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay of the mean of gradients, 0.9 in the paper.
    pub beta1: f32,
    /// Decay of the mean of squared gradients, 0.999 in the paper.
    pub beta2: f32,
    /// Added to the root, 1e-8 in the paper.
    pub epsilon: f32,
    /// The share of each weight that a step at learning rate 1 takes away; 0 for plain Adam.
    pub weight_decay: f32,
    /// The gradient is multiplied by it first: 1, or what clipping leaves.
    pub gradient_scale: f32,
}

impl Adam {
    /// Takes step `step`, counted from 1, on `weights`; `mean` and `square` hold its state, 0 before the first.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length or `step` is 0.
    pub fn step(
        &self,
        isa: Isa,
        step: u64,
        weights: &mut [f32],
        gradient: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        assert!(step > 0, "steps count from 1");
        assert_eq!(
            [gradient.len(), mean.len(), square.len()],
            [weights.len(); 3],
            "lengths of Adam's slices"
        );
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(step as f64))) as f32;
        let corrections = [correction(self.beta1), correction(self.beta2)];
        weights
            .par_chunks_mut(WEIGHTS_PER_TASK)
            .with_min_len(grain())
            .zip(gradient.par_chunks(WEIGHTS_PER_TASK))
            .zip(mean.par_chunks_mut(WEIGHTS_PER_TASK).zip(square.par_chunks_mut(WEIGHTS_PER_TASK)))
            .for_each(|((weights, gradient), (mean, square))| {
                isa.dispatch(AdamStep {
                    adam: *self,
                    corrections,
                    gradient,
                    slices: [weights, mean, square],
                });
            });
    }
}

/// The sum of the squares of all values, in an order that follows from their number alone.
pub fn sum_of_squares(isa: Isa, values: &[f32]) -> f64 {
    if values.len() <= WEIGHTS_PER_TASK {
        return isa.dispatch(SumOfSquares(values));
    }
    let tasks = values.len().div_ceil(WEIGHTS_PER_TASK);
    let (left, right) = values.split_at(tasks / 2 * WEIGHTS_PER_TASK);
    let (left, right) = (|| sum_of_squares(isa, left), || sum_of_squares(isa, right));
    let (left, right) = if threads() == 1 { (left(), right()) } else { rayon::join(left, right) };
    left + right
}

struct SumOfSquares<'a>(&'a [f32]);

impl WithSimd for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) -> f64 {
        /// Partial sums, so that additions need not wait for each other.
        const SUMS: usize = 32;
        let mut sums = [0.0f64; SUMS];
        let (groups, rest) = self.0.as_chunks::<SUMS>();
        for group in groups {
            for (sum, value) in sums.iter_mut().zip(group) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*value) * f64::from(*value);
        }
        sums.iter().sum()
    }
}

/// Stochastic gradient descent with momentum; weight decay is added to the gradient (L2):
///
/// ```text
/// v = momentum · v + g + weight_decay · w          w = w - rate · v
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub learning_rate: f32,
    /// The share of the velocity that stays; 0 for plain gradient descent.
    pub momentum: f32,
    /// Factor of the weights that is added to the gradient.
    pub weight_decay: f32,
    /// The gradient is multiplied by it first: 1, or what clipping leaves.
    pub gradient_scale: f32,
}

impl Sgd {
    /// Takes a step on `weights`; `velocity` holds its state, 0 before the first.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length.
    pub fn step(&self, isa: Isa, weights: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        assert_eq!([gradient.len(), velocity.len()], [weights.len(); 2], "lengths of SGD's slices");
        weights
            .par_chunks_mut(WEIGHTS_PER_TASK)
            .with_min_len(grain())
            .zip(gradient.par_chunks(WEIGHTS_PER_TASK))
            .zip(velocity.par_chunks_mut(WEIGHTS_PER_TASK))
            .for_each(|((weights, gradient), velocity)| {
                isa.dispatch(SgdStep { sgd: *self, gradient, slices: [weights, velocity] });
            });
    }
}

/// Calls `update` on vectors of the slices and of the gradient; the last, shorter vectors are filled up with 0.
#[inline(always)]
fn for_each_vector<const N: usize>(
    slices: [&mut [f32]; N],
    gradient: &[f32],
    mut update: impl FnMut([&mut [f32; LANES]; N], &[f32; LANES]),
) {
    let (gradients, gradient_rest) = gradient.as_chunks::<LANES>();
    let mut split = slices.map(|slice| slice.as_chunks_mut::<LANES>());
    for (n, gradient) in gradients.iter().enumerate() {
        update(split.each_mut().map(|(vectors, _)| &mut vectors[n]), gradient);
    }
    let filled_up = |rest: &[f32]| {
        let mut vector = [0.0; LANES];
        vector[..rest.len()].copy_from_slice(rest);
        vector
    };
    let mut vectors = split.each_ref().map(|(_, rest)| filled_up(rest));
    update(vectors.each_mut(), &filled_up(gradient_rest));
    for ((_, rest), vector) in split.iter_mut().zip(vectors) {
        rest.copy_from_slice(&vector[..rest.len()]);
    }
}

struct AdamStep<'a> {
    adam: Adam,
    corrections: [f32; 2],
    gradient: &'a [f32],
    slices: [&'a mut [f32]; 3],
}

impl WithSimd for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Adam { learning_rate, beta1, beta2, epsilon, weight_decay, gradient_scale } = self.adam;
        let [mean_correction, square_correction] = self.corrections.map(|value| simd.splat(value));
        let [beta1, rest1, beta2, rest2] =
            [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(|value| simd.splat(value));
        let [rate, epsilon, decay, factor] =
            [-learning_rate, epsilon, weight_decay, gradient_scale].map(|value| simd.splat(value));
        for_each_vector(
            self.slices,
            self.gradient,
            #[inline(always)]
            |[weights, mean, square], gradient| {
                let (w, g) = (simd.load(weights), simd.mul(factor, simd.load(gradient)));
                let m = simd.mul_add(beta1, simd.load(mean), simd.mul(rest1, g));
                let v = simd.mul_add(beta2, simd.load(square), simd.mul(rest2, simd.mul(g, g)));
                let root = simd.add(simd.sqrt(simd.mul(v, square_correction)), epsilon);
                let direction = simd.mul_add(decay, w, simd.div(simd.mul(m, mean_correction), root));
                simd.store(simd.mul_add(rate, direction, w), weights);
                simd.store(m, mean);
                simd.store(v, square);
            },
        );
    }
}

struct SgdStep<'a> {
    sgd: Sgd,
    gradient: &'a [f32],
    slices: [&'a mut [f32]; 2],
}

impl WithSimd for SgdStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sgd { learning_rate, momentum, weight_decay, gradient_scale } = self.sgd;
        let [rate, momentum, decay, factor] =
            [-learning_rate, momentum, weight_decay, gradient_scale].map(|value| simd.splat(value));
        for_each_vector(
            self.slices,
            self.gradient,
            #[inline(always)]
            |[weights, velocity], gradient| {
                let w = simd.load(weights);
                let gradient = simd.mul_add(decay, w, simd.mul(factor, simd.load(gradient)));
                let v = simd.mul_add(momentum, simd.load(velocity), gradient);
                simd.store(simd.mul_add(rate, v, w), weights);
                simd.store(v, velocity);
            },
        );
    }
}
