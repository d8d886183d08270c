//! The ZIP archive behind a model: files that `TFLITE_METADATA` names, such as labels.
//!
//! The graph's metadata keeps it in hexadecimal digits. Its offsets count from its own start there, and from the model's
//! start in a file. Sources: TensorFlow Lite's "Adding metadata"; PKWARE's APPNOTE, 4.3.12 and 4.3.16.

use super::metadata::{from_hex, to_hex};
use crate::budget::Budget;
use crate::error::{FormatError, Result};

/// The metadata that holds the archive.
pub(super) const METADATA: &str = "tflite.archive";

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// Bytes of an end record and of a central header, without the texts behind them.
const END_BYTES: usize = 22;
const CENTRAL_BYTES: usize = 46;
/// The longest comment behind an end record.
const LONGEST_COMMENT: usize = 65_535;

/// The archive at the end of a model, as the graph's metadata keeps it.
pub(super) fn read(file: &[u8], budget: &mut Budget) -> Result<Option<String>> {
    let Some(Layout { start, offsets, shift }) = Layout::of(file) else {
        return Ok(None);
    };
    let archive = &file[start..];
    budget.spend(3 * archive.len(), "archive")?;
    let mut archive = archive.to_vec();
    let moved = move_offsets(&mut archive, offsets.iter().map(|at| at - start), |offset| {
        offset.checked_add(shift)?.checked_sub(start)
    });
    Ok(moved.map(|()| to_hex(&archive)))
}

/// Appends the archive that the graph's metadata keeps as `text`.
pub(super) fn append(file: &mut Vec<u8>, text: &str) -> Result<()> {
    let append = || {
        let mut archive = from_hex(text)?;
        let Layout { start: 0, offsets, shift: 0 } = Layout::of(&archive)? else {
            return None;
        };
        move_offsets(&mut archive, offsets.into_iter(), |offset| offset.checked_add(file.len()))?;
        Some(archive)
    };
    let archive = append().ok_or_else(|| {
        FormatError::invalid(
            format!("metadata `{METADATA}`"),
            "expected a ZIP archive in hexadecimal digits, found something else",
        )
    })?;
    file.extend(archive);
    Ok(())
}

/// Replaces the offsets that stand at the given positions; `None` if one does not fit.
fn move_offsets(
    archive: &mut [u8],
    positions: impl Iterator<Item = usize>,
    moved: impl Fn(usize) -> Option<usize>,
) -> Option<()> {
    for at in positions {
        let offset = u32::try_from(moved(u32_at(archive, at)?)?).ok()?;
        archive.get_mut(at..at + 4)?.copy_from_slice(&offset.to_le_bytes());
    }
    Some(())
}

/// Where the parts of an archive lie that ends with a file.
struct Layout {
    /// The first local header.
    start: usize,
    /// Positions of offsets in the central headers and the end record.
    offsets: Vec<usize>,
    /// What is to be added to an offset for a position in the file.
    shift: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Self> {
        let first = bytes.len().saturating_sub(END_BYTES + LONGEST_COMMENT);
        let last = bytes.len().checked_sub(END_BYTES)?;
        let end = (first..=last).rev().find(|&at| {
            bytes[at..].starts_with(END)
                && u16_at(bytes, at + 20).is_some_and(|comment| at + END_BYTES + comment == bytes.len())
        })?;
        let (entries, size) = (u16_at(bytes, end + 10)?, u32_at(bytes, end + 12)?);
        let directory = end.checked_sub(size)?;
        let shift = directory.checked_sub(u32_at(bytes, end + 16)?)?;
        let mut offsets = vec![end + 16];
        let (mut start, mut at) = (directory, directory);
        for _ in 0..entries {
            let header = bytes.get(at..end).filter(|header| header.starts_with(CENTRAL))?;
            let local = shift.checked_add(u32_at(header, 42)?)?;
            bytes.get(local..directory).filter(|header| header.starts_with(LOCAL))?;
            start = start.min(local);
            offsets.push(at + 42);
            at += CENTRAL_BYTES + u16_at(header, 28)? + u16_at(header, 30)? + u16_at(header, 32)?;
        }
        (at == end).then_some(Self { start, offsets, shift })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of one stored file `a` without content, behind `before`; offsets count from the file's start.
    fn file(before: &[u8]) -> Vec<u8> {
        let offset = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
        let mut file = before.to_vec();
        file.extend([LOCAL, &[0; 22], &[1, 0, 0, 0], b"a"].concat());
        let directory = file.len();
        file.extend([CENTRAL, &[0; 24], &[1, 0], &[0; 12], &offset(before.len()), b"a"].concat());
        let size = file.len() - directory;
        file.extend([END, &[0; 4], &[1, 0, 1, 0], &offset(size), &offset(directory), &[0; 2]].concat());
        file
    }

    #[test]
    fn archives_move_with_the_end_of_the_model() {
        let kept = read(&file(b"a long model"), &mut Budget::of(0)).expect("fits").expect("an archive");
        assert_eq!(from_hex(&kept), Some(file(b"")));
        let mut other = b"another".to_vec();
        append(&mut other, &kept).expect("an archive");
        assert_eq!(other, file(b"another"));
    }

    #[test]
    fn what_is_no_archive_is_left_or_refused() {
        let whole = file(b"model");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], &mut Budget::of(0)).expect("fits"), None);
        }
        for text in ["", "00", "no digits"] {
            append(&mut Vec::new(), text).expect_err("refuses");
        }
    }
}
