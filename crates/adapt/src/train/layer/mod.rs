//! The forward and backward rules of the operators.

mod arrange;
mod combine;
mod convolution;
mod normalisation;
mod pointwise;
mod pool;

use super::parameter::{Gradients, ParameterId, Parameters};
use super::plan::{Origin, Places};
use super::program::{Program, Step};
use crate::error::{AdaptError, Result};
use std::ops::Range;
use taper_graph::{Activation, Graph, Node, Op, Padding, Shape};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, BatchStatistics, Lanes, Workspace};

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Learning: batch normalisation uses the batch's statistics, and everything that the backward pass reads is kept.
    Train,
    /// Evaluation: batch normalisation uses the running statistics.
    Evaluate,
}

/// What the backward pass of a layer reads beside the gradient of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// All inputs.
    pub(super) input: bool,
    /// The output.
    pub(super) output: bool,
}

/// One step of a program, planned for one number of images.
pub(super) trait Layer: Send + Sync {
    /// What its backward pass reads.
    fn needs(&self) -> Needs;

    /// Whether its backward pass leaves the gradient of `input` in the place of the gradient of its output.
    fn passes(&self, _input: usize) -> bool {
        false
    }

    /// The running statistics that batch statistics move, if it has any.
    fn running(&self) -> Option<[ParameterId; 2]> {
        None
    }

    /// Computes the output.
    fn forward(&self, call: &mut Call<'_>);

    /// Writes the gradients of its parameters, if any of them learns, and computes those of the inputs for which [`Call::dx`] gives a
    /// place. The gradient of the output is used up: its place holds what [`Layer::passes`] promises.
    ///
    /// Padding lanes of the output's gradient are zero, and those of the inputs' gradients become zero.
    fn backward(&self, call: &mut Call<'_>, gradients: &mut Gradients<'_>);
}

/// What a layer works on.
pub(super) struct Call<'a> {
    pub(super) mode: Mode,
    pub(super) arena: &'a mut [Lanes],
    pub(super) places: &'a Places,
    pub(super) parameters: &'a Parameters,
    /// Training steps before this one.
    pub(super) step: u64,
    /// Position in the batch of the first image.
    pub(super) first_image: u32,
    /// What a layer's forward pass keeps for its backward pass.
    pub(super) statistics: &'a mut BatchStatistics,
    pub(super) workspace: &'a mut Workspace,
}

impl Call<'_> {
    /// Where an input stands.
    fn x(&self, input: usize) -> Range<usize> {
        self.places.x[input].clone()
    }

    /// Where the output stands.
    fn y(&self) -> Range<usize> {
        self.places.y.clone()
    }

    /// Where the gradient of the output stands.
    fn dy(&self) -> Range<usize> {
        self.places.dy.clone().unwrap_or(0..0)
    }

    /// The only input and the output.
    fn x_and_y(&mut self) -> [&mut [Lanes]; 2] {
        apart(self.arena, [self.places.x[0].clone(), self.places.y.clone()])
    }

    /// The gradients of the output and of the only input; `None` if nobody needs that of the input.
    fn dy_and_dx(&mut self) -> Option<[&mut [Lanes]; 2]> {
        let (dy, dx) = (self.dy(), self.dx(0)?);
        Some(apart(self.arena, [dy, dx]))
    }

    /// Where the layer is to write the gradient of an input; `None` if it need not.
    fn dx(&self, input: usize) -> Option<Range<usize>> {
        let gradient = self.places.dx.get(input)?.as_ref()?;
        match &gradient.from {
            Origin::Layer => Some(gradient.at.clone()),
            Origin::LayerAdded(scratch) => Some(scratch.clone()),
            Origin::Output | Origin::OutputCopied | Origin::OutputAdded => None,
        }
    }
}

/// Parts of an arena that do not overlap.
pub(super) fn apart<const N: usize>(arena: &mut [Lanes], ranges: [Range<usize>; N]) -> [&mut [Lanes]; N] {
    arena.get_disjoint_mut(ranges).expect("what is alive at the same time is planned apart, within the arena")
}

