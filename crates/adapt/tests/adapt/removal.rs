//! Removing channels gives the network in which they are masked.

use crate::data::{assert_close, output};
use taper_graph::{
    Activation, ChannelGroups, ChannelRemoval, Graph, NodeId, Op, PoolKind, TensorData, TensorId,
    remove_channels,
};
use taper_testing::Random;
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};

/// Zeroes the channels of a layer: its rows of weights and bias, and what batch normalisation adds behind it.
fn mask(graph: &mut Graph, layer: NodeId, channels: &[usize]) {
    let mut zeroed: Vec<TensorId> = graph.node(layer).inputs[1..].to_vec();
    let mut next = graph.consumers(graph.node(layer).outputs[0]).next();
    while let Some(id) = next {
        let node = graph.node(id);
        match node.op {
            Op::BatchNorm(_) => zeroed.extend(&node.inputs[1..3]),
            Op::Conv2d(_) | Op::FullyConnected(_) => break,
            Op::Activation { .. }
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Softmax(_)
            | Op::Quantize { .. }
            | Op::Opaque(_) => {}
        }
        next = graph.consumers(node.outputs[0]).next();
    }
    for id in zeroed {
        let tensor = graph.tensor_mut(id);
        let rows = tensor.shape.with_batch(1)[0];
        let Some(TensorData::F32(values)) = &mut tensor.data else { panic!("`{}`", tensor.name) };
        let row = values.len() / rows;
        for &channel in channels {
            values[channel * row..][..row].fill(0.0);
        }
    }
}

/// Removes random channels of every group that may lose some.
fn check(graph: &Graph, seed: u64) {
    let mut random = Random::new(seed);
    let (mut masked, mut removals) = (graph.clone(), Vec::new());
    for group in ChannelGroups::of(graph).prunable() {
        let mut channels: Vec<usize> = (0..group.units.len()).filter(|_| random.one_in(2)).collect();
        channels.truncate(group.units.len() - 1);
        mask(&mut masked, group.layer, &channels);
        removals.push(ChannelRemoval { group: group.name.clone(), channels });
    }
    let removed = remove_channels(graph, &removals).expect("the groups may lose channels");
    let elements = graph.tensor(graph.inputs[0]).shape.elements(1).expect("small");
    for _ in 0..3 {
        let image = random.normals(elements, 1.0);
        let what = format!("seed {seed}, {removals:?}");
        assert_close(&output(&masked, &image), &output(&removed, &image), 1e-5, &what);
    }
}

#[test]
fn of_random_networks() {
    (0..150).for_each(|seed| check(&graphs::random(seed, Numbers::Float), seed));
}

#[test]
fn of_networks_with_batch_normalisation() {
    for seed in 0..30 {
        let graph = Chain::new(seed, &[7, 6, 2])
            .unbiased()
            .conv(5, [3, 3], same(3))
            .batch_norm()
            .activation(Activation::Relu)
            .pool(PoolKind::Max, 2)
            .conv(6, [3, 3], same(3))
            .pool(PoolKind::Average, 2)
            .batch_norm()
            .activation(Activation::Relu6)
            .flatten()
            .dense(5, None)
            .batch_norm()
            .activation(Activation::Relu)
            .dense(3, None)
            .softmax()
            .finish();
        check(&graph, seed);
    }
}
