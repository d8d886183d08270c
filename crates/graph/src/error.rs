//! Errors of graph construction, verification and edits.

use thiserror::Error;

/// Result of a graph operation.
pub type Result<T> = std::result::Result<T, GraphError>;

/// What is wrong with a graph, with the node or tensor to blame.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GraphError {
    /// The node contradicts its operator's rules: the graph is wrong.
    #[error("in node `{node}` ({op}): {message}")]
    InvalidNode {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The node is right, but the pass cannot understand it.
    #[error("in node `{node}` ({op}): {message}")]
    UnsupportedNode {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: String,
        /// What the pass would have needed.
        message: String,
    },
    /// A tensor contradicts itself or the graph.
    #[error("tensor `{tensor}`: {message}")]
    InvalidTensor {
        /// Name of the tensor.
        tensor: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The graph as a whole is inconsistent.
    #[error("graph `{graph}`: {message}")]
    InvalidGraph {
        /// Name of the graph.
        graph: String,
        /// What was expected and what was found.
        message: String,
    },
    /// An edit does not fit the graph that it is applied to.
    #[error("cannot remove channels of `{group}`: {message}")]
    InvalidEdit {
        /// Name of the channel group.
        group: String,
        /// What was expected and what was found.
        message: String,
    },
}
