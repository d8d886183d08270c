//! What Taper writes as ONNX, judged by `onnx.checker` and onnxruntime, and read back.

use taper_formats::onnx;
use taper_graph::{Activation, Graph};
use taper_run::{Cpu, Session, View};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};
use taper_testing::onnxruntime::{Job, Onnxruntime};

const BATCH: usize = 3;
/// The greatest difference, relative to the largest value.
const TOLERANCE: f32 = 1e-5;

/// Networks of all that ONNX has.
fn network(seed: u64) -> Graph {
    let mut blocks: Vec<Block> =
        Block::ALL.into_iter().filter(|block| *block != Block::FakeQuantize).collect();
    blocks.extend([
        Block::Activation(Activation::HardSigmoid),
        Block::Activation(Activation::Elu { alpha: 0.5 }),
        Block::Activation(Activation::Silu),
        Block::Activation(Activation::ReluN1To1),
        Block::Fused(Activation::Silu),
    ]);
    branches::random(seed, &blocks)
}

/// Taper's output.
fn run(graph: &Graph, input: &[f32]) -> Vec<f32> {
    let mut session = Cpu::default().session(graph, BATCH).expect("the CPU runs it");
    session.set_input(0, View::F32(input)).expect("fits");
    session.run().expect("runs");
    match session.output(0).expect("has an output") {
        View::F32(values) => values.to_vec(),
        View::I8(_) | View::U8(_) | View::I32(_) | View::I64(_) => panic!("expected floats"),
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Runs every graph here, in onnxruntime, and here again after reading what was written.
fn judge(graphs: &[Graph]) {
    let mut random = Random::new(5);
    let inputs: Vec<Vec<f32>> = graphs
        .iter()
        .map(|graph| {
            let input = graph.tensor(graph.single_input().expect("one input"));
            random.normals(input.shape.elements(BATCH).expect("small"), 1.0)
        })
        .collect();
    let files: Vec<Vec<u8>> = graphs.iter().map(|graph| onnx::write(graph).expect("writes")).collect();
    let expected: Vec<Vec<f32>> =
        graphs.iter().zip(&inputs).map(|(graph, input)| run(graph, input)).collect();
    for ((graph, file), (input, expected)) in graphs.iter().zip(&files).zip(inputs.iter().zip(&expected)) {
        let again = onnx::read(file.clone()).expect("reads");
        let difference = difference(expected, &run(&again, input));
        assert!(difference <= TOLERANCE, "`{}` read back differs by {difference}", graph.name);
        assert!(onnx::write(&again).expect("writes") == onnx::write(&again).expect("writes"));
    }
    let Some(judge) = Onnxruntime::set_up() else { return };
    let jobs: Vec<Job<'_>> = files
        .iter()
        .zip(&inputs)
        .map(|(model, input)| {
            let bytes = input.iter().flat_map(|value| value.to_le_bytes()).collect();
            Job { model, inputs: vec![bytes], batch: BATCH }
        })
        .collect();
    let outcomes = judge.run_all(&jobs).expect("onnxruntime runs them");
    for ((graph, expected), outcome) in graphs.iter().zip(&expected).zip(outcomes) {
        let found: Vec<f32> =
            outcome[0].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let difference = difference(expected, &found);
        assert!(difference <= TOLERANCE, "`{}` differs by {difference}: {graph:#?}", graph.name);
    }
}

#[test]
fn branching_networks_agree() {
    let graphs: Vec<Graph> = (0..200).map(network).collect();
    judge(&graphs);
}

#[test]
fn chains_agree() {
    let graphs: Vec<Graph> = (0..60).map(|seed| graphs::random(seed, Numbers::Float)).collect();
    judge(&graphs);
}
