//! The graph of a model: calls in an order in which each finds its inputs, and names that survive.

use super::config::{Argument, Key, Kind, Layer, Model};
use super::container::Container;
use super::layers::{Site, emit};
use super::variables::{Paths, names};
use super::wrong_layer;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use crate::weights::Array;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use taper_graph::{DType, Dim, Graph, Op, Shape, TensorData, TensorId};

/// How many calls of layers a graph may take. Models that call each other can ask for many more than their file has layers.
const CALLS: usize = 50_000;

/// What a layer is given: an activation, or in Keras 3's operations a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operand {
    Tensor(TensorId),
    Number(f32),
}

/// Builds the graph of a whole model.
pub(super) fn build(
    model: &Model,
    paths: &Paths,
    container: &Container,
    budget: &mut Budget,
) -> Result<Graph> {
    let graph = Graph::new(model.name.clone());
    let (used, constants) = (BTreeMap::new(), BTreeMap::new());
    let mut builder = Builder { graph, container, paths, budget, used, calls: 0, constants };
    let inputs = builder.inputs(model)?;
    let outputs = builder.run(model, &inputs, "")?;
    let mut graph = builder.graph;
    graph.outputs = outputs;
    graph.verify()?;
    Ok(graph)
}

/// A graph under construction.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    container: &'a Container,
    paths: &'a Paths,
    budget: &'a mut Budget,
    /// Names of nodes and inputs, and how often each was wanted again.
    used: BTreeMap<String, usize>,
    /// How many layers were called so far.
    calls: usize,
    /// Constants that are there, by layer and role: a layer that is called again reads the same.
    constants: BTreeMap<(usize, &'static str), TensorId>,
}

impl Builder<'_> {
    /// The inputs of the whole model, in its order.
    fn inputs(&mut self, model: &Model) -> Result<Vec<TensorId>> {
        let input_layer = |name: &str| model.layers.iter().find(|layer| layer.name == name);
        match &model.kind {
            Kind::Functional { inputs, .. } => {
                let layers = inputs.iter().map(|key| (key, input_layer(&key.layer)));
                let layers: Vec<_> = layers.collect();
                let input = |(key, layer): (&Key, Option<&Layer>)| {
                    let layer = layer.ok_or_else(|| missing(model, key))?;
                    let shape = layer
                        .input_shape()?
                        .ok_or_else(|| wrong_layer(layer, "expected the shape of an input, found none"))?;
                    self.input(layer, layer.name.clone(), &shape)
                };
                layers.into_iter().map(input).collect()
            }
            Kind::Sequential(built) => {
                let Some(first) = model.layers.first() else {
                    return Err(FormatError::invalid(
                        format!("keras model `{}`", model.name),
                        "has no layers",
                    ));
                };
                let shape = match first.input_shape()? {
                    Some(shape) => Some(shape),
                    None => built.clone(),
                };
                let shape = shape.ok_or_else(|| {
                    wrong_layer(
                        first,
                        "expected the shape of the model's input, found none: it was never built",
                    )
                })?;
                let name = match first.class.as_str() {
                    "InputLayer" => first.name.clone(),
                    _ => format!("{}_input", first.name),
                };
                Ok(vec![self.input(first, name, &shape)?])
            }
        }
    }

    fn input(&mut self, layer: &Layer, name: String, shape: &[Option<usize>]) -> Result<TensorId> {
        if layer.class == "InputLayer"
            && let Some(dtype) = layer.text("dtype")
            && !dtype.contains("float")
        {
            return Err(wrong_layer(layer, format!("expected an input of floats, found {dtype}")));
        }
        let sizes = shape.iter().skip(1).map(|size| size.map(Dim::Fixed)).collect::<Option<Vec<_>>>();
        let (Some(sizes), Some(&batch)) = (sizes, shape.first()) else {
            let dims: Vec<_> =
                shape.iter().map(|dim| dim.map_or("?".to_owned(), |size| size.to_string())).collect();
            let message =
                format!("expected an input of known size but for the batch, found [{}]", dims.join(", "));
            return Err(wrong_layer(layer, message));
        };
        let batch = batch.map_or(Dim::BATCH, Dim::Fixed);
        self.used.insert(name.clone(), 0);
        let shape = Shape::new(std::iter::once(batch).chain(sizes).collect());
        Ok(self.graph.add_input(name, shape, DType::F32))
    }

    /// The outputs of a model on these inputs; `scope` is its name if it is a layer of another.
    fn run(&mut self, model: &Model, inputs: &[TensorId], scope: &str) -> Result<Vec<TensorId>> {
        match &model.kind {
            Kind::Sequential(_) => {
                let mut x: Vec<Operand> = inputs.iter().copied().map(Operand::Tensor).collect();
                for layer in model.layers.iter().filter(|layer| layer.class != "InputLayer") {
                    x = self.call(layer, &x, scope)?.into_iter().map(Operand::Tensor).collect();
                }
                let tensor = |operand| match operand {
                    Operand::Tensor(id) => Some(id),
                    Operand::Number(_) => None,
                };
                Ok(x.into_iter().filter_map(tensor).collect())
            }
            Kind::Functional { inputs: keys, outputs } => {
                self.run_functional(model, [keys, outputs], inputs, scope)
            }
        }
    }

    fn run_functional(
        &mut self,
        model: &Model,
        [inputs, outputs]: [&[Key]; 2],
        given: &[TensorId],
        scope: &str,
    ) -> Result<Vec<TensorId>> {
        if inputs.len() != given.len() {
            return Err(FormatError::invalid(
                format!("keras model `{}`", model.name),
                format!("expected {} inputs, found {}", inputs.len(), given.len()),
            ));
        }
        let mut values: BTreeMap<Key, TensorId> = inputs.iter().cloned().zip(given.iter().copied()).collect();
        for (layer, call) in ordered(model, &values)? {
            let mut operands = Vec::new();
            for argument in layer.calls.get(call).into_iter().flatten() {
                operands.push(match argument {
                    Argument::Number(number) => Operand::Number(*number),
                    Argument::Tensor(key) => {
                        Operand::Tensor(*values.get(key).ok_or_else(|| missing(model, key))?)
                    }
                });
            }
            for (output, value) in self.call(layer, &operands, scope)?.into_iter().enumerate() {
                values.insert(Key { layer: layer.name.clone(), call, output }, value);
            }
        }
        outputs.iter().map(|key| values.get(key).copied().ok_or_else(|| missing(model, key))).collect()
    }

    /// What one call of a layer gives.
    fn call(&mut self, layer: &Layer, operands: &[Operand], scope: &str) -> Result<Vec<TensorId>> {
        self.calls += 1;
        if self.calls > CALLS {
            let message = format!("expected at most {CALLS} calls of layers, found more");
            return Err(FormatError::unsupported(format!("keras model `{}`", self.graph.name), message));
        }
        let Some(inner) = &layer.inner else {
            let name = self.free_name(&layer.name, scope);
            return Ok(vec![emit(&mut Site { builder: self, layer, name }, operands)?]);
        };
        let tensor = |operand: &Operand| match *operand {
            Operand::Tensor(id) => Ok(id),
            Operand::Number(_) => Err(wrong_layer(layer, "expected tensors, found a number")),
        };
        let inputs = operands.iter().map(tensor).collect::<Result<Vec<_>>>()?;
        self.run(inner, &inputs, &layer.name)
    }

    /// The layer's name; with that of the model around it, and then with a number, where it is taken.
    fn free_name(&mut self, name: &str, scope: &str) -> String {
        if !self.used.contains_key(name) {
            return name.to_owned();
        }
        let scoped = format!("{scope}/{name}");
        if !scope.is_empty() && !self.used.contains_key(&scoped) {
            return scoped;
        }
        loop {
            let count = self.used.entry(name.to_owned()).or_default();
            *count += 1;
            let numbered = format!("{name}/{}", *count + 1);
            if !self.used.contains_key(&numbered) {
                return numbered;
            }
        }
    }

    /// Appends a node.
    pub(super) fn node(&mut self, name: String, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        self.budget.spend_elements(inputs.len() + 8, 64, &name)?;
        self.used.insert(name.clone(), 0);
        Ok(self.graph.add_node(name, op, inputs)?)
    }

    /// The variable `name` of a layer.
    pub(super) fn variable(&mut self, layer: &Layer, name: &str) -> Result<Array> {
        let position = names(layer).iter().position(|&(own, _)| own == name);
        let path = position.and_then(|position| self.paths.get(&layer.id)?.get(position));
        let path =
            path.ok_or_else(|| wrong_layer(layer, format!("expected a variable `{name}`, found none")))?;
        self.container.weights.array(path, self.budget)
    }

    /// The constant that a layer has in `role`, made when it is first asked for.
    pub(super) fn constant(
        &mut self,
        layer: &Layer,
        (node, role): (&str, &'static str),
        make: impl FnOnce(&mut Self) -> Result<(Vec<usize>, Vec<f32>)>,
    ) -> Result<TensorId> {
        if let Some(&id) = self.constants.get(&(layer.id, role)) {
            return Ok(id);
        }
        let (sizes, values) = make(self)?;
        let id = self.graph.add_constant(format!("{node}/{role}"), &sizes, TensorData::F32(values));
        self.constants.insert((layer.id, role), id);
        Ok(id)
    }

    /// Keras's major version, as far as the file tells.
    pub(super) fn version(&self) -> Option<u32> {
        self.container.version
    }
}

