//! Networks as PyTorch's exporters, tf2onnx and onnxruntime's quantizer write them, read, run and compared with the outputs
//! of PyTorch and onnxruntime.

use std::fs;
use std::path::{Path, PathBuf};
use taper_formats::{load, onnx};
use taper_graph::{DType, Graph, Op, Quantization, Shape};
use taper_run::{Cpu, Session, View};

const BATCH: usize = 3;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/onnx").join(name)
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = fs::read(golden(name)).expect("stands in the repository");
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn run(graph: &Graph, input: &[f32]) -> Vec<f32> {
    run_batch(graph, BATCH, input)
}

/// The output in floats.
fn run_batch(graph: &Graph, batch: usize, input: &[f32]) -> Vec<f32> {
    let mut session = Cpu::default().session(graph, batch).expect("the CPU runs it");
    session.set_input(0, View::F32(input)).expect("fits");
    session.run().expect("runs");
    let scaled = |value: i32| match graph.tensor(graph.outputs[0]).quantization {
        Some(Quantization::PerTensor { scale, zero_point }) => (value - zero_point) as f32 * scale,
        Some(Quantization::PerAxis { .. }) | None => panic!("expected one scale"),
    };
    match session.output(0).expect("has an output") {
        View::F32(values) => values.to_vec(),
        View::I8(values) => values.iter().map(|&value| scaled(value.into())).collect(),
        View::U8(values) => values.iter().map(|&value| scaled(value.into())).collect(),
        View::I32(_) | View::I64(_) => panic!("expected floats or bytes"),
    }
}

/// Loads an export; its output must be PyTorch's, and be so again after writing and reading.
fn check(network: &str, exporter: &str) -> Graph {
    let graph = load(&golden(&format!("{network}-{exporter}.onnx"))).expect("loads");
    let expected = floats(&format!("{network}.out"));
    let again = onnx::read(onnx::write(&graph).expect("writes")).expect("reads");
    for graph in [&graph, &again] {
        let found = run(graph, &floats(&format!("{network}.in")));
        assert_eq!(found.len(), expected.len(), "{network} {exporter}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{network} {exporter}: {found} {expected}");
        }
    }
    graph
}

#[test]
fn all_exports_give_what_their_framework_gives() {
    for network in ["vgg", "mobile", "unet", "senet"] {
        for exporter in ["script", "dynamo", "fixed"] {
            let graph = check(network, exporter);
            assert_eq!(graph.tensor(graph.inputs[0]).name, "image");
            assert_eq!(graph.tensor(graph.outputs[0]).name, "scores");
        }
    }
}

#[test]
fn a_batch_that_the_exporter_fixed_is_open() {
    for network in ["vgg", "mobile", "unet", "senet"] {
        let graph = load(&golden(&format!("{network}-fixed.onnx"))).expect("loads");
        assert_eq!(graph.tensor(graph.inputs[0]).shape, Shape::batched(&[8, 8, 3]), "{network}");
        let (input, output) = (floats(&format!("{network}.in")), floats(&format!("{network}.out")));
        let twice = run_batch(&graph, 2 * BATCH, &[&input[..], &input].concat());
        for (found, expected) in twice.iter().zip(output.iter().chain(&output)) {
            assert!((found - expected).abs() < 1e-4, "{network}: {found} {expected}");
        }
    }
}

#[test]
fn quantized_exports_become_integers() {
    for (kind, dtype) in
        [("signed", DType::I8), ("mixed", DType::I8), ("unsigned", DType::U8), ("symmetric", DType::I8)]
    {
        let graph = load(&golden(&format!("quantized-{kind}.onnx"))).expect("loads");
        let [image, scores] = [graph.inputs[0], graph.outputs[0]].map(|id| graph.tensor(id));
        assert_eq!([image.dtype, scores.dtype], [DType::F32, dtype], "{kind}");
        let Some(Quantization::PerTensor { scale, .. }) = scores.quantization else {
            panic!("expected one scale")
        };
        let expected = floats(&format!("quantized-{kind}.out"));
        let again = onnx::read(onnx::write(&graph).expect("writes")).expect("reads");
        for graph in [&graph, &again] {
            let found = run(graph, &floats("vgg.in"));
            assert_eq!(found.len(), expected.len(), "{kind}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1.5 * scale,
                    "{kind}: {found} {expected}, steps of {scale}"
                );
            }
        }
    }
}

#[test]
fn transpositions_and_shape_arithmetic_leave_no_node() {
    let graph = check("keras", "tf2onnx");
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["convolution", "relu", "add", "convolution", "flatten", "fully connected"]);
    let dense = graph.nodes.last().expect("has nodes");
    assert!(matches!(dense.op, Op::FullyConnected(_)) && dense.inputs.len() == 3);
}
