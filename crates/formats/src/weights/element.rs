//! Types of stored weights, and their values as 32-bit floats.

use serde::{Deserialize, Serialize};
use std::fmt;
use taper_graph::DType;

/// Type of an array's elements in its file; serialised as safetensors names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Element {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float of IEEE 754.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// A byte that is 0 or 1.
    Bool,
}

impl Element {
    /// Bytes that one element takes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The type that stores a graph's constants of type `dtype`.
    pub(crate) fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::I8 => Self::I8,
            DType::U8 => Self::U8,
            DType::I16 => Self::I16,
            DType::I32 => Self::I32,
            DType::I64 => Self::I64,
        }
    }

    /// The type of a graph's constants that this one stores, if there is one.
    pub(crate) fn dtype(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::I8 => Some(DType::I8),
            Self::U8 => Some(DType::U8),
            Self::I16 => Some(DType::I16),
            Self::I32 => Some(DType::I32),
            Self::I64 => Some(DType::I64),
            Self::F64 | Self::F16 | Self::BF16 | Self::Bool => None,
        }
    }

    /// The element in the first bytes of `bytes`, little-endian; `None` if they are too few.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "rounding to f32 is meant"
    )]
    pub(crate) fn value(self, bytes: &[u8]) -> Option<f32> {
        Some(match self {
            Self::F64 => f64::from_le_bytes(*bytes.first_chunk()?) as f32,
            Self::F32 => f32::from_le_bytes(*bytes.first_chunk()?),
            Self::F16 => half(u16::from_le_bytes(*bytes.first_chunk()?)),
            Self::BF16 => f32::from_bits(u32::from(u16::from_le_bytes(*bytes.first_chunk()?)) << 16),
            Self::I64 => i64::from_le_bytes(*bytes.first_chunk()?) as f32,
            Self::I32 => i32::from_le_bytes(*bytes.first_chunk()?) as f32,
            Self::I16 => f32::from(i16::from_le_bytes(*bytes.first_chunk()?)),
            Self::I8 => f32::from(i8::from_le_bytes(*bytes.first_chunk()?)),
            Self::U8 | Self::Bool => f32::from(*bytes.first()?),
        })
    }
}

/// A 16-bit float of IEEE 754: a sign, 5 bits of exponent and 10 of fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = ((bits >> 10) & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        0x1f if fraction == 0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => f32::from(fraction + 0x400) * 2f32.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_have_their_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(Element::BF16.value(&0x3fc0u16.to_le_bytes()), Some(1.5));
    }

    #[test]
    fn too_few_bytes_have_no_value() {
        for element in [Element::F64, Element::F16, Element::I32, Element::U8] {
            assert_eq!(element.value(&vec![0; element.bytes() - 1]), None);
        }
    }
}
