//! FlexBuffers, as far as a map of byte strings goes: every access checked, nothing followed more than one step deep.
//!
//! Source: the FlexBuffers section of FlatBuffers' internals. A value lies in front of its type; offsets lead backwards.

use crate::error::{FormatError, Result};

/// Types of values, from their packed form without the two bits of the width.
const STRING: u8 = 5;
const MAP: u8 = 9;
const BLOB: u8 = 25;

const SUBJECT: &str = "custom options";

/// The bytes under `key` in a buffer whose root is a map; `None` if there is no such key.
pub(super) fn map_entry<'a>(bytes: &'a [u8], key: &str) -> Result<Option<&'a [u8]>> {
    let buffer = Buffer(bytes);
    let root = match bytes {
        [.., packed, width] => {
            Value { packed: *packed, at: back(bytes.len(), 2 + usize::from(*width))?, width: *width }
        }
        _ => return Err(broken("expected a FlexBuffer, found less than two bytes".to_owned())),
    };
    if root.kind() != MAP {
        return Err(broken(format!("expected a map (9) as the root, found type {}", root.kind())));
    }
    let (values, width) = buffer.target(root)?;
    let unit = usize::from(width);
    let length = buffer.unsigned(back(values, unit)?, width)?;
    let types = forward(values, length.checked_mul(unit))?;
    let key_width = u8::try_from(buffer.unsigned(back(values, 2 * unit)?, width)?)
        .map_err(|_| broken("expected keys of at most 8 bytes, found more".to_owned()))?;
    let keys_at = back(values, 3 * unit)?;
    let keys = back(keys_at, buffer.unsigned(keys_at, width)?)?;
    // Types are one byte each, so their slice bounds the length before the loop runs.
    for (position, &packed) in buffer.slice(types, length)?.iter().enumerate() {
        let key_at = forward(keys, position.checked_mul(usize::from(key_width)))?;
        let name = back(key_at, buffer.unsigned(key_at, key_width)?)?;
        if !buffer.is_text(name, key) {
            continue;
        }
        let value = Value { packed, at: forward(values, position.checked_mul(unit))?, width };
        if value.kind() != STRING && value.kind() != BLOB {
            return Err(broken(format!("expected bytes under the key `{key}`, found type {}", value.kind())));
        }
        let (content, width) = buffer.target(value)?;
        let length = buffer.unsigned(back(content, usize::from(width))?, width)?;
        return buffer.slice(content, length).map(Some);
    }
    Ok(None)
}

/// A value: its packed type, where it lies and how many bytes it takes.
#[derive(Clone, Copy)]
struct Value {
    packed: u8,
    at: usize,
    width: u8,
}

impl Value {
    fn kind(self) -> u8 {
        self.packed >> 2
    }
}

struct Buffer<'a>(&'a [u8]);

impl<'a> Buffer<'a> {
    fn slice(&self, at: usize, length: usize) -> Result<&'a [u8]> {
        at.checked_add(length).and_then(|end| self.0.get(at..end)).ok_or_else(|| {
            broken(format!("expected {length} bytes at {at}, found the end of {} bytes", self.0.len()))
        })
    }

    /// The unsigned number of `width` bytes at `at`.
    fn unsigned(&self, at: usize, width: u8) -> Result<usize> {
        if ![1, 2, 4, 8].contains(&width) {
            return Err(broken(format!("expected a width of 1, 2, 4 or 8 bytes, found {width}")));
        }
        let mut wide = [0; 8];
        let bytes = self.slice(at, usize::from(width))?;
        wide[..bytes.len()].copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| {
            broken(format!("expected a smaller number at {at}, found {}", u64::from_le_bytes(wide)))
        })
    }

    /// Where the content of a value lies that is stored as an offset, and the width of what it holds.
    fn target(&self, value: Value) -> Result<(usize, u8)> {
        let target = back(value.at, self.unsigned(value.at, value.width)?)?;
        Ok((target, 1 << (value.packed & 3)))
    }

    /// Whether the text that ends with a zero byte at `at` is `text`.
    fn is_text(&self, at: usize, text: &str) -> bool {
        let bytes = self.0.get(at..).unwrap_or_default();
        bytes.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn back(position: usize, distance: usize) -> Result<usize> {
    position.checked_sub(distance).ok_or_else(|| {
        broken(format!("expected an offset of at most {position} backwards, found {distance}"))
    })
}

fn forward(position: usize, distance: Option<usize>) -> Result<usize> {
    distance
        .and_then(|distance| position.checked_add(distance))
        .ok_or_else(|| broken("expected a smaller map, found one beyond all memory".to_owned()))
}

fn broken(message: String) -> FormatError {
    FormatError::invalid(SUBJECT, message)
}
