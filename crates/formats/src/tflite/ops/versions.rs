//! The versions of operators, by the numbers that they compute in.

use taper_graph::{DType, Tensor};

/// A release of the runtime: major, minor, patch.
pub(in crate::tflite) type Runtime = [u32; 3];

/// A version of an operator, and the first runtime that has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) number: i32,
    pub(super) since: Runtime,
}

/// The lowest version of an operator that computes in each arithmetic.
/// Sources: TFLite's `op_version.cc` and `runtime_version.cc`.
pub(super) struct Versions {
    pub(super) float: Version,
    pub(super) uint8: Version,
    pub(super) int8: Version,
}

impl Versions {
    /// Versions that differ for int8 only, as with most operators.
    pub(super) const fn new(base: i32, base_since: Runtime, int8: i32, int8_since: Runtime) -> Self {
        let base = Version { number: base, since: base_since };
        Self { float: base, uint8: base, int8: Version { number: int8, since: int8_since } }
    }

    pub(super) fn of(&self, arithmetic: Arithmetic) -> Version {
        match arithmetic {
            Arithmetic::Float => self.float,
            Arithmetic::Uint8 => self.uint8,
            Arithmetic::Int8 => self.int8,
        }
    }
}

/// The numbers that an operator computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Float,
    Uint8,
    Int8,
}

impl Arithmetic {
    pub(super) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::Float),
            DType::U8 => Some(Self::Uint8),
            DType::I8 => Some(Self::Int8),
            DType::I16 | DType::I32 | DType::I64 => None,
        }
    }

    /// Of an operator that only reads and writes activations: all of one type.
    pub(super) fn of_activations(x: &Tensor, y: &Tensor) -> Option<Self> {
        Self::of(x.dtype).filter(|_| x.dtype == y.dtype)
    }

    /// Of a layer: weights of the activations' type, the bias as wide as the accumulator.
    pub(super) fn of_layer(x: &Tensor, weights: &Tensor, bias: Option<&Tensor>, y: &Tensor) -> Option<Self> {
        let accumulator = match Self::of_activations(x, y)? {
            Self::Float => DType::F32,
            Self::Uint8 | Self::Int8 => DType::I32,
        };
        let fits = weights.dtype == x.dtype && bias.is_none_or(|bias| bias.dtype == accumulator);
        Self::of(x.dtype).filter(|_| fits)
    }
}
