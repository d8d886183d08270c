//! TFLite files as a whole: round trips, determinism, hostile bytes, and files from elsewhere.

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use taper_formats::{ErrorKind, tflite};
use taper_graph::{
    Activation, BatchNorm, Binary, Conv2d, DType, Dropout, Elementwise, FakeQuantize, Graph, Op, Pad,
    Padding, Pool2d, PoolKind, Quantization, Shape, TensorData,
};
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};

fn numbers() -> impl Strategy<Value = Numbers> {
    proptest::sample::select(Numbers::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(seed: u64, numbers in numbers()) {
        let graph = graphs::random(seed, numbers);
        let bytes = tflite::write(&graph).expect("writes");
        let again = tflite::read(&bytes).expect("reads");
        prop_assert!(again == graph);
        prop_assert!(tflite::write(&again).expect("writes") == bytes);
    }

    #[test]
    fn branches_read_back_equal(seed: u64) {
        let graph = branches::random(seed, &Block::OF_TFLITE);
        let bytes = tflite::write(&graph).expect("writes");
        let again = tflite::read(&bytes).expect("reads");
        prop_assert!(again == graph, "expected {:#?}, found {:#?}", graph.nodes, again.nodes);
        prop_assert!(tflite::write(&again).expect("writes") == bytes);
    }

    #[test]
    fn changed_bits_in_branches_never_panic(seed in 0u64..40, position: prop::sample::Index, bit in 0u32..8) {
        let mut bytes = tflite::write(&branches::random(seed, &Block::OF_TFLITE)).expect("writes");
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(graph) = tflite::read(&bytes) {
            graph.verify().expect("what is read is sound");
            let _ = tflite::write(&graph);
        }
    }

    #[test]
    fn changed_bits_never_panic(seed in 0u64..40, position: prop::sample::Index, bit in 0u32..8) {
        let mut bytes = tflite::write(&graphs::random(seed, Numbers::Int8)).expect("writes");
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(graph) = tflite::read(&bytes) {
            graph.verify().expect("what is read is sound");
            // Not all that can be read can be written: some types have no operator.
            let _ = tflite::write(&graph);
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = tflite::write(&graphs::random(3, Numbers::Int8)).expect("writes");
    for part in 0..64 {
        let cut = &bytes[..bytes.len() * part / 64];
        let error = tflite::read(cut).expect_err("a part is no file");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

/// A network of one node after the image.
fn one_node(op: Op, relu_before: Option<Activation>) -> Graph {
    let mut graph = Graph::new("one");
    let mut x = graph.add_input("image", Shape::batched(&[6, 6, 2]), DType::F32);
    if let Some(function) = relu_before {
        x = graph.add_node("before", Op::Activation { function }, &[x]).expect("fits");
    }
    let mut inputs = vec![x];
    match &op {
        Op::Conv2d(_) => {
            inputs.push(graph.add_constant("weights", &[3, 2, 2, 2], TensorData::F32(vec![0.5; 24])));
            inputs.push(graph.add_constant("bias", &[3], TensorData::F32(vec![0.25; 3])));
        }
        Op::ConvTranspose2d(_) => {
            inputs.push(graph.add_constant("weights", &[3, 2, 2, 2], TensorData::F32(vec![0.5; 24])));
        }
        Op::BatchNorm(_) => {
            for name in ["gamma", "beta", "mean", "variance"] {
                inputs.push(graph.add_constant(name, &[2], TensorData::F32(vec![1.0; 2])));
            }
        }
        Op::FakeQuantize(_) => {
            for (name, value) in [("min", -1.0), ("max", 1.0)] {
                inputs.push(graph.add_constant(name, &[1], TensorData::F32(vec![value])));
            }
        }
        Op::Elementwise(_) => inputs.push(x),
        _ => {}
    }
    let y = graph.add_node("node", op, &inputs).expect("fits");
    graph.outputs.push(y);
    graph
}

fn pool(kind: PoolKind, padding: Padding) -> Op {
    Op::Pool2d(Pool2d { kind, window: [3, 3], stride: [2, 2], padding })
}

fn elementwise(function: Binary, fused: Activation) -> Op {
    Op::Elementwise(Elementwise { function, activation: Some(fused) })
}

fn activation(function: Activation) -> Op {
    Op::Activation { function }
}

const ODD: Padding = Padding { top: 1, bottom: 0, left: 1, right: 0 };

#[test]
fn padding_of_its_own_comes_back() {
    let conv =
        Op::Conv2d(Conv2d { stride: [1, 1], dilation: [1, 1], padding: ODD, groups: 1, activation: None });
    let max = pool(PoolKind::Max, ODD);
    for graph in [one_node(conv, None), one_node(max, Some(Activation::Relu6))] {
        let bytes = tflite::write(&graph).expect("writes");
        assert!(tflite::read(&bytes).expect("reads") == graph);
    }
}

#[test]
fn what_tflite_cannot_express_is_refused_by_name() {
    let cases = [
        (one_node(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), None), "fold it"),
        (one_node(pool(PoolKind::Max, ODD), None), "cannot be negative"),
        (one_node(pool(PoolKind::Average, ODD), Some(Activation::Relu)), "SAME or VALID"),
        (one_node(Op::FakeQuantize(FakeQuantize { bits: 8 }), None), "quantize the network"),
        (one_node(Op::Dropout(Dropout { rate: 0.5 }), None), "between an input and an output"),
        (one_node(elementwise(Binary::Maximum, Activation::Relu), None), "expected no nonlinearity"),
        (one_node(elementwise(Binary::Add, Activation::Tanh), None), "fused behind it, found tanh"),
        (one_node(activation(Activation::Elu { alpha: 0.5 }), None), "expected an alpha of 1"),
    ];
    for (graph, expected) in cases {
        let error = tflite::write(&graph).expect_err("refuses");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(message.contains("node `node`") && message.contains(expected), "{message}");
    }
}

#[test]
fn nonlinearities_are_one_operator_or_several() {
    let names = |function| {
        let file = tflite::write(&one_node(activation(function), None)).expect("writes");
        let graph = tflite::read(&file).expect("reads");
        graph.nodes.iter().map(|node| node.op.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(Activation::Elu { alpha: 1.0 }), ["elu"]);
    assert_eq!(names(Activation::HardSigmoid), ["add", "multiply"]);
    assert_eq!(names(Activation::Silu), ["sigmoid", "multiply"]);
}

#[test]
fn a_convolution_without_bias_gets_zeros() {
    let padding = Padding::default();
    let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups: 1, activation: None };
    let mut graph = one_node(Op::Conv2d(conv), None);
    graph.nodes[0].inputs.pop();
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    let bias = again.nodes[0].inputs[2];
    assert_eq!(again.tensor(bias).data, Some(TensorData::F32(vec![0.0; 3])));
}

/// Two depthwise convolutions over 3 channels; in integers with a scale for each channel.
fn depthwise(dtype: DType) -> Graph {
    let mut graph = Graph::new("depthwise");
    let quantization = |graph: &mut Graph, id, quantization: Quantization| {
        if dtype == DType::I8 {
            graph.tensor_mut(id).quantization = Some(quantization);
        }
    };
    let affine = Quantization::PerTensor { scale: 0.5, zero_point: 3 };
    let mut x = graph.add_input("image", Shape::batched(&[4, 4, 3]), dtype);
    quantization(&mut graph, x, affine.clone());
    for (name, outputs) in [("a", 6), ("b", 6)] {
        let groups = if name == "a" { 3 } else { 6 };
        let (weights, bias) = match dtype {
            DType::I8 => {
                (TensorData::I8((0..outputs as i8 * 4).collect()), TensorData::I32(vec![7; outputs]))
            }
            _ => (
                TensorData::F32((0..outputs * 4).map(|value| value as f32).collect()),
                TensorData::F32(vec![7.0; outputs]),
            ),
        };
        let scales = |factor: f32| Quantization::PerAxis {
            axis: 0,
            scales: (1..=outputs).map(|channel| factor * channel as f32).collect(),
        };
        let weights = graph.add_constant(format!("{name}/weights"), &[outputs, 2, 2, 1], weights);
        let bias = graph.add_constant(format!("{name}/bias"), &[outputs], bias);
        quantization(&mut graph, weights, scales(0.25));
        quantization(&mut graph, bias, scales(0.125));
        let padding = Padding::same([4, 4], [2, 2], [1, 1], [1, 1]);
        let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups, activation: None };
        x = graph.add_node(name, Op::Conv2d(conv), &[x, weights, bias]).expect("fits");
        quantization(&mut graph, x, affine.clone());
    }
    graph.outputs.push(x);
    graph
}

#[test]
fn depthwise_weights_change_their_layout_with_their_scales() {
    for dtype in [DType::F32, DType::I8] {
        let graph = depthwise(dtype);
        let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
        assert_eq!(again, graph);
    }
}

#[test]
fn depthwise_weights_that_are_shared_are_copied() {
    let mut graph = depthwise(DType::F32);
    graph.nodes.remove(0);
    let (weights, image) = (graph.nodes[0].inputs[1], graph.nodes[0].inputs[0]);
    graph.inputs = vec![image];
    graph.nodes[0].inputs.pop();
    let conv = graph.nodes[0].op.clone();
    let y = graph.nodes[0].outputs[0];
    let z = graph.add_node("c", conv, &[y, weights]).expect("fits");
    graph.outputs = vec![z];
    graph.remove_unused_tensors();
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    let data = |graph: &Graph, node: usize| graph.tensor(graph.nodes[node].inputs[1]).data.clone();
    assert_eq!((again.nodes.len(), &again.nodes[1].op), (2, &graph.nodes[1].op));
    assert_eq!([data(&again, 0), data(&again, 1)], [data(&graph, 0), data(&graph, 1)]);
}

#[test]
fn dropout_is_left_out_and_the_outer_names_stay() {
    let dropout = Op::Dropout(Dropout { rate: 0.5 });
    let mut graph = one_node(dropout.clone(), Some(Activation::Relu));
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    let names: Vec<_> = again.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!((again.nodes.len(), names), (1, vec!["image", "node"]));

    let y = graph.add_node("pad", pad(), &[graph.outputs[0]]).expect("fits");
    graph.outputs = vec![y];
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    let names: Vec<_> = again.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["before", "pad"]);
}

fn pad() -> Op {
    Op::Pad(Pad { padding: ODD, value: 2.0 })
}

#[test]
fn free_text_survives() {
    let mut graph = graphs::random(1, Numbers::Float);
    graph.metadata.insert("classes".to_owned(), "no\nyes — да".to_owned());
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    assert_eq!(again.metadata, graph.metadata);
}

/// The `.tflite` files of other tools, if they are here.
fn files_from_elsewhere() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folders = ["coral/pairs", "mlperf-tiny"].map(|folder| data.join(folder));
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tflite"))
        .collect();
    files.sort();
    files
}

#[test]
fn files_from_elsewhere_never_panic_when_damaged() {
    let files = files_from_elsewhere();
    if files.is_empty() {
        eprintln!("skipped: no TFLite files from elsewhere are here");
    }
    for path in files {
        let mut bytes = std::fs::read(&path).expect("reads");
        if bytes.len() > 1 << 20 {
            // Small files keep the test short; they hold the same tables as the large ones.
            continue;
        }
        // A model is whole without the archive that may lie behind it.
        let archived = tflite::read(&bytes).expect("reads").metadata.contains_key("tflite.archive");
        for part in 0..64 {
            let position = bytes.len() * part / 64;
            let cut = tflite::read(&bytes[..position]);
            assert!(archived || cut.is_err(), "{} reads without its end", path.display());
            bytes[position] ^= 0x80;
            let _ = tflite::read(&bytes);
            bytes[position] ^= 0x80;
        }
    }
}
