//! Numbers and comparisons shared by the tests of lane kernels.

use rayon::ThreadPoolBuilder;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, LANES, Lanes};

/// What no kernel may leave behind or read.
pub(crate) const GARBAGE: Lanes = Lanes([f32::NAN; LANES]);

/// Numbers from a seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Multiples of 1/4 in -2..=2: sums of their products are exact in f32, in any order.
    pub(crate) fn quarters(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.next() % 17) as f32 / 4.0 - 2.0).collect()
    }

    /// Numbers in -1..1.
    pub(crate) fn reals(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    /// Labels below `classes`.
    pub(crate) fn labels(&mut self, length: usize, classes: usize) -> Vec<u32> {
        (0..length).map(|_| (self.next() % classes as u64) as u32).collect()
    }
}

/// Lane layout of an NHWC tensor.
pub(crate) fn packed(nhwc: &[f32], batch: usize, pixels: usize, channels: usize) -> Vec<Lanes> {
    let mut out = vec![Lanes([f32::NAN; LANES]); lanes::blocks(batch) * pixels * channels];
    lanes::pack(nhwc, batch, pixels, channels, &mut out);
    out
}

/// NHWC tensor of a lane layout.
pub(crate) fn unpacked(lanes: &[Lanes], batch: usize, pixels: usize, channels: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; batch * pixels * channels];
    lanes::unpack(lanes, batch, pixels, channels, &mut out);
    out
}

/// The lanes of the last block that hold no image.
pub(crate) fn padding_lanes(values: &[Lanes], batch: usize) -> impl Iterator<Item = f32> {
    let per_block = values.len() / lanes::blocks(batch);
    let first = (batch - 1) % LANES + 1;
    values[values.len() - per_block..].iter().flat_map(move |value| value.0[first..].to_vec())
}

/// Checks every number against its expectation, to `tolerance` of the largest expectation (at least 1).
pub(crate) fn assert_close(actual: &[f32], expect: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expect.len(), "{what}: length");
    let scale = expect.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
    for (at, (actual, expect)) in actual.iter().zip(expect).enumerate() {
        let error = (f64::from(*actual) - expect).abs();
        assert!(error <= tolerance * scale, "{what}: {actual} instead of {expect} at {at}");
    }
}

/// The gradient of `f` at `x` by central differences.
pub(crate) fn central_differences(x: &[f32], step: f32, mut f: impl FnMut(&[f32]) -> f64) -> Vec<f64> {
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|at| {
            moved[at] = x[at] + step;
            let above = f(&moved);
            moved[at] = x[at] - step;
            let below = f(&moved);
            moved[at] = x[at];
            (above - below) / (2.0 * f64::from(step))
        })
        .collect()
}

/// `Σ a · b` in f64.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The result of `f` on 1, 2 and 3 threads, which must be the same.
pub(crate) fn at_any_threads<R: PartialEq + std::fmt::Debug + Send>(f: impl Fn() -> R + Sync) -> R {
    let run =
        |threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(&f);
    let result = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == result, "{threads} threads give another result than one");
    }
    result
}

/// Runs `f` at 1, 2 and 3 threads on every instruction set; all must give the same.
pub(crate) fn everywhere<R: PartialEq + std::fmt::Debug + Send>(f: impl Fn(Isa) -> R + Sync) -> R {
    let mut results = Isa::available().into_iter().map(|isa| at_any_threads(|| f(isa))).collect::<Vec<_>>();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets differ");
    results.swap_remove(0)
}

/// The bits of numbers, so that equality means the same bytes.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The bits of vectors.
pub(crate) fn lane_bits(values: &[Lanes]) -> Vec<u32> {
    values.iter().flat_map(|value| value.0.map(f32::to_bits)).collect()
}
