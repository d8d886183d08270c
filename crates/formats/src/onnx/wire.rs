//! What decoding a file would take, counted on its bytes before anything is decoded.
//!
//! Two bytes can stand for an empty message that takes hundreds in memory, and one byte for an integer of eight, so that a
//! file's size alone bounds nothing.

use super::schema;
use crate::budget::Budget;
use crate::error::{FormatError, Result};

/// A vector's capacity is at most twice what it holds.
const GROWTH: usize = 2;

/// A message: what it takes by itself, and what its fields hold.
struct Kind {
    bytes: usize,
    fields: &'static [(u64, Content)],
}

/// What a length-delimited field takes in memory.
enum Content {
    Message(&'static Kind),
    /// A copy of its bytes.
    Text,
    /// Nothing: it stays where it is in the file.
    InPlace,
    /// Integers of one byte or more.
    Varints,
}

const MODEL: Kind = Kind {
    bytes: size_of::<schema::Model>(),
    fields: &[
        (2, Content::Text),
        (7, Content::Message(&GRAPH)),
        (8, Content::Message(&OPERATOR_SET)),
        (14, Content::Message(&ENTRY)),
    ],
};
const GRAPH: Kind = Kind {
    bytes: size_of::<schema::Graph>(),
    fields: &[
        (1, Content::Message(&NODE)),
        (2, Content::Text),
        (5, Content::Message(&TENSOR)),
        (11, Content::Message(&VALUE_INFO)),
        (12, Content::Message(&VALUE_INFO)),
    ],
};
const OPERATOR_SET: Kind = Kind { bytes: size_of::<schema::OperatorSet>(), fields: &[(1, Content::Text)] };
const ENTRY: Kind =
    Kind { bytes: size_of::<schema::Entry>(), fields: &[(1, Content::Text), (2, Content::Text)] };
const NODE: Kind = Kind {
    bytes: size_of::<schema::Node>(),
    fields: &[
        (1, Content::Text),
        (2, Content::Text),
        (3, Content::Text),
        (4, Content::Text),
        (5, Content::Message(&ATTRIBUTE)),
        (7, Content::Text),
    ],
};
const ATTRIBUTE: Kind = Kind {
    bytes: size_of::<schema::Attribute>(),
    fields: &[
        (1, Content::Text),
        (4, Content::InPlace),
        (5, Content::Message(&TENSOR)),
        (7, Content::Text),
        (8, Content::Varints),
    ],
};
const TENSOR: Kind = Kind {
    bytes: size_of::<schema::Tensor>(),
    fields: &[
        (1, Content::Varints),
        (4, Content::Text),
        (5, Content::Varints),
        (7, Content::Varints),
        (8, Content::Text),
        (9, Content::InPlace),
        (10, Content::Text),
        (13, Content::Message(&ENTRY)),
    ],
};
const VALUE_INFO: Kind = Kind {
    bytes: size_of::<schema::ValueInfo>(),
    fields: &[(1, Content::Text), (2, Content::Message(&TYPE))],
};
const TYPE: Kind = Kind { bytes: size_of::<schema::Type>(), fields: &[(1, Content::Message(&TENSOR_TYPE))] };
const TENSOR_TYPE: Kind =
    Kind { bytes: size_of::<schema::TensorType>(), fields: &[(2, Content::Message(&SHAPE))] };
const SHAPE: Kind =
    Kind { bytes: size_of::<schema::TensorShape>(), fields: &[(1, Content::Message(&DIMENSION))] };
const DIMENSION: Kind = Kind { bytes: size_of::<schema::Dimension>(), fields: &[(2, Content::Text)] };

/// Takes from `budget` what decoding the model in `bytes` takes.
///
/// # Errors
/// If the bytes are no protocol buffer, or decoding would take too much.
pub(super) fn weigh(bytes: &[u8], budget: &mut Budget) -> Result<()> {
    weigh_message(bytes, &MODEL, budget)
}

fn weigh_message(mut bytes: &[u8], kind: &Kind, budget: &mut Budget) -> Result<()> {
    budget.spend(GROWTH * kind.bytes, "ModelProto")?;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        match wire_type {
            0 => {
                varint(&mut bytes)?;
                budget.spend(GROWTH * size_of::<i64>(), "ModelProto")?;
            }
            1 => skip(&mut bytes, 8, budget)?,
            5 => skip(&mut bytes, 4, budget)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| truncated())?;
                let (content, rest) = bytes.split_at_checked(length).ok_or_else(truncated)?;
                bytes = rest;
                match kind.fields.iter().find(|(number, _)| *number == field) {
                    Some((_, Content::Message(kind))) => weigh_message(content, kind, budget)?,
                    Some((_, Content::Text)) => {
                        let bytes = length.saturating_add(size_of::<String>());
                        budget.spend(GROWTH.saturating_mul(bytes), "ModelProto")?;
                    }
                    Some((_, Content::Varints)) => {
                        let bytes = length.saturating_mul(size_of::<i64>());
                        budget.spend(GROWTH.saturating_mul(bytes), "ModelProto")?;
                    }
                    Some((_, Content::InPlace)) | None => {}
                }
            }
            other => {
                return Err(FormatError::invalid(
                    "ModelProto",
                    format!("expected a protocol buffer, found wire type {other} in field {field}"),
                ));
            }
        }
    }
    Ok(())
}

fn skip(bytes: &mut &[u8], length: usize, budget: &mut Budget) -> Result<()> {
    *bytes = bytes.get(length..).ok_or_else(truncated)?;
    budget.spend(GROWTH * length, "ModelProto")
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(FormatError::invalid("ModelProto", "expected a protocol buffer, found an integer of over 64 bits"))
}

fn truncated() -> FormatError {
    FormatError::invalid("ModelProto", "expected a whole protocol buffer, found its end inside a field")
}
