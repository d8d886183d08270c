//! The journal: one JSON event per line, numbered, appended and synced one by one.
//!
//! A line is `{"sequence":3,"event":…}`. Line 1 has sequence 0 and holds the version of the run directory. A line
//! counts once its newline is written: what follows the last newline was torn by an interruption and is dropped.

use super::error::{RunDirError, io_error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use taper_formats::write_file_atomic;

/// The version of run directories that this Taper writes and reads.
const VERSION: u32 = 1;

/// The journal of a run, locked against other processes.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the whole lines in bytes.
    length: u64,
    /// The number of the next event.
    next: u64,
}

/// The first event.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "taper-run")]
    version: u32,
}

#[derive(Serialize)]
struct Written<'a, E> {
    sequence: u64,
    event: &'a E,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<E> {
    sequence: u64,
    event: E,
}

impl Journal {
    /// Begins the journal at `path` with its first event: a journal that is there is never without one.
    pub(super) fn create<E: Serialize>(path: &Path, first: &E) -> Result<Self, RunDirError> {
        let mut lines = line(path, 0, &Header { version: VERSION })?;
        lines.extend(line(path, 1, first)?);
        write_file_atomic(path, &lines)?;
        Self::open(path)
    }

    /// Opens the journal at `path`, checks every line and drops a torn tail.
    pub(super) fn open(path: &Path) -> Result<Self, RunDirError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).open(path).map_err(io_error(path, "open the journal"))?;
        lock(&file, path)?;
        let mut journal = Self { path: path.to_owned(), file, length: 0, next: 0 };
        let text = journal.text()?;
        let whole = whole_lines(&text);
        journal.next = parse::<serde::de::IgnoredAny>(path, whole)?.len() as u64 + 1;
        journal.length = whole.len() as u64;
        if whole.len() < text.len() {
            journal.cut_back().map_err(io_error(path, "drop the torn last line"))?;
        }
        Ok(journal)
    }

    /// Appends an event and returns once it is on the disk. An event that cannot be written whole is taken back.
    pub(super) fn append<E: Serialize>(&mut self, event: &E) -> Result<u64, RunDirError> {
        let sequence = self.next;
        let line = line(&self.path, sequence, event)?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Should this fail as well, the next opening drops the torn line.
            let _ = self.cut_back();
            return Err(io_error(&self.path, "append an event")(error));
        }
        self.length += line.len() as u64;
        self.next += 1;
        Ok(sequence)
    }

    /// All events after the header.
    pub(super) fn events<E: DeserializeOwned>(&self) -> Result<Vec<E>, RunDirError> {
        let text = self.text()?;
        parse(&self.path, whole_lines(&text))
    }

    fn text(&self) -> Result<Vec<u8>, RunDirError> {
        read_all(&self.file).map_err(io_error(&self.path, "read the journal"))
    }

    fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

/// An event as it stands in the journal at `path`.
fn line<E: Serialize>(path: &Path, sequence: u64, event: &E) -> Result<Vec<u8>, RunDirError> {
    let mut line = serde_json::to_vec(&Written { sequence, event })
        .map_err(|error| RunDirError::Event { path: path.to_owned(), error })?;
    line.push(b'\n');
    Ok(line)
}

fn lock(file: &File, path: &Path) -> Result<(), RunDirError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => RunDirError::Locked(path.to_owned()),
        TryLockError::Error(error) => io_error(path, "lock the journal")(error),
    })
}

fn read_all(mut file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    &text[..end]
}

/// The events of whole lines, the header left out.
fn parse<E: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<Vec<E>, RunDirError> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let header = lines.next().ok_or_else(|| RunDirError::NotARun {
        path: path.to_owned(),
        found: "a journal without an event".to_owned(),
    })?;
    let Header { version } = event(path, header, 0)?;
    if version != VERSION {
        return Err(RunDirError::Version { path: path.to_owned(), expected: VERSION, found: version });
    }
    lines.zip(1..).map(|(line, sequence)| event(path, line, sequence)).collect()
}

fn event<E: DeserializeOwned>(path: &Path, line: &[u8], sequence: usize) -> Result<E, RunDirError> {
    let corrupt = |expected: String, found: String| RunDirError::Corrupt {
        path: path.to_owned(),
        line: sequence + 1,
        expected,
        found,
    };
    let stored: Stored<E> = serde_json::from_slice(line)
        .map_err(|error| corrupt(format!("event {sequence} as JSON"), format!("an error: {error}")))?;
    if stored.sequence != sequence as u64 {
        return Err(corrupt(format!("event {sequence}"), format!("event {}", stored.sequence)));
    }
    Ok(stored.event)
}
