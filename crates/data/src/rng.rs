//! A small random generator whose stream never changes.
//!
//! SplitMix64 (Steele, Lea, Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014): the n-th
//! value is a fixed mixing of `seed + n·γ`, so it is a counter-based generator. It is written out here
//! because runs are compared byte for byte across versions of Taper, which a general crate does not promise.

/// The odd integer nearest to 2⁶⁴ divided by the golden ratio, the step between two states.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a keyed stream is for; the first word of its key, so that no two uses ever share a stream.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Split = 1,
    Representative = 2,
    Shuffle = 3,
    Augment = 4,
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of SplitMix64 that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An independent stream for every (`seed`, `words`): for example seed, epoch and sample index.
    ///
    /// A stream is a pure function of its key, so that nothing has to be stored to repeat or to resume it.
    /// Keys of one use should have the same number of words.
    pub fn keyed(seed: u64, words: &[u64]) -> Self {
        let start = words
            .iter()
            .fold(mix(seed.wrapping_add(GAMMA)), |hash, &word| mix((hash ^ word).wrapping_add(GAMMA)));
        Self::new(start)
    }

    pub(crate) fn for_use(seed: u64, usage: Use, words: [u64; 2]) -> Self {
        Self::keyed(seed, &[usage as u64, words[0], words[1]])
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in `0..bound`, without bias (Lemire, *Fast random integer generation in an interval*, 2019).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no integer is below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// Uniform in `[-bound, bound)`; 0 where `bound` is 0.
    pub fn symmetric(&mut self, bound: f64) -> f64 {
        (2.0 * self.uniform() - 1.0) * bound
    }

    /// Fisher–Yates: every order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Stafford's variant 13 of the MurmurHash3 finaliser, as in SplitMix64: a bijection on 64 bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn splitmix64_known_answers() {
        // Reference values of the algorithm for seed 1234567 (Rosetta Code, "Pseudo-random
        // numbers/Splitmix64").
        let mut rng = Rng::new(1_234_567);
        let expected = [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn keys_give_distinct_streams() {
        let keys = (0..20).flat_map(|a| (0..20).flat_map(move |b| (0..20).map(move |c| (a, b, c))));
        let first: BTreeSet<u64> = keys.map(|(a, b, c)| Rng::keyed(a, &[b, c]).next_u64()).collect();
        assert_eq!(first.len(), 8000);
    }

    #[test]
    fn keyed_streams_stay_what_they_are() {
        // Every recorded run depends on these values; they must never change.
        assert_eq!(Rng::keyed(1, &[2, 3]).next_u64(), 1321962074176129191);
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = Rng::new(1);
        let mut counts = [0usize; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial with n = 70,000 and p = 1/7.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 463), "{counts:?}");
    }

    #[test]
    fn shuffle_reaches_every_order() {
        let mut orders = BTreeSet::new();
        for seed in 0..500 {
            let mut items = [0, 1, 2, 3];
            Rng::new(seed).shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 24);
    }
}
