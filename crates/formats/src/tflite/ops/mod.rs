//! Operators between the file and the graph: one file per family, reading and writing side by side.
//!
//! A reader returns `None` for an operator whose form the graph cannot express (another fused nonlinearity, say);
//! that operator is then carried through as [`taper_graph::Op::Opaque`].

mod activation;
mod arg_max;
mod binary;
mod concatenation;
mod convolution;
mod fully_connected;
pub(super) mod opaque;
pub(super) mod padding;
mod pooling;
mod quantize;
mod reshape;
mod resize;
mod slice;
mod softmax;
mod tile;
pub(super) mod transposed;
mod versions;

pub(super) use versions::Runtime;
use versions::{Arithmetic, Version, Versions};

use super::build::Value;
use super::flat::{Field, Table};
use super::schema::{self, builtin};
use crate::error::{FormatError, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use taper_graph::{Activation, DType, Dim, Graph, Node, NodeId, Op, Shape, Tensor, TensorData, TensorId};

/// What makes two operators share one entry of `Model.operator_codes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Code<'a> {
    pub(super) builtin: i32,
    pub(super) custom: Option<&'a str>,
    pub(super) version: i32,
}

/// An operator as it goes into a file.
pub(super) struct Operator<'a> {
    pub(super) code: Code<'a>,
    /// The first runtime that has it, if known.
    pub(super) since: Option<Runtime>,
    /// Positions of tensors; −1 for an optional input that is absent.
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    pub(super) options: Options<'a>,
    pub(super) carried: Carried<'a>,
}

/// What only operators hold that are carried through.
#[derive(Default)]
pub(super) struct Carried<'a> {
    pub(super) custom_options: Option<&'a [u8]>,
    /// Positions of the tensors that the operator keeps between its inner steps.
    pub(super) intermediates: Vec<i32>,
    /// For each input, whether the operator changes it; empty if it changes none.
    pub(super) mutating_inputs: &'a [u8],
}

/// The builtin options of an operator.
pub(super) enum Options<'a> {
    None,
    Fields { options_type: u8, fields: Vec<(Field, Value)> },
    Verbatim { options_type: u8, table: Table<'a> },
}

/// Collects the operators of a graph, and the tensors that TFLite needs beyond the graph's own.
pub(super) struct Emitter<'g> {
    pub(super) graph: &'g Graph,
    /// Follow the graph's own tensors.
    pub(super) added: Vec<Tensor>,
    /// Positions, among all tensors of the file, of those that are an operator's state.
    pub(super) variables: BTreeSet<i32>,
    /// Constants of the graph that TFLite has in another layout.
    pub(super) laid_out: BTreeMap<TensorId, Tensor>,
    pub(super) operators: Vec<Operator<'g>>,
    /// The node that writes each tensor of the graph.
    producers: Vec<Option<NodeId>>,
    names: HashSet<String>,
}

