//! The operators that Taper understands, and the opaque one that it carries through.

use crate::tensor::DType;
use serde::{Deserialize, Serialize};

/// What a node computes. Matched exhaustively everywhere, so that the compiler lists every place where a new
/// operator must answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Two-dimensional convolution, depthwise where each group has one input channel. Inputs: `x [N,H,W,I]`, weights
    /// `[O,KH,KW,I/groups]`, optional bias `[O]`.
    Conv2d(Conv2d),
    /// Transposed convolution: each input pixel adds its window of values to the output. Inputs: `x [N,H,W,I]`, weights
    /// `[O,KH,KW,I]`, optional bias `[O]`.
    ConvTranspose2d(ConvTranspose2d),
    /// Fully connected layer. Inputs: `x [N,I]`, weights `[O,I]`, optional bias `[O]`.
    FullyConnected(FullyConnected),
    /// Batch normalisation over the innermost axis. Inputs: `x`, gamma, beta, mean and variance, each `[C]`.
    BatchNorm(BatchNorm),
    /// An element-wise nonlinearity that stands alone.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// `x` where it is positive, `slope · x` elsewhere. Inputs: `x`, slopes `[C]` for its innermost axis.
    Prelu,
    /// A function of two operands, value by value; sizes of 1 are broadcast. Inputs: `a`, `b`, activations of one rank,
    /// or an activation and a constant, in either order. A constant serves all images and is aligned with the innermost
    /// axes: its rank is at most the activation's, sizes that it lacks count as 1, and where it has a size for the batch,
    /// that is 1. It does not learn.
    Elementwise(Elementwise),
    /// Activations side by side along one axis. Inputs: one or more, equal in all other sizes.
    Concat(Concat),
    /// A border around `x [N,H,W,C]`.
    Pad(Pad),
    /// `x [N,H,W,C]` on a finer or coarser grid.
    Resize2d(Resize2d),
    /// Maximum or mean over a window of each channel of `x [N,H,W,C]`.
    Pool2d(Pool2d),
    /// Maximum or mean over the whole map: `[N,H,W,C]` to `[N,1,1,C]`.
    GlobalPool2d {
        /// What is taken over the map.
        kind: PoolKind,
    },
    /// All but the batch in one dimension: `[N,…]` to `[N,K]`, row-major.
    Flatten,
    /// All but the batch in other sizes: `[N,…]` to `[N,shape…]`, row-major.
    Reshape {
        /// The sizes behind the batch, whose product is that of the input's.
        shape: Vec<usize>,
    },
    /// Evenly spaced indices of `x [N,…]` along some of its axes, and all along the others.
    StridedSlice(StridedSlice),
    /// Copies of `x [N,…]` side by side.
    Tile {
        /// How often `x` stands along each axis behind the batch.
        repeats: Vec<usize>,
    },
    /// The index of the greatest value along an axis of `x [N,…]`, the first of equals. The axis goes; the indices are
    /// integers without a scale.
    ArgMax(ArgMax),
    /// Softmax over the innermost axis.
    Softmax(Softmax),
    /// In training, values of `x` are zeroed at random and the others scaled up; else `x` unchanged.
    Dropout(Dropout),
    /// What quantization to integers would leave of `x`, as floats. Inputs: `x`, minimum and maximum, each `[1]`.
    FakeQuantize(FakeQuantize),
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
            Self::ConvTranspose2d(_) => "transposed convolution",
            Self::FullyConnected(_) => "fully connected",
            Self::BatchNorm(_) => "batch normalisation",
            Self::Activation { function } => function.name(),
            Self::Prelu => "prelu",
            Self::Elementwise(elementwise) => elementwise.function.name(),
            Self::Concat(_) => "concatenation",
            Self::Pad(_) => "padding",
            Self::Resize2d(resize) => match resize.method {
                ResizeMethod::Nearest => "nearest resize",
                ResizeMethod::Bilinear => "bilinear resize",
            },
            Self::Pool2d(pool) => match pool.kind {
                PoolKind::Max => "max pooling",
                PoolKind::Average => "average pooling",
            },
            Self::GlobalPool2d { kind: PoolKind::Max } => "global max pooling",
            Self::GlobalPool2d { kind: PoolKind::Average } => "global average pooling",
            Self::Flatten => "flatten",
            Self::Reshape { .. } => "reshape",
            Self::StridedSlice(_) => "strided slice",
            Self::Tile { .. } => "tile",
            Self::ArgMax(_) => "arg max",
            Self::Softmax(_) => "softmax",
            Self::Dropout(_) => "dropout",
            Self::FakeQuantize(_) => "fake quantization",
            Self::Quantize { .. } => "quantize",
            Self::Opaque(opaque) => &opaque.code,
        }
    }

    /// The nonlinearity fused behind the operator; the outer `None` says that it can hold none.
    #[must_use]
    pub fn fused_activation(&self) -> Option<Option<Activation>> {
        match self {
            Self::Conv2d(conv) => Some(conv.activation),
            Self::ConvTranspose2d(conv) => Some(conv.activation),
            Self::FullyConnected(dense) => Some(dense.activation),
            Self::Elementwise(elementwise) => Some(elementwise.activation),
            Self::BatchNorm(_)
            | Self::Activation { .. }
            | Self::Prelu
            | Self::Concat(_)
            | Self::Pad(_)
            | Self::Resize2d(_)
            | Self::Pool2d(_)
            | Self::GlobalPool2d { .. }
            | Self::Flatten
            | Self::Reshape { .. }
            | Self::StridedSlice(_)
            | Self::Tile { .. }
            | Self::ArgMax(_)
            | Self::Softmax(_)
            | Self::Dropout(_)
            | Self::FakeQuantize(_)
            | Self::Quantize { .. }
            | Self::Opaque(_) => None,
        }
    }

    /// The place of [`Op::fused_activation`], to be changed.
    pub fn fused_activation_mut(&mut self) -> Option<&mut Option<Activation>> {
        match self {
            Self::Conv2d(conv) => Some(&mut conv.activation),
            Self::ConvTranspose2d(conv) => Some(&mut conv.activation),
            Self::FullyConnected(dense) => Some(&mut dense.activation),
            Self::Elementwise(elementwise) => Some(&mut elementwise.activation),
            Self::BatchNorm(_)
            | Self::Activation { .. }
            | Self::Prelu
            | Self::Concat(_)
            | Self::Pad(_)
            | Self::Resize2d(_)
            | Self::Pool2d(_)
            | Self::GlobalPool2d { .. }
            | Self::Flatten
            | Self::Reshape { .. }
            | Self::StridedSlice(_)
            | Self::Tile { .. }
            | Self::ArgMax(_)
            | Self::Softmax(_)
            | Self::Dropout(_)
            | Self::FakeQuantize(_)
            | Self::Quantize { .. }
            | Self::Opaque(_) => None,
        }
    }
}

