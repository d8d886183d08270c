//! Labelled images.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::note::DataNote;
use crate::split;
use crate::storage::Images;

/// The shape of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image: height × width × channels.
    pub fn elements(self) -> usize {
        self.height * self.width * self.channels
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.height, self.width, self.channels)
    }
}

/// Labelled images of one shape, in memory or in files.
///
/// A file is decoded when its image is asked for, and brought to the shape. Where all the decoded images together take no
/// more than 256 MiB, each is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    shape: ImageShape,
    classes: Vec<String>,
    images: Images,
    /// One per image, each below `classes.len()`.
    labels: Vec<u32>,
}

impl Dataset {
    /// A dataset of `images` in layout `[N][H][W][C]` with one label per image.
    ///
    /// # Panics
    /// If the lengths do not agree or a label names no class.
    /// Readers check foreign data before they build a dataset.
    pub fn new(shape: ImageShape, classes: Vec<String>, images: Vec<u8>, labels: Vec<u32>) -> Self {
        assert_eq!(images.len(), labels.len() * shape.elements(), "one image of {shape} per label");
        assert!(labels.iter().all(|&label| (label as usize) < classes.len()), "every label names a class");
        Self { shape, classes, images: Images::Memory(images), labels }
    }

    /// A dataset of image files, which are brought to `shape`, with one label per file.
    pub(crate) fn of_files(
        shape: ImageShape,
        classes: Vec<String>,
        paths: Vec<PathBuf>,
        labels: Vec<u32>,
    ) -> Self {
        Self { shape, classes, images: Images::of_files(paths, shape), labels }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The names of the classes, in the order of their labels.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The bytes of one image, `[H][W][C]`.
    ///
    /// # Errors
    /// If its file cannot be read; never for an image in memory.
    ///
    /// # Panics
    /// If `sample` is not below [`Self::len`].
    pub fn image(&self, sample: usize) -> Result<Cow<'_, [u8]>, DataError> {
        self.images.image(sample, self.shape)
    }

    /// All labels, in the order of the images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The number of samples of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// A note if there are classes without a sample.
    pub fn empty_classes(&self) -> Option<DataNote> {
        let empty = self.classes.iter().zip(self.class_counts()).filter(|&(_, count)| count == 0);
        let classes: Vec<String> = empty.map(|(class, _)| class.clone()).collect();
        (!classes.is_empty()).then_some(DataNote::EmptyClasses { classes })
    }

    /// A note if a batch of the given size is larger than the set.
    pub fn large_batch(&self, batch: usize) -> Option<DataNote> {
        (batch > self.len()).then_some(DataNote::LargeBatch { batch, samples: self.len() })
    }

    /// A copy of the given samples, in the given order.
    ///
    /// # Panics
    /// If an index is not below [`Self::len`].
    pub fn select(&self, samples: &[usize]) -> Self {
        let images = self.images.select(samples, self.shape);
        let labels = samples.iter().map(|&sample| self.labels[sample]).collect();
        Self { shape: self.shape, classes: self.classes.clone(), images, labels }
    }

    /// `count` samples for calibration, ascending, as many of each class as of any other so far as there are.
    ///
    /// The choice depends on nothing but the labels and the seed, and a larger count contains a smaller one.
    /// If there are no more than `count` samples, all are chosen.
    pub fn representative(&self, count: usize, seed: u64) -> Vec<usize> {
        split::representative(&self.labels, count, seed)
    }

    /// SHA-256 of shape, class count, labels and images, in hexadecimal. Files count as they are, before they are decoded.
    ///
    /// # Errors
    /// If a file cannot be read; never for images in memory.
    pub fn sha256(&self) -> Result<String, DataError> {
        let ImageShape { height, width, channels } = self.shape;
        let mut hash = Sha256::new();
        for size in [self.len(), height, width, channels, self.classes.len()] {
            hash.update((size as u64).to_le_bytes());
        }
        for label in &self.labels {
            hash.update(label.to_le_bytes());
        }
        self.images.hash(&mut hash)?;
        Ok(hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dots(labels: &[u32]) -> Dataset {
        let images = (0..labels.len()).flat_map(|i| [i as u8, 0]).collect();
        let shape = ImageShape { height: 1, width: 2, channels: 1 };
        Dataset::new(shape, vec!["a".into(), "b".into()], images, labels.to_vec())
    }

    #[test]
    fn select_keeps_images_with_their_labels() {
        let chosen = dots(&[0, 1, 1]).select(&[2, 0]);
        assert_eq!([0, 1].map(|sample| chosen.image(sample).unwrap().into_owned()), [[2, 0], [0, 0]]);
        assert_eq!(chosen.labels(), [1, 0]);
        assert_eq!(chosen.class_counts(), [1, 1]);
    }

    #[test]
    fn notes_name_what_is_missing() {
        assert_eq!(dots(&[0, 1]).empty_classes(), None);
        assert_eq!(
            dots(&[0, 0]).empty_classes(),
            Some(DataNote::EmptyClasses { classes: vec!["b".to_owned()] })
        );
        assert_eq!(dots(&[0, 1]).large_batch(2), None);
        assert_eq!(dots(&[0, 1]).large_batch(3), Some(DataNote::LargeBatch { batch: 3, samples: 2 }));
    }

    #[test]
    fn sha256_sees_labels_images_and_shape() {
        let base = dots(&[0, 1]);
        let mut turned = base.clone();
        turned.shape = ImageShape { height: 2, width: 1, channels: 1 };
        let painted = Dataset::new(base.shape, base.classes.clone(), vec![0, 0, 1, 9], vec![0, 1]);
        let hashes = [&base, &turned, &painted, &dots(&[0, 0]), &dots(&[0])].map(|set| set.sha256().unwrap());
        for (i, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 64);
            assert!(!hashes[..i].contains(hash));
        }
        assert_eq!(hashes[0], dots(&[0, 1]).sha256().unwrap());
    }
}
