//! Elements that lie in files beside the model.

use super::schema::Entry;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use prost::bytes::Bytes;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The folder in which the files of a model may lie, and those that were opened.
pub(super) struct Folder<'p> {
    path: Option<&'p Path>,
    opened: BTreeSet<PathBuf>,
}

impl<'p> Folder<'p> {
    /// The folder of the model, if it is known.
    pub(super) fn new(path: Option<&'p Path>) -> Self {
        Self { path, opened: BTreeSet::new() }
    }

    /// Reads the `expected` bytes that `entries` point to.
    ///
    /// # Errors
    /// If the place is outside of the folder, holds another number of bytes, or cannot be read.
    pub(super) fn read(
        &mut self,
        entries: &[Entry],
        expected: usize,
        subject: &str,
        budget: &mut Budget,
    ) -> Result<Bytes> {
        let Some(folder) = self.path else {
            return Err(FormatError::unsupported(
                subject,
                "the elements lie in another file: read the model by its path",
            ));
        };
        let entry =
            |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let location = entry("location").ok_or_else(|| {
            FormatError::invalid(subject, "expected a location of its external data, found none")
        })?;
        let number = |key: &str| match entry(key) {
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                FormatError::invalid(subject, format!("expected a number as its {key}, found `{text}`"))
            }),
            None => Ok(None),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let path = inside(folder, location, subject)?;
        let mut file = File::open(&path).map_err(|error| in_file(&path, error))?;
        let size = file.metadata().map_err(|error| in_file(&path, error))?.len();
        let found = length.unwrap_or_else(|| size.saturating_sub(offset));
        let fits = offset.checked_add(found).is_some_and(|end| end <= size);
        if !fits || usize::try_from(found) != Ok(expected) {
            return Err(FormatError::invalid(
                subject,
                format!("expected {expected} bytes in `{location}`, found {found} at {offset} of {size}"),
            ));
        }
        if self.opened.insert(path.clone()) {
            budget.add_file(usize::try_from(size).unwrap_or(usize::MAX));
        }
        budget.spend(expected, subject)?;
        let mut bytes = vec![0; expected];
        file.seek(SeekFrom::Start(offset)).map_err(|error| in_file(&path, error))?;
        file.read_exact(&mut bytes).map_err(|error| in_file(&path, error))?;
        Ok(bytes.into())
    }
}

/// The path of `location`, once links are followed, if it is inside of `folder`.
fn inside(folder: &Path, location: &str, subject: &str) -> Result<PathBuf> {
    let outside = || {
        FormatError::invalid(
            subject,
            format!("expected external data inside the folder of the model, found `{location}`"),
        )
    };
    let relative = Path::new(location);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(plain) {
        return Err(outside());
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().map_err(|error| in_file(folder, error))?;
    let path = folder.join(relative);
    let path = path.canonicalize().map_err(|error| in_file(&path, error))?;
    if path.starts_with(&folder) { Ok(path) } else { Err(outside()) }
}

fn in_file(path: &Path, error: std::io::Error) -> FormatError {
    FormatError::io("read the external data")(error).in_file(path)
}