impl<'g> Emitter<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let names = graph.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        Self {
            graph,
            added: Vec::new(),
            variables: BTreeSet::new(),
            laid_out: BTreeMap::new(),
            operators: Vec::new(),
            producers: padding::producers(graph),
            names,
        }
    }

    /// Appends what `node` becomes.
    pub(super) fn node(&mut self, node: &'g Node) -> Result<()> {
        match &node.op {
            Op::Conv2d(conv) => convolution::write(self, node, conv),
            Op::ConvTranspose2d(conv) => transposed::write(self, node, conv),
            Op::FullyConnected(dense) => fully_connected::write(self, node, dense),
            Op::BatchNorm(_) => Err(unwritable(
                node,
                "TFLite has no batch normalisation: fold it into the convolution in front of it first",
            )),
            Op::Activation { function } => activation::write(self, node, *function),
            Op::Prelu => activation::write_prelu(self, node),
            Op::Elementwise(elementwise) => binary::write(self, node, elementwise),
            Op::Concat(concat) => concatenation::write(self, node, concat),
            Op::Pad(pad) => padding::write_pad(self, node, pad),
            Op::Resize2d(resize) => resize::write(self, node, resize),
            Op::Pool2d(pool) => pooling::write(self, node, pool),
            Op::GlobalPool2d { kind } => pooling::write_global(self, node, *kind),
            Op::Flatten | Op::Reshape { .. } => reshape::write(self, node),
            Op::StridedSlice(slice) => slice::write(self, node, slice),
            Op::Tile { repeats } => tile::write(self, node, repeats),
            Op::ArgMax(arg_max) => arg_max::write(self, node, arg_max),
            Op::Softmax(softmax) => softmax::write(self, node, softmax),
            Op::Dropout(_) => Err(unwritable(
                node,
                "TFLite has no dropout, and here it stands between an input and an output",
            )),
            Op::FakeQuantize(_) => {
                Err(unwritable(node, "it serves training: quantize the network to integers, or leave it out"))
            }
            Op::Quantize { .. } => quantize::write(self, node),
            Op::Opaque(opaque) => opaque::write(self, node, opaque),
        }
    }

    fn tensor(&self, node: &Node, position: usize) -> Result<&'g Tensor> {
        node.inputs
            .get(position)
            .map(|&id| self.graph.tensor(id))
            .ok_or_else(|| unwritable(node, &format!("expected an input {position}, found none")))
    }

    fn output(&self, node: &Node) -> Result<&'g Tensor> {
        node.outputs
            .first()
            .map(|&id| self.graph.tensor(id))
            .ok_or_else(|| unwritable(node, "expected an output, found none"))
    }

    fn positions(&self, ids: &[TensorId]) -> Result<Vec<i32>> {
        ids.iter().map(|id| to_i32(id.0, "tensor position")).collect()
    }

    fn of_activations(&self, node: &Node) -> Result<Arithmetic> {
        let (x, y) = (self.tensor(node, 0)?, self.output(node)?);
        Arithmetic::of_activations(x, y).ok_or_else(|| {
            let types = format!("{} and {}", x.dtype, y.dtype);
            unwritable(node, &format!("expected f32, i8 or u8 for input and output alike, found {types}"))
        })
    }

    /// Of an operator all of whose inputs are of its output's type.
    fn of_operands(&self, node: &Node) -> Result<Arithmetic> {
        let arithmetic = self.of_activations(node)?;
        let y = self.output(node)?;
        match node.inputs.iter().map(|&id| self.graph.tensor(id)).find(|tensor| tensor.dtype != y.dtype) {
            Some(other) => Err(unwritable(
                node,
                &format!("expected `{}` to be {}, found {}", other.name, y.dtype, other.dtype),
            )),
            None => Ok(arithmetic),
        }
    }

    fn of_layer(&self, node: &Node) -> Result<Arithmetic> {
        let (x, weights, y) = (self.tensor(node, 0)?, self.tensor(node, 1)?, self.output(node)?);
        let bias = node.inputs.get(2).map(|&id| self.graph.tensor(id));
        Arithmetic::of_layer(x, weights, bias, y).ok_or_else(|| {
            let bias = bias.map_or("none".to_owned(), |bias| bias.dtype.to_string());
            unwritable(
                node,
                &format!(
                    "expected input, weights and output of f32, i8 or u8 alike and a bias of f32 or i32, found {}, \
                     {}, {} and bias {bias}",
                    x.dtype, weights.dtype, y.dtype
                ),
            )
        })
    }

    /// The type of the nonlinearity fused behind `node`.
    fn fused(&self, node: &Node, activation: Option<Activation>) -> Result<i8> {
        schema::activation_type(activation).ok_or_else(|| {
            let found = activation.map_or("none", Activation::name);
            unwritable(
                node,
                &format!("expected relu, relu6, relu n1 to 1 or nothing fused behind it, found {found}"),
            )
        })
    }

    /// Refuses operators that copy integers but are to change what they mean.
    fn same_quantization(&self, node: &Node) -> Result<()> {
        if self.tensor(node, 0)?.quantization == self.output(node)?.quantization {
            return Ok(());
        }
        Err(unwritable(
            node,
            "expected the same scale and zero point for input and output, found different ones",
        ))
    }

    /// Appends an operator that reads and writes what `node` does.
    fn plain(&mut self, node: &Node, builtin: i32, version: Version, options: Options<'g>) -> Result<()> {
        let inputs = self.positions(&node.inputs)?;
        self.with_inputs(node, builtin, version, inputs, options)
    }

    /// Appends an operator that writes what `node` does, from other inputs.
    fn with_inputs(
        &mut self,
        node: &Node,
        builtin: i32,
        version: Version,
        inputs: Vec<i32>,
        options: Options<'g>,
    ) -> Result<()> {
        let outputs = self.positions(&node.outputs)?;
        self.operator(builtin, version, inputs, outputs, options);
        Ok(())
    }

    fn operator(
        &mut self,
        builtin: i32,
        version: Version,
        inputs: Vec<i32>,
        outputs: Vec<i32>,
        options: Options<'g>,
    ) {
        self.operators.push(Operator {
            code: Code { builtin, custom: None, version: version.number },
            since: Some(version.since),
            inputs,
            outputs,
            options,
            carried: Carried::default(),
        });
    }

    /// Adds a tensor that the graph does not hold, under a name of its own.
    fn add(&mut self, mut tensor: Tensor) -> Result<i32> {
        let mut name = tensor.name.clone();
        let mut count = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{}_{count}", tensor.name);
            count += 1;
        }
        tensor.name = name;
        self.added.push(tensor);
        to_i32(self.graph.tensors.len() + self.added.len() - 1, "tensor position")
    }

    /// The position of a constant in TFLite's layout: in place of the graph's own, unless others read that.
    fn lay_out(&mut self, id: TensorId, tensor: Tensor) -> Result<i32> {
        let reads = self.graph.nodes.iter().flat_map(|node| &node.inputs).chain(&self.graph.outputs);
        if reads.filter(|read| **read == id).count() > 1 {
            return self.add(tensor);
        }
        self.laid_out.insert(id, tensor);
        to_i32(id.0, "tensor position")
    }

    fn add_i32(&mut self, name: String, sizes: &[usize], values: Vec<i32>) -> Result<i32> {
        self.add(Tensor {
            name,
            shape: Shape::fixed(sizes),
            dtype: DType::I32,
            quantization: None,
            data: Some(TensorData::I32(values)),
        })
    }
}

