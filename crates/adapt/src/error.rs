//! Errors of the adaptations.

use crate::config::ConfigError;
use crate::prune::CutError;
use taper_data::DataError;
use taper_graph::GraphError;
use taper_run::RunError;
use thiserror::Error;

/// Result of an adaptation.
pub type Result<T> = std::result::Result<T, AdaptError>;

/// Why a network could not be adapted.
#[derive(Debug, Error)]
pub enum AdaptError {
    /// The network contradicts itself.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The network cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A setting is senseless.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Scores cannot be cut.
    #[error("cannot cut channels of `{group}`: {error}")]
    Cut {
        /// Name of the channel group.
        group: String,
        /// What is wrong.
        error: CutError,
    },
    /// The network is sound, but this adaptation does not understand a part of it.
    #[error("cannot {pass} `{network}`: {message}")]
    Unsupported {
        /// What was to be done.
        pass: &'static str,
        /// Name of the network.
        network: String,
        /// What stands in the way, by name.
        message: String,
    },
    /// The network does not fit the data.
    #[error("network `{network}` does not fit the data: {message}")]
    Mismatch {
        /// Name of the network.
        network: String,
        /// What was expected and what was found.
        message: String,
    },
    /// Not even the smallest part of a batch fits into the memory budget.
    #[error(
        "`{network}` exceeds its memory budget: {images} images take {bytes} bytes for activations and gradients, \
         {budget} are allowed"
    )]
    Memory {
        /// Name of the network.
        network: String,
        /// Images of the smallest part of a batch.
        images: usize,
        /// What they take.
        bytes: usize,
        /// What they may take.
        budget: usize,
    },
    /// A network computes numbers that are not finite.
    #[error("`{network}` cannot be judged: {what}")]
    NotFinite {
        /// Name of the network.
        network: String,
        /// What is not finite, and where it began.
        what: String,
    },
    /// Training left the numbers that floats can hold.
    #[error(
        "training diverged in epoch {epoch}, step {step}: {what}; lower the learning rate `train.learning_rate` or \
         its law `prune.laws.learning_rate`"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The step in the epoch, from 1.
        step: usize,
        /// What became infinite or not a number.
        what: String,
    },
    /// Stored training state does not belong to this network.
    #[error("the stored training state does not fit `{network}`: {message}")]
    State {
        /// Name of the network.
        network: String,
        /// What was expected and what was found.
        message: String,
    },
}
