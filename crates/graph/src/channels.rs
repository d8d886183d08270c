//! Channel groups: which indices of which constants must go together when a channel is removed.
//!
//! Single channels are followed through the operators. Every activation carries, for each index of its innermost
//! axis, the *unit* (the one removable channel) that it belongs to; a layer that mixes channels starts new units,
//! all other operators pass theirs on. Where two activations meet value by value, the units of both sides become one.
//! Wherever a constant is indexed by a unit, that slice of it is noted.

mod units;

use crate::error::{GraphError, Result};
use crate::graph::{Graph, Node, NodeId, TensorId};
use crate::op::{ArgMax, Concat, ConvKind, Op};
use std::collections::{BTreeMap, BTreeSet};
use units::{UnitId, Units};

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

/// One output channel of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerChannel {
    /// The layer.
    pub layer: NodeId,
    /// The channel's position in the layer's output.
    pub index: usize,
}

/// One removable channel: the outputs of layers that it stands for, and the slices that go when it goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelUnit {
    /// Output channels of layers, in the graph's order. Several where a sum, product or maximum ties them together.
    pub channels: Vec<LayerChannel>,
    /// Slices of constants, channel by channel in the order of the nodes that read them.
    pub slices: Vec<Slice>,
}

/// Channels that the same layers make. As long as one of them stays, no layer runs empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroup {
    /// Name of the first of its layers that names no group before it.
    pub name: String,
    /// The layers that make the channels, in the graph's order.
    pub layers: Vec<NodeId>,
    /// Its channels, in the order of the first layer.
    pub units: Vec<ChannelUnit>,
    /// Why no channel may be removed; `None` if they may.
    pub kept: Option<String>,
}

/// All channel groups of a graph, in the graph's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelGroups(pub Vec<ChannelGroup>);

impl ChannelGroups {
    /// Finds the channel groups of `graph`, which must be verified.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let carried = graph.tensors.iter().map(|tensor| vec![None; tensor.shape.channels().unwrap_or(0)]);
        let mut finder = Finder { graph, units: Units::default(), carried: carried.collect() };
        for (id, node) in graph.nodes_with_ids() {
            finder.follow(id, node);
        }
        for &output in &graph.outputs {
            let reason = format!("its channels are the network's output `{}`", graph.tensor(output).name);
            finder.keep(output, &reason);
        }
        Self(grouped(graph, finder.units))
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

/// Gathers the units that the same layers make.
fn grouped(graph: &Graph, units: Units) -> Vec<ChannelGroup> {
    let mut groups: Vec<ChannelGroup> = Vec::new();
    let mut positions: BTreeMap<Vec<NodeId>, usize> = BTreeMap::new();
    for (unit, kept) in units.merged() {
        let mut layers: Vec<NodeId> = unit.channels.iter().map(|channel| channel.layer).collect();
        layers.dedup();
        let position = *positions.entry(layers).or_insert_with_key(|layers| {
            groups.push(ChannelGroup {
                name: String::new(),
                layers: layers.clone(),
                units: Vec::new(),
                kept: None,
            });
            groups.len() - 1
        });
        let group = &mut groups[position];
        group.units.push(unit);
        group.kept = group.kept.take().or(kept);
    }
    let mut taken = BTreeSet::new();
    for (position, group) in groups.iter_mut().enumerate() {
        let free = group.layers.iter().find(|layer| !taken.contains(*layer));
        group.name = match free {
            Some(&layer) => graph.node(layer).name.clone(),
            None => format!("{}#{position}", graph.node(group.layers[0]).name),
        };
        taken.extend(free.copied());
    }
    groups
}

struct Finder<'g> {
    graph: &'g Graph,
    units: Units,
    /// For each tensor, the unit of each index of its innermost axis; `None` where a channel is not followed, as in
    /// the graph's inputs.
    carried: Vec<Vec<Option<UnitId>>>,
}

