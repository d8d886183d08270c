//! Samples and labels: IDX files, folders of images, splits, preprocessing, augmentation, mini-batches.
//!
//! The way of a sample:
//!
//! 1. [`DataConfig`] says where samples come from and what happens to them.
//! 2. [`Splits::load`] reads the source and divides it into training, validation and test [`Dataset`]s.
//! 3. [`Batches`] visits a dataset in order or shuffled and fills a caller's buffer with [`Preprocess`]ed,
//!    possibly augmented images; [`Batches::prefetch`] does so in the background.
//!
//! Images are files, or bytes in NHWC layout, until a batch is filled. Every random choice is drawn from [`Rng::keyed`]
//! with a seed and the place where it is needed, so that no result depends on order, batch size or threads,
//! and an interrupted run resumes without stored random state.

mod config;
mod error;
mod note;
mod rng;

mod decode;
mod idx;
mod resize;

mod dataset;
mod storage;

mod folder;
mod locate;
mod source;
mod split;

mod augment;
mod batch;
mod prefetch;
mod preprocess;

pub use augment::AugmentConfig;
pub use batch::Batches;
pub use config::{DataConfig, ImageConfig};
pub use dataset::{Dataset, ImageShape};
pub use error::{DataError, IdxError, ImageError};
pub use note::DataNote;
pub use prefetch::{Batch, Prefetch};
pub use preprocess::Preprocess;
pub use rng::Rng;
pub use source::{EMBEDDED, Splits};
