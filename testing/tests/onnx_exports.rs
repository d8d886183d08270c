//! Networks as PyTorch's exporters and tf2onnx write them, read, run and compared with PyTorch's own outputs.

use std::fs;
use std::path::{Path, PathBuf};
use taper_formats::{load, onnx};
use taper_graph::{Graph, Op};
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
    let mut session = Cpu::default().session(graph, BATCH).expect("the CPU runs it");
    session.set_input(0, View::F32(input)).expect("fits");
    session.run().expect("runs");
    match session.output(0).expect("has an output") {
        View::F32(values) => values.to_vec(),
        View::I8(_) | View::U8(_) | View::I32(_) | View::I64(_) => panic!("expected floats"),
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
fn transpositions_and_shape_arithmetic_leave_no_node() {
    let graph = check("keras", "tf2onnx");
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["convolution", "relu", "add", "convolution", "flatten", "fully connected"]);
    let dense = graph.nodes.last().expect("has nodes");
    assert!(matches!(dense.op, Op::FullyConnected(_)) && dense.inputs.len() == 3);
}