impl Finder<'_> {
    fn follow(&mut self, id: NodeId, node: &Node) {
        let Some(&x) = node.inputs.first() else { return };
        let units = self.carried[x.0].clone();
        let output_units = match &node.op {
            Op::Conv2d(conv) => match conv.kind(units.len()) {
                ConvKind::Full => {
                    self.note(&units, node.inputs[1], 3);
                    self.start(id)
                }
                ConvKind::Depthwise => {
                    let multiplier = self.channels(node) / units.len();
                    let units: Vec<_> =
                        units.iter().flat_map(|&unit| std::iter::repeat_n(unit, multiplier)).collect();
                    for &constant in &node.inputs[1..] {
                        self.note(&units, constant, 0);
                    }
                    units
                }
                ConvKind::Grouped => {
                    let reason = format!("grouped convolution `{}` takes them in groups", node.name);
                    self.keep(x, &reason);
                    let units = self.start(id);
                    let reason = format!("grouped convolution `{}` makes them in groups", node.name);
                    units.iter().flatten().for_each(|&unit| self.units.keep(unit, &reason));
                    units
                }
            },
            Op::ConvTranspose2d(_) => {
                self.note(&units, node.inputs[1], 3);
                self.start(id)
            }
            Op::FullyConnected(_) => {
                self.note(&units, node.inputs[1], 1);
                self.start(id)
            }
            Op::BatchNorm(_) | Op::Prelu => {
                for &constant in &node.inputs[1..] {
                    self.note(&units, constant, 0);
                }
                units
            }
            Op::Elementwise(_) => self.follow_operands(node, [x, node.inputs[1]]),
            Op::Concat(Concat { axis }) => {
                let innermost = axis + 1 == self.graph.tensor(x).shape.rank();
                node.inputs[1..].iter().fold(units, |mut units, &other| {
                    if innermost {
                        units.extend_from_slice(&self.carried[other.0]);
                        units
                    } else {
                        self.meet(node, units, other)
                    }
                })
            }
            Op::Activation { .. }
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Quantize { .. } => units,
            Op::Softmax(_) => {
                // Softmax compares channels with each other: removing one changes the others.
                self.keep(x, &format!("softmax `{}` compares its channels", node.name));
                units
            }
            Op::Flatten => units.iter().copied().cycle().take(self.channels(node)).collect(),
            // Row-major order leaves the innermost axis as it is where its size stays.
            Op::Reshape { shape } if shape.last() == Some(&units.len()) => units,
            Op::Reshape { .. } => {
                self.keep(x, &format!("reshape `{}` mixes them with other axes", node.name));
                vec![None; self.channels(node)]
            }
            Op::StridedSlice(slice) => {
                let innermost = self.graph.tensor(x).shape.rank() - 1;
                if slice.axes.iter().any(|part| part.axis == innermost) {
                    self.keep(x, &format!("strided slice `{}` takes them by their positions", node.name));
                    vec![None; self.channels(node)]
                } else {
                    units
                }
            }
            // A channel that stands several times goes everywhere.
            Op::Tile { .. } => units.iter().copied().cycle().take(self.channels(node)).collect(),
            Op::ArgMax(ArgMax { axis, .. }) => {
                if axis + 1 == self.graph.tensor(x).shape.rank() {
                    self.keep(x, &format!("arg max `{}` tells their positions", node.name));
                    vec![None; self.channels(node)]
                } else {
                    units
                }
            }
            Op::Opaque(opaque) => {
                let reason =
                    format!("they reach `{}`, an operator {} that is not understood", node.name, opaque.code);
                node.inputs.iter().for_each(|&input| self.keep(input, &reason));
                return;
            }
        };
        if let Some(output) = node.outputs.first() {
            self.carried[output.0] = output_units;
        }
    }

    /// Starts new units for the layer's output: axis 0 of its weights and of its bias.
    fn start(&mut self, id: NodeId) -> Vec<Option<UnitId>> {
        let node = self.graph.node(id);
        let slices = |index| node.inputs[1..].iter().map(move |&tensor| Slice { tensor, axis: 0, index });
        (0..self.channels(node))
            .map(|index| {
                let channels = vec![LayerChannel { layer: id, index }];
                Some(self.units.start(ChannelUnit { channels, slices: slices(index).collect() }))
            })
            .collect()
    }

    /// Two activations meet; a constant is indexed by the activation's channels where it has as many.
    fn follow_operands(&mut self, node: &Node, [a, b]: [TensorId; 2]) -> Vec<Option<UnitId>> {
        let constants = [a, b].map(|operand| self.graph.tensor(operand).data.is_some());
        let (activation, constant) = match constants {
            [false, false] => {
                let units = self.carried[a.0].clone();
                return self.meet(node, units, b);
            }
            [true, _] => (b, a),
            [false, true] => (a, b),
        };
        let units = self.carried[activation.0].clone();
        match (units.len(), self.graph.tensor(constant).shape.channels()) {
            // A lone channel takes every value of the constant, and can be none of them.
            (1, Some(channels @ 2..)) => vec![None; channels],
            (_, Some(channels)) if channels == units.len() => {
                self.note(&units, constant, self.graph.tensor(constant).shape.rank() - 1);
                units
            }
            (_, Some(_) | None) => units,
        }
    }

    /// Ties the channels of `other` to those of `units`, index by index. A lone channel is broadcast, and ties nothing.
    fn meet(&mut self, node: &Node, units: Vec<Option<UnitId>>, other: TensorId) -> Vec<Option<UnitId>> {
        let others = self.carried[other.0].clone();
        match (units.len(), others.len()) {
            (1, 2..) => return others,
            (2.., 1) => return units,
            _ => {}
        }
        let reason = format!("{} `{}` meets them with channels that stay", node.op.name(), node.name);
        let meet = |(a, b)| match (a, b) {
            (Some(a), Some(b)) => Some(self.units.tie(a, b)),
            (Some(unit), None) | (None, Some(unit)) => {
                self.units.keep(unit, &reason);
                Some(unit)
            }
            (None, None) => None,
        };
        units.into_iter().zip(others).map(meet).collect()
    }

    /// Notes that axis `axis` of a constant is indexed by these units.
    fn note(&mut self, units: &[Option<UnitId>], tensor: TensorId, axis: usize) {
        for (index, unit) in units.iter().enumerate() {
            if let Some(unit) = *unit {
                self.units.note(unit, Slice { tensor, axis, index });
            }
        }
    }

    /// Keeps every unit in `tensor`.
    fn keep(&mut self, tensor: TensorId, reason: &str) {
        self.carried[tensor.0].iter().flatten().for_each(|&unit| self.units.keep(unit, reason));
    }

    /// Channels of the node's output.
    fn channels(&self, node: &Node) -> usize {
        node.outputs.first().and_then(|output| self.graph.tensor(*output).shape.channels()).unwrap_or(0)
    }
}

