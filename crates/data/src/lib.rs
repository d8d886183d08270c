//! Samples and labels: IDX files, splits, preprocessing, augmentation, mini-batches.
//!
//! The way of a sample:
//!
//! 1. [`DataConfig`] says where samples come from and what happens to them.
//! 2. [`Splits::load`] reads the source and divides it into training, validation and test [`Dataset`]s.
//! 3. [`Batches`] visits a dataset in order or shuffled and fills a caller's buffer with [`Preprocess`]ed,
//!    possibly augmented images.
//!
//! Images are bytes in NHWC layout until a batch is filled. Every random choice is drawn from [`Rng::keyed`]
//! with a seed and the place where it is needed, so that no result depends on order, batch size or threads,
//! and an interrupted run resumes without stored random state.

mod config;
mod error;
mod rng;

mod idx;

mod dataset;
mod locate;
mod source;
mod split;

mod augment;
mod batch;
mod preprocess;

pub use augment::AugmentConfig;
pub use batch::Batches;
pub use config::DataConfig;
pub use dataset::{Dataset, ImageShape};
pub use error::{DataError, IdxError};
pub use preprocess::Preprocess;
pub use rng::Rng;
pub use source::{EMBEDDED, Splits};
