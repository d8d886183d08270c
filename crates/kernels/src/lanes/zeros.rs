//! Counting zeros, for the average percentage of zeros (APoZ) of each channel.

use rayon::prelude::*;

use super::parallel::grain;
use super::{Lanes, blocks, valid_lanes};
use crate::cpu::{Isa, Simd, WithSimd};

/// How many values of each channel of `y`, `[blocks][channels][pixels]`, are exactly 0 (of either sign). Lanes past
/// the last image do not count.
///
/// # Panics
///
/// Panics if `y` does not have the length that the shape asks for, or if a map has more than 2^24 pixels, the
/// largest count that an f32 holds.
pub fn count_zeros(isa: Isa, y: &[Lanes], batch: usize, channels: usize, pixels: usize) -> Vec<u64> {
    assert_eq!(y.len(), blocks(batch) * channels * pixels, "length of the activation");
    assert!(pixels <= 1 << 24, "a map of {pixels} pixels is too large to count in f32");
    (0..channels)
        .into_par_iter()
        .with_min_len(grain())
        .map(|channel| {
            let of_block = |block: usize| {
                let plane = &y[(block * channels + channel) * pixels..][..pixels];
                let counts = isa.dispatch(CountZeros(plane)).0;
                counts[..valid_lanes(batch, block)].iter().map(|&count| count as u64).sum::<u64>()
            };
            (0..blocks(batch)).map(of_block).sum()
        })
        .collect()
}

struct CountZeros<'a>(&'a [Lanes]);

impl WithSimd for CountZeros<'_> {
    type Output = Lanes;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Lanes {
        let mut counts = simd.zero();
        for value in self.0 {
            let hit = simd.select_eq(simd.load(&value.0), simd.zero(), simd.splat(1.0), simd.zero());
            counts = simd.add(counts, hit);
        }
        let mut out = Lanes::ZERO;
        simd.store(counts, &mut out.0);
        out
    }
}
