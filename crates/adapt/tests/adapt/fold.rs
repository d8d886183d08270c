//! Folding keeps what a network computes, and refuses by name what it cannot fold.

use crate::data::{assert_close, output, tensor};
use taper_adapt::quantize::fold;
use taper_graph::{Activation, Conv2d, Graph, NodeId, Op, PoolKind, TensorData};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};
use taper_zoo::{Task, by_name};

/// Folds, checks that the outputs stay, and gives the folded nodes' names.
fn check(graph: &Graph) -> Vec<String> {
    let before = graph.clone();
    let folded = fold(graph).expect("every normalisation can be folded");
    assert!(*graph == before);
    assert!(folded.nodes.iter().all(|node| !matches!(node.op, Op::BatchNorm(_))));
    let name = |graph: &Graph| graph.tensor(graph.outputs[0]).name.clone();
    assert_eq!(name(&folded), name(graph));
    let elements = graph.tensor(graph.inputs[0]).shape.elements(1).expect("small");
    let mut random = Random::new(1);
    for _ in 0..3 {
        let image = random.normals(elements, 1.0);
        assert_close(&output(graph, &image), &output(&folded, &image), 1e-5, &format!("{graph:?}"));
    }
    assert!(fold(&folded).expect("nothing is left to fold") == folded);
    folded.nodes.into_iter().map(|node| node.name).collect()
}

#[test]
fn batch_normalisation_and_nonlinearities_go_into_the_layer_before() {
    for seed in 0..10 {
        for begin in [Chain::new(seed, &[6, 5, 2]), Chain::new(seed, &[6, 5, 2]).unbiased()] {
            let graph = begin
                .conv(4, [3, 3], same(3))
                .batch_norm()
                .activation(Activation::Relu)
                .pool(PoolKind::Max, 2)
                .conv(3, [3, 3], same(3))
                .batch_norm()
                .conv(3, [1, 1], same(1))
                .activation(Activation::Relu6)
                .flatten()
                .dense(4, None)
                .batch_norm()
                .batch_norm()
                .activation(Activation::Relu)
                .dense(3, None)
                .softmax()
                .finish();
            let names = ["conv0", "pool3", "conv4", "conv6", "flatten8", "dense9", "dense13", "softmax14"];
            assert_eq!(check(&graph), names);
        }
    }
}

#[test]
fn a_nonlinearity_stays_where_nothing_can_hold_it() {
    let graph = Chain::new(1, &[4, 4, 2])
        .activation(Activation::Relu)
        .conv(3, [3, 3], same(3))
        .pool(PoolKind::Max, 2)
        .activation(Activation::Relu)
        .conv_relu(3)
        .activation(Activation::Relu6)
        .finish();
    assert_eq!(check(&graph), ["relu0", "conv1", "pool2", "relu3", "conv4", "relu65"]);
}

#[test]
fn networks_without_normalisation_compute_the_same() {
    (0..50).for_each(|seed| drop(check(&graphs::random(seed, Numbers::Float))));
}

#[test]
fn layers_that_share_weights_are_folded_apart() {
    let mut graph = Chain::new(1, &[4, 4, 3])
        .conv(3, [3, 3], same(3))
        .batch_norm()
        .conv(3, [3, 3], same(3))
        .batch_norm()
        .flatten()
        .dense(2, None)
        .finish();
    let shared = graph.nodes[0].inputs[1..].to_vec();
    graph.nodes[2].inputs.splice(1.., shared);
    graph.remove_unused_tensors();
    check(&graph);
}

#[test]
fn networks_with_branches_compute_the_same() {
    for seed in 0..20 {
        let graph =
            branches::random(seed, &[Block::Residual, Block::Dropout, Block::Fused(Activation::Tanh)]);
        assert!(check(&graph).iter().all(|name| !name.contains("dropout")));
    }
    let mut graph =
        by_name("mobilenet-v1", Task { input: [16, 16, 1], classes: 3 }).expect("the images are not empty");
    graphs::randomize(&mut graph, 1);
    for tensor in graph.tensors.iter_mut().filter(|tensor| tensor.name.ends_with("variance")) {
        tensor.data = Some(TensorData::F32(vec![0.5; tensor.shape.elements(1).expect("fixed")]));
    }
    let names = check(&graph);
    // A convolution, thirteen pairs of them, and the four operators of the classifier.
    assert_eq!(names.len(), 1 + 2 * 13 + 4);
}

#[test]
fn what_no_operator_holds_stays() {
    let sigmoid = Op::Activation { function: Activation::Sigmoid };
    let graph = Chain::new(1, &[4, 4, 2]).conv(3, [3, 3], same(3)).op("sigmoid", sigmoid).finish();
    assert_eq!(check(&graph), ["conv0", "sigmoid1"]);
}

#[test]
fn what_cannot_be_folded_is_named() {
    fn check(graph: &Graph, name: &str) {
        let error = fold(graph).expect_err(name).to_string();
        assert!(error.starts_with("cannot fold batch normalisation in `chain`: `"), "{error}");
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
    let begin = || Chain::new(1, &[4, 4, 2]);
    check(&begin().batch_norm().finish(), "norm0");
    check(&begin().conv(3, [3, 3], same(3)).pool(PoolKind::Max, 2).batch_norm().finish(), "norm2");
    let fused = Conv2d { activation: Some(Activation::Relu), ..same(3) };
    check(&begin().conv(3, [3, 3], fused).batch_norm().finish(), "norm1");
    // The convolution's output is an output of the network too.
    let mut graph = begin().conv(3, [3, 3], same(3)).batch_norm().finish();
    graph.outputs.push(graph.node(NodeId(0)).outputs[0]);
    check(&graph, "norm1");
    // Its gamma is an input of the network.
    let mut graph = begin().conv(3, [3, 3], same(3)).batch_norm().finish();
    let gamma = tensor(&graph, "norm1/gamma");
    graph.tensor_mut(gamma).data = None;
    graph.inputs.push(gamma);
    check(&graph, "norm1/gamma");
}
