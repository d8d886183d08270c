//! Why a run directory cannot be made, opened or written.

use std::io;
use std::path::{Path, PathBuf};
use taper_formats::FormatError;

/// A fault of a run directory, with the path at fault.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done with it.
        action: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// A file could not be written; the error names it.
    #[error(transparent)]
    Write(#[from] FormatError),
    /// A name that is no plain name of a directory.
    #[error("run name: expected {}, found {_0:?}", super::NAME_RULE)]
    Name(String),
    /// The run is there already.
    #[error("{}: expected a new run, found an existing one; resume it or choose another name", .0.display())]
    Exists(PathBuf),
    /// The directory holds no run, or one that was interrupted before it began.
    #[error("{}: expected a run directory, found {found}", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Another version of Taper wrote the run.
    #[error("{}: expected a run of version {expected}, found version {found}", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// The version that this Taper writes.
        expected: u32,
        /// The version of the run.
        found: u32,
    },
    /// Another process works on the run.
    #[error("{}: expected a run that nobody works on, found it locked by another process", .0.display())]
    Locked(PathBuf),
    /// A line of the journal is damaged.
    #[error("{}:{line}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the line should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// An event has no form in JSON.
    #[error("{}: an event cannot be written as JSON: {error}", path.display())]
    Event {
        /// The journal.
        path: PathBuf,
        /// The reason.
        error: serde_json::Error,
    },
}

/// Names `path` and the action in an error of the operating system.
pub(super) fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    move |error| RunDirError::Io { path, action, error }
}