/// Element-wise nonlinearities, alone or fused behind an operator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` where it is positive, `slope · x` elsewhere.
    LeakyRelu {
        /// Factor on negative values.
        slope: f32,
    },
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x · min(max(x + 3, 0), 6) / 6` (Howard et al., 2019).
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6` (Howard et al., 2019).
    HardSigmoid,
    /// `x` where it is positive, `alpha · (exp(x) − 1)` elsewhere (Clevert et al., 2016).
    Elu {
        /// What very negative values approach, with its sign changed.
        alpha: f32,
    },
    /// `x / (1 + exp(−x))`, also named swish (Ramachandran et al., 2017).
    Silu,
    /// `min(max(x, −1), 1)`.
    ReluN1To1,
}

impl Activation {
    /// The function's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::LeakyRelu { .. } => "leaky relu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::HardSwish => "hard swish",
            Self::HardSigmoid => "hard sigmoid",
            Self::Elu { .. } => "elu",
            Self::Silu => "silu",
            Self::ReluN1To1 => "relu n1 to 1",
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
    /// Into how many groups the channels fall; output channels see only the input channels of their own group.
    #[serde(default = "one")]
    pub groups: usize,
    /// Nonlinearity fused behind the bias.
    pub activation: Option<Activation>,
}

fn one() -> usize {
    1
}

