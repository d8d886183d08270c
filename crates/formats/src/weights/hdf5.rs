//! HDF5 files through `hdf5-pure`, with bounded memory.
//!
//! The crate lets a file name lengths that multiply: many references to one string of the heap, chunks larger than their
//! array. Here each step may read only so many bytes of the file, and an array is checked before it is read.

use super::array::Array;
use super::element::Element;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use hdf5_pure::{AttrValue, DType, File, Group, Source};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// First bytes of a file.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
/// Bytes that one step may read of a file of any size.
const FREE_READING: usize = 16 << 20;
/// How often one step may read a file's whole length.
const READINGS: usize = 2;

/// An open file.
pub(crate) struct Hdf5 {
    file: File,
    /// Bytes that the current step may still read.
    allowance: Arc<AtomicUsize>,
    step: usize,
}

/// A file in memory that stops serving when too much is read.
struct Metered {
    bytes: Vec<u8>,
    allowance: Arc<AtomicUsize>,
}

impl Source for Metered {
    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), hdf5_pure::FormatError> {
        let refuse = |reason: &str| hdf5_pure::FormatError::Source(reason.to_owned());
        let spend = |left: usize| left.checked_sub(buffer.len());
        if self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_err() {
            return Err(refuse("the same bytes are read too often"));
        }
        let bytes = usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or_else(|| refuse("the file ends early"))?);
        Ok(())
    }
}

impl Hdf5 {
    /// Opens a file in memory.
    pub(crate) fn open(bytes: Vec<u8>) -> Result<Self> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let step = bytes.len().saturating_mul(READINGS).saturating_add(FREE_READING);
        let allowance = Arc::new(AtomicUsize::new(step));
        let source = Metered { bytes, allowance: Arc::clone(&allowance) };
        let file = File::from_source(source)
            .map_err(|error| FormatError::invalid("hdf5 file", error.to_string()))?;
        let expected = file.superblock().eof_address;
        if expected > length {
            let message = format!("expected {expected} bytes, found {length}");
            return Err(FormatError::invalid("hdf5 file", message));
        }
        Ok(Self { file, allowance, step })
    }

    /// Whether there is a group at `path`.
    pub(crate) fn has_group(&self, path: &str) -> bool {
        self.group(path).is_ok()
    }

    /// Names of the groups in a group, sorted.
    pub(crate) fn groups(&self, path: &str) -> Result<Vec<String>> {
        let mut names = self.group(path)?.groups().map_err(|error| wrong(path, &error))?;
        names.sort_unstable();
        Ok(names)
    }

    /// Names of the arrays in a group, sorted.
    pub(crate) fn arrays(&self, path: &str) -> Result<Vec<String>> {
        let mut names = self.group(path)?.datasets().map_err(|error| wrong(path, &error))?;
        names.sort_unstable();
        Ok(names)
    }

    /// The attributes of a group.
    pub(crate) fn attributes(&self, path: &str) -> Result<Attributes> {
        let values = self.group(path)?.attrs().map_err(|error| wrong(path, &error))?;
        Ok(Attributes { group: path.to_owned(), values })
    }

    /// The array at `path`.
    pub(crate) fn array(&self, path: &str, budget: &mut Budget) -> Result<Array> {
        self.start_step();
        let failed = |error: hdf5_pure::Error| wrong(path, &error);
        let dataset = self.file.dataset(path).map_err(failed)?;
        let element = match dataset.dtype().map_err(failed)? {
            DType::F32 => Element::F32,
            DType::F64 => Element::F64,
            DType::I64 => Element::I64,
            DType::I32 => Element::I32,
            other => {
                return Err(FormatError::unsupported(
                    subject(path),
                    format!("expected numbers of 32 or 64 bits, found {other}"),
                ));
            }
        };
        let sizes = dataset.shape().map_err(failed)?;
        let sizes: Vec<usize> = sizes
            .into_iter()
            .map(|size| usize::try_from(size).map_err(|_| too_large(path)))
            .collect::<Result<_>>()?;
        let count = product(&sizes).ok_or_else(|| too_large(path))?;
        budget.spend_elements(count, size_of::<f32>(), &subject(path))?;
        if let Some(chunk) = dataset.chunk_shape().map_err(failed)? {
            let chunk: Option<Vec<usize>> =
                chunk.into_iter().map(|size| usize::try_from(size).ok()).collect();
            let count = chunk.and_then(|sizes| product(&sizes)).ok_or_else(|| too_large(path))?;
            budget.spend_elements(count, element.bytes(), &subject(path))?;
        }
        let values = dataset.read_f32().map_err(failed)?;
        if values.len() != count {
            return Err(FormatError::invalid(
                subject(path),
                format!("expected {count} elements for {sizes:?}, found {}", values.len()),
            ));
        }
        Ok(Array { sizes, element, values })
    }

    fn group(&self, path: &str) -> Result<Group> {
        self.start_step();
        if path.is_empty() {
            return Ok(self.file.root());
        }
        self.file.group(path).map_err(|error| wrong(path, &error))
    }

    fn start_step(&self) {
        self.allowance.store(self.step, Ordering::Relaxed);
    }
}

/// The attributes of a group.
pub(crate) struct Attributes {
    group: String,
    values: HashMap<String, AttrValue>,
}

impl Attributes {
    /// A text; `None` if there is none of this name.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.unexpected(name, "a text"))
    }

    /// A list of texts; `None` if there is none of this name.
    ///
    /// Keras cuts lists beyond 64 kB into `NAME0`, `NAME1` and so on, and writes an empty list as numbers.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        if self.values.contains_key(name) {
            return self.part(name).map(|part| Some(part.to_vec()));
        }
        let mut texts = Vec::new();
        for position in 0.. {
            let name = format!("{name}{position}");
            if !self.values.contains_key(&name) {
                return Ok((position > 0).then_some(texts));
            }
            texts.extend_from_slice(self.part(&name)?);
        }
        Ok(None)
    }

    fn part(&self, name: &str) -> Result<&[String]> {
        match self.values.get(name) {
            Some(AttrValue::F64Array(values)) if values.is_empty() => Ok(&[]),
            Some(value) => value.as_strings().ok_or_else(|| self.unexpected(name, "texts")),
            None => Ok(&[]),
        }
    }

    fn unexpected(&self, name: &str, expected: &str) -> FormatError {
        let group = if self.group.is_empty() { "/" } else { &self.group };
        FormatError::invalid(
            format!("hdf5 attribute `{name}` of `{group}`"),
            format!("expected {expected}, found another type"),
        )
    }
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

fn subject(path: &str) -> String {
    format!("hdf5 object `{}`", if path.is_empty() { "/" } else { path })
}

fn wrong(path: &str, error: &hdf5_pure::Error) -> FormatError {
    FormatError::invalid(subject(path), error.to_string())
}

fn too_large(path: &str) -> FormatError {
    FormatError::invalid(subject(path), "has sizes beyond what memory can address")
}
