//! Channel groups: which indices of which constants must go together when a channel is removed.
//!
//! Single channels are followed through the operators. Every activation carries, for each index of its innermost
//! axis, the *unit* (the one removable channel) that it belongs to; a layer that mixes channels starts new units,
//! all other operators pass theirs on. Wherever a constant is indexed by a unit, that slice of it is noted.

use crate::error::{GraphError, Result};
use crate::graph::{Graph, NodeId, TensorId};
use crate::op::Op;

/// One index along one axis of a constant tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// The constant.
    pub tensor: TensorId,
    /// Its axis.
    pub axis: usize,
    /// The index along that axis.
    pub index: usize,
}

/// One removable channel: the slices that go when it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelUnit {
    /// Slices of constants, in the order of the nodes that read them.
    pub slices: Vec<Slice>,
}

/// The channels that one layer makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroup {
    /// Name of the layer that makes the channels.
    pub name: String,
    /// That layer.
    pub layer: NodeId,
    /// Its channels in order.
    pub units: Vec<ChannelUnit>,
    /// Why no channel may be removed; `None` if they may.
    pub kept: Option<String>,
}

/// All channel groups of a graph, in the graph's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroups(pub Vec<ChannelGroup>);

/// Position of a unit: group, then channel.
type UnitId = (usize, usize);

impl ChannelGroups {
    /// Finds the channel groups of `graph`, which must be verified.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut finder = Finder { groups: Vec::new(), units: vec![Vec::new(); graph.tensors.len()] };
        for (id, _) in graph.nodes_with_ids() {
            finder.follow(graph, id);
        }
        for &output in &graph.outputs {
            finder.keep(
                output,
                &format!("its channels are the network's output `{}`", graph.tensor(output).name),
            );
        }
        Self(finder.groups)
    }

    /// The groups whose channels may be removed.
    pub fn prunable(&self) -> impl Iterator<Item = &ChannelGroup> {
        self.0.iter().filter(|group| group.kept.is_none())
    }

    /// The group named `name`.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, name: &str) -> Result<&ChannelGroup> {
        self.0.iter().find(|group| group.name == name).ok_or_else(|| GraphError::InvalidEdit {
            group: name.to_owned(),
            message: "the graph has no such channel group".to_owned(),
        })
    }
}

struct Finder {
    groups: Vec<ChannelGroup>,
    /// For each tensor, the unit of each index of its innermost axis; empty if its channels are not followed
    /// (graph inputs, constants).
    units: Vec<Vec<UnitId>>,
}

impl Finder {
    fn follow(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        let x = node.inputs.first().copied();
        let units = x.map(|x| self.units[x.0].clone()).unwrap_or_default();
        let output_units = match &node.op {
            Op::Conv2d(_) => {
                self.note(&units, node.inputs[1], 3);
                self.start(graph, id)
            }
            Op::FullyConnected(_) => {
                self.note(&units, node.inputs[1], 1);
                self.start(graph, id)
            }
            Op::BatchNorm(_) => {
                for &constant in &node.inputs[1..] {
                    self.note(&units, constant, 0);
                }
                units
            }
            Op::Activation { .. } | Op::Pool2d(_) | Op::GlobalPool2d { .. } | Op::Quantize { .. } => units,
            Op::Softmax(_) => {
                // Softmax compares channels with each other: removing one changes the others.
                if let Some(x) = x {
                    self.keep(x, &format!("softmax `{}` compares its channels", node.name));
                }
                units
            }
            Op::Flatten => {
                let features = node.outputs.first().and_then(|output| graph.tensor(*output).shape.channels());
                units
                    .iter()
                    .copied()
                    .cycle()
                    .take(if units.is_empty() { 0 } else { features.unwrap_or(0) })
                    .collect()
            }
            Op::Opaque(opaque) => {
                for &input in &node.inputs {
                    self.keep(
                        input,
                        &format!(
                            "they reach `{}`, an operator {} that is not understood",
                            node.name, opaque.code
                        ),
                    );
                }
                Vec::new()
            }
        };
        if let Some(output) = node.outputs.first() {
            self.units[output.0] = output_units;
        }
    }

    /// Starts a group of new units for the layer's output: axis 0 of its weights and of its bias.
    fn start(&mut self, graph: &Graph, id: NodeId) -> Vec<UnitId> {
        let node = graph.node(id);
        let channels =
            node.outputs.first().and_then(|output| graph.tensor(*output).shape.channels()).unwrap_or(0);
        let slices = |index| node.inputs[1..].iter().map(move |&tensor| Slice { tensor, axis: 0, index });
        let units = (0..channels).map(|index| ChannelUnit { slices: slices(index).collect() }).collect();
        self.groups.push(ChannelGroup { name: node.name.clone(), layer: id, units, kept: None });
        (0..channels).map(|channel| (self.groups.len() - 1, channel)).collect()
    }

    /// Notes that axis `axis` of a constant is indexed by these units.
    fn note(&mut self, units: &[UnitId], tensor: TensorId, axis: usize) {
        for (index, &(group, channel)) in units.iter().enumerate() {
            self.groups[group].units[channel].slices.push(Slice { tensor, axis, index });
        }
    }

    /// Keeps every group that has a unit in `tensor`.
    fn keep(&mut self, tensor: TensorId, reason: &str) {
        for &(group, _) in &self.units[tensor.0] {
            self.groups[group].kept.get_or_insert_with(|| reason.to_owned());
        }
    }
}

/// The tensor in which a layer's channels stand behind their nonlinearity: fused in the layer, or the first one
/// that follows through operators that keep channels apart. `None` if no nonlinearity follows.
#[must_use]
pub fn nonlinearity_output(graph: &Graph, layer: NodeId) -> Option<TensorId> {
    let node = graph.node(layer);
    let output = *node.outputs.first()?;
    let fused = matches!(node.op.fused_activation(), Some(Some(_)));
    if fused || matches!(node.op, Op::Activation { .. }) {
        return Some(output);
    }
    graph.consumers(output).find_map(|id| match &graph.node(id).op {
        Op::Activation { .. }
        | Op::BatchNorm(_)
        | Op::Pool2d(_)
        | Op::GlobalPool2d { .. }
        | Op::Quantize { .. } => nonlinearity_output(graph, id),
        Op::Conv2d(_) | Op::FullyConnected(_) | Op::Flatten | Op::Softmax(_) | Op::Opaque(_) => None,
    })
}
