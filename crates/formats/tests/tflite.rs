//! TFLite files as a whole: round trips, determinism, hostile bytes, and files from elsewhere.

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use taper_formats::{ErrorKind, tflite};
use taper_graph::{
    Activation, BatchNorm, Conv2d, DType, Graph, Op, Padding, Pool2d, PoolKind, Shape, TensorData,
};
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
        Op::BatchNorm(_) => {
            for name in ["gamma", "beta", "mean", "variance"] {
                inputs.push(graph.add_constant(name, &[2], TensorData::F32(vec![1.0; 2])));
            }
        }
        _ => {}
    }
    let y = graph.add_node("node", op, &inputs).expect("fits");
    graph.outputs.push(y);
    graph
}

fn pool(kind: PoolKind, padding: Padding) -> Op {
    Op::Pool2d(Pool2d { kind, window: [3, 3], stride: [2, 2], padding })
}

const ODD: Padding = Padding { top: 1, bottom: 0, left: 1, right: 0 };

#[test]
fn padding_of_its_own_comes_back() {
    let conv = Op::Conv2d(Conv2d { stride: [1, 1], dilation: [1, 1], padding: ODD, activation: None });
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
    ];
    for (graph, expected) in cases {
        let error = tflite::write(&graph).expect_err("refuses");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(message.contains("node `node`") && message.contains(expected), "{message}");
    }
}

#[test]
fn a_convolution_without_bias_gets_zeros() {
    let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding: Padding::default(), activation: None };
    let mut graph = one_node(Op::Conv2d(conv), None);
    graph.nodes[0].inputs.pop();
    let again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
    let bias = again.nodes[0].inputs[2];
    assert_eq!(again.tensor(bias).data, Some(TensorData::F32(vec![0.0; 3])));
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
fn files_from_elsewhere_read_and_survive_writing() {
    let files = files_from_elsewhere();
    if files.is_empty() {
        eprintln!("skipped: no TFLite files from elsewhere are here");
    }
    for path in files {
        match taper_formats::load(&path) {
            Ok(mut graph) => {
                let mut again = tflite::read(&tflite::write(&graph).expect("writes")).expect("reads");
                for graph in [&mut graph, &mut again] {
                    // Some files claim an older runtime than their operators need.
                    graph.metadata.remove("min_runtime_version");
                }
                assert!(again == graph, "{} changes", path.display());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        }
    }
}

#[test]
fn files_from_elsewhere_never_panic_when_damaged() {
    // Small files keep the test short; they hold the same tables as the large ones.
    for path in files_from_elsewhere() {
        let bytes = std::fs::read(&path).expect("reads");
        if bytes.len() > 100_000 {
            continue;
        }
        for part in 0..64 {
            let position = bytes.len() * part / 64;
            let _ = tflite::read(&bytes[..position]);
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x80;
            let _ = tflite::read(&damaged);
        }
    }
}
