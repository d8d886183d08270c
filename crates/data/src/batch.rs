//! Mini-batches of preprocessed images, in order or shuffled.

use rayon::prelude::*;

use crate::augment::AugmentConfig;
use crate::dataset::Dataset;
use crate::preprocess::Preprocess;
use crate::rng::{Rng, Use};

/// Visits samples of a dataset once each and fills a caller's buffers with them.
///
/// The images are filled in parallel; what they hold does not depend on the number of threads or the size of
/// a batch.
pub struct Batches<'a> {
    dataset: &'a Dataset,
    preprocess: Preprocess,
    augmentation: Option<Augmentation>,
    samples: Vec<usize>,
    visited: usize,
}

struct Augmentation {
    config: AugmentConfig,
    seed: u64,
    epoch: u64,
}

impl<'a> Batches<'a> {
    /// Every sample in the order of the dataset, unchanged but for preprocessing.
    pub fn in_order(dataset: &'a Dataset, preprocess: Preprocess) -> Self {
        Self::of(dataset, preprocess, (0..dataset.len()).collect())
    }

    /// The given samples in the given order, unchanged but for preprocessing.
    pub fn of(dataset: &'a Dataset, preprocess: Preprocess, samples: Vec<usize>) -> Self {
        Self { dataset, preprocess, augmentation: None, samples, visited: 0 }
    }

    /// One epoch of training: every sample once, in an order and with changes that `seed` and `epoch` alone
    /// decide.
    pub fn shuffled(
        dataset: &'a Dataset,
        preprocess: Preprocess,
        augment: AugmentConfig,
        seed: u64,
        epoch: u64,
    ) -> Self {
        let mut batches = Self::in_order(dataset, preprocess);
        Rng::for_use(seed, Use::Shuffle, [epoch, 0]).shuffle(&mut batches.samples);
        batches.augmentation = Some(Augmentation { config: augment, seed, epoch });
        batches
    }

    /// The number of samples that are still to come.
    pub fn remaining(&self) -> usize {
        self.samples.len() - self.visited
    }

    /// Fills the buffers with the next samples and returns their number; `None` when all have been visited.
    ///
    /// The batch is as large as `labels`, the last one perhaps smaller: then the rest of both buffers stays
    /// as it is. `images` is `[N][H][W][C]`.
    ///
    /// # Panics
    /// If `labels` is empty or `images` does not hold one image per label.
    pub fn fill(&mut self, images: &mut [f32], labels: &mut [u32]) -> Option<usize> {
        let size = self.dataset.shape().elements();
        assert!(!labels.is_empty(), "a batch holds at least one sample");
        assert_eq!(images.len(), labels.len() * size, "one image of {} per label", self.dataset.shape());
        let count = self.remaining().min(labels.len());
        if count == 0 {
            return None;
        }
        let samples = &self.samples[self.visited..self.visited + count];
        for (label, &sample) in labels.iter_mut().zip(samples) {
            *label = self.dataset.labels()[sample];
        }
        images
            .par_chunks_exact_mut(size)
            .zip(samples)
            .with_min_len(16)
            .for_each(|(inputs, &sample)| self.fill_image(sample, inputs));
        self.visited += count;
        Some(count)
    }

    fn fill_image(&self, sample: usize, inputs: &mut [f32]) {
        let image = self.dataset.image(sample);
        match &self.augmentation {
            None => self.preprocess.fill(image, inputs),
            Some(Augmentation { config, seed, epoch }) => config
                .draw(self.dataset.shape(), *seed, *epoch, sample)
                .resample(image, &self.preprocess, inputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ImageShape;

    const SHAPE: ImageShape = ImageShape { height: 5, width: 4, channels: 1 };
    const AUGMENT: AugmentConfig = AugmentConfig { shift: 0.2, rotation: 30.0, scale: 0.2 };

    fn dataset() -> Dataset {
        let mut rng = Rng::new(9);
        let images = (0..100 * SHAPE.elements()).map(|_| rng.below(256) as u8).collect();
        let classes = (0..100).map(|class| class.to_string()).collect();
        Dataset::new(SHAPE, classes, images, (0..100).collect())
    }

    /// Every (label, image) in the order of the visit.
    fn visit(mut batches: Batches<'_>, batch: usize) -> Vec<(u32, Vec<f32>)> {
        let (mut images, mut labels) = (vec![0.0; batch * SHAPE.elements()], vec![0; batch]);
        let mut visited = Vec::new();
        while let Some(count) = batches.fill(&mut images, &mut labels) {
            let images = images.chunks_exact(SHAPE.elements()).map(<[f32]>::to_vec);
            visited.extend(labels.iter().copied().zip(images).take(count));
        }
        visited
    }

    #[test]
    fn threads_and_batch_size_change_nothing() {
        let dataset = dataset();
        let epoch = |batch| visit(Batches::shuffled(&dataset, Preprocess::default(), AUGMENT, 1, 2), batch);
        let expected = epoch(100);
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for batch in [1, 32, 64, 100, 1000] {
                assert!(pool.install(|| epoch(batch)) == expected, "{threads} threads, batch {batch}");
            }
        }
    }

    #[test]
    fn an_epoch_visits_every_sample_once() {
        let dataset = dataset();
        let labels = |epoch| {
            visit(Batches::shuffled(&dataset, Preprocess::default(), AUGMENT, 1, epoch), 32)
                .into_iter()
                .map(|(label, _)| label)
                .collect::<Vec<_>>()
        };
        let (first, second) = (labels(0), labels(1));
        assert_ne!(first, second);
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, dataset.labels());
        }
    }

    #[test]
    fn augmentation_changes_with_epoch_and_seed_but_not_the_label() {
        let dataset = dataset();
        let images = |seed, epoch| {
            let mut visited =
                visit(Batches::shuffled(&dataset, Preprocess::default(), AUGMENT, seed, epoch), 7);
            visited.sort_by_key(|&(label, _)| label);
            visited
        };
        assert!(images(1, 1) == images(1, 1));
        assert!(images(1, 1) != images(1, 2));
        assert!(images(1, 1) != images(2, 1));
    }

    #[test]
    fn without_augmentation_a_shuffle_only_reorders() {
        let dataset = dataset();
        let preprocess = Preprocess::default();
        let mut shuffled = visit(Batches::shuffled(&dataset, preprocess, AugmentConfig::NONE, 1, 1), 32);
        shuffled.sort_by_key(|&(label, _)| label);
        assert!(shuffled == visit(Batches::in_order(&dataset, preprocess), 32));
        let chosen = visit(Batches::of(&dataset, preprocess, vec![7, 3]), 32);
        assert!(chosen == [shuffled[7].clone(), shuffled[3].clone()]);
    }
}
