//! ZIP archives as Keras and PyTorch write them: stored or deflated entries, with the large-file extension.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3 to 4.5. The directory at the end rules; entries are read where they lie and
//! only those that are asked for.

use crate::budget::Budget;
use crate::error::{FormatError, Result};
use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

/// First bytes of an archive that has entries.
pub(crate) const SIGNATURE: [u8; 4] = *b"PK\x03\x04";
const DIRECTORY_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const END64_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64_SIGNATURE: [u8; 4] = *b"PK\x06\x07";
/// Sizes of the records without what varies.
const LOCAL: usize = 30;
const DIRECTORY: usize = 46;
const END: usize = 22;
const LOCATOR64: usize = 20;
/// Number of the extra field that holds 64-bit sizes.
const EXTRA64: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Flag of an encrypted entry.
const ENCRYPTED: u16 = 1;

/// An archive, and where its entries lie.
pub(crate) struct Zip<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<&'a str, Entry>,
}

struct Entry {
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    offset: u64,
}

impl<'a> Zip<'a> {
    /// Reads the directory.
    pub(crate) fn open(bytes: &'a [u8], budget: &mut Budget) -> Result<Self> {
        let (count, offset) = directory(bytes)?;
        let mut rest = at(bytes, offset, "directory")?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            budget.spend(2 * size_of::<(&str, Entry)>(), "zip directory")?;
            let (name, entry, behind) = Entry::read(rest)?;
            if entries.insert(name, entry).is_some() {
                return Err(invalid(format!("expected each entry once, found `{name}` twice")));
            }
            rest = behind;
        }
        Ok(Self { bytes, entries })
    }

    /// Names of the entries, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// The content of an entry, or `None` if there is none of this name.
    pub(crate) fn read(&self, name: &str, budget: &mut Budget) -> Result<Option<Cow<'a, [u8]>>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let subject = format!("zip entry `{name}`");
        let wrong = |message: String| FormatError::invalid(subject.clone(), message);
        if entry.flags & ENCRYPTED != 0 {
            return Err(FormatError::unsupported(subject, "expected plain content, found it encrypted"));
        }
        let local = at(self.bytes, entry.offset, &subject)?;
        if !local.starts_with(&SIGNATURE) {
            return Err(wrong("expected a local header".to_owned()));
        }
        let skip = LOCAL + usize::from(word(local, 26)?) + usize::from(word(local, 28)?);
        let data = local.get(skip..).and_then(|data| data.get(..usize::try_from(entry.compressed).ok()?));
        let data = data.ok_or_else(|| {
            wrong(format!("expected {} bytes, found the end of the file", entry.compressed))
        })?;
        let content = match entry.method {
            STORED => Cow::Borrowed(data),
            DEFLATED => Cow::Owned(inflate(data, entry.size, &subject, budget)?),
            method => {
                return Err(FormatError::unsupported(
                    subject,
                    format!("expected it stored or deflated, found method {method}"),
                ));
            }
        };
        let mut crc = Crc::new();
        crc.update(&content);
        if u64::try_from(content.len()).ok() != Some(entry.size) || crc.sum() != entry.crc {
            return Err(wrong(format!(
                "expected {} bytes with check sum {:08x}, found {} with {:08x}",
                entry.size,
                entry.crc,
                content.len(),
                crc.sum()
            )));
        }
        Ok(Some(content))
    }
}

impl Entry {
    /// The entry that the directory's next record describes, its name, and what lies behind the record.
    fn read(record: &[u8]) -> Result<(&str, Self, &[u8])> {
        let cut = || invalid("the directory ends within an entry".to_owned());
        if !record.starts_with(&DIRECTORY_SIGNATURE) {
            return Err(invalid("expected one more entry in the directory".to_owned()));
        }
        let name = usize::from(word(record, 28)?);
        let extra = usize::from(word(record, 30)?);
        let comment = usize::from(word(record, 32)?);
        let rest = record.get(DIRECTORY..).ok_or_else(cut)?;
        let (name, rest) = rest.split_at_checked(name).ok_or_else(cut)?;
        let (extra, rest) = rest.split_at_checked(extra).ok_or_else(cut)?;
        let rest = rest.get(comment..).ok_or_else(cut)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| invalid("expected names of entries in UTF-8".to_owned()))?;
        let mut wide = extra64(extra);
        let mut long = |short: u32| -> Result<u64> {
            if short != u32::MAX {
                return Ok(short.into());
            }
            let (value, rest) = wide.split_first_chunk().ok_or_else(cut)?;
            wide = rest;
            Ok(u64::from_le_bytes(*value))
        };
        let size = long(double(record, 24)?)?;
        let compressed = long(double(record, 20)?)?;
        let offset = long(double(record, 42)?)?;
        let (flags, method, crc) = (word(record, 8)?, word(record, 10)?, double(record, 16)?);
        Ok((name, Self { flags, method, crc, compressed, size, offset }, rest))
    }
}

/// Number of entries and place of the directory.
fn directory(bytes: &[u8]) -> Result<(u64, u64)> {
    let missing = || invalid("expected a directory at the end of the archive, found none".to_owned());
    let last = bytes.len().checked_sub(END).ok_or_else(missing)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last).rev().find(|&start| bytes[start..].starts_with(&END_SIGNATURE));
    let end = end.ok_or_else(missing)?;
    let locator = end.checked_sub(LOCATOR64).map(|start| &bytes[start..]);
    if let Some(locator) = locator.filter(|locator| locator.starts_with(&LOCATOR64_SIGNATURE)) {
        let end64 = at(bytes, quad(locator, 8)?, "directory")?;
        if end64.starts_with(&END64_SIGNATURE) {
            return Ok((quad(end64, 32)?, quad(end64, 48)?));
        }
    }
    let end = &bytes[end..];
    Ok((word(end, 10)?.into(), double(end, 16)?.into()))
}

/// The 64-bit sizes among an entry's extra fields; empty if there are none.
fn extra64(mut extra: &[u8]) -> &[u8] {
    while let Some((&[number0, number1, length0, length1], rest)) = extra.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([length0, length1]));
        let Some((field, behind)) = rest.split_at_checked(length) else { break };
        if u16::from_le_bytes([number0, number1]) == EXTRA64 {
            return field;
        }
        extra = behind;
    }
    &[]
}

fn inflate(data: &[u8], size: u64, subject: &str, budget: &mut Budget) -> Result<Vec<u8>> {
    budget.spend(usize::try_from(size).unwrap_or(usize::MAX), subject)?;
    let mut content = Vec::new();
    DeflateDecoder::new(data)
        .take(size.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| FormatError::invalid(subject, format!("cannot be inflated: {error}")))?;
    Ok(content)
}

fn at<'a>(bytes: &'a [u8], offset: u64, subject: &str) -> Result<&'a [u8]> {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).ok_or_else(|| {
        FormatError::invalid(subject, format!("expected it at byte {offset}, found the end of the file"))
    })
}

fn chunk<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N]> {
    let chunk = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    chunk.copied().ok_or_else(|| invalid("the file ends within a record".to_owned()))
}

fn word(bytes: &[u8], offset: usize) -> Result<u16> {
    chunk(bytes, offset).map(u16::from_le_bytes)
}

fn double(bytes: &[u8], offset: usize) -> Result<u32> {
    chunk(bytes, offset).map(u32::from_le_bytes)
}

fn quad(bytes: &[u8], offset: usize) -> Result<u64> {
    chunk(bytes, offset).map(u64::from_le_bytes)
}

fn invalid(message: String) -> FormatError {
    FormatError::invalid("zip archive", message)
}
