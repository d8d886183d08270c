//! What cannot be adapted is refused by name before any work is done.

use crate::data::{PREPROCESS, noise, tensor};
use taper_adapt::quantize::{QuantizeConfig, calibrate, quantize};
use taper_adapt::train::{
    Cpu, Fit, FitSettings, Loss, Network, NetworkSettings, RegressionLoss, SoftmaxCrossEntropy, Targets,
    TrainConfig, evaluate,
};
use taper_data::{AugmentConfig, Dataset};
use taper_graph::{
    Activation, Concat, DType, Dropout, Graph, Node, NodeId, Op, Opaque, Pad, Padding, PoolKind, Softmax,
    Tensor, TensorId,
};
use taper_testing::branches::{self, Block};
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};

fn begin() -> Chain {
    Chain::new(1, &[4, 4, 2]).conv_relu(3)
}

fn classifier() -> Graph {
    begin().flatten().dense(2, None).softmax().finish()
}

/// The convolution's output goes through an operator that is not understood.
fn opaque() -> Graph {
    let mut graph = classifier();
    let read = graph.node(NodeId(1)).inputs[0];
    let tensor = Tensor { name: "mystery".to_owned(), ..graph.tensor(read).clone() };
    graph.tensors.push(tensor);
    let written = TensorId(graph.tensors.len() - 1);
    let op = Op::Opaque(Opaque { code: "MAGIC".to_owned(), attributes: Vec::new() });
    let node = Node { name: "mystery".to_owned(), op, inputs: vec![read], outputs: vec![written] };
    graph.nodes.insert(1, node);
    graph.nodes[2].inputs[0] = written;
    graph.verify().expect("sound, but not understood");
    graph
}

#[test]
fn training() {
    fn check(graph: &Graph, message: &str) {
        let error = Network::new(graph).map(|_| ()).expect_err(message).to_string();
        assert_eq!(error, format!("cannot train `{}`: {message}", graph.name));
    }
    check(&opaque(), "`mystery` (MAGIC) is not understood");
    check(
        &begin().softmax().flatten().dense(2, None).finish(),
        "`softmax1` (softmax) can be trained only at the end of the network",
    );
    check(&graphs::random(1, Numbers::Int8), "expected `conv0/weights` to hold floats, found i8");
    check(
        &begin().flatten().op("quantize", Op::Quantize { dtype: DType::I8 }).finish(),
        "`quantize2` (quantize) has no gradient: train the float network",
    );

    let sharpened = begin().flatten().dense(2, None).op("softmax", Op::Softmax(Softmax { beta: 2.0 }));
    check(&sharpened.finish(), "expected a beta of 1 of `softmax3`, found 2");
    let folded = Chain::new(1, &[4, 4]).activation(Activation::Relu);
    check(&folded.finish(), "expected an image or a vector in `relu0`, found [N, 4, 4]");
    let fixed = Chain::new(1, &[4, 4, 2]).activation(Activation::Relu).flatten().softmax();
    check(&fixed.finish(), "no layer has parameters to learn");

    let mut shared = begin().conv(3, [3, 3], same(3)).batch_norm().global_pool(PoolKind::Max).finish();
    shared.nodes[2].inputs[2] = tensor(&shared, "norm2/gamma");
    check(&shared, "expected `norm2` to read `norm2/gamma` once, found twice");
    shared.nodes[2].inputs[2] = tensor(&shared, "norm2/beta");
    shared.nodes[2].inputs[3] = tensor(&shared, "conv1/bias");
    check(
        &shared,
        "expected `conv1/bias` to be read as an offset alone, found `norm2` to read it as a statistic",
    );
}

