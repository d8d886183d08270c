//! A graph as training runs it: the activations, and the steps that make one from others.
//!
//! Most nodes are a step of their own. Batch normalisation takes a rectifier that follows it into its step, and a sum
//! between the two: each reads and writes whole activations and hardly computes, so that together they take the time of
//! one.

use super::layer::rectifier;
use super::loss::{Link, Loss};
use super::parameter::Parameters;
use crate::error::{AdaptError, Result};
use std::collections::BTreeMap;
use taper_graph::{
    Activation, Binary, Elementwise, Graph, GraphError, Node, NodeId, Op, Shape, Softmax, TensorId,
};

/// Position of an activation among those of a [`Program`].
pub(super) type Value = usize;

/// What training computes, in order.
#[derive(Debug)]
pub(super) struct Program {
    /// The activations: the input first, then what each step makes.
    pub(super) values: Vec<Activations>,
    /// Each after those that make what it reads.
    pub(super) steps: Vec<Step>,
    /// What the loss reads.
    pub(super) logits: Value,
}

/// One activation.
#[derive(Debug)]
pub(super) struct Activations {
    pub(super) tensor: TensorId,
    /// Values per image.
    pub(super) features: usize,
    /// Whether a parameter that learns stands before it, so that its gradient is needed.
    pub(super) learns: bool,
}

/// One step of forward and backward passes.
#[derive(Debug)]
pub(super) struct Step {
    /// The node whose name and parameters it has.
    pub(super) node: NodeId,
    pub(super) fused: Fused,
    pub(super) inputs: Vec<Value>,
    pub(super) output: Value,
    /// Whether a parameter of its own learns.
    pub(super) learns: bool,
}

/// What a step of batch normalisation took in of the nodes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Fused {
    /// A sum with the second input.
    pub(super) residual: bool,
    /// A rectifier.
    pub(super) activation: Option<Activation>,
}

/// A batch normalisation whose step waits for the nodes that it may take in.
struct Waiting {
    node: NodeId,
    residual: Option<TensorId>,
}

impl Program {
    /// Finds the steps from the only input to what the loss reads: the only output, or what stands before a softmax or
    /// sigmoid that is part of the loss.
    ///
    /// # Errors
    /// If the graph has several inputs or outputs, an output that no input reaches, or one that is not for this loss.
    pub(super) fn of(graph: &Graph, parameters: &Parameters, loss: &Loss) -> Result<Self> {
        let logits = logits(graph, loss)?;
        let input = graph.single_input()?;
        let mut builder = Builder {
            graph,
            parameters,
            program: Self { values: Vec::new(), steps: Vec::new(), logits: 0 },
            values: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        builder.value(input, false);
        for (id, node) in graph.nodes_with_ids() {
            if node.outputs.first() == graph.outputs.first() && logits != graph.outputs[0] {
                continue;
            }
            builder.visit(id, node, logits)?;
        }
        let Builder { mut program, values, .. } = builder;
        program.logits = *values.get(&logits).ok_or_else(|| GraphError::InvalidTensor {
            tensor: graph.tensor(logits).name.clone(),
            message: "expected it to follow from the network's input, found a constant".to_owned(),
        })?;
        Ok(program)
    }

    /// The steps that read `value`, in order.
    pub(super) fn readers(&self, value: Value) -> impl Iterator<Item = usize> {
        let readers = self.steps.iter().enumerate();
        readers.filter(move |(_, step)| step.inputs.contains(&value)).map(|(position, _)| position)
    }

    /// The shape of an activation.
    pub(super) fn shape<'a>(&self, graph: &'a Graph, value: Value) -> &'a Shape {
        &graph.tensor(self.values[value].tensor).shape
    }
}

/// What the loss reads. A softmax or sigmoid at the end that belongs to another loss is refused: it would squash the
/// output twice, or has no gradient of its own.
fn logits(graph: &Graph, loss: &Loss) -> Result<TensorId> {
    let output = graph.single_output()?;
    let Some(last) = graph.producer(output).map(|id| graph.node(id)) else { return Ok(output) };
    let message = match (&last.op, loss.link()) {
        (Op::Softmax(Softmax { beta }), Link::Softmax) if *beta != 1.0 => {
            format!("expected a beta of 1 of `{}`, found {beta}", last.name)
        }
        (Op::Softmax(_), Link::Softmax)
        | (Op::Activation { function: Activation::Sigmoid }, Link::Sigmoid) => return Ok(last.inputs[0]),
        (Op::Softmax(_), Link::Sigmoid | Link::Identity)
        | (Op::Activation { function: Activation::Sigmoid }, Link::Softmax) => {
            let (node, op, loss) = (&last.name, last.op.name(), loss.name());
            format!("expected an output for {loss}, found that of `{node}` ({op})")
        }
        (_, Link::Softmax | Link::Sigmoid | Link::Identity) => return Ok(output),
    };
    Err(AdaptError::Unsupported { pass: "train", network: graph.name.clone(), message })
}

struct Builder<'a> {
    graph: &'a Graph,
    parameters: &'a Parameters,
    program: Program,
    values: BTreeMap<TensorId, Value>,
    /// By the tensor that the last node taken in writes.
    waiting: BTreeMap<TensorId, Waiting>,
}

