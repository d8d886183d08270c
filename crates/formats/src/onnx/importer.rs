//! The state of reading: the graph so far, and what each name of the model stands for.

use super::constant::Constant;
use super::facts::Facts;
use super::fold::Folded;
use super::meaning;
use super::operation::Operation;
use super::ops::quantization::{Meaning, meaning_of};
use super::view::{CHANNELS_LAST, View};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::collections::HashMap;
use taper_graph::{Binary, DType, Dim, Elementwise, Graph, Node, Op, Quantization, Shape, TensorId};

/// What a name of the model stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Elements of the file.
    Constant(Constant),
    /// Few numbers, known as far as the batch is.
    Folded(Folded),
    /// What the network computes.
    Activation(Activation),
}

/// A tensor of the graph, and how the model's axes lie in it.
#[derive(Debug, Clone)]
pub(super) struct Activation {
    pub(super) tensor: TensorId,
    pub(super) view: View,
}

/// The state of reading.
pub(super) struct Importer<'m> {
    pub(super) graph: Graph,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    pub(super) budget: Budget,
    values: HashMap<&'m str, Value>,
    pub(super) facts: Facts<'m>,
    /// Constants of the graph by the name, sizes and order in which they were taken from the file.
    parameters: HashMap<(String, Vec<usize>, Vec<usize>), TensorId>,
    /// Positions of the nodes that write the tensors.
    producers: HashMap<TensorId, usize>,
    names: Names,
}

impl<'m> Importer<'m> {
    pub(super) fn new(graph: Graph, opset: i64, budget: Budget, facts: Facts<'m>) -> Self {
        Self {
            graph,
            opset,
            budget,
            values: HashMap::new(),
            facts,
            parameters: HashMap::new(),
            producers: HashMap::new(),
            names: Names::default(),
        }
    }

    /// How often `name` is read.
    pub(super) fn reads(&self, name: &str) -> usize {
        self.facts.reads(name)
    }

    /// Lets `name` stand for `value`; false if it stands for something already.
    pub(super) fn bind(&mut self, name: &'m str, value: Value) -> bool {
        self.values.insert(name, value).is_none()
    }

    /// What `name` stands for.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// A name for a tensor that none has.
    pub(super) fn tensor_name(&mut self, wanted: &str) -> String {
        self.names.tensors.unique(wanted)
    }

    /// What input `position` stands for; `None` if it is left out.
    pub(super) fn optional(&self, operation: Operation<'m>, position: usize) -> Result<Option<&Value>> {
        let Some(name) = operation.input(position) else {
            return Ok(None);
        };
        self.values.get(name).map(Some).ok_or_else(|| {
            operation.invalid(format!("expected `{name}` to be known before it is read, found it not to be"))
        })
    }

    /// What input `position` stands for.
    pub(super) fn value(&self, operation: Operation<'m>, position: usize) -> Result<&Value> {
        self.optional(operation, position)?
            .ok_or_else(|| operation.invalid(format!("expected an input {position}, found none")))
    }

    /// Input `position`, which must be computed by the network.
    pub(super) fn activation(&self, operation: Operation<'m>, position: usize) -> Result<Activation> {
        match self.value(operation, position)? {
            Value::Activation(activation) => Ok(activation.clone()),
            Value::Constant(_) | Value::Folded(_) => Err(operation.unsupported(format!(
                "expected an activation as input {position}, found the constant `{}`",
                operation.input(position).unwrap_or_default()
            ))),
        }
    }

    /// Input `position`, which must be a constant; `None` if it is left out.
    pub(super) fn constant(&self, operation: Operation<'m>, position: usize) -> Result<Option<Constant>> {
        match self.optional(operation, position)? {
            Some(Value::Constant(constant)) => Ok(Some(constant.clone())),
            Some(Value::Folded(folded)) => {
                let name = operation.input(position).unwrap_or_default();
                folded.constant(name).map(Some).ok_or_else(|| {
                    operation.unsupported(format!("expected `{name}` to be free of the batch's size"))
                })
            }
            Some(Value::Activation(_)) => Err(operation.unsupported(format!(
                "expected a constant as input {position}, found the activation `{}`",
                operation.input(position).unwrap_or_default()
            ))),
            None => Ok(None),
        }
    }

    /// Input `position`, which must be a given constant.
    pub(super) fn required(&self, operation: Operation<'m>, position: usize) -> Result<Constant> {
        self.constant(operation, position)?
            .ok_or_else(|| operation.invalid(format!("expected an input {position}, found none")))
    }