/// An operator as it comes from a file, its tensors already in the graph at the file's positions.
pub(super) struct Source<'a> {
    pub(super) code: Code<'a>,
    pub(super) table: Table<'a>,
    pub(super) inputs: &'a [Option<TensorId>],
    pub(super) outputs: &'a [TensorId],
    pub(super) intermediates: &'a [TensorId],
    pub(super) tensors: &'a [Tensor],
    /// Whether each tensor is the state of an operator.
    pub(super) variables: &'a [bool],
    pub(super) uses: &'a [Uses],
}

/// How often a tensor is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Uses {
    /// By operators that read it, and as an output of the network.
    pub(super) reads: usize,
    /// By operators that write it or keep it between their inner steps, and as an input of the network.
    pub(super) others: usize,
}

/// An operator of the graph and what it reads; `None` if the graph cannot express it.
pub(super) type Reading = Result<Option<(Op, Vec<TensorId>)>>;

/// The nodes of the graph that do what an operator of a file does; `None` if none can.
pub(super) type Expansion = Result<Option<Nodes>>;

/// Nodes that together stand for one operator of a file.
#[derive(Default)]
pub(super) struct Nodes {
    /// Operators with what they read and write, in order.
    pub(super) nodes: Vec<(Op, Vec<TensorId>, Vec<TensorId>)>,
    /// The tensors that pass between them. They follow those that [`Source::tensors`] holds.
    pub(super) between: Vec<Tensor>,
}

impl Nodes {
    fn one(op: Op, inputs: Vec<TensorId>, outputs: Vec<TensorId>) -> Self {
        Self { nodes: vec![(op, inputs, outputs)], between: Vec::new() }
    }

    fn then(&mut self, op: Op, inputs: &[TensorId], output: TensorId) {
        self.nodes.push((op, inputs.to_vec(), vec![output]));
    }

    /// Adds a tensor like `like` that no caller knows.
    fn between(&mut self, source: &Source<'_>, name: String, shape: Shape, like: &Tensor) -> TensorId {
        let (dtype, quantization) = (like.dtype, like.quantization.clone());
        self.between.push(Tensor { name, shape, dtype, quantization, data: None });
        TensorId(source.tensors.len() + self.between.len() - 1)
    }
}

impl<'a> Source<'a> {
    /// The operator's name in the schema, or that of a custom operator.
    pub(super) fn name(&self) -> String {
        match self.code.custom {
            Some(custom) => custom.to_owned(),
            None => schema::builtin_name(self.code.builtin),
        }
    }

