//! What a network is: its operators with shapes and cost, and what of it can be pruned; as data and as a picture.

mod edgetpu;
mod page;

pub use edgetpu::{EdgeTpuExecutable, EdgeTpuLayer, EdgeTpuOperator, EdgeTpuPackage};
pub use page::write_page;

use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use taper_graph::{ChannelGroup, ChannelGroups, Graph, NodeCost, Quantization, TensorId, cost};
use taper_zoo::Task;

/// A network, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Name of the network.
    pub name: String,
    /// Tensors that a caller provides.
    pub inputs: Vec<TensorInfo>,
    /// Tensors that a caller receives.
    pub outputs: Vec<TensorInfo>,
    /// Operators in order.
    pub operators: Vec<OperatorInfo>,
    /// Parameters in all.
    pub parameters: u64,
    /// Multiply–accumulates for one image: the work.
    pub macs: u64,
    /// Bytes of all activations for one image.
    pub activation_bytes: u64,
    /// Multiply–accumulates along the heaviest path.
    pub depth: u64,
    /// Operators along the longest path.
    pub levels: u64,
    /// Operators that the Edge TPU's compiler made of others, in order; empty in a network that is not compiled.
    #[serde(default)]
    pub edgetpu: Vec<EdgeTpuOperator>,
}

/// A tensor, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape; `N` is the batch.
    pub shape: String,
    /// Type of its elements.
    pub dtype: String,
    /// What its integers mean.
    pub quantization: Option<Quantization>,
}

/// An operator, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorInfo {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub op: String,
    /// Names of the tensors that it reads.
    pub inputs: Vec<String>,
    /// Tensors that it writes.
    pub outputs: Vec<TensorInfo>,
    /// Elements of its constants.
    pub parameters: u64,
    /// Multiply–accumulates for one image.
    pub macs: u64,
    /// Channels that it makes and that can be removed; `null` if it makes none.
    pub prunable_channels: Option<usize>,
    /// Why the channels that it makes cannot be removed.
    pub kept: Option<String>,
}

impl OperatorInfo {
    /// What of it can be pruned, in words; empty if it makes no channels.
    #[must_use]
    pub fn prunable(&self) -> String {
        match (self.prunable_channels, &self.kept) {
            (_, Some(reason)) => format!("no: {reason}"),
            (Some(channels), None) => format!("{channels} channels"),
            (None, None) => String::new(),
        }
    }
}

/// Tells what the network `source` is: a file, or `zoo:NAME`, which is built for images of `image` (height, width,
/// channels) and for `classes`.
///
/// # Errors
/// If there is no such network or the file cannot be read.
pub fn inspect(source: &str, image: [usize; 3], classes: usize) -> Result<Inspection> {
    let graph = match source.strip_prefix("zoo:") {
        Some(name) => taper_zoo::by_name(name, Task { input: image, classes })?,
        None => taper_formats::load(Path::new(source))?,
    };
    Ok(of_graph(&graph))
}

fn of_graph(graph: &Graph) -> Inspection {
    let total = cost(graph);
    let groups = ChannelGroups::of(graph);
    let tensors = |ids: &[TensorId]| ids.iter().map(|id| tensor(graph, *id)).collect();
    let operators =
        graph.nodes_with_ids().zip(&total.nodes).map(|((id, node), NodeCost { parameters, macs, .. })| {
            let own = |group: &&ChannelGroup| group.layers.contains(&id);
            let made = |group: &ChannelGroup| {
                let channels = group.units.iter().flat_map(|unit| &unit.channels);
                channels.filter(|channel| channel.layer == id).count()
            };
            let removable = groups.prunable().filter(own).map(made).sum();
            OperatorInfo {
                name: node.name.clone(),
                op: node.op.name().to_owned(),
                inputs: node.inputs.iter().map(|id| graph.tensor(*id).name.clone()).collect(),
                outputs: tensors(&node.outputs),
                parameters: *parameters,
                macs: *macs,
                prunable_channels: groups.0.iter().any(|group| own(&group)).then_some(removable),
                kept: groups.0.iter().filter(own).find_map(|group| group.kept.clone()),
            }
        });
    Inspection {
        name: graph.name.clone(),
        inputs: tensors(&graph.inputs),
        outputs: tensors(&graph.outputs),
        operators: operators.collect(),
        parameters: total.parameters,
        macs: total.macs,
        activation_bytes: total.activation_bytes,
        depth: total.depth,
        levels: total.levels,
        edgetpu: graph.nodes.iter().filter_map(EdgeTpuOperator::of).collect(),
    }
}

fn tensor(graph: &Graph, id: TensorId) -> TensorInfo {
    let tensor = graph.tensor(id);
    TensorInfo {
        name: tensor.name.clone(),
        shape: tensor.shape.to_string(),
        dtype: tensor.dtype.to_string(),
        quantization: tensor.quantization.clone(),
    }
}