    /// The numbers of input `position`, a constant; `None` if it is left out.
    pub(super) fn numbers(&mut self, operation: Operation<'m>, position: usize) -> Result<Option<Folded>> {
        match self.optional(operation, position)? {
            Some(Value::Folded(folded)) => Ok(Some(folded.clone())),
            Some(Value::Constant(constant)) => {
                let constant = constant.clone();
                Folded::of(&constant, operation, &mut self.budget).map(Some)
            }
            Some(Value::Activation(_)) => Err(operation.unsupported(format!(
                "expected a constant as input {position}, found the activation `{}`",
                operation.input(position).unwrap_or_default()
            ))),
            None => Ok(None),
        }
    }

    /// The integers of input `position`, a constant; `None` if it is left out.
    pub(super) fn integers(&mut self, operation: Operation<'m>, position: usize) -> Result<Option<Vec<i64>>> {
        match self.numbers(operation, position)? {
            Some(numbers) => numbers.integers().map(Some).ok_or_else(|| {
                operation.unsupported(format!("expected constant integers as input {position}"))
            }),
            None => Ok(None),
        }
    }

    /// The only number of input `position`, a constant; `None` if it is left out.
    pub(super) fn number(&mut self, operation: Operation<'m>, position: usize) -> Result<Option<f32>> {
        match self.numbers(operation, position)? {
            Some(numbers) => match numbers.floats().as_deref() {
                Some(&[number]) => Ok(Some(number)),
                Some(_) | None => {
                    Err(operation.unsupported(format!("expected one constant number as input {position}")))
                }
            },
            None => Ok(None),
        }
    }

    /// The shape of a tensor of the graph.
    pub(super) fn shape(&self, tensor: TensorId) -> &Shape {
        &self.graph.tensor(tensor).shape
    }

    /// The dimensions that the model sees of an activation.
    pub(super) fn dims(&self, operation: Operation<'m>, x: &Activation) -> Result<Vec<Dim>> {
        x.view.dims(self.shape(x.tensor)).ok_or_else(|| {
            operation.unsupported("expected the batch as an axis of its own, found it merged with others")
        })
    }

    /// The constant in the graph; equal views of the same elements are one tensor.
    pub(super) fn parameter(&mut self, constant: &Constant) -> Result<TensorId> {
        self.parameter_of(constant, &constant.dims)
    }

    /// The constant in the graph with other sizes of as many elements.
    pub(super) fn parameter_of(&mut self, constant: &Constant, sizes: &[usize]) -> Result<TensorId> {
        let name = constant.stored.name.clone();
        let quantization = constant.meaning_in(sizes).ok_or_else(|| {
            FormatError::unsupported(
                format!("initializer `{name}`"),
                format!("expected scales along an axis of {sizes:?}, found {:?}", constant.dims),
            )
        })?;
        let key = (name.clone(), sizes.to_vec(), [&constant.dims, constant.strides()].concat());
        if let Some(&known) = self.parameters.get(&key)
            && self.graph.tensor(known).dtype == constant.dtype()
            && self.graph.tensor(known).quantization == quantization
        {
            return Ok(known);
        }
        let bytes = constant.elements().saturating_mul(constant.dtype().bytes());
        self.budget.spend(bytes, &format!("initializer `{name}`"))?;
        let unique = self.tensor_name(if name.is_empty() { "constant" } else { &name });
        let id = self.graph.add_constant(unique, sizes, constant.data());
        self.graph.tensor_mut(id).quantization = quantization;
        self.parameters.insert(key, id);
        Ok(id)
    }

    /// The constant in the graph in floats, whatever it is in the file, with other sizes of as many elements.
    pub(super) fn real_parameter(&mut self, constant: &Constant, sizes: &[usize]) -> Result<TensorId> {
        self.spend_on_floats(constant)?;
        self.parameter_of(&meaning::floats(constant), sizes)
    }

    /// Takes what it takes to compute what the constant's integers stand for.
    pub(super) fn spend_on_floats(&mut self, constant: &Constant) -> Result<()> {
        if constant.quantization.is_none() {
            return Ok(());
        }
        let bytes = constant.elements().saturating_mul(size_of::<i64>() + size_of::<f32>());
        self.budget.spend(bytes, &format!("initializer `{}`", constant.stored.name))
    }

    /// Adds the node that stands for the operation, whose tensor gets the name of the model's value.
    pub(super) fn add(&mut self, operation: Operation<'m>, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        let output = operation.0.output.first().map_or(operation.name(), String::as_str);
        self.push(operation.name(), output, op, inputs)
    }

    /// Adds a node that the operation needs beside its own.
    pub(super) fn add_helper(
        &mut self,
        operation: Operation<'m>,
        role: &str,
        op: Op,
        inputs: &[TensorId],
    ) -> Result<TensorId> {
        let name = format!("{}/{role}", operation.name());
        self.push(&name, &name, op, inputs)
    }

