//! What a network costs: parameters, multiply–accumulates, activation bytes, work and depth.

use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Cost of one node for one image (batch 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeCost {
    /// Elements of the constants that the node reads first (a shared constant counts once in a graph).
    pub parameters: u64,
    /// Multiply–accumulates by formulas 2.1–2.4 of the source: convolution `C_out·C_in/groups·H·W·K_h·K_w` over the
    /// output's pixels (transposed: over the input's), fully connected `C_out·C_in`, pooling and batch normalisation `C_in·H·W` over the
    /// input's; everything else counts nothing.
    pub macs: u64,
    /// Bytes of what the node writes.
    pub activation_bytes: u64,
}

/// Cost of a whole graph for one image (batch 1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GraphCost {
    /// Cost of each node, in the graph's order.
    pub nodes: Vec<NodeCost>,
    /// Elements of all constants that nodes read.
    pub parameters: u64,
    /// Multiply–accumulates of all nodes: the work `W`.
    pub macs: u64,
    /// Bytes of all activations together.
    pub activation_bytes: u64,
    /// Multiply–accumulates along the heaviest path from an input to an output: the depth `D`.
    pub depth: u64,
    /// Nodes along the longest path.
    pub levels: u64,
}

/// Cost of `graph` for one image. Opaque operators count their constants and outputs only.
#[must_use]
pub fn cost(graph: &Graph) -> GraphCost {
    let mut total = GraphCost::default();
    let mut counted = HashSet::new();
    // Heaviest and longest path that ends at each tensor.
    let mut depth = vec![0u64; graph.tensors.len()];
    let mut levels = vec![0u64; graph.tensors.len()];
    for (id, node) in graph.nodes_with_ids() {
        let constants = node
            .inputs
            .iter()
            .filter(|input| graph.tensor(**input).data.is_some() && counted.insert(**input));
        let node_cost = NodeCost {
            parameters: constants.map(|input| elements(graph.tensor(*input))).sum(),
            macs: macs(graph, id),
            activation_bytes: written_bytes(graph, node),
        };
        let before = |path: &[u64]| node.inputs.iter().map(|input| path[input.0]).max().unwrap_or(0);
        let (depth_here, level_here) = (before(&depth) + node_cost.macs, before(&levels) + 1);
        for output in &node.outputs {
            depth[output.0] = depth_here;
            levels[output.0] = level_here;
        }
        total.depth = total.depth.max(depth_here);
        total.levels = total.levels.max(level_here);
        total.parameters += node_cost.parameters;
        total.macs += node_cost.macs;
        total.activation_bytes += node_cost.activation_bytes;
        total.nodes.push(node_cost);
    }
    total
}

fn macs(graph: &Graph, id: NodeId) -> u64 {
    let node = graph.node(id);
    let input = |position: usize| node.inputs.get(position).map_or(0, |id| elements(graph.tensor(*id)));
    match &node.op {
        Op::Conv2d(_) => {
            let output = node.outputs.first().map(|id| graph.tensor(*id));
            let pixels = output.and_then(|tensor| tensor.shape.image()).map_or(0, |[h, w, _]| h * w);
            input(1) * pixels as u64
        }
        Op::ConvTranspose2d(_) => {
            let x = node.inputs.first().map(|id| graph.tensor(*id));
            let pixels = x.and_then(|tensor| tensor.shape.image()).map_or(0, |[h, w, _]| h * w);
            input(1) * pixels as u64
        }
        Op::FullyConnected(_) => input(1),
        Op::BatchNorm(_) | Op::Pool2d(_) | Op::GlobalPool2d { .. } => input(0),
        Op::Activation { .. }
        | Op::Prelu
        | Op::Elementwise(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Resize2d(_)
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::StridedSlice(_)
        | Op::Tile { .. }
        | Op::ArgMax(_)
        | Op::Softmax(_)
        | Op::Dropout(_)
        | Op::FakeQuantize(_)
        | Op::Quantize { .. }
        | Op::Opaque(_) => 0,
    }
}

fn elements(tensor: &Tensor) -> u64 {
    tensor.shape.elements(1).unwrap_or(0) as u64
}

fn written_bytes(graph: &Graph, node: &Node) -> u64 {
    let bytes = |tensor: &Tensor| elements(tensor) * tensor.dtype.bytes() as u64;
    node.outputs.iter().map(|output| bytes(graph.tensor(*output))).sum()
}
