//! Dropout (Srivastava et al., 2014), whose mask is a function of its place and is never stored.

use rayon::prelude::*;

use super::activation::ELEMENTS_PER_TASK;
use super::philox::philox;
use super::{LANES, Lanes, parallel::grain};
use crate::cpu::{Isa, Simd, WithSimd};

/// How many values of an image one call of [`philox`] decides on.
const WORDS: usize = 4;

/// Dropout of one shape: a value becomes 0 with probability `rate` and is divided by `1 - rate` otherwise.
///
/// What is dropped follows from the seed, the step, the image's index and the value's index in the image's
/// `[C][H][W]`; never from how a batch is split.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Values per image, `C · H · W`.
    pub values: usize,
    /// The probability that a value is dropped, from 0 to below 1.
    pub rate: f32,
    /// Tells the masks of layers and runs apart.
    pub seed: u64,
    /// The instruction set to use.
    pub isa: Isa,
}

impl Dropout {
    /// `y = dropout(x)` in step `step`, where the first lane holds image `first_image` of the batch.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length or do not hold whole blocks, if the rate is not in 0..1, or if an image
    /// has more than 2^32 values, as does the gradient below.
    pub fn forward(&self, step: u64, first_image: u32, x: &[Lanes], y: &mut [Lanes]) {
        assert_eq!(x.len(), y.len(), "input and output of a dropout differ in length");
        self.for_each_part(y, |block, first, y| {
            y.copy_from_slice(&x[block * self.values + first..][..y.len()]);
            self.drop(step, first_image, block, first, y);
        });
    }

    /// Turns the gradient of the output into that of the input, in place.
    pub fn backward(&self, step: u64, first_image: u32, gradient: &mut [Lanes]) {
        self.for_each_part(gradient, |block, first, part| self.drop(step, first_image, block, first, part));
    }

    /// Calls `f` on parts of each block's values, with the block and the index of the part's first value in it.
    fn for_each_part(&self, values: &mut [Lanes], f: impl Fn(usize, usize, &mut [Lanes]) + Sync) {
        assert!((0.0..1.0).contains(&self.rate), "a dropout rate of {} is not in 0..1", self.rate);
        assert!(self.values <= 1 << 32, "an image of {} values is too large", self.values);
        let size = self.values.max(1);
        assert_eq!(values.len() % size, 0, "a length of whole blocks of {size} values");
        values.par_chunks_mut(size).with_min_len(grain()).enumerate().for_each(|(block, values)| {
            let parts = values.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain());
            parts.enumerate().for_each(|(n, part)| f(block, n * ELEMENTS_PER_TASK, part));
        });
    }

    fn drop(&self, step: u64, first_image: u32, block: usize, first: usize, values: &mut [Lanes]) {
        let image = first_image.wrapping_add((block * LANES) as u32);
        self.isa.dispatch(Drop {
            key: [self.seed as u32, (self.seed >> 32) as u32],
            step: [step as u32, (step >> 32) as u32],
            images: std::array::from_fn(|lane| image.wrapping_add(lane as u32)),
            group: (first / WORDS) as u32,
            threshold: (f64::from(self.rate) * 2f64.powi(32)) as u32,
            factor: 1.0 / (1.0 - self.rate),
            values,
        });
    }
}

/// Multiplies values by 0 where their random word is below the threshold, else by the factor.
struct Drop<'a> {
    key: [u32; 2],
    step: [u32; 2],
    images: [u32; LANES],
    /// The index of the first group of [`WORDS`] values.
    group: u32,
    threshold: u32,
    factor: f32,
    values: &'a mut [Lanes],
}

impl WithSimd for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (group, values) in (self.group..).zip(self.values.chunks_mut(WORDS)) {
            let mut factors = [[0.0; LANES]; WORDS];
            for (lane, &image) in self.images.iter().enumerate() {
                let words = philox([group, image, self.step[0], self.step[1]], self.key);
                for (factors, word) in factors.iter_mut().zip(words) {
                    factors[lane] = if word < self.threshold { 0.0 } else { self.factor };
                }
            }
            for (value, factor) in values.iter_mut().zip(&factors) {
                simd.store(simd.mul(simd.load(&value.0), simd.load(factor)), &mut value.0);
            }
        }
    }
}
