//! Errors of the toolkit: those of the rooms below, and its own.

use crate::recipe::RecipeError;
use crate::run_dir::RunDirError;
use taper_adapt::AdaptError;
use taper_data::DataError;
use taper_formats::FormatError;
use taper_graph::GraphError;
use taper_run::RunError;
use taper_zoo::ZooError;
use thiserror::Error;

/// Result of the toolkit.
pub type Result<T> = std::result::Result<T, ToolkitError>;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum ToolkitError {
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run directory cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The zoo has no such network.
    #[error("model.source: {0}")]
    Zoo(#[from] ZooError),
    /// A network contradicts itself.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A network cannot be adapted.
    #[error(transparent)]
    Adapt(#[from] AdaptError),
    /// Training diverged after a good epoch.
    #[error("{error}; the network of its best epoch is kept in `{kept}`")]
    Diverged {
        /// Where it diverged.
        error: AdaptError,
        /// The file of the best network.
        kept: String,
    },
    /// A network cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A network and a data set do not belong together.
    #[error("model `{model}` and data `{data}` do not fit: {message}")]
    Mismatch {
        /// Source of the network.
        model: String,
        /// Source of the data.
        data: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The network would have to be trained first.
    #[error(
        "model.source: `{model}` is untrained ({constants}), and `train.when` is \"never\"; train it first"
    )]
    Untrained {
        /// Source of the network.
        model: String,
        /// Its constants without trained weights.
        constants: String,
    },
    /// A file of weights belongs to another network.
    #[error("{file}: expected weights for `{model}`, such as {expected}, found {found}")]
    ForeignWeights {
        /// The file.
        file: String,
        /// Name of the network.
        model: String,
        /// Some of the network's constants.
        expected: String,
        /// Some of the file's arrays.
        found: String,
    },
    /// The file system refused.
    #[error("{path}: cannot {action}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// What was to be done.
        action: &'static str,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The run is not as far as the command needs it.
    #[error("run `{run}`: {message}")]
    Unfinished {
        /// Directory of the run.
        run: String,
        /// What is missing.
        message: String,
    },
    /// The operating system gave no threads.
    #[error("threads: cannot start {threads}: {message}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        message: String,
    },
}