    /// The graph's nodes, an opaque one where nothing else fits.
    pub(super) fn read(&self) -> Result<Nodes> {
        let stateful = self.inputs.iter().flatten().any(|&id| self.is_variable(id));
        let understood = match self.code.builtin {
            _ if stateful || !self.intermediates.is_empty() => None,
            builtin::FULLY_CONNECTED => fully_connected::read(self)?,
            builtin::MEAN | builtin::REDUCE_MAX => pooling::read_global(self)?,
            builtin::SPLIT | builtin::SPLIT_V => slice::read_split(self)?,
            builtin::STRIDED_SLICE => slice::read_strided(self)?,
            builtin::UNPACK => slice::read_unpack(self)?,
            builtin::PACK => concatenation::read_pack(self)?,
            _ => self.read_node()?.map(|(op, inputs)| self.alone(op, inputs)),
        };
        match understood {
            Some(understood) => Ok(understood),
            None => opaque::read(self).map(|(op, inputs)| self.alone(op, inputs)),
        }
    }

    /// One node that writes what the operator does.
    fn alone(&self, op: Op, inputs: Vec<TensorId>) -> Nodes {
        Nodes::one(op, inputs, self.outputs.to_vec())
    }

    /// The node of an operator that is one in the graph too.
    fn read_node(&self) -> Reading {
        match self.code.builtin {
            builtin::CONV_2D | builtin::DEPTHWISE_CONV_2D => convolution::read(self),
            builtin::MAX_POOL_2D | builtin::AVERAGE_POOL_2D => pooling::read(self),
            builtin::RESHAPE | builtin::SQUEEZE | builtin::EXPAND_DIMS => reshape::read(self),
            builtin::TRANSPOSE_CONV => transposed::read(self),
            builtin::SOFTMAX => softmax::read(self),
            builtin::RELU
            | builtin::RELU_N1_TO_1
            | builtin::RELU6
            | builtin::ELU
            | builtin::LEAKY_RELU
            | builtin::LOGISTIC
            | builtin::TANH
            | builtin::HARD_SWISH => activation::read(self),
            builtin::PRELU => activation::read_prelu(self),
            builtin::ADD
            | builtin::SUB
            | builtin::MUL
            | builtin::DIV
            | builtin::MAXIMUM
            | builtin::MINIMUM => binary::read(self),
            builtin::CONCATENATION => concatenation::read(self),
            builtin::PAD | builtin::PADV2 => padding::read_pad(self),
            builtin::RESIZE_NEAREST_NEIGHBOR | builtin::RESIZE_BILINEAR => resize::read(self),
            builtin::QUANTIZE => quantize::read(self),
            builtin::SLICE => slice::read(self),
            builtin::TILE => tile::read(self),
            builtin::ARG_MAX => arg_max::read(self),
            _ => Ok(None),
        }
    }

