//! What a user should know of a data set that can be used all the same.

use std::path::PathBuf;

/// Something about a data set that is likely a mistake, but none that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataNote {
    /// The data set names classes of which no training sample is there.
    #[error(
        "expected training samples of every class, found none of {}; the network cannot learn it",
        quoted(classes)
    )]
    EmptyClasses {
        /// Their names.
        classes: Vec<String>,
    },
    /// A batch is larger than the training set, so that each epoch is one step on fewer samples.
    #[error(
        "a batch of {batch} is larger than the set of {samples} training samples, so each epoch is one step on all of them"
    )]
    LargeBatch {
        /// The size that was asked for.
        batch: usize,
        /// The training samples.
        samples: usize,
    },
    /// Entries of a folder are no images by their names and were passed over.
    #[error("{folder}: passed over {what}", folder = folder.display(), what = passed_over(*entries, first))]
    PassedOver {
        /// The folder.
        folder: PathBuf,
        /// How many.
        entries: usize,
        /// The name of the first.
        first: String,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn passed_over(entries: usize, first: &str) -> String {
    match entries {
        1 => format!("1 entry that is no image by its name: `{first}`"),
        _ => format!("{entries} entries that are no images by their names, the first `{first}`"),
    }
}