#[test]
fn losses() {
    fn check(end: Chain, loss: Loss, message: &str) {
        let settings = NetworkSettings { loss, ..NetworkSettings::default() };
        let error = Network::with_settings(end.finish(), &settings).map(|_| ()).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
    let (softmax, sigmoid) = (|| begin().softmax(), || begin().activation(Activation::Sigmoid));
    let plain = || Loss::SigmoidCrossEntropy { positive_weights: None };
    check(
        softmax(),
        plain(),
        "cannot train `chain`: expected an output for sigmoid cross-entropy, found that of `softmax1` (softmax)",
    );
    check(
        softmax(),
        Loss::Regression(RegressionLoss::SquaredError),
        "cannot train `chain`: expected an output for regression, found that of `softmax1` (softmax)",
    );
    check(
        sigmoid(),
        Loss::default(),
        "cannot train `chain`: expected an output for softmax cross-entropy, found that of `sigmoid1` (sigmoid)",
    );

    let weighted = |weights: &[f32]| {
        let class_weights = Some(weights.to_vec());
        Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { class_weights, ..SoftmaxCrossEntropy::default() })
    };
    let smoothed = SoftmaxCrossEntropy { label_smoothing: 1.5, ..SoftmaxCrossEntropy::default() };
    let taught = |temperature, soft_weight| {
        let hard = SoftmaxCrossEntropy::default();
        Loss::Distillation { hard, temperature, soft_weight }
    };
    for (loss, message) in [
        (weighted(&[1.0; 2]), "loss.class_weights: expected a weight for each of 3 channels, found 2"),
        (
            weighted(&[1.0, -1.0, 1.0]),
            "loss.class_weights[1]: expected a finite number of at least 0, found -1",
        ),
        (
            Loss::SigmoidCrossEntropy { positive_weights: Some(vec![1.0, 1.0, f32::NAN]) },
            "loss.positive_weights[2]: expected a finite number of at least 0, found NaN",
        ),
        (
            Loss::SoftmaxCrossEntropy(smoothed),
            "loss.label_smoothing: expected a number from 0 to 1, found 1.5",
        ),
        (
            Loss::Regression(RegressionLoss::Huber { delta: 0.0 }),
            "loss.delta: expected a finite number above 0, found 0",
        ),
        (taught(0.0, 0.5), "loss.temperature: expected a finite number above 0, found 0"),
        (taught(f32::INFINITY, 0.5), "loss.temperature: expected a finite number above 0, found inf"),
        (taught(1.0, -0.5), "loss.soft_weight: expected a number from 0 to 1, found -0.5"),
    ] {
        check(begin(), loss, message);
    }
}

#[test]
fn targets_that_do_not_fit() {
    fn check(loss: Loss, targets: Targets<'_>, message: &str) {
        let settings = NetworkSettings { loss, ..NetworkSettings::default() };
        let mut network = Network::with_settings(begin().finish(), &settings).expect("it can be trained");
        let error = network.learn(&[0.5; 2 * 32], targets).expect_err(message).to_string();
        assert_eq!(error, format!("network `chain` does not fit the data: {message}"));
    }
    fn values<'a>(values: &'a [f32], weights: &'a [f32]) -> Targets<'a> {
        Targets::Values { values, weights: Some(weights) }
    }
    let (labels, logits) = (&[0; 32][..], &[0.5; 96][..]);
    let softmax = |ignored_label| {
        Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { ignored_label, ..SoftmaxCrossEntropy::default() })
    };
    let sigmoid = || Loss::SigmoidCrossEntropy { positive_weights: None };
    let regression = || Loss::Regression(RegressionLoss::SquaredError);
    let taught =
        || Loss::Distillation { hard: SoftmaxCrossEntropy::default(), temperature: 2.0, soft_weight: 0.5 };

    check(softmax(None), (&labels[..2]).into(), "expected 32 labels for 2 images of 4×4, found 2");
    check(softmax(None), (&[3; 32]).into(), "expected labels below 3, found 3");
    check(
        softmax(Some(255)),
        (&[254; 32]).into(),
        "expected labels below 3 or 255, which is ignored, found 254",
    );
    check(softmax(None), values(logits, logits), "expected labels for softmax cross-entropy, found values");
    check(sigmoid(), labels.into(), "expected values for sigmoid cross-entropy, found labels");
    check(sigmoid(), values(&[1.5; 96], logits), "expected values from 0 to 1, found 1.5");
    check(regression(), labels.into(), "expected values for regression, found labels");
    check(regression(), values(&[0.0; 95], logits), "expected 96 values for 2 images of 4×4, found 95");
    check(
        regression(),
        values(logits, &[1.0; 97]),
        "expected 96 weights of values for 2 images of 4×4, found 97",
    );
    check(
        regression(),
        values(logits, &[-1.0; 96]),
        "expected finite weights of values of at least 0, found -1",
    );
    check(taught(), labels.into(), "expected labels with a teacher's logits for distillation, found labels");
    check(
        taught(),
        Targets::Taught { labels, logits: &[0.0; 64] },
        "expected 96 teacher's logits for 2 images of 4×4, found 64",
    );
}

