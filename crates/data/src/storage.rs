//! Where the images of a data set are: in memory, or in files that are decoded when they are needed.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::dataset::ImageShape;
use crate::decode::decode;
use crate::error::{DataError, ImageError};
use crate::resize::resize;

/// Image files whose decoded images together take no more are decoded once and kept.
const MAX_KEPT: usize = 256 << 20;

/// The most bytes of an image file.
const MAX_FILE: u64 = 256 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Images {
    /// `[N][H][W][C]`.
    Memory(Vec<u8>),
    Files(Files),
}

/// One image file per sample.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// One per file as far as it has been decoded; none if all together would take more than [`MAX_KEPT`].
    decoded: Vec<OnceLock<Box<[u8]>>>,
}

impl PartialEq for Files {
    /// Equal if the files are the same, whether they have been decoded or not.
    fn eq(&self, other: &Self) -> bool {
        self.paths == other.paths
    }
}

impl Eq for Files {}

impl Images {
    pub(crate) fn of_files(paths: Vec<PathBuf>, shape: ImageShape) -> Self {
        let bytes = paths.len().checked_mul(shape.elements());
        let kept = if bytes.is_some_and(|bytes| bytes <= MAX_KEPT) { paths.len() } else { 0 };
        let decoded = (0..kept).map(|_| OnceLock::new()).collect();
        Self::Files(Files { paths, decoded })
    }

    /// The bytes of one image, `[H][W][C]`.
    pub(crate) fn image(&self, sample: usize, shape: ImageShape) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Self::Memory(images) => {
                let size = shape.elements();
                Ok(Cow::Borrowed(&images[sample * size..(sample + 1) * size]))
            }
            Self::Files(Files { paths, decoded }) => match decoded.get(sample) {
                None => Ok(Cow::Owned(load(&paths[sample], shape)?)),
                Some(slot) => Ok(Cow::Borrowed(match slot.get() {
                    Some(image) => image,
                    None => {
                        let image = load(&paths[sample], shape)?.into_boxed_slice();
                        slot.get_or_init(|| image)
                    }
                })),
            },
        }
    }

    pub(crate) fn select(&self, samples: &[usize], shape: ImageShape) -> Self {
        match self {
            Self::Memory(images) => {
                let size = shape.elements();
                let image = |&sample: &usize| &images[sample * size..(sample + 1) * size];
                Self::Memory(samples.iter().flat_map(image).copied().collect())
            }
            Self::Files(Files { paths, .. }) => {
                Self::of_files(samples.iter().map(|&sample| paths[sample].clone()).collect(), shape)
            }
        }
    }

    /// Feeds `hash` with the images, or with the SHA-256 of each file as it is.
    pub(crate) fn hash(&self, hash: &mut Sha256) -> Result<(), DataError> {
        match self {
            Self::Memory(images) => hash.update(images),
            Self::Files(Files { paths, .. }) => {
                for path in paths {
                    hash.update(Sha256::digest(read(path)?));
                }
            }
        }
        Ok(())
    }
}

fn load(path: &Path, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    match decode(&read(path)?, shape.channels) {
        Ok(pixels) => Ok(resize(pixels, shape)),
        Err(error) => Err(DataError::Image { path: path.to_owned(), error }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let whole = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match whole {
        Ok(count) if u64::try_from(count).is_ok_and(|count| count > MAX_FILE) => {
            Err(DataError::Image { path: path.to_owned(), error: ImageError::Bytes { most: MAX_FILE } })
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(DataError::Io { path: path.to_owned(), error }),
    }
}
