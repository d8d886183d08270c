//! Mini-batches of preprocessed images, in order or shuffled.

use crate::augment::{AugmentConfig, Frame};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocess::Preprocess;
use crate::rng::{Rng, Use};

/// Visits samples of a dataset once each and fills a caller's buffers with them.
///
/// What the images hold does not depend on the size of a batch. [`Batches::prefetch`] fills them in the background.
pub struct Batches<'a> {
    dataset: &'a Dataset,
    preprocess: Preprocess,
    augmentation: Option<Augmentation>,
    samples: Vec<usize>,
    visited: usize,
    /// Where an image is put to be augmented.
    frame: Frame,
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
        Self { dataset, preprocess, augmentation: None, samples, visited: 0, frame: Frame::default() }
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
        batches.augmentation =
            (augment != AugmentConfig::NONE).then_some(Augmentation { config: augment, seed, epoch });
        batches
    }

    /// The number of samples that are still to come.
    pub fn remaining(&self) -> usize {
        self.samples.len() - self.visited
    }

    /// Elements of one image.
    pub(crate) fn image_size(&self) -> usize {
        self.dataset.shape().elements()
    }

    /// Fills the buffers with the next samples and returns their number; `None` when all have been visited.
    ///
    /// The batch is as large as `labels`, the last one perhaps smaller: then the rest of both buffers stays
    /// as it is. `images` is `[N][H][W][C]`.
    ///
    /// # Errors
    /// If an image file cannot be read. Its batch is not visited, and the buffers hold anything.
    ///
    /// # Panics
    /// If `labels` is empty or `images` does not hold one image per label.
    pub fn fill(&mut self, images: &mut [f32], labels: &mut [u32]) -> Result<Option<usize>, DataError> {
        let (shape, size) = (self.dataset.shape(), self.image_size());
        assert!(!labels.is_empty(), "a batch holds at least one sample");
        assert_eq!(images.len(), labels.len() * size, "one image of {shape} per label");
        let count = self.remaining().min(labels.len());
        if count == 0 {
            return Ok(None);
        }
        let samples = &self.samples[self.visited..self.visited + count];
        for ((inputs, label), &sample) in images.chunks_exact_mut(size).zip(labels).zip(samples) {
            *label = self.dataset.labels()[sample];
            let image = self.dataset.image(sample)?;
            match &self.augmentation {
                None => self.preprocess.fill(&image, inputs),
                Some(Augmentation { config, seed, epoch }) => config
                    .draw(shape, *seed, *epoch, sample)
                    .resample(&image, &self.preprocess, &mut self.frame, inputs),
            }
        }
        self.visited += count;
        Ok(Some(count))
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
        while let Some(count) = batches.fill(&mut images, &mut labels).unwrap() {
            let images = images.chunks_exact(SHAPE.elements()).map(<[f32]>::to_vec);
            visited.extend(labels.iter().copied().zip(images).take(count));
        }
        visited
    }

    #[test]
    fn batch_size_changes_nothing() {
        let dataset = dataset();
        let epoch = |batch| visit(Batches::shuffled(&dataset, Preprocess::default(), AUGMENT, 1, 2), batch);
        let expected = epoch(100);
        for batch in [1, 32, 64, 1000] {
            assert!(epoch(batch) == expected, "batch {batch}");
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
