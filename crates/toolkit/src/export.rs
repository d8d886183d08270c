//! Networks from one file format to another, and from the zoo into a file.

use crate::error::Result;
use crate::source::Source;
use std::path::{Path, PathBuf};
use taper_zoo::Task;

/// What decides the weights of a network of the zoo that no file has weights for.
const SEED: u64 = 1;

/// A network to write: a file's, or one of the zoo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSource {
    /// The path of a file, or `zoo:` and a name.
    pub model: String,
    /// Height, width and channels of the images that a network of the zoo is built for.
    pub image: [usize; 3],
    /// Classes that a network of the zoo is built for.
    pub classes: usize,
    /// A file with weights for the network. Those of a network of the zoo are random without.
    pub weights: Option<PathBuf>,
}

/// Writes a network to `to`, whose extension says how. Returns what a reader should know of it, if anything.
///
/// # Errors
/// If a file cannot be read or written, there is no such network, the weights do not fit it, or the format of `to` cannot
/// express the network.
pub fn export(from: &ExportSource, to: &Path) -> Result<Option<String>> {
    let mut source = match from.model.strip_prefix("zoo:") {
        Some(name) => {
            let task = Task { input: from.image, classes: from.classes };
            Source::of_zoo(name, task, SEED)?
        }
        None => Source::of_file(Path::new(&from.model))?,
    };
    if let Some(weights) = &from.weights {
        source.fill(weights)?;
    }
    taper_formats::save(&source.graph, to)?;
    Ok(source.note)
}
