//! Tensors: name, shape, element type, quantization and, if constant, data.

use crate::shape::Shape;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
}

impl DType {
    /// Bytes that one element takes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// The least and greatest value of an integer type; `None` for floats.
    #[must_use]
    pub fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Self::F32 => None,
            Self::I8 => Some((i8::MIN.into(), i8::MAX.into())),
            Self::U8 => Some((u8::MIN.into(), u8::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::I64 => Some((i64::MIN, i64::MAX)),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
        })
    }
}

/// The elements of a constant tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 8-bit signed integers.
    I8(Vec<i8>),
    /// 8-bit unsigned integers.
    U8(Vec<u8>),
    /// 16-bit signed integers.
    I16(Vec<i16>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
}

/// Applies one expression to the vector of whichever variant is there.
macro_rules! each_data {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            TensorData::F32($values) => $body,
            TensorData::I8($values) => $body,
            TensorData::U8($values) => $body,
            TensorData::I16($values) => $body,
            TensorData::I32($values) => $body,
            TensorData::I64($values) => $body,
        }
    };
}

impl TensorData {
    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I8(_) => DType::I8,
            Self::U8(_) => DType::U8,
            Self::I16(_) => DType::I16,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        each_data!(self, values => values.len())
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as little-endian bytes.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        each_data!(self, values => values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Elements of type `dtype` from little-endian bytes; `None` if the length is no multiple of the element's.
    #[must_use]
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Option<Self> {
        /// Splits the bytes into elements of `N` bytes each.
        fn elements<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Option<Vec<T>> {
            let (chunks, rest) = bytes.as_chunks::<N>();
            rest.is_empty().then(|| chunks.iter().copied().map(from).collect())
        }
        Some(match dtype {
            DType::F32 => Self::F32(elements(bytes, f32::from_le_bytes)?),
            DType::I8 => Self::I8(elements(bytes, i8::from_le_bytes)?),
            DType::U8 => Self::U8(elements(bytes, u8::from_le_bytes)?),
            DType::I16 => Self::I16(elements(bytes, i16::from_le_bytes)?),
            DType::I32 => Self::I32(elements(bytes, i32::from_le_bytes)?),
            DType::I64 => Self::I64(elements(bytes, i64::from_le_bytes)?),
        })
    }

    /// The elements of a matrix of `columns` columns, row-major, in the order of its columns.
    #[must_use]
    pub fn transposed(&self, columns: usize) -> Self {
        fn transpose<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
            (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
        }
        match self {
            Self::F32(values) => Self::F32(transpose(values, columns)),
            Self::I8(values) => Self::I8(transpose(values, columns)),
            Self::U8(values) => Self::U8(transpose(values, columns)),
            Self::I16(values) => Self::I16(transpose(values, columns)),
            Self::I32(values) => Self::I32(transpose(values, columns)),
            Self::I64(values) => Self::I64(transpose(values, columns)),
        }
    }

    /// Drops the elements whose index along one axis is marked.
    ///
    /// The data is seen as `[outer, removed.len(), inner]`; the axis keeps the indices where `removed` is false.
    pub(crate) fn remove_along(&mut self, inner: usize, removed: &[bool]) {
        fn keep<T: Copy>(values: &mut Vec<T>, inner: usize, removed: &[bool]) {
            let mut position = 0;
            values.retain(|_| {
                let index = position / inner % removed.len();
                position += 1;
                !removed[index]
            });
        }
        each_data!(self, values => keep(values, inner, removed));
    }
}

/// How integers stand for real numbers: `real = scale · (integer − zero_point)`, as in TFLite's specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// One scale and zero point for the whole tensor.
    PerTensor {
        /// Real size of one integer step.
        scale: f32,
        /// The integer that stands for 0.
        zero_point: i32,
    },
    /// One scale per index of an axis; the zero points are 0 (symmetric), as TFLite demands of weights.
    PerAxis {
        /// The axis that the scales run along.
        axis: usize,
        /// Real size of one integer step for each index.
        scales: Vec<f32>,
    },
}

/// A value of the graph: an input, a constant, or what a node writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Unique within its graph; every pass keeps it.
    pub name: String,
    /// Its dimensions; NHWC for images.
    pub shape: Shape,
    /// Type of its elements.
    pub dtype: DType,
    /// What its integers mean; `None` for floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Its elements if it is constant. Not part of the serialised graph: checkpoints keep it beside.
    #[serde(skip)]
    pub data: Option<TensorData>,
}

impl Tensor {
    /// The constant's elements as floats, if it is one and they are.
    #[must_use]
    pub fn f32_data(&self) -> Option<&[f32]> {
        match &self.data {
            Some(TensorData::F32(values)) => Some(values),
            Some(_) | None => None,
        }
    }
}
