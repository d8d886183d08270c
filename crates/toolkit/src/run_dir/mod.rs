//! The directory of a run: the recipe, the journal, checkpoints and outputs.
//!
//! Whatever happens, it holds no half-written file: the journal is appended and synced line by line, and any other
//! file is written under a temporary name, synced and renamed. The lock on the journal keeps other processes out.

mod error;
mod journal;

pub use error::RunDirError;

use error::io_error;
use journal::Journal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use taper_formats::write_file_atomic;

/// What names of runs may be.
pub const NAME_RULE: &str = "1 to 100 ASCII letters, digits, `-`, `_` and `.`, not beginning with `.`";

const RECIPE: &str = "recipe.toml";
const JOURNAL: &str = "journal.jsonl";

/// How a new run is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunName<'a> {
    /// By this name, which must be free.
    Exact(&'a str),
    /// By this stem and the first number that is free, such as `vgg16-mnist-001`.
    Numbered(&'a str),
}

/// A run directory in the hands of this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    journal: Journal,
}

/// Name of the checkpoint of an iteration; 0 is the network before pruning.
#[must_use]
pub fn checkpoint_name(iteration: usize) -> String {
    format!("iteration-{iteration:02}.taper")
}

/// Whether `name` can name a run: see [`NAME_RULE`].
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=100).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}

impl RunDir {
    /// Makes a directory in `root`, which is made as well if need be, and begins a run with the text of its resolved
    /// recipe and its first event.
    ///
    /// # Errors
    /// If the name is not a plain name, is taken, or the file system refuses.
    pub fn create<E: Serialize>(
        root: &Path,
        name: RunName<'_>,
        recipe: &str,
        first: &E,
    ) -> Result<Self, RunDirError> {
        let (RunName::Exact(given) | RunName::Numbered(given)) = name;
        if !is_name(given) {
            return Err(RunDirError::Name(given.to_owned()));
        }
        fs::create_dir_all(root).map_err(io_error(root, "create the directory of runs"))?;
        let path = match name {
            RunName::Exact(name) => {
                let path = root.join(name);
                if !claim(&path)? {
                    return Err(RunDirError::Exists(path));
                }
                path
            }
            RunName::Numbered(stem) => {
                let mut number = 1_u32;
                loop {
                    let path = root.join(format!("{stem}-{number:03}"));
                    if claim(&path)? {
                        break path;
                    }
                    number += 1;
                }
            }
        };
        Self::begin(&path, recipe, first).inspect_err(|_| {
            // A run that never began must not take its name. The first error is the one to report.
            let _ = fs::remove_dir_all(&path);
        })
    }

    /// Takes hold of the run at `path`, drops what an interruption left unfinished, and checks the journal.
    ///
    /// # Errors
    /// If `path` is not a run, is one of another version, has a corrupt journal, or another process works on it.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let journal = Journal::open(&journal_of(path)?)?;
        remove_temporaries(path).map_err(io_error(path, "remove temporary files"))?;
        Ok(Self { path: path.to_owned(), journal })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name, that of its directory.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The resolved recipe.
    #[must_use]
    pub fn recipe_path(&self) -> PathBuf {
        self.path.join(RECIPE)
    }

    /// The checkpoint of an iteration; 0 is the network before pruning.
    #[must_use]
    pub fn checkpoint_path(&self, iteration: usize) -> PathBuf {
        self.path.join(checkpoint_name(iteration))
    }

    /// Writes the file `name` of the run, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// If the file system refuses; what the file held before stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, RunDirError> {
        let path = self.path.join(name);
        write_file_atomic(&path, bytes)?;
        Ok(path)
    }

    /// Appends an event to the journal, and returns its number (the first is 1) once it is on the disk.
    ///
    /// # Errors
    /// If the file system refuses; the journal then ends with the event before.
    pub fn append<E: Serialize>(&mut self, event: &E) -> Result<u64, RunDirError> {
        self.journal.append(event)
    }

    /// The events of the journal, in order.
    ///
    /// # Errors
    /// If a line of the journal is corrupt or no `E`.
    pub fn events<E: DeserializeOwned>(&self) -> Result<Vec<E>, RunDirError> {
        self.journal.events()
    }

    /// The journal comes last: a directory that has one has its recipe too.
    fn begin<E: Serialize>(path: &Path, recipe: &str, first: &E) -> Result<Self, RunDirError> {
        write_file_atomic(&path.join(RECIPE), recipe.as_bytes())?;
        let journal = Journal::create(&path.join(JOURNAL), first)?;
        Ok(Self { path: path.to_owned(), journal })
    }
}

/// Makes the directory `path`; false if there is something already.
fn claim(path: &Path) -> Result<bool, RunDirError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error(path, "create the run directory")(error)),
    }
}

/// The journal of the run at `path`, if it is one.
fn journal_of(path: &Path) -> Result<PathBuf, RunDirError> {
    let journal = path.join(JOURNAL);
    let is_there = |path: &Path| path.try_exists().map_err(io_error(path, "open the run"));
    let found = match (is_there(path)?, is_there(&journal)?) {
        (true, true) => return Ok(journal),
        (true, false) => format!("no {JOURNAL} in it"),
        (false, _) => "nothing".to_owned(),
    };
    Err(RunDirError::NotARun { path: path.to_owned(), found })
}

/// Removes the temporary files of writes that were interrupted.
fn remove_temporaries(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
