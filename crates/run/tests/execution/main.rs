//! Sessions against naive execution, over random networks.

mod naive;

use naive::naive;
use std::num::NonZeroUsize;
use taper_graph::{DType, Graph, GraphError, Op, Opaque, Shape, TensorData};
use taper_kernels::cpu::Isa;
use taper_run::{Backend, Cpu, RunError, Session, View};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};
use taper_zoo::{Normalisation, Task, Vgg, by_name};

fn check_observed(graph: &Graph, batch: usize, cpu: Cpu) {
    let count = graph.tensor(graph.inputs[0]).shape.elements(batch).expect("small");
    let input = Random::new(5).normals(count, 1.0);
    let mut expected = naive(graph, batch, &input);
    let mut session = cpu.session(graph, batch).expect("runs");
    session.set_input(0, View::F32(&input)).expect("fits");
    for _ in 0..2 {
        let mut seen = expected.clone();
        session.run_observed(&mut |tensor, found| {
            let expected = seen.remove(&tensor).expect("each activation is seen once");
            for (expected, found) in expected.iter().zip(found.floats().expect("a float network")) {
                let far = (expected - found).abs() > 1e-4 * expected.abs().max(1.0);
                assert!(!far, "`{}`: expected {expected}, found {found}", graph.tensor(tensor).name);
            }
        });
        assert!(seen.is_empty(), "not seen: {:?}", seen.keys());
    }
    let output = expected.remove(&graph.outputs[0]).expect("computed");
    let mut found = vec![0.0; output.len()];
    session.run().expect("runs");
    session.real_output(0, &mut found).expect("fits");
    for (expected, found) in output.iter().zip(found) {
        assert!((expected - found).abs() <= 1e-4 * expected.abs().max(1.0));
    }
}

#[test]
fn every_activation_equals_naive_execution() {
    for isa in Isa::available() {
        for seed in 0..60 {
            check_observed(
                &graphs::random(seed, Numbers::Float),
                1 + seed as usize % 3,
                Cpu { isa, ..Cpu::default() },
            );
        }
    }
}

#[test]
fn branches_equal_naive_execution() {
    for isa in Isa::available() {
        for seed in 0..150 {
            let graph = branches::random(seed, &Block::ALL);
            check_observed(&graph, 1 + seed as usize % 3, Cpu { isa, ..Cpu::default() });
        }
    }
}

fn small_vgg(normalisation: Normalisation) -> Graph {
    let blocks = vec![vec![24, 40], vec![70]];
    let vgg = Vgg { name: "small-vgg".to_owned(), blocks, normalisation };
    let mut graph = vgg.build(Task { input: [28, 28, 1], classes: 10 }).expect("builds");
    graphs::randomize(&mut graph, 3);
    positive_variances(graph)
}

fn positive_variances(mut graph: Graph) -> Graph {
    for tensor in &mut graph.tensors {
        if let Some(TensorData::F32(values)) = &mut tensor.data
            && tensor.name.ends_with("variance")
        {
            values.iter_mut().for_each(|value| *value = 1.0 + value.abs());
        }
    }
    graph
}

#[test]
fn batch_normalisation_equals_naive_execution() {
    check_observed(&small_vgg(Normalisation::Batch), 2, Cpu::default());
}

#[test]
fn threads_do_not_change_a_byte() {
    let mobilenet = |side| {
        let mut graph =
            by_name("mobilenet-v1", Task { input: [side, side, 1], classes: 10 }).expect("builds");
        graphs::randomize(&mut graph, 3);
        positive_variances(graph)
    };
    for graph in [small_vgg(Normalisation::None), mobilenet(28)] {
        check_threads(&graph);
    }
}

fn check_threads(graph: &Graph) {
    let input = Random::new(1).normals(2 * 784, 1.0);
    let outputs = [1, 2, 3].map(|threads| {
        let cpu = Cpu { threads: NonZeroUsize::new(threads).expect("not zero"), ..Cpu::default() };
        let mut session = cpu.prepare(graph, 2).expect("runs");
        session.set_real_input(0, &input).expect("fits");
        session.run().expect("runs");
        let View::F32(output) = session.output(0).expect("exists") else { unreachable!("a float network") };
        output.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn a_chain_reuses_its_memory() {
    let graph = small_vgg(Normalisation::None);
    let session = Cpu::default().session(&graph, 1).expect("runs");
    let activations: u64 = taper_graph::cost(&graph).activation_bytes;
    assert!((session.memory().arena_bytes as u64) < activations * 3 / 2);
    let parameters = taper_graph::cost(&graph).parameters as usize;
    assert!(session.memory().weight_bytes >= 4 * parameters);
}

#[test]
fn integer_ends_take_and_give_real_values() {
    let graph = graphs::random(8, Numbers::Uint8);
    let mut session = Cpu::default().session(&graph, 1).expect("runs");
    let port = session.inputs()[0].clone();
    let affine = port.quantization.expect("integers");
    let reals = vec![affine.dequantize(7u8); port.len()];
    session.set_real_input(0, &reals).expect("fits");
    session.run().expect("runs");
    let from_reals = session.output(0).expect("exists");
    let View::U8(from_reals) = from_reals else { unreachable!("an integer network") };
    let from_reals = from_reals.to_vec();
    session.set_input(0, View::U8(&vec![7; port.len()])).expect("fits");
    session.run().expect("runs");
    assert_eq!(session.output(0).expect("exists"), View::U8(&from_reals));
    let mut reals = vec![0.0; from_reals.len()];
    session.real_output(0, &mut reals).expect("fits");
    let affine = session.outputs()[0].quantization.expect("integers");
    assert_eq!(reals[0], affine.dequantize(from_reals[0]));
}

#[test]
fn errors_name_the_culprit() {
    fn check<T>(result: Result<T, RunError>, expected: &str) {
        let message = result.err().map(|error| error.to_string()).expect("refused");
        assert_eq!(message, expected);
    }
    let graph = graphs::random(1, Numbers::Float);
    let mut session = Cpu::default().session(&graph, 1).expect("runs");
    let count = session.inputs()[0].len();
    let sizes = session.inputs()[0].sizes.clone();
    check(
        session.set_input(0, View::F32(&[])),
        &format!("tensor `image`: expected {count} elements {sizes:?}, found 0"),
    );
    check(session.set_input(0, View::I8(&vec![0; count])), "tensor `image`: expected f32, found i8");
    check(session.set_input(1, View::F32(&[])), "expected an input below 1, found 1");
    check(session.output(3).map(|_| ()), "expected an output below 1, found 3");
    check(
        Cpu::default().session(&graph, 0),
        "cannot run `random` with a batch of 0: expected at least one image",
    );
    check(
        Cpu::default().session(&graph, usize::MAX / 2),
        &format!(
            "cannot run `random` with a batch of {}: it needs more memory than there is",
            usize::MAX / 2
        ),
    );
}

#[test]
fn opaque_operators_are_refused_by_name() {
    let mut graph = Graph::new("opaque");
    let x = graph.add_input("x", Shape::batched(&[4]), DType::F32);
    let y = graph.add_node("flat", Op::Flatten, &[x]).expect("fits");
    graph.nodes[0].op = Op::Opaque(Opaque { code: "MYSTERY".to_owned(), attributes: Vec::new() });
    graph.outputs.push(y);
    match Cpu::default().session(&graph, 1) {
        Err(RunError::Graph(GraphError::UnsupportedNode { node, op, .. })) => {
            assert_eq!((node.as_str(), op.as_str()), ("flat", "MYSTERY"));
        }
        other => panic!("expected an unsupported node, found {other:?}"),
    }
}
