//! Errors of preparation and execution.

use taper_graph::GraphError;
use thiserror::Error;

/// Result of preparation or execution.
pub type Result<T> = std::result::Result<T, RunError>;

/// Why a graph cannot be prepared or run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The graph is wrong, or has a node that the backend cannot run.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Values do not fit the tensor that they are for.
    #[error("tensor `{tensor}`: {message}")]
    Values {
        /// Name of the tensor.
        tensor: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The session has no such input or output.
    #[error("expected an {direction} below {count}, found {index}")]
    NoSuchPort {
        /// Input or output.
        direction: &'static str,
        /// How many there are.
        count: usize,
        /// The index that was asked for.
        index: usize,
    },
    /// The batch cannot be run.
    #[error("cannot run `{graph}` with a batch of {batch}: {message}")]
    Batch {
        /// Name of the graph.
        graph: String,
        /// The batch that was asked for.
        batch: usize,
        /// What was expected.
        message: String,
    },
    /// The operating system gave no threads.
    #[error("cannot start {threads} threads: {message}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        message: String,
    },
}