/// What an output channel of a convolution sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvKind {
    /// All input channels: there is one group.
    Full,
    /// One input channel, that of its group.
    Depthwise,
    /// Several input channels, those of its group.
    Grouped,
}

impl ConvKind {
    /// What an output channel sees of `channels` input channels in `groups`.
    #[must_use]
    pub fn of(groups: usize, channels: usize) -> Self {
        match groups {
            1 => Self::Full,
            _ if groups == channels => Self::Depthwise,
            _ => Self::Grouped,
        }
    }
}

impl Conv2d {
    /// What an output channel sees of `channels` input channels.
    #[must_use]
    pub fn kind(&self, channels: usize) -> ConvKind {
        ConvKind::of(self.groups, channels)
    }
}

/// Attributes of a transposed convolution. Height comes before width.
///
/// Along an axis, input pixel `i` and kernel tap `k` add to output pixel `i · stride + k − before`, of
/// `(input − 1) · stride + kernel − before − after + output padding` pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConvTranspose2d {
    /// Pixels of the output from one input pixel's window to the next.
    pub stride: [usize; 2],
    /// Pixels that are cut off what the windows cover.
    pub padding: Padding,
    /// Rows below and columns on the right that are added to what the windows cover, or taken back from what is cut
    /// off: fewer than the stride.
    pub output_padding: [usize; 2],
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

/// Attributes of a function of two operands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Elementwise {
    /// Which one.
    pub function: Binary,
    /// Nonlinearity fused behind it.
    pub activation: Option<Activation>,
}

/// Functions of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// `max(a, b)`.
    Maximum,
    /// `min(a, b)`.
    Minimum,
}

impl Binary {
    /// The function's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
        }
    }
}

/// Attributes of a concatenation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concat {
    /// The axis along which the inputs lie side by side; never the batch, axis 0.
    pub axis: usize,
}

/// Attributes of padding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// How wide the border is.
    pub padding: Padding,
    /// What it holds.
    pub value: f32,
}

/// Attributes of a resize. Height comes before width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resize2d {
    /// Height and width of the output.
    pub size: [usize; 2],
    /// How values between pixels are found.
    pub method: ResizeMethod,
    /// Which point of the input an output pixel stands for.
    pub coordinates: ResizeCoordinates,
}

/// How a resize finds values between pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMethod {
    /// The nearest pixel, as TFLite finds it: rounded down, or to nearest with aligned corners.
    Nearest,
    /// Linear in both directions between the four pixels around the point; at the border the outermost pixel counts on.
    Bilinear,
}

/// Which coordinate of the input output pixel `i` of a resized axis stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeCoordinates {
    /// `i · input / output`.
    Asymmetric,
    /// `i · (input − 1) / (output − 1)`.
    AlignCorners,
    /// `(i + ½) · input / output − ½`.
    HalfPixel,
}

/// Attributes of a strided slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StridedSlice {
    /// What stays along each axis that does not stay whole, by ascending axis; never the batch, axis 0.
    pub axes: Vec<AxisSlice>,
}

/// What stays of one axis: the indices `start`, `start + step`, and so on, `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AxisSlice {
    /// The axis.
    pub axis: usize,
    /// The first index.
    pub start: usize,
    /// From one index to the next; at least 1.
    pub step: usize,
    /// How many indices stay; at least 1.
    pub count: usize,
}

/// Attributes of arg max.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgMax {
    /// The axis that is searched; never the batch, axis 0.
    pub axis: usize,
    /// Type of the indices: [`DType::I32`] or [`DType::I64`].
    pub dtype: DType,
}

/// Attributes of dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// Share of the values that training zeroes, from 0 to below 1; the others are divided by `1 − rate`.
    pub rate: f32,
}

/// Attributes of fake quantization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FakeQuantize {
    /// Width of the integers that are simulated, from 2 to 16.
    pub bits: u8,
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
