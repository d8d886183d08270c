//! Errors of reading and writing files.

use std::path::{Path, PathBuf};
use taper_graph::GraphError;
use thiserror::Error;

/// Result of a format operation.
pub type Result<T> = std::result::Result<T, FormatError>;

/// What kind of trouble an error reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The file system refused.
    Io,
    /// The bytes or the graph contradict the format's rules.
    Invalid,
    /// The bytes or the graph are right, but Taper or the format cannot express them.
    Unsupported,
}

/// Why a file could not be read or written, with the part to blame.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The file system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes contradict the format's rules.
    #[error("{subject}: {message}")]
    Invalid {
        /// The field, tensor or operator to blame.
        subject: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The bytes or the graph are right, but cannot be expressed.
    #[error("{subject}: {message}")]
    Unsupported {
        /// The field, tensor or node to blame.
        subject: String,
        /// What is supported and what was found.
        message: String,
    },
    /// The graph is inconsistent.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An error in a named file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FormatError>,
    },
}

impl FormatError {
    /// The kind of trouble.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } | Self::Graph(GraphError::UnsupportedNode { .. }) => {
                ErrorKind::Unsupported
            }
            Self::Graph(
                GraphError::InvalidNode { .. }
                | GraphError::InvalidTensor { .. }
                | GraphError::InvalidGraph { .. }
                | GraphError::InvalidEdit { .. },
            ) => ErrorKind::Invalid,
            Self::InFile { source, .. } => source.kind(),
        }
    }

    pub(crate) fn invalid(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { subject: subject.into(), message: message.into() }
    }

    pub(crate) fn unsupported(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unsupported { subject: subject.into(), message: message.into() }
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}