/// The calls of a model in an order in which each comes after those that it reads, in the file's order where that is free.
fn ordered<'m>(model: &'m Model, given: &BTreeMap<Key, TensorId>) -> Result<Vec<(&'m Layer, usize)>> {
    let calls: Vec<(&Layer, usize)> = model
        .layers
        .iter()
        .flat_map(|layer| (0..layer.calls.len()).map(move |call| (layer, call)))
        .filter(|(layer, _)| layer.class != "InputLayer")
        .collect();
    let positions: BTreeMap<(&str, usize), usize> = calls
        .iter()
        .enumerate()
        .map(|(position, &(layer, call))| ((layer.name.as_str(), call), position))
        .collect();
    let mut waiting = vec![0usize; calls.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); calls.len()];
    for (position, &(layer, call)) in calls.iter().enumerate() {
        for argument in &layer.calls[call] {
            let Argument::Tensor(key) = argument else { continue };
            if given.contains_key(key) {
                continue;
            }
            let writer = positions.get(&(key.layer.as_str(), key.call));
            readers[*writer.ok_or_else(|| missing(model, key))?].push(position);
            waiting[position] += 1;
        }
    }
    let ready = waiting.iter().enumerate().filter(|&(_, &count)| count == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|(position, _)| Reverse(position)).collect();
    let mut order = Vec::with_capacity(calls.len());
    while let Some(Reverse(position)) = ready.pop() {
        order.push(calls[position]);
        for &reader in &readers[position] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match waiting.iter().position(|&count| count > 0) {
        None => Ok(order),
        Some(position) => {
            Err(wrong_layer(calls[position].0, "expected layers without a cycle, found it in one"))
        }
    }
}

fn missing(model: &Model, key: &Key) -> FormatError {
    FormatError::invalid(
        format!("keras model `{}`", model.name),
        format!("expected output {} of call {} of layer `{}`, found none", key.output, key.call, key.layer),
    )
}
