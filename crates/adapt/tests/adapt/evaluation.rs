//! Loss and accuracy against those of the inference engine, image by image.

use crate::data::{PREPROCESS, image, noise, output};
use taper_adapt::train::{Network, evaluate};
use taper_graph::{Activation, Graph, Op, PoolKind};
use taper_testing::branches::{self, Block};
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};

/// Checks sets that are less than a block of lanes, and more than a batch.
fn check(graph: &Graph) {
    let input = graph.tensor(graph.inputs[0]).shape.image().expect("an image");
    let classes = graph.tensor(graph.outputs[0]).shape.channels().expect("a vector");
    let last = graph.nodes.last().expect("there are nodes");
    let probabilities = matches!(last.op, Op::Softmax(_));
    for count in [3, 130] {
        let dataset = noise(1, input, classes, count);
        let (mut loss, mut correct) = (0.0, 0.0);
        for sample in 0..count {
            let values = output(graph, &image(&dataset, sample));
            let logits: Vec<f64> = values
                .iter()
                .map(|value| if probabilities { f64::from(*value).ln() } else { f64::from(*value) })
                .collect();
            let label = dataset.labels()[sample] as usize;
            loss += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label];
            let first_greatest = (0..classes).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            correct += f64::from(u8::from(first_greatest == Some(label)));
        }
        let mut network = Network::new(graph).expect("a chain");
        let found = evaluate(&mut network, &dataset, PREPROCESS).expect("the images fit");
        let loss = loss / count as f64;
        assert!(
            (found.loss - loss).abs() < 1e-4 * (1.0 + loss),
            "expected {loss}, found {found:?}: {graph:?}"
        );
        assert_eq!(found.accuracy, correct / count as f64, "{graph:?}");
    }
}

#[test]
fn of_random_networks() {
    (0..40).for_each(|seed| check(&graphs::random(seed, Numbers::Float)));
}

#[test]
fn of_networks_with_batch_normalisation() {
    for seed in 0..5 {
        let convolutions = Chain::new(seed, &[7, 6, 2])
            .conv(5, [3, 3], same(3))
            .batch_norm()
            .activation(Activation::Relu)
            .pool(PoolKind::Max, 2)
            .batch_norm();
        check(&convolutions.flatten().dense(4, None).batch_norm().softmax().finish());
    }
}

#[test]
fn of_networks_with_branches() {
    // A nonlinearity fused behind a layer is trained only if it is a rectifier.
    let blocks: Vec<Block> =
        Block::ALL.into_iter().filter(|block| *block != Block::Fused(Activation::Tanh)).collect();
    (0..60).for_each(|seed| check(&branches::random(seed, &blocks)));
}
