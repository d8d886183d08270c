//! A bound on the memory that a reader takes.

use crate::error::{FormatError, Result};

/// Memory that what is read may take beyond three times its file.
const FREE_BYTES: usize = 32 << 20;

/// The memory that reading may still take. Tables can share their parts, so a file's size alone bounds nothing.
#[derive(Clone)]
pub(crate) struct Budget(usize);

impl Budget {
    /// What may be taken to read `bytes` bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(bytes.saturating_mul(3).saturating_add(FREE_BYTES))
    }

    /// Adds what may be taken to read `bytes` bytes of a file beside it.
    pub(crate) fn add_file(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes.saturating_mul(3));
    }

    /// Takes `bytes` for `subject`.
    pub(crate) fn spend(&mut self, bytes: usize, subject: &str) -> Result<()> {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(FormatError::invalid(
                subject,
                "expected content not much larger than its file, found it packed, or parts used again and again, which would \
                 take too much memory",
            )),
        }
    }

    /// Takes what `count` elements of `size` bytes need, for `subject`.
    pub(crate) fn spend_elements(&mut self, count: usize, size: usize, subject: &str) -> Result<()> {
        self.spend(count.saturating_mul(size), subject)
    }
}