#[test]
fn quantization() {
    let dataset = noise(1, [4, 4, 2], 2, 4);
    let config = QuantizeConfig::default();
    let error = calibrate(&opaque(), &dataset, &[0], PREPROCESS, &config.calibration).expect_err("opaque");
    assert!(error.to_string().contains("`mystery`"), "{error}");

    let ranges = calibrate(&classifier(), &dataset, &[0], PREPROCESS, &config.calibration).expect("it runs");
    let error = quantize(&opaque(), &ranges, &config).expect_err("opaque");
    assert_eq!(error.to_string(), "cannot quantize `chain`: `mystery` (MAGIC) is not understood");

    let normalised = begin().batch_norm().finish();
    let ranges = calibrate(&normalised, &dataset, &[0], PREPROCESS, &config.calibration).expect("it runs");
    let error = quantize(&normalised, &ranges, &config).expect_err("not folded");
    assert_eq!(
        error.to_string(),
        "cannot quantize `chain`: `norm1` (batch normalisation) has no integer form: fold it first"
    );

    let check = |op: Op, message: &str| {
        let graph = begin().op("op", op).flatten().finish();
        let ranges = calibrate(&graph, &dataset, &[0], PREPROCESS, &config.calibration).expect("it runs");
        let error = quantize(&graph, &ranges, &config).expect_err(message);
        assert_eq!(error.to_string(), format!("cannot quantize `chain`: `op1` {message}"));
    };
    let tanh = Op::Activation { function: Activation::Tanh };
    check(tanh, "(tanh) needs tanh, which has no integer form here");
    check(Op::Dropout(Dropout { rate: 0.5 }), "(dropout) serves training: fold it away first");
    check(Op::Concat(Concat { axis: 3 }), "(concatenation) has no integer form here");
    let pad = Pad { padding: Padding::default(), value: 0.0 };
    check(Op::Pad(pad), "(padding) has no integer form here");
    for block in [Block::Residual, Block::Grouped, Block::Resize, Block::Prelu, Block::FakeQuantize] {
        let graph = branches::random(2, &[block]);
        let dataset = noise(1, graph.tensor(graph.inputs[0]).shape.image().expect("an image"), 2, 1);
        let ranges = calibrate(&graph, &dataset, &[0], PREPROCESS, &config.calibration).expect("it runs");
        let error = quantize(&graph, &ranges, &config).expect_err("no integers").to_string();
        assert!(error.contains("`block0`") && error.contains("no integer form here"), "{error}");
    }
}

#[test]
fn data_that_do_not_fit() {
    let (graph, fitting) = (classifier(), noise(1, [4, 4, 2], 2, 4));
    let empty = fitting.select(&[]);
    let check = |dataset: &Dataset, message: &str| {
        let message = format!("network `chain` does not fit the data: {message}");
        let mut network = Network::new(&graph).expect("a chain");
        let error = evaluate(&mut network, dataset, PREPROCESS).expect_err(&message);
        assert_eq!(error.to_string(), message);
        for [train, validation] in [[dataset, &fitting], [&fitting, dataset]] {
            let settings = FitSettings {
                train: TrainConfig::default(),
                preprocess: PREPROCESS,
                augment: AugmentConfig::NONE,
                seed: 1,
            };
            let error = Fit::new(&Cpu, &graph, train, validation, settings).map(|_| ()).expect_err(&message);
            assert_eq!(error.to_string(), message);
        }
    };
    check(&noise(1, [4, 5, 2], 2, 4), "expected images for an input [N, 4, 4, 2], found 4×5×2");
    check(&noise(1, [2, 8, 2], 2, 4), "expected images for an input [N, 4, 4, 2], found 2×8×2");
    check(&noise(1, [4, 4, 2], 3, 4), "expected at most 2 classes, found 3");
    check(&empty, "expected samples, found none");

    let mut network = Network::new(&graph).expect("a chain");
    for (images, labels, message) in [
        (vec![0.0; 32], vec![2], "expected labels below 2, found 2"),
        (vec![0.0; 31], vec![0], "expected images of 32 values for `image`, found 31 values in all"),
        (vec![], vec![], "expected images of 32 values for `image`, found 0 values in all"),
        (vec![0.0; 64], vec![0], "expected 2 labels for 2 images, found 1"),
    ] {
        let error = network.learn(&images, &labels).expect_err(message).to_string();
        assert_eq!(error, format!("network `chain` does not fit the data: {message}"));
    }
}
