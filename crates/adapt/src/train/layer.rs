//! The forward and backward rule of each operator.

use super::parameter::{ParameterId, Parameters};
use crate::error::{AdaptError, Result};
use taper_graph::{Activation, Graph, Node, Op, Padding, Pool2d, PoolKind, Shape};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, BatchStatistics, Lanes, PoolGeometry, Workspace};

/// How much the running statistics of batch normalisation keep of themselves at each step. Retraining takes few
/// steps, so they must follow faster than with Keras's 0.99.
const STATISTICS_MOMENTUM: f32 = 0.9;

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Learning: batch normalisation uses the batch's statistics.
    Train,
    /// Evaluation: batch normalisation uses the running statistics.
    Evaluate,
}

/// One node of the chain, planned for one batch size.
pub(super) struct Layer {
    rule: Rule,
    isa: Isa,
}

enum Rule {
    /// A convolution, or a fully connected layer, which is one of a map of one pixel.
    Conv2d {
        kernel: Box<lanes::Conv2d>,
        weights: ParameterId,
        bias: Option<ParameterId>,
        fused: lanes::Activation,
    },
    BatchNorm {
        kernel: lanes::BatchNorm,
        affine: [ParameterId; 2],
        running: [ParameterId; 2],
        batch: BatchStatistics,
    },
    Activation(lanes::Activation),
    MaxPool(lanes::MaxPool2d),
    AveragePool(lanes::AveragePool2d),
    Flatten {
        channels: usize,
        pixels: usize,
    },
}

impl Layer {
    /// Plans `node` for batches of `batch` images.
    ///
    /// # Errors
    /// If the operator has no gradient here, or reads its parameters from other layers.
    pub(super) fn new(
        graph: &Graph,
        node: &Node,
        parameters: &Parameters,
        batch: usize,
        isa: Isa,
    ) -> Result<Self> {
        let unsupported = |message: &str| AdaptError::Unsupported {
            pass: "train",
            network: graph.name.clone(),
            message: format!("`{}` ({}) {message}", node.name, node.op.name()),
        };
        let parameter = |position: usize| {
            let id = node.inputs.get(position).and_then(|tensor| parameters.id(*tensor));
            id.ok_or_else(|| unsupported(&format!("has no constant as input {position}")))
        };
        let bias = if node.inputs.len() > 2 { Some(parameter(2)?) } else { None };
        let shape = &graph.tensor(node.inputs[0]).shape;
        let map = Map::of(shape);
        let rule = match &node.op {
            Op::Conv2d(conv) => {
                let weights = graph.tensor(node.inputs[1]).shape.with_batch(1);
                let geometry = lanes::Conv2dGeometry {
                    batch,
                    in_channels: map.channels,
                    in_height: map.height,
                    in_width: map.width,
                    out_channels: weights[0],
                    kernel: [weights[1], weights[2]],
                    stride: conv.stride,
                    dilation: conv.dilation,
                    padding: lane_padding(conv.padding),
                    groups: 1,
                };
                let kernel = Box::new(lanes::Conv2d::new(geometry, isa));
                Rule::Conv2d { kernel, weights: parameter(1)?, bias, fused: lane_activation(conv.activation) }
            }
            Op::FullyConnected(dense) => {
                let weights = graph.tensor(node.inputs[1]).shape.with_batch(1);
                let geometry = lanes::Conv2dGeometry::fully_connected(batch, weights[1], weights[0]);
                let kernel = Box::new(lanes::Conv2d::new(geometry, isa));
                Rule::Conv2d {
                    kernel,
                    weights: parameter(1)?,
                    bias,
                    fused: lane_activation(dense.activation),
                }
            }
            Op::BatchNorm(norm) => {
                let kernel = lanes::BatchNorm {
                    batch,
                    channels: map.channels,
                    pixels: map.height * map.width,
                    epsilon: norm.epsilon,
                    isa,
                };
                Rule::BatchNorm {
                    kernel,
                    affine: [parameter(1)?, parameter(2)?],
                    running: [parameter(3)?, parameter(4)?],
                    batch: BatchStatistics::default(),
                }
            }
            Op::Activation { function } => Rule::Activation(lane_activation(Some(*function))),
            Op::Pool2d(Pool2d { kind, window, stride, padding }) => {
                let padding = lane_padding(*padding);
                let geometry =
                    PoolGeometry { window: *window, stride: *stride, padding, ..map.global(batch) };
                pool(*kind, geometry, isa)
            }
            Op::GlobalPool2d { kind } => pool(*kind, map.global(batch), isa),
            Op::Flatten => Rule::Flatten { channels: map.channels, pixels: map.height * map.width },
            Op::Softmax(_) => return Err(unsupported("can be trained only at the end of the network")),
            Op::Quantize { .. } => return Err(unsupported("has no gradient: train the float network")),
            Op::Opaque(_) => return Err(unsupported("is not understood")),
        };
        Ok(Self { rule, isa })
    }