/// Plans `step` for `images` images.
///
/// # Errors
/// If the operator has no gradient here, or reads its parameters from other layers.
pub(super) fn build(
    graph: &Graph,
    program: &Program,
    parameters: &Parameters,
    step: &Step,
    images: usize,
    seed: u64,
    isa: Isa,
) -> Result<Box<dyn Layer>> {
    let site = Site { graph, node: graph.node(step.node), parameters, step, program, images, seed, isa };
    match &site.node.op {
        Op::Conv2d(conv) => convolution::convolution(&site, conv),
        Op::ConvTranspose2d(conv) => convolution::transposed(&site, conv),
        Op::FullyConnected(dense) => convolution::fully_connected(&site, dense),
        Op::BatchNorm(norm) => normalisation::batch_norm(&site, norm),
        Op::Activation { function } => Ok(pointwise::activation(&site, *function)),
        Op::Flatten => Ok(arrange::flatten(&site)),
        Op::Reshape { .. } => Ok(arrange::reshape(&site)),
        Op::Pad(attributes) => Ok(arrange::pad(&site, attributes)),
        Op::Resize2d(attributes) => Ok(arrange::resize(&site, attributes)),
        Op::Prelu => pointwise::prelu(&site),
        Op::Dropout(attributes) => Ok(pointwise::dropout(&site, attributes)),
        Op::FakeQuantize(attributes) => pointwise::fake_quantize(&site, attributes),
        Op::Elementwise(attributes) => combine::elementwise(&site, attributes),
        Op::Concat(attributes) => combine::concat(&site, attributes),
        Op::Pool2d(attributes) => Ok(pool::pool(&site, attributes)),
        Op::GlobalPool2d { kind } => Ok(pool::global_pool(&site, *kind)),
        Op::Softmax(_) => Err(site.unsupported("can be trained only at the end of the network")),
        Op::StridedSlice(_) | Op::Tile { .. } => Err(site.unsupported("has no backward pass here")),
        Op::ArgMax(_) => Err(site.unsupported("has no gradient")),
        Op::Quantize { .. } => Err(site.unsupported("has no gradient: train the float network")),
        Op::Opaque(_) => Err(site.unsupported("is not understood")),
    }
}

/// A step with all that planning it needs to know.
struct Site<'a> {
    graph: &'a Graph,
    node: &'a Node,
    parameters: &'a Parameters,
    program: &'a Program,
    step: &'a Step,
    images: usize,
    /// Of random numbers.
    seed: u64,
    isa: Isa,
}

impl Site<'_> {
    fn unsupported(&self, message: &str) -> AdaptError {
        AdaptError::Unsupported {
            pass: "train",
            network: self.graph.name.clone(),
            message: format!("`{}` ({}) {message}", self.node.name, self.node.op.name()),
        }
    }

    /// The parameter that the node reads as input `position`.
    fn parameter(&self, position: usize) -> Result<ParameterId> {
        let id = self.node.inputs.get(position).and_then(|tensor| self.parameters.id(*tensor));
        id.ok_or_else(|| self.unsupported(&format!("has no constant as input {position}")))
    }

    /// The parameter that the node reads as input `position`, if it has one.
    fn optional_parameter(&self, position: usize) -> Result<Option<ParameterId>> {
        if position < self.node.inputs.len() { self.parameter(position).map(Some) } else { Ok(None) }
    }

    /// The sizes of an input that is an image or a vector.
    ///
    /// # Errors
    /// If it has another rank: what stands in its channels is not known here.
    fn channels_of(&self, input: usize) -> Result<Map> {
        let shape = self.program.shape(self.graph, self.step.inputs[input]);
        match shape.rank() {
            2 | 4 => Ok(Map::of(shape)),
            _ => Err(self.unsupported(&format!("expected an image or a vector, found {shape}"))),
        }
    }

    /// The sizes of an input of the step.
    fn map(&self, input: usize) -> Map {
        Map::of(self.program.shape(self.graph, self.step.inputs[input]))
    }

    /// The sizes of the constant that the node reads as input `position`.
    fn sizes(&self, position: usize) -> Vec<usize> {
        self.graph.tensor(self.node.inputs[position]).shape.with_batch(1)
    }
}

/// Height, width and channels of an activation; a vector is one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Map {
    pub(super) fn of(shape: &Shape) -> Self {
        let [height, width, channels] = shape.image().unwrap_or([1, 1, shape.elements(1).unwrap_or(0)]);
        Self { height, width, channels }
    }

    pub(super) fn pixels(self) -> usize {
        self.height * self.width
    }
}

fn lane_padding(padding: Padding) -> lanes::Padding {
    let Padding { top, bottom, left, right } = padding;
    lanes::Padding { top, bottom, left, right }
}

/// The kernels' name of a nonlinearity that they fuse; `None` if it takes a step of its own.
pub(super) fn rectifier(activation: Activation) -> Option<lanes::Activation> {
    match activation {
        Activation::Relu => Some(lanes::Activation::Relu),
        Activation::Relu6 => Some(lanes::Activation::Relu6),
        Activation::LeakyRelu { .. }
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::HardSwish
        | Activation::HardSigmoid
        | Activation::Elu { .. }
        | Activation::Silu
        | Activation::ReluN1To1 => None,
    }
}

/// The nonlinearity fused behind a node.
///
/// # Errors
/// If it is no rectifier.
fn fused(site: &Site<'_>, activation: Option<Activation>) -> Result<lanes::Activation> {
    let Some(activation) = activation else { return Ok(lanes::Activation::None) };
    rectifier(activation).ok_or_else(|| {
        site.unsupported(&format!("is fused with {}, which is trained alone", activation.name()))
    })
}
