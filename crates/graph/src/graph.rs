//! The graph: tensors, nodes in topological order, inputs and outputs.

use crate::error::{GraphError, Result};
use crate::infer::infer_output;
use crate::op::Op;
use crate::shape::Shape;
use crate::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Position of a tensor in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TensorId(pub usize);

/// Position of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// One operator with the tensors that it reads and writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique within its graph; every pass keeps it.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// What it reads, in the order that [`Op`] documents. Only trailing inputs are optional.
    pub inputs: Vec<TensorId>,
    /// What it writes.
    pub outputs: Vec<TensorId>,
}

/// A network: tensors, and nodes in topological order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    /// All tensors: inputs, constants and activations.
    pub tensors: Vec<Tensor>,
    /// All nodes, each after those whose outputs it reads.
    pub nodes: Vec<Node>,
    /// The tensors that a caller provides.
    pub inputs: Vec<TensorId>,
    /// The tensors that a caller receives.
    pub outputs: Vec<TensorId>,
    /// Free text about the network: class names, preprocessing, provenance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Graph {
    /// A graph without tensors and nodes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tensors: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// Adds a tensor that a caller provides.
    pub fn add_input(&mut self, name: impl Into<String>, shape: Shape, dtype: DType) -> TensorId {
        let id = self.push(Tensor { name: name.into(), shape, dtype, quantization: None, data: None });
        self.inputs.push(id);
        id
    }

    /// Adds a constant of the given sizes.
    pub fn add_constant(&mut self, name: impl Into<String>, sizes: &[usize], data: TensorData) -> TensorId {
        self.push(Tensor {
            name: name.into(),
            shape: Shape::fixed(sizes),
            dtype: data.dtype(),
            quantization: None,
            data: Some(data),
        })
    }

    /// Appends a node with one output tensor of the same name, whose shape is inferred.
    ///
    /// # Errors
    /// If the inputs do not fit the operator, or the operator's output cannot be inferred (opaque operators).
    pub fn add_node(&mut self, name: impl Into<String>, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        let mut node =
            Node { name: name.into(), op, inputs: inputs.to_vec(), outputs: Vec::with_capacity(1) };
        let (shape, dtype) = infer_output(self, &node)?;
        let output =
            self.push(Tensor { name: node.name.clone(), shape, dtype, quantization: None, data: None });
        node.outputs.push(output);
        self.nodes.push(node);
        Ok(output)
    }

    /// The tensor at `id`.
    ///
    /// # Panics
    /// If `id` is of another graph; [`Graph::verify`] proves that a graph's own ids are in range.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// The tensor at `id`, to be changed. Panics as [`Graph::tensor`] does.
    pub fn tensor_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.0]
    }

    /// The node at `id`. Panics if `id` is of another graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All nodes with their positions, in topological order.
    pub fn nodes_with_ids(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(position, node)| (NodeId(position), node))
    }

    /// The nodes that read `tensor`, in order.
    pub fn consumers(&self, tensor: TensorId) -> impl Iterator<Item = NodeId> {
        self.nodes_with_ids().filter(move |(_, node)| node.inputs.contains(&tensor)).map(|(id, _)| id)
    }

    /// The node that writes `tensor`, if one does.
    #[must_use]
    pub fn producer(&self, tensor: TensorId) -> Option<NodeId> {
        self.nodes_with_ids().find(|(_, node)| node.outputs.contains(&tensor)).map(|(id, _)| id)
    }

    /// The only input.
    ///
    /// # Errors
    /// If the graph has none or several.
    pub fn single_input(&self) -> Result<TensorId> {
        self.single(&self.inputs, "input")
    }

    /// The only output.
    ///
    /// # Errors
    /// If the graph has none or several.
    pub fn single_output(&self) -> Result<TensorId> {
        self.single(&self.outputs, "output")
    }

    /// Drops the tensors that are neither inputs nor outputs nor touched by a node, and renumbers the rest in order.
    pub fn remove_unused_tensors(&mut self) {
        let mut used = vec![false; self.tensors.len()];
        let touched = self.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        for id in touched.chain(&self.inputs).chain(&self.outputs) {
            used[id.0] = true;
        }
        let mut next = 0;
        let renumbered: Vec<TensorId> = used
            .iter()
            .map(|&used| {
                let id = TensorId(next);
                next += usize::from(used);
                id
            })
            .collect();
        let mut position = 0;
        self.tensors.retain(|_| {
            position += 1;
            used[position - 1]
        });
        let touching = self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs));
        for id in touching.chain(&mut self.inputs).chain(&mut self.outputs) {
            *id = renumbered[id.0];
        }
    }

    fn single(&self, ids: &[TensorId], role: &str) -> Result<TensorId> {
        match *ids {
            [id] => Ok(id),
            _ => Err(GraphError::InvalidGraph {
                graph: self.name.clone(),
                message: format!("expected one {role}, found {}", ids.len()),
            }),
        }
    }

    fn push(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() - 1)
    }
}
