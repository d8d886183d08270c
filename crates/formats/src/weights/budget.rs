//! How much memory reading a file may take.

use crate::error::{FormatError, Result};

/// Bytes that a file of any size may take.
const FREE: usize = 40 << 20;
/// Bytes that each byte of a file may take, beside itself.
const PER_BYTE: usize = 3;

/// What reading a file may still allocate beside the file's own bytes. Nothing is given back.
#[derive(Debug)]
pub(crate) struct Budget {
    all: usize,
    left: usize,
}

impl Budget {
    /// The budget of a file of `length` bytes.
    pub(crate) fn of(length: usize) -> Self {
        let all = length.saturating_mul(PER_BYTE).saturating_add(FREE);
        Self { all, left: all }
    }

    /// Takes what `count` elements of `size` bytes need, before they are allocated. `subject` is what they are for.
    pub(crate) fn take(&mut self, subject: &str, count: usize, size: usize) -> Result<()> {
        match count.checked_mul(size).and_then(|bytes| self.left.checked_sub(bytes)) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(FormatError::unsupported(
                subject,
                format!(
                    "expected a file whose content fits in {} bytes, found {count} elements more",
                    self.all
                ),
            )),
        }
    }
}
