//! The peak of fused multiply-adds, against which the speed of kernels is told.

use super::{Isa, LANES, Simd, WithSimd};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Most chains that run side by side: more than the arithmetic units of any known core can keep in flight.
const CHAINS: usize = 12;
/// Multiply-adds of each chain in one call.
const ROUNDS: usize = 500_000;

/// Floating point operations per second that fused multiply-adds reach on all threads of rayon's current pool: two for
/// each multiply-add, taken from the least time of calls over `duration`. Machines with neighbours change their clock, so
/// a peak belongs to the moment at which it is measured.
#[must_use]
pub fn fma_peak(isa: Isa, duration: Duration) -> f64 {
    let threads = rayon::current_num_threads();
    let mut least = f64::INFINITY;
    let mut chains = 0;
    let begun = Instant::now();
    while chains == 0 || begun.elapsed() < duration {
        let started = Instant::now();
        chains = rayon::broadcast(|_| isa.dispatch(Chains)).into_iter().max().unwrap_or(0);
        least = least.min(started.elapsed().as_secs_f64());
    }
    (threads * ROUNDS * chains * LANES * 2) as f64 / least
}

/// Chains of multiply-adds that nothing but the arithmetic units can hold up; returns how many run side by side.
struct Chains;

impl WithSimd for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let chains = CHAINS.min(S::REGISTERS - 2);
        let mut sums = [simd.zero(); CHAINS];
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        for _ in 0..ROUNDS {
            for sum in sums.iter_mut().take(chains) {
                *sum = simd.mul_add(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| simd.sum(sum)));
        chains
    }
}
