//! APoZ against a naive count over the same activations in the inference engine.

use crate::data::{PREPROCESS, image, noise, tensor};
use taper_adapt::prune::apoz;
use taper_adapt::train::{Network, evaluate};
use taper_data::Dataset;
use taper_graph::{Activation, Binary, Conv2d, Elementwise, FullyConnected, Graph, Op, PoolKind, TensorData};
use taper_run::{Cpu, Session};
use taper_testing::chain::{Chain, same};

/// The share of zeros of each channel of `name`, over all images and pixels.
fn naive(graph: &Graph, dataset: &Dataset, name: &str) -> Vec<f64> {
    let watched = tensor(graph, name);
    let channels = graph.tensor(watched).shape.channels().expect("an activation");
    let (mut zeros, mut values) = (vec![0_u32; channels], 0_u32);
    let mut session = Cpu::default().session(graph, 1).expect("the network runs");
    for sample in 0..dataset.len() {
        session.set_real_input(0, &image(dataset, sample)).expect("the image fits");
        session.run_observed(&mut |id, activation| {
            let activation = activation.floats().expect("a float network");
            for pixel in activation.chunks(channels).filter(|_| id == watched) {
                values += 1;
                for (zeros, value) in zeros.iter_mut().zip(pixel) {
                    *zeros += u32::from(*value == 0.0);
                }
            }
        });
    }
    zeros.into_iter().map(|zeros| f64::from(zeros) / f64::from(values)).collect()
}

/// Checks the scores of each layer against the zeros of the tensor named beside it.
fn check(graph: &Graph, layers: &[(&str, &str)]) {
    for count in [1, 16, 150] {
        let dataset = noise(3, [7, 6, 2], 3, count);
        let mut network = Network::new(graph).expect("a chain");
        let (scores, evaluation) = apoz(&mut network, graph, &dataset, PREPROCESS).expect("the images fit");
        let found: Vec<_> = scores.iter().map(|layer| (layer.group.as_str(), layer.scores.clone())).collect();
        let expected: Vec<_> =
            layers.iter().map(|(layer, behind)| (*layer, naive(graph, &dataset, behind))).collect();
        assert_eq!(found, expected, "over {count} images");
        assert_eq!(evaluation, evaluate(&mut network, &dataset, PREPROCESS).expect("the images fit"));
        if count > 1 {
            let mixed = |scores: &[f64]| scores.iter().any(|score| (0.01..0.99).contains(score));
            assert!(found.iter().all(|(_, scores)| mixed(scores)), "the case shows nothing: {found:?}");
        }
    }
}

#[test]
fn behind_fused_nonlinearities() {
    let relu6 = Conv2d { activation: Some(Activation::Relu6), ..same(3) };
    let graph = Chain::new(1, &[7, 6, 2])
        .conv_relu(5)
        .conv(4, [3, 3], relu6)
        .flatten()
        .dense(6, Some(Activation::Relu))
        .dense(3, None)
        .softmax()
        .finish();
    check(&graph, &[("conv0", "conv0"), ("conv1", "conv1"), ("dense3", "dense3")]);
}

#[test]
fn behind_nonlinearities_that_stand_alone_after_normalisation_and_pooling() {
    let graph = Chain::new(2, &[7, 6, 2])
        .conv(5, [3, 3], same(3))
        .activation(Activation::Relu)
        .conv(4, [3, 3], same(3))
        .batch_norm()
        .activation(Activation::Relu)
        .conv(5, [3, 3], same(3))
        .pool(PoolKind::Max, 2)
        .activation(Activation::Relu)
        .conv(4, [3, 3], same(3))
        .batch_norm()
        .pool(PoolKind::Average, 2)
        .activation(Activation::Relu6)
        .flatten()
        .dense(3, None)
        .finish();
    check(&graph, &[("conv0", "relu1"), ("conv2", "relu4"), ("conv5", "relu7"), ("conv8", "relu611")]);
}

#[test]
fn layers_without_a_nonlinearity_have_no_scores() {
    let graph = Chain::new(4, &[7, 6, 2]).conv(5, [3, 3], same(3)).conv_relu(4).flatten().dense(3, None);
    check(&graph.finish(), &[("conv1", "conv1")]);
}

#[test]
fn a_channel_that_a_sum_ties_has_the_mean_of_its_nonlinearities() {
    let mut graph = Chain::new(5, &[7, 6, 2]).conv_relu(4).conv_relu(4).finish();
    let sum = Op::Elementwise(Elementwise { function: Binary::Add, activation: None });
    let tied = [tensor(&graph, "conv0"), tensor(&graph, "conv1")];
    let x = graph.add_node("sum", sum, &tied).expect("equal shapes");
    let x = graph.add_node("mean", Op::GlobalPool2d { kind: PoolKind::Average }, &[x]).expect("an image");
    let x = graph.add_node("flatten", Op::Flatten, &[x]).expect("a pixel");
    let weights = graph.add_constant("dense/weights", &[3, 4], TensorData::F32(vec![0.5; 12]));
    let dense = Op::FullyConnected(FullyConnected::default());
    graph.outputs = vec![graph.add_node("dense", dense, &[x, weights]).expect("four features")];
    let dataset = noise(3, [7, 6, 2], 3, 50);
    let mut network = Network::new(&graph).expect("it can be trained");
    let (scores, _) = apoz(&mut network, &graph, &dataset, PREPROCESS).expect("the images fit");
    let [first, second] = ["conv0", "conv1"].map(|name| naive(&graph, &dataset, name));
    let expected: Vec<f64> = first.iter().zip(second).map(|(a, b)| (a + b) / 2.0).collect();
    assert_eq!(scores.len(), 1, "one group");
    assert_eq!((scores[0].group.as_str(), &scores[0].scores), ("conv0", &expected));
}