    /// Whether it has parameters that learn.
    pub(super) fn learns(&self) -> bool {
        match self.rule {
            Rule::Conv2d { .. } | Rule::BatchNorm { .. } => true,
            Rule::Activation(_) | Rule::MaxPool(_) | Rule::AveragePool(_) | Rule::Flatten { .. } => false,
        }
    }

    /// Computes `y` from `x`.
    pub(super) fn forward(
        &mut self,
        mode: Mode,
        x: &[Lanes],
        y: &mut [Lanes],
        parameters: &mut Parameters,
        workspace: &mut Workspace,
    ) {
        match &mut self.rule {
            Rule::Conv2d { kernel, weights, bias, fused } => {
                let bias = bias.map(|bias| parameters.value(bias));
                kernel.forward(x, parameters.value(*weights), bias, *fused, y, workspace);
            }
            Rule::BatchNorm { kernel, affine, running, batch } => {
                let [gamma, beta] = affine.map(|id| parameters.value(id));
                match mode {
                    Mode::Train => {
                        kernel.forward(x, gamma, beta, y, batch, workspace);
                        let (mean, variance) = parameters.values_mut(running[0], running[1]);
                        batch.update_running(STATISTICS_MOMENTUM, mean, variance);
                    }
                    Mode::Evaluate => {
                        let [mean, variance] = running.map(|id| parameters.value(id));
                        kernel.inference(x, gamma, beta, mean, variance, y);
                    }
                }
            }
            Rule::Activation(function) => lanes::activation_forward(self.isa, *function, x, y),
            Rule::MaxPool(kernel) => kernel.forward(x, y),
            Rule::AveragePool(kernel) => kernel.forward(x, y),
            Rule::Flatten { channels, pixels } => lanes::flatten(x, *channels, *pixels, y),
        }
    }

    /// Computes the gradients of the parameters and that of the input (`dx`) from that of the output. Layers that learn
    /// may be given an empty `dx`, if nobody needs it.
    ///
    /// `dy` is used up. Padding lanes of `dy` are zero, and those of `dx` become zero.
    pub(super) fn backward(
        &mut self,
        x: &[Lanes],
        y: &[Lanes],
        dy: &mut [Lanes],
        dx: &mut [Lanes],
        parameters: &mut Parameters,
        workspace: &mut Workspace,
    ) {
        match &mut self.rule {
            Rule::Conv2d { kernel, weights, bias, fused } => {
                lanes::activation_backward(self.isa, *fused, y, dy);
                let (dw, dbias) = parameters.gradients_mut(*weights, *bias);
                kernel.backward_weights(x, dy, dw, dbias, workspace);
                if !dx.is_empty() {
                    kernel.backward_input(dy, parameters.value(*weights), dx, workspace);
                }
            }
            Rule::BatchNorm { kernel, affine: [gamma, beta], batch, .. } => {
                let scale = parameters.value(*gamma).to_vec();
                let (dgamma, dbeta) = parameters.gradients_mut(*gamma, Some(*beta));
                let Some(dbeta) = dbeta else { return };
                // The kernel writes the gradient of its input even if nobody reads it.
                let mut unread = Vec::new();
                let dx = if dx.is_empty() {
                    unread.resize(x.len(), Lanes::ZERO);
                    &mut unread[..]
                } else {
                    dx
                };
                kernel.backward(x, dy, &scale, batch, dx, dgamma, dbeta, workspace);
            }
            Rule::Activation(function) => {
                dx.copy_from_slice(dy);
                lanes::activation_backward(self.isa, *function, y, dx);
            }
            Rule::MaxPool(kernel) => kernel.backward(x, y, dy, dx),
            Rule::AveragePool(kernel) => kernel.backward(dy, dx),
            Rule::Flatten { channels, pixels } => lanes::unflatten(dy, *channels, *pixels, dx),
        }
    }
}

/// Height, width and channels of an activation; a vector is one pixel.
struct Map {
    height: usize,
    width: usize,
    channels: usize,
}

impl Map {
    fn of(shape: &Shape) -> Self {
        let [height, width, channels] = shape.image().unwrap_or([1, 1, shape.elements(1).unwrap_or(0)]);
        Self { height, width, channels }
    }

    fn global(&self, batch: usize) -> PoolGeometry {
        PoolGeometry::global(batch, self.channels, self.height, self.width)
    }
}

fn pool(kind: PoolKind, geometry: PoolGeometry, isa: Isa) -> Rule {
    match kind {
        PoolKind::Max => Rule::MaxPool(lanes::MaxPool2d::new(geometry, isa)),
        PoolKind::Average => Rule::AveragePool(lanes::AveragePool2d::new(geometry, isa)),
    }
}

fn lane_padding(padding: Padding) -> lanes::Padding {
    let Padding { top, bottom, left, right } = padding;
    lanes::Padding { top, bottom, left, right }
}

fn lane_activation(activation: Option<Activation>) -> lanes::Activation {
    match activation {
        None => lanes::Activation::None,
        Some(Activation::Relu) => lanes::Activation::Relu,
        Some(Activation::Relu6) => lanes::Activation::Relu6,
    }
}