    /// Adds a function of `x` and a number: as the node that stands for the operation, or as a helper of this role.
    pub(super) fn with_scalar(
        &mut self,
        operation: Operation<'m>,
        role: Option<&str>,
        function: Binary,
        x: TensorId,
        number: f32,
    ) -> Result<TensorId> {
        let name = format!("scalar/{number}");
        let scalar = Constant::new(&name, DType::F32, number.to_le_bytes().to_vec(), vec![1]);
        let inputs = [x, self.parameter(&scalar)?];
        let op = Op::Elementwise(Elementwise { function, activation: None });
        match role {
            Some(role) => self.add_helper(operation, role, op, &inputs),
            None => self.add(operation, op, &inputs),
        }
    }

    fn push(&mut self, name: &str, output: &str, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        self.budget.spend(size_of::<Node>() + 4 * (name.len() + output.len()), "GraphProto.node")?;
        let name = self.names.nodes.unique(name);
        let output = self.names.tensors.unique(output);
        let meaning = meaning_of(&op, inputs.first().map_or(DType::F32, |&x| self.graph.tensor(x).dtype));
        self.check_known(&name, &meaning, inputs)?;
        let id = self.graph.add_node(name, op, inputs)?;
        self.graph.tensor_mut(id).name = output;
        if self.graph.tensor(id).dtype != DType::F32 {
            self.graph.tensor_mut(id).quantization = match meaning {
                Meaning::Moved | Meaning::OfInput => self.graph.tensor(inputs[0]).quantization.clone(),
                Meaning::Fixed(quantization) => Some(quantization),
                Meaning::Told => None,
            };
        }
        self.producers.insert(id, self.graph.nodes.len() - 1);
        Ok(id)
    }

    /// Checks that what the integers mean that an operator reads is known, unless it only moves them.
    fn check_known(&self, name: &str, meaning: &Meaning, inputs: &[TensorId]) -> Result<()> {
        let unknown = inputs.iter().find(|&&input| self.lacks_meaning(input));
        match (meaning, unknown) {
            (Meaning::Moved, _) | (_, None) => Ok(()),
            (Meaning::OfInput | Meaning::Fixed(_) | Meaning::Told, Some(&input)) => {
                Err(FormatError::unsupported(
                    format!("node `{name}`"),
                    format!(
                        "expected `{}`, computed from quantized values, to be quantized before it is read, found it not to be",
                        self.graph.tensor(input).name
                    ),
                ))
            }
        }
    }

    /// Whether a tensor holds integers of which no QuantizeLinear has told yet what they mean.
    pub(super) fn lacks_meaning(&self, tensor: TensorId) -> bool {
        let tensor = self.graph.tensor(tensor);
        tensor.dtype != DType::F32 && tensor.data.is_none() && tensor.quantization.is_none()
    }

    /// Gives a tensor its meaning, and those from which its values were only moved.
    pub(super) fn tell_meaning(&mut self, tensor: TensorId, quantization: &Quantization) {
        let mut next = Some(tensor);
        while let Some(tensor) = next.filter(|&tensor| self.lacks_meaning(tensor)) {
            self.graph.tensor_mut(tensor).quantization = Some(quantization.clone());
            let producer = self.producers.get(&tensor).map(|&position| &self.graph.nodes[position]);
            next = producer
                .filter(|node| matches!(meaning_of(&node.op, DType::I8), Meaning::Moved))
                .and_then(|node| node.inputs.first().copied());
        }
    }

    /// The node that writes what `name` stands for, if nothing but one node reads it.
    pub(super) fn only_read_here(&mut self, name: &str, tensor: TensorId) -> Option<&mut Node> {
        // Under another name, the tensor may have other readers.
        if self.reads(name) != 1 || self.graph.tensor(tensor).name != name {
            return None;
        }
        self.producers.get(&tensor).and_then(|&position| self.graph.nodes.get_mut(position))
    }

    /// Lets the node that writes `tensor` stand for the operation, as another operator.
    pub(super) fn replace(&mut self, operation: Operation<'m>, tensor: TensorId, op: Op) {
        let name = self.names.nodes.unique(operation.name());
        if let Some(node) =
            self.producers.get(&tensor).and_then(|&position| self.graph.nodes.get_mut(position))
        {
            node.op = op;
            node.name = name;
        }
        self.rename(operation, tensor);
    }

    /// Gives a tensor the name of the operation's value.
    pub(super) fn rename(&mut self, operation: Operation<'m>, tensor: TensorId) {
        if let Some(output) = operation.0.output.first() {
            self.graph.tensor_mut(tensor).name = self.names.tensors.unique(output);
        }
    }

    /// The constant as one element for each channel of `x`; `None` if it is of another form.
    pub(super) fn per_channel(&self, x: &Activation, constant: &Constant) -> Option<Constant> {
        let shape = self.shape(x.tensor);
        let channel = *x.view.order(shape)?.last()?;
        let lacking = x.view.rank().checked_sub(constant.dims.len())?;
        let of_channel = channel.checked_sub(lacking).map_or(1, |axis| constant.dims[axis]);
        if constant.elements() != of_channel {
            return None;
        }
        constant.reshaped(vec![of_channel])?.broadcast(&[shape.channels()?])
    }