    fn tensor(&self, position: usize) -> Option<&'a Tensor> {
        self.inputs.get(position).copied().flatten().map(|id| &self.tensors[id.0])
    }

    /// The only output.
    fn output(&self) -> Option<&'a Tensor> {
        match self.outputs {
            [id] => Some(&self.tensors[id.0]),
            _ => None,
        }
    }

    /// The first `count` inputs, all present.
    fn first_inputs(&self, count: usize) -> Option<Vec<TensorId>> {
        self.inputs.get(..count)?.iter().copied().collect()
    }

    /// Whether nothing but this operator reads a tensor, so that its layout may change.
    fn is_own(&self, id: TensorId) -> bool {
        self.uses[id.0].reads == 1
    }

    fn is_variable(&self, id: TensorId) -> bool {
        self.variables[id.0]
    }

    /// Whether all inputs are there, none is constant, and they are of the output's type, one that operators compute in.
    fn are_activations(&self) -> bool {
        let constant = |id: TensorId| self.tensors[id.0].data.is_some();
        self.are_operands() && !self.inputs.iter().copied().flatten().any(constant)
    }

    /// Whether all inputs are there, and they are of the output's type, one that operators compute in.
    fn are_operands(&self) -> bool {
        let Some(y) = self.output() else { return false };
        self.inputs
            .iter()
            .all(|input| input.is_some_and(|id| Arithmetic::of_activations(&self.tensors[id.0], y).is_some()))
    }

    /// Input, weights and optional bias of a layer with constant parameters and nothing else.
    fn layer_inputs(&self) -> Option<Vec<TensorId>> {
        let inputs = match self.inputs {
            [x, weights] | [x, weights, None] => vec![(*x)?, (*weights)?],
            [x, weights, bias] => vec![(*x)?, (*weights)?, (*bias)?],
            _ => return None,
        };
        inputs[1..].iter().all(|id| self.tensors[id.0].data.is_some()).then_some(inputs)
    }

    /// The builtin options, if they are of this type.
    fn options(&self, options_type: u8) -> Result<Option<Table<'a>>> {
        if self.table.scalar::<u8>(schema::operator::OPTIONS_TYPE, 0)? == options_type {
            self.table.table(schema::operator::OPTIONS)
        } else {
            Ok(None)
        }
    }

    /// The elements of a constant input of 32-bit integers.
    fn i32_values(&self, position: usize) -> Option<&'a [i32]> {
        match &self.tensor(position)?.data {
            Some(TensorData::I32(values)) => Some(values),
            Some(_) | None => None,
        }
    }

    /// The elements of a constant input of integers.
    fn integers(&self, position: usize) -> Option<Vec<i64>> {
        match &self.tensor(position)?.data {
            Some(TensorData::I32(values)) => Some(values.iter().copied().map(i64::from).collect()),
            Some(TensorData::I64(values)) => Some(values.clone()),
            Some(_) | None => None,
        }
    }

    /// The only element of a constant input of integers, as an axis of `x` other than the batch.
    fn axis(&self, position: usize, x: &Tensor) -> Option<usize> {
        match self.integers(position)?[..] {
            [axis] => axis_behind_batch(axis, x),
            _ => None,
        }
    }

    /// Whether the first input is an activation that operators compute in, and every output has its type and quantization.
    fn moves(&self) -> bool {
        self.tensor(0).is_some_and(|x| self.moves_from(x))
    }

    fn moves_from(&self, x: &Tensor) -> bool {
        let same = |y: &Tensor| y.dtype == x.dtype && y.quantization == x.quantization;
        Arithmetic::of(x.dtype).is_some()
            && x.data.is_none()
            && x.shape.rank() > 0
            && !x.shape.dims().contains(&Dim::Fixed(0))
            && self.outputs.iter().all(|id| same(&self.tensors[id.0]))
    }

    /// A count of pixels in the options: at least 1.
    fn pixels(&self, options: &Table<'_>, field: Field, default: i32) -> Result<usize> {
        let value = options.scalar::<i32>(field, default)?;
        usize::try_from(value).ok().filter(|&pixels| pixels > 0).ok_or_else(|| {
            let output = self.output().map_or(String::new(), |output| format!(" of `{}`", output.name));
            FormatError::invalid(
                format!("{}{output}", field.name),
                format!("expected at least 1, found {value}"),
            )
        })
    }
}

/// Brings the constants of an operator that was read into the graph's layout.
pub(super) fn adopt(builtin: i32, op: &Op, inputs: &[TensorId], tensors: &mut [Tensor]) {
    let constant = inputs.get(1).and_then(|id| tensors.get_mut(id.0));
    if let Some(constant) = constant {
        if builtin == builtin::DEPTHWISE_CONV_2D && matches!(op, Op::Conv2d(_)) {
            convolution::adopt_depthwise_weights(constant);
        }
        if matches!(op, Op::Prelu) {
            activation::adopt_slopes(constant);
        }
    }
}

/// An axis as TFLite counts it, from the last one backward where it is negative; `None` for the batch and beyond.
fn axis_behind_batch(axis: i64, x: &Tensor) -> Option<usize> {
    let rank = x.shape.rank();
    let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(axis).ok().filter(|axis| (1..rank).contains(axis))
}

/// A size as TFLite stores it.
pub(super) fn to_i32(value: usize, subject: &str) -> Result<i32> {
    i32::try_from(value).map_err(|_| {
        FormatError::unsupported(subject, format!("expected at most {}, found {value}", i32::MAX))
    })
}

fn unwritable(node: &Node, message: &str) -> FormatError {
    FormatError::unsupported(format!("node `{}` ({})", node.name, node.op.name()), message)
}