impl Builder<'_> {
    fn visit(&mut self, id: NodeId, node: &Node, logits: TensorId) -> Result<()> {
        let Some(&output) = node.outputs.first() else { return Ok(()) };
        let unread = self.graph.consumers(output).next().is_none() && output != logits;
        if unread {
            return Ok(());
        }
        let fusable = |function: Activation| rectifier(function).is_some();
        match &node.op {
            Op::BatchNorm(_) if self.only_reader(output, logits).is_some() => {
                self.waiting.insert(output, Waiting { node: id, residual: None });
                Ok(())
            }
            Op::Activation { function }
                if fusable(*function) && self.waiting.contains_key(&node.inputs[0]) =>
            {
                self.emit_waiting(node.inputs[0], output, Some(*function))
            }
            Op::Elementwise(sum) => {
                let waiting = node.inputs.iter().position(|input| self.waiting.contains_key(input));
                match waiting.filter(|_| self.adds_residual(node, sum)) {
                    Some(position) => self.take_residual(node, position, sum.activation, logits),
                    None => self.emit(id, node, output),
                }
            }
            Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::Prelu
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::ArgMax(_)
            | Op::Softmax(_)
            | Op::Quantize { .. }
            | Op::Opaque(_) => self.emit(id, node, output),
        }
    }

    /// Whether a node is a sum of two activations of one shape that a batch normalisation can take in.
    fn adds_residual(&self, node: &Node, sum: &Elementwise) -> bool {
        let rectified = sum.activation.is_none_or(|activation| rectifier(activation).is_some());
        let [a, b] = [0, 1].map(|input| node.inputs[input]);
        let waits_alone = [a, b]
            .iter()
            .all(|input| self.waiting.get(input).is_none_or(|waiting| waiting.residual.is_none()));
        let constant = [a, b].iter().any(|input| self.parameters.id(*input).is_some());
        let same = self.graph.tensor(a).shape == self.graph.tensor(b).shape;
        sum.function == Binary::Add && rectified && waits_alone && same && a != b && !constant
    }

    /// Lets the batch normalisation that waits at input `position` of a sum take it in.
    fn take_residual(
        &mut self,
        node: &Node,
        position: usize,
        activation: Option<Activation>,
        logits: TensorId,
    ) -> Result<()> {
        let (norm, other, output) = (node.inputs[position], node.inputs[1 - position], node.outputs[0]);
        // A second normalisation that waits for this sum takes its own step.
        self.read(other)?;
        let Some(mut waiting) = self.waiting.remove(&norm) else { return Ok(()) };
        waiting.residual = Some(other);
        self.waiting.insert(output, waiting);
        if activation.is_some() || self.only_reader(output, logits).is_none() {
            return self.emit_waiting(output, output, activation);
        }
        Ok(())
    }

    /// The only node that reads `tensor`, unless the loss reads it too.
    fn only_reader(&self, tensor: TensorId, logits: TensorId) -> Option<&Node> {
        let mut readers = self.graph.consumers(tensor);
        match (readers.next(), readers.next()) {
            (Some(reader), None) if tensor != logits => Some(self.graph.node(reader)),
            _ => None,
        }
    }

    /// A step for one node.
    fn emit(&mut self, id: NodeId, node: &Node, output: TensorId) -> Result<()> {
        let mut inputs = Vec::new();
        for &tensor in node.inputs.iter().filter(|tensor| self.parameters.id(**tensor).is_none()) {
            inputs.push(self.read(tensor)?);
        }
        self.push(id, Fused::default(), inputs, output);
        Ok(())
    }

    /// A step for a batch normalisation with what it took in, which ends in `output`.
    fn emit_waiting(
        &mut self,
        last: TensorId,
        output: TensorId,
        activation: Option<Activation>,
    ) -> Result<()> {
        let Some(Waiting { node, residual }) = self.waiting.remove(&last) else { return Ok(()) };
        let mut inputs = vec![self.read(self.graph.node(node).inputs[0])?];
        if let Some(residual) = residual {
            inputs.push(self.read(residual)?);
        }
        self.push(node, Fused { residual: residual.is_some(), activation }, inputs, output);
        Ok(())
    }

    /// The activation in `tensor`, which a step that waited now makes if none has.
    fn read(&mut self, tensor: TensorId) -> Result<Value> {
        if self.waiting.contains_key(&tensor) {
            self.emit_waiting(tensor, tensor, None)?;
        }
        self.values.get(&tensor).copied().ok_or_else(|| {
            let message = "expected an activation, found a constant".to_owned();
            GraphError::InvalidTensor { tensor: self.graph.tensor(tensor).name.clone(), message }.into()
        })
    }

    fn push(&mut self, node: NodeId, fused: Fused, inputs: Vec<Value>, output: TensorId) {
        let mut constants =
            self.graph.node(node).inputs.iter().filter_map(|tensor| self.parameters.id(*tensor));
        let learns = constants.any(|id| self.parameters.learns(id));
        let below = inputs.iter().any(|input| self.program.values[*input].learns);
        let output = self.value(output, learns || below);
        self.program.steps.push(Step { node, fused, inputs, output, learns });
    }

    fn value(&mut self, tensor: TensorId, learns: bool) -> Value {
        let features = self.graph.tensor(tensor).shape.elements(1).unwrap_or(0);
        self.program.values.push(Activations { tensor, features, learns });
        self.values.insert(tensor, self.program.values.len() - 1);
        self.program.values.len() - 1
    }
}
