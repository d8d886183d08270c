//! Slices, copies and searches as ONNX, judged by onnxruntime, and read back.

use taper_formats::onnx;
use taper_graph::{
    ArgMax, AxisSlice, Concat, Conv2d, DType, Graph, Op, Padding, Shape, StridedSlice, TensorData, TensorId,
};
use taper_run::{Cpu, Session, View};
use taper_testing::Random;
use taper_testing::onnxruntime::{Job, Onnxruntime};

const BATCH: usize = 2;
const INPUT: [usize; 3] = [5, 6, 4];

/// Images, their `op`, and a convolution behind it if floats come out.
fn network(name: &str, op: Op) -> Graph {
    let mut graph = Graph::new(name);
    let x = graph.add_input("image", Shape::batched(&INPUT), DType::F32);
    let both = graph.add_node("both", Op::Concat(Concat { axis: 3 }), &[x, x]).expect("fits");
    let mut y = graph.add_node("y", op, &[both]).expect("fits");
    if graph.tensor(y).dtype == DType::F32 {
        let channels = graph.tensor(y).shape.channels().expect("an image");
        let weights = TensorData::F32(Random::new(3).normals(3 * channels, 0.5));
        let weights = graph.add_constant("weights", &[3, 1, 1, channels], weights);
        let padding = Padding::default();
        let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups: 1, activation: None };
        y = graph.add_node("conv", Op::Conv2d(conv), &[y, weights]).expect("fits");
    }
    graph.outputs.push(y);
    graph
}

fn networks() -> Vec<Graph> {
    let part = |axis, start, step, count| AxisSlice { axis, start, step, count };
    let slice = |axes: &[AxisSlice]| Op::StridedSlice(StridedSlice { axes: axes.to_vec() });
    let mut graphs = vec![
        network("crop", slice(&[part(1, 1, 1, 3), part(2, 2, 1, 4)])),
        network("steps", slice(&[part(2, 1, 2, 3), part(3, 0, 3, 3)])),
        network("channels", slice(&[part(3, 2, 1, 5)])),
        network("whole", slice(&[])),
        network("tile", Op::Tile { repeats: vec![2, 1, 3] }),
    ];
    for axis in 1..=3 {
        for dtype in [DType::I32, DType::I64] {
            graphs.push(network("arg max", Op::ArgMax(ArgMax { axis, dtype })));
        }
    }
    graphs
}

/// The only output's values, indices as floats.
fn run(graph: &Graph, input: &[f32]) -> Vec<f32> {
    let mut session = Cpu::default().session(graph, BATCH).expect("the CPU runs it");
    session.set_input(0, View::F32(input)).expect("fits");
    session.run().expect("runs");
    let id: TensorId = graph.single_output().expect("one output");
    session.output(0).expect("has an output").real(graph, id).expect("floats or indices")
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
}

#[test]
fn slices_copies_and_searches_agree() {
    let graphs = networks();
    let input = Random::new(7).normals(BATCH * INPUT.iter().product::<usize>(), 1.0);
    let expected: Vec<Vec<f32>> = graphs.iter().map(|graph| run(graph, &input)).collect();
    let files: Vec<Vec<u8>> = graphs.iter().map(|graph| onnx::write(graph).expect("writes")).collect();
    for ((graph, file), expected) in graphs.iter().zip(&files).zip(&expected) {
        // ONNX's indices have 64 bits: a cast to fewer is not read.
        let narrow =
            graph.nodes.iter().any(|node| matches!(&node.op, Op::ArgMax(arg) if arg.dtype == DType::I32));
        if !narrow {
            let again = onnx::read(file.clone()).expect("reads");
            assert!(close(expected, &run(&again, &input)), "`{}` read back differs", graph.name);
        }
    }
    let Some(judge) = Onnxruntime::set_up() else { return };
    let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_le_bytes()).collect();
    let jobs: Vec<Job<'_>> =
        files.iter().map(|model| Job { model, inputs: vec![bytes.clone()], batch: BATCH }).collect();
    let outcomes = judge.run_all(&jobs).expect("onnxruntime runs them");
    for ((graph, expected), outcome) in graphs.iter().zip(&expected).zip(outcomes) {
        let dtype = graph.tensor(graph.single_output().expect("one output")).dtype;
        let found = match TensorData::from_le_bytes(dtype, &outcome[0]).expect("whole elements") {
            TensorData::F32(values) => values,
            TensorData::I32(values) => values.into_iter().map(|value| value as f32).collect(),
            TensorData::I64(values) => values.into_iter().map(|value| value as f32).collect(),
            TensorData::I8(_) | TensorData::U8(_) | TensorData::I16(_) => panic!("no such output is made"),
        };
        assert!(close(expected, &found), "`{}` differs: {graph:#?}", graph.name);
    }
}