/// The tensor in which a layer's channels stand, in their order, behind their nonlinearity: fused in the layer, or
/// the first one that follows through operators that keep channels apart. `None` if no nonlinearity follows.
#[must_use]
pub fn nonlinearity_output(graph: &Graph, layer: NodeId) -> Option<TensorId> {
    let node = graph.node(layer);
    let output = *node.outputs.first()?;
    let fused = matches!(node.op.fused_activation(), Some(Some(_)));
    if fused || matches!(node.op, Op::Activation { .. } | Op::Prelu) {
        return Some(output);
    }
    let channels = graph.tensor(output).shape.channels()?;
    graph.consumers(output).find_map(|id| {
        let node = graph.node(id);
        let keeps_order = match &node.op {
            Op::Activation { .. }
            | Op::Prelu
            | Op::BatchNorm(_)
            | Op::Elementwise(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Quantize { .. } => true,
            Op::Conv2d(conv) => conv.kind(channels) == ConvKind::Depthwise,
            Op::ConvTranspose2d(_)
            | Op::FullyConnected(_)
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::ArgMax(_)
            | Op::Softmax(_)
            | Op::Opaque(_) => false,
        };
        // Another number of channels tells of a broadcast, a string of channels or a multiplier.
        let same = node.outputs.first().and_then(|id| graph.tensor(*id).shape.channels()) == Some(channels);
        if keeps_order && same { nonlinearity_output(graph, id) } else { None }
    })
}
