//! Errors of the data room: each names the file or the key, what was expected and what was found.

use std::io;
use std::path::PathBuf;

use crate::dataset::ImageShape;

/// Why data could not be loaded or a configuration not be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A configuration value is out of its range.
    #[error("{key}: expected {expected}, found {found}")]
    Config {
        /// The key in the recipe, for example `data.augment.rotation`.
        key: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A file or directory is missing or holds something else.
    #[error("{path}: expected {expected}, found {found}", path = path.display())]
    Source {
        /// Where was looked.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The operating system could not read a file.
    #[error("{path}: cannot be read: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The content of a file is not the IDX array that was expected.
    #[error("{path}: {error}", path = path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: IdxError,
    },
    /// The content of a file is not an image that can be used.
    #[error("{path}: {error}", path = path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: ImageError,
    },
    /// There are more or fewer labels than images.
    #[error(
        "{labels_path}: expected {images} labels, one for each image of {images_path}, found {labels}",
        labels_path = labels_path.display(), images_path = images_path.display()
    )]
    LabelCount {
        /// The file of images.
        images_path: PathBuf,
        /// How many images it holds.
        images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// How many labels it holds.
        labels: usize,
    },
    /// A label does not name a class.
    #[error(
        "{path}: label of sample {sample}: expected a class below {classes}, found {label}",
        path = path.display()
    )]
    Label {
        /// The file of labels.
        path: PathBuf,
        /// Index of the sample, from 0.
        sample: usize,
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// The test images differ in shape from the training images.
    #[error(
        "{path}: expected images of {expected} like the training images, found {found}",
        path = path.display()
    )]
    Shape {
        /// The file of test images.
        path: PathBuf,
        /// Of the training images.
        expected: ImageShape,
        /// Of the test images.
        found: ImageShape,
    },
    /// A split would be left with no sample.
    #[error("data.{split}: expected a share that leaves no set empty, found {fraction} of {samples} samples")]
    EmptySplit {
        /// `validation` or `test`.
        split: &'static str,
        /// The share that was asked for.
        fraction: f64,
        /// The number of samples to divide.
        samples: usize,
    },
    /// The operating system gave no thread for loading.
    #[error("cannot start a thread that loads images: {0}")]
    Thread(io::Error),
}

/// What is wrong with an image file.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file starts like none of the formats.
    #[error("expected a PNG, JPEG, BMP or WebP image, found a file that starts with {found:02x?}")]
    Format {
        /// Up to four bytes.
        found: Vec<u8>,
    },
    /// The image has no pixels or too many.
    #[error("expected 1 to {most} pixels, at most {side} on a side, found {height}×{width}")]
    Size {
        /// As in the header.
        height: u32,
        /// As in the header.
        width: u32,
        /// The most pixels.
        most: u64,
        /// The most pixels on a side.
        side: u32,
    },
    /// The file is too large.
    #[error("expected a file of at most {most} bytes, found more")]
    Bytes {
        /// The limit.
        most: u64,
    },
    /// The file is truncated, damaged, or uses what the decoder does not know.
    #[error("expected an intact image, found: {reason}")]
    Broken {
        /// The decoder's words.
        reason: String,
    },
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// What is wrong with the bytes of an IDX file.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// The file is not IDX at all.
    #[error(
        "expected an IDX file, which starts with 00 00 (or 1f 8b when gzipped), found {:02x} {:02x}",
        found[0], found[1]
    )]
    Magic {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// The elements are not unsigned bytes.
    #[error("expected IDX type 0x08 (unsigned byte), found 0x{found:02x}")]
    Type {
        /// The type code.
        found: u8,
    },
    /// The array has too few or too many dimensions.
    #[error("expected {expected} dimensions, found {found}")]
    Rank {
        /// The ranks that are allowed here.
        expected: &'static str,
        /// The rank in the header.
        found: u8,
    },
    /// The array is empty.
    #[error("expected at least one element, found dimensions {dimensions:?}")]
    Empty {
        /// As in the header.
        dimensions: Vec<u32>,
    },
    /// The array cannot exist in this address space.
    #[error("expected a size that fits in memory, found dimensions {dimensions:?}")]
    Overflow {
        /// As in the header.
        dimensions: Vec<u32>,
    },
    /// The file ends within the header.
    #[error("truncated header: expected {expected} bytes, found {found}")]
    TruncatedHeader {
        /// Length of the header so far as it is known.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The file ends within the data.
    #[error("truncated data: expected {expected} bytes after the header, found {found}")]
    TruncatedData {
        /// Product of the dimensions.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The file goes on after the data.
    #[error("expected {expected} bytes after the header, found more")]
    Trailing {
        /// Product of the dimensions.
        expected: usize,
    },
    /// The gzip stream cannot be unpacked.
    #[error("expected an intact gzip stream, found: {0}")]
    Gzip(io::Error),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}
