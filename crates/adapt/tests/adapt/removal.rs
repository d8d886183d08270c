//! Removing channels gives the network in which they are masked.

use crate::data::{assert_close, output};
use taper_graph::{
    Activation, ChannelGroups, ChannelRemoval, ChannelUnit, Graph, PoolKind, TensorData, remove_channels,
};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};

/// Zeroes what a channel is made of: its rows of weights and bias, and what batch normalisation adds behind it.
fn mask(graph: &mut Graph, unit: &ChannelUnit) {
    for slice in unit.slices.iter().filter(|slice| slice.axis == 0) {
        let tensor = graph.tensor_mut(slice.tensor);
        let rows = tensor.shape.with_batch(1)[0];
        let Some(TensorData::F32(values)) = &mut tensor.data else { panic!("`{}`", tensor.name) };
        let row = values.len() / rows;
        values[slice.index * row..][..row].fill(0.0);
    }
}

/// Removes random channels of every group that may lose some.
fn check(graph: &Graph, seed: u64) {
    let mut random = Random::new(seed);
    let (mut masked, mut removals) = (graph.clone(), Vec::new());
    for group in ChannelGroups::of(graph).prunable() {
        let mut channels: Vec<usize> = (0..group.units.len()).filter(|_| random.one_in(2)).collect();
        channels.truncate(group.units.len() - 1);
        channels.iter().for_each(|&channel| mask(&mut masked, &group.units[channel]));
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
fn of_networks_with_branches() {
    (0..300).for_each(|seed| check(&branches::random(seed, &Block::OF_FREE_CHANNELS), seed));
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
