//! Which samples go where: seeded choices that keep the classes in proportion.
//!
//! All functions work on labels alone and return ascending indices, so that a chosen set keeps the order of
//! its file.

use crate::rng::{Rng, Use};

/// Divides `0..labels.len()` into consecutive parts of the given sizes and a last part that holds the rest.
///
/// In each part the share of every class equals its share in the whole, up to rounding. A sample is in
/// exactly one part.
///
/// # Panics
/// If the sizes add up to more than there are samples.
pub(crate) fn stratified<const PARTS: usize>(
    labels: &[u32],
    sizes: [usize; PARTS],
    seed: u64,
) -> ([Vec<usize>; PARTS], Vec<usize>) {
    let order = proportional_order(labels, seed);
    let mut rest = order.as_slice();
    let parts = sizes.map(|size| {
        let (part, others) = rest.split_at(size);
        rest = others;
        ascending(part)
    });
    (parts, ascending(rest))
}

/// See [`crate::Dataset::representative`].
pub(crate) fn representative(labels: &[u32], count: usize, seed: u64) -> Vec<usize> {
    let classes = shuffled_classes(labels, Rng::for_use(seed, Use::Representative, [0, 0]));
    let longest = classes.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|rank| classes.iter().filter_map(move |class| class.get(rank)));
    ascending(&rounds.take(count).copied().collect::<Vec<_>>())
}

/// All samples in an order of which every prefix holds the classes in proportion.
///
/// The sample of rank r in a class of s stands at (r + ½) / s: the method of Webster and Sainte-Laguë.
fn proportional_order(labels: &[u32], seed: u64) -> Vec<usize> {
    struct Place {
        rank: u64,
        class_size: u64,
        sample: usize,
    }
    let mut places: Vec<Place> = shuffled_classes(labels, Rng::for_use(seed, Use::Split, [0, 0]))
        .into_iter()
        .flat_map(|class| {
            let class_size = class.len() as u64;
            (0..).zip(class).map(move |(rank, sample)| Place { rank, class_size, sample })
        })
        .collect();
    // With 64 binary places, different fractions of fewer than 2³¹ samples stay different and equal ones
    // equal. The sort is stable, so that ties keep the order of the classes.
    places.sort_by_key(|place| {
        let numerator = u128::from(2 * place.rank + 1);
        (numerator << 64) / u128::from(2 * place.class_size)
    });
    places.into_iter().map(|place| place.sample).collect()
}

/// The samples of each class, in the order of the labels, each class shuffled.
fn shuffled_classes(labels: &[u32], mut rng: Rng) -> Vec<Vec<usize>> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (sample, &label) in labels.iter().enumerate() {
        let class = label as usize;
        if class >= classes.len() {
            classes.resize_with(class + 1, Vec::new);
        }
        classes[class].push(sample);
    }
    for class in &mut classes {
        rng.shuffle(class);
    }
    classes
}

fn ascending(samples: &[usize]) -> Vec<usize> {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(labels: &[u32], samples: &[usize], class: u32) -> usize {
        samples.iter().filter(|&&sample| labels[sample] == class).count()
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_complete_and_proportional(
            labels in prop::collection::vec(0u32..6, 1..300), a in 0.0..0.5f64, b in 0.0..0.5f64, seed: u64,
        ) {
            let n = labels.len();
            let sizes = [a, b].map(|fraction| (fraction * n as f64) as usize);
            let ([first, second], rest) = stratified(&labels, sizes, seed);
            prop_assert_eq!([first.len(), second.len()], sizes);
            prop_assert_eq!(ascending(&[first.clone(), second, rest].concat()), (0..n).collect::<Vec<_>>());
            for class in 0..6 {
                let all = count(&labels, &(0..n).collect::<Vec<_>>(), class) as f64;
                let share = all / n as f64;
                // Each class is within ½ of its share of the prefix's true extent, and that extent is within
                // ½ per class of the prefix's length.
                let bound = 0.5 + 6.0 / 2.0 * share + 1e-9;
                let difference = count(&labels, &first, class) as f64 - share * first.len() as f64;
                prop_assert!(difference.abs() <= bound, "class {}: {} > {}", class, difference, bound);
            }
        }

        #[test]
        fn representative_is_even_and_nested(
            labels in prop::collection::vec(0u32..6, 0..100), size in 0usize..120, seed: u64,
        ) {
            let chosen = representative(&labels, size, seed);
            prop_assert_eq!(chosen.len(), size.min(labels.len()));
            prop_assert!(chosen.is_sorted());
            let larger = representative(&labels, size + 1, seed);
            prop_assert!(chosen.iter().all(|sample| larger.contains(sample)));
            let all: Vec<usize> = (0..labels.len()).collect();
            let most = (0..6).map(|class| count(&labels, &chosen, class)).max().unwrap_or(0);
            for class in 0..6 {
                let chosen = count(&labels, &chosen, class);
                prop_assert!(chosen + 1 >= most || chosen == count(&labels, &all, class));
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let labels = [0; 100];
        let choose = |seed| stratified(&labels, [10], seed).0;
        assert_eq!(choose(1), choose(1));
        assert_ne!(choose(1), choose(2));
    }
}
