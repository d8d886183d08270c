//! Graph to graph: training, adaptive iterative pruning, INT8 quantization.
//!
//! Each adaptation is a value that its driver advances step by step and whose state can be stored and taken up again
//! to the same bytes.

mod config;
mod error;
pub mod prune;
pub mod quantize;
pub mod train;

pub use config::ConfigError;
pub use error::{AdaptError, Result};
