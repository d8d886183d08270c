//! Counting zeros, for the average percentage of zeros (APoZ) of each channel.

use rayon::prelude::*;

use super::parallel::grain_of;
use super::reduce::{fold, sum_valid};
use super::{Lanes, blocks, valid_lanes};
use crate::cpu::{Isa, Simd, WithSimd};

/// Pixels whose zeros in 16 images an f32 counts exactly.
const PIXELS_PER_COUNT: usize = 1 << 20;

/// How many values of each channel of `y`, `[blocks][channels][pixels]`, are exactly 0 (of either sign). Lanes past
/// the last image do not count.
///
/// # Panics
///
/// Panics if `y` does not have the length that the shape asks for.
pub fn count_zeros(isa: Isa, y: &[Lanes], batch: usize, channels: usize, pixels: usize) -> Vec<u64> {
    assert_eq!(y.len(), blocks(batch) * channels * pixels, "length of the activation");
    (0..channels)
        .into_par_iter()
        .with_min_len(grain_of(blocks(batch) * pixels))
        .map(|channel| isa.dispatch(CountZeros { y, batch, channels, channel, pixels }))
        .collect()
}

struct CountZeros<'a> {
    y: &'a [Lanes],
    batch: usize,
    channels: usize,
    channel: usize,
    pixels: usize,
}

impl WithSimd for CountZeros<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let (zero, one) = (simd.zero(), simd.splat(1.0));
        let mut zeros = 0;
        for block in 0..blocks(self.batch) {
            let start = (block * self.channels + self.channel) * self.pixels;
            for part in self.y[start..start + self.pixels].chunks(PIXELS_PER_COUNT) {
                let counts = fold(
                    simd,
                    part,
                    #[inline(always)]
                    |count, value| simd.add(count, simd.select_eq(value, zero, one, zero)),
                );
                zeros += sum_valid(simd, counts, valid_lanes(self.batch, block)) as u64;
            }
        }
        zeros
    }
}
