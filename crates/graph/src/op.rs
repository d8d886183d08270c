//! The operators that Taper understands, and the opaque one that it carries through.

use crate::tensor::DType;
use serde::{Deserialize, Serialize};

/// What a node computes. Matched exhaustively everywhere, so that the compiler lists every place where a new
/// operator must answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Two-dimensional convolution. Inputs: `x [N,H,W,I]`, weights `[O,KH,KW,I]`, optional bias `[O]`.
    Conv2d(Conv2d),
    /// Fully connected layer. Inputs: `x [N,I]`, weights `[O,I]`, optional bias `[O]`.
    FullyConnected(FullyConnected),
    /// Batch normalisation over the innermost axis. Inputs: `x`, gamma, beta, mean and variance, each `[C]`.
    BatchNorm(BatchNorm),
    /// An element-wise nonlinearity that stands alone.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Maximum or mean over a window of each channel of `x [N,H,W,C]`.
    Pool2d(Pool2d),
    /// Maximum or mean over the whole map: `[N,H,W,C]` to `[N,1,1,C]`.
    GlobalPool2d {
        /// What is taken over the map.
        kind: PoolKind,
    },
    /// All but the batch in one dimension: `[N,…]` to `[N,K]`, row-major.
    Flatten,
    /// Softmax over the innermost axis.
    Softmax(Softmax),
    /// The same real values as integers of another type, scale or zero point: those of the output tensor.
    Quantize {
        /// Type of the output's elements.
        dtype: DType,
    },
    /// An operator that a file holds and Taper does not know: carried through unchanged.
    Opaque(Opaque),
}

impl Op {
    /// The operator's name in messages and tables.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Conv2d(_) => "convolution",
            Self::FullyConnected(_) => "fully connected",
            Self::BatchNorm(_) => "batch normalisation",
            Self::Activation { function } => function.name(),
            Self::Pool2d(pool) => match pool.kind {
                PoolKind::Max => "max pooling",
                PoolKind::Average => "average pooling",
            },
            Self::GlobalPool2d { kind: PoolKind::Max } => "global max pooling",
            Self::GlobalPool2d { kind: PoolKind::Average } => "global average pooling",
            Self::Flatten => "flatten",
            Self::Softmax(_) => "softmax",
            Self::Quantize { .. } => "quantize",
            Self::Opaque(opaque) => &opaque.code,
        }
    }

    /// The nonlinearity fused behind the operator; the outer `None` says that it can hold none.
    #[must_use]
    pub fn fused_activation(&self) -> Option<Option<Activation>> {
        match self {
            Self::Conv2d(conv) => Some(conv.activation),
            Self::FullyConnected(dense) => Some(dense.activation),
            Self::BatchNorm(_)
            | Self::Activation { .. }
            | Self::Pool2d(_)
            | Self::GlobalPool2d { .. }
            | Self::Flatten
            | Self::Softmax(_)
            | Self::Quantize { .. }
            | Self::Opaque(_) => None,
        }
    }

    /// The place of [`Op::fused_activation`], to be changed.
    pub fn fused_activation_mut(&mut self) -> Option<&mut Option<Activation>> {
        match self {
            Self::Conv2d(conv) => Some(&mut conv.activation),
            Self::FullyConnected(dense) => Some(&mut dense.activation),
            Self::BatchNorm(_)
            | Self::Activation { .. }
            | Self::Pool2d(_)
            | Self::GlobalPool2d { .. }
            | Self::Flatten
            | Self::Softmax(_)
            | Self::Quantize { .. }
            | Self::Opaque(_) => None,
        }
    }
}

/// Element-wise nonlinearities, alone or fused behind an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The function's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
        }
    }
}

/// Zeros (or, for pooling, nothing) laid around an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
}

impl Padding {
    /// The padding with which the output has `ceil(input / stride)` pixels: TensorFlow's `SAME`. Of an odd
    /// number of pixels, the extra one goes below and to the right.
    #[must_use]
    pub fn same(input: [usize; 2], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Self {
        let total = |axis: usize| {
            let extent = (kernel[axis].max(1) - 1) * dilation[axis] + 1;
            let steps = input[axis].div_ceil(stride[axis].max(1)).max(1) - 1;
            (steps * stride[axis] + extent).saturating_sub(input[axis])
        };
        let (rows, columns) = (total(0), total(1));
        Self { top: rows / 2, bottom: rows - rows / 2, left: columns / 2, right: columns - columns / 2 }
    }
}

/// Attributes of a convolution. Height comes before width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Pixels from one output position to the next.
    pub stride: [usize; 2],
    /// Pixels from one kernel tap to the next.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Nonlinearity fused behind the bias.
    pub activation: Option<Activation>,
}

/// Attributes of a fully connected layer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FullyConnected {
    /// Nonlinearity fused behind the bias.
    pub activation: Option<Activation>,
}

/// Attributes of batch normalisation: `gamma · (x − mean) / sqrt(variance + epsilon) + beta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

/// What pooling takes over its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The maximum.
    Max,
    /// The mean of the pixels that lie inside the image.
    Average,
}

/// Attributes of pooling. Height comes before width; padded pixels do not take part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool2d {
    /// Maximum or mean.
    pub kind: PoolKind,
    /// Size of the window.
    pub window: [usize; 2],
    /// Pixels from one output position to the next.
    pub stride: [usize; 2],
    /// Pixels by which windows may hang over the border.
    pub padding: Padding,
}

/// Attributes of softmax: `exp(beta · x) / Σ exp(beta · x)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Softmax {
    /// Factor on the logits; 1 in nearly all networks.
    pub beta: f32,
}

/// An operator that Taper does not understand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opaque {
    /// The operator's name in its file.
    pub code: String,
    /// Its attributes as the file holds them.
    pub attributes: Vec<u8>,
}