    /// The tensor whose axis `k` is the activation's axis `order[k]`.
    ///
    /// # Errors
    /// If the elements would have to be transposed.
    pub(super) fn arranged(
        &mut self,
        operation: Operation<'m>,
        x: &Activation,
        order: &[usize],
    ) -> Result<TensorId> {
        let shape = self.shape(x.tensor);
        if x.view.is_ordered(shape, order) {
            return Ok(x.tensor);
        }
        let dims = self.dims(operation, x)?;
        if order.len() != dims.len() || !x.view.is_row_major(order) {
            let (name, shape) = (&self.graph.tensor(x.tensor).name, self.shape(x.tensor));
            return Err(operation.unsupported(format!(
                "expected `{name}` {shape} to be read as {} without moving its elements, found that it cannot",
                Shape::new(order.iter().filter_map(|&axis| dims.get(axis).copied()).collect())
            )));
        }
        let dims = order.iter().map(|&axis| dims[axis]).collect();
        self.cut(operation, x.tensor, dims)
    }

    /// A tensor of one axis for each of the activation's, and the order in which it has them.
    ///
    /// # Errors
    /// If the elements would have to be transposed.
    pub(super) fn laid_out(
        &mut self,
        operation: Operation<'m>,
        x: &Activation,
    ) -> Result<(TensorId, Vec<usize>)> {
        let stored = x.view.order(self.shape(x.tensor));
        // Where sizes of 1 stand in an unusual place, the tensor gets the usual shape.
        let usual = stored.clone().filter(|order| order.is_sorted() || *order == CHANNELS_LAST);
        let order = usual.or_else(|| x.view.row_major_order()).or(stored);
        let order = order.unwrap_or_else(|| (0..x.view.rank()).collect());
        Ok((self.arranged(operation, x, &order)?, order))
    }

    /// The same elements in another shape.
    pub(super) fn cut(&mut self, operation: Operation<'m>, x: TensorId, dims: Vec<Dim>) -> Result<TensorId> {
        let behind = dims.get(1..).and_then(|rest| Shape::new(rest.to_vec()).sizes());
        match (behind, dims.first() == self.shape(x).dims().first()) {
            (Some(sizes), true) if sizes.len() == 1 => {
                self.add_helper(operation, "flatten", Op::Flatten, &[x])
            }
            (Some(shape), true) => self.add_helper(operation, "reshape", Op::Reshape { shape }, &[x]),
            (Some(_) | None, _) => Err(operation.unsupported(format!(
                "expected a reshape that keeps the batch, found one from {} to {}",
                self.shape(x),
                Shape::new(dims)
            ))),
        }
    }

    /// Input `position` as the tensor of images `[N,H,W,C]`, which the model sees as `[N,C,H,W]`.
    pub(super) fn image(&mut self, operation: Operation<'m>, position: usize) -> Result<TensorId> {
        let x = self.activation(operation, position)?;
        if x.view.rank() != CHANNELS_LAST.len() {
            return Err(operation.unsupported(format!(
                "expected images [N, C, H, W] as input {position}, found {} dimensions",
                x.view.rank()
            )));
        }
        self.arranged(operation, &x, &CHANNELS_LAST)
    }

    /// The value that stands for a tensor whose axis `k` is the value's axis `order[k]`.
    pub(super) fn ordered(&self, tensor: TensorId, order: &[usize]) -> Value {
        Value::Activation(self.seen(tensor, order))
    }

    /// The activation that stands for a tensor whose axis `k` is its axis `order[k]`.
    pub(super) fn seen(&self, tensor: TensorId, order: &[usize]) -> Activation {
        Activation { tensor, view: View::ordered(self.shape(tensor), order) }
    }

    /// The value that stands for a tensor of images.
    pub(super) fn channels_last(&self, tensor: TensorId) -> Value {
        self.ordered(tensor, &CHANNELS_LAST)
    }
}

/// The names that are taken.
#[derive(Default)]
struct Names {
    nodes: Taken,
    tensors: Taken,
}

/// Names of one kind, with how often each was asked for.
#[derive(Default)]
struct Taken(HashMap<String, usize>);

impl Taken {
    /// `wanted`, or with a number if it is taken.
    fn unique(&mut self, wanted: &str) -> String {
        let mut count = self.0.get(wanted).copied().unwrap_or(0);
        let mut name = wanted.to_owned();
        while self.0.contains_key(&name) {
            count += 1;
            name = format!("{wanted}_{count}");
        }
        self.0.insert(wanted.to_owned(), count);
        self.0.entry(name.clone()).or_insert(0);
        name
    }
}
