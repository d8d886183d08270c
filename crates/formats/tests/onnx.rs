//! ONNX files as a whole: names, determinism, refusals and hostile bytes.

use proptest::prelude::*;
use std::path::Path;
use taper_formats::{ErrorKind, onnx};
use taper_graph::{Binary, DType, Elementwise, FakeQuantize, Graph, Node, Op, Opaque, Shape, TensorData};
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};

/// Files that others wrote.
const EXPORTS: [&str; 6] = [
    "keras-tf2onnx.onnx",
    "mobile-dynamo.onnx",
    "senet-script.onnx",
    "unet-dynamo.onnx",
    "unet-script.onnx",
    "vgg-fixed.onnx",
];

/// Networks of all that ONNX has.
fn network(seed: u64) -> Graph {
    match seed % 4 {
        0 => return graphs::random(seed, Numbers::Int8),
        1 => return graphs::random(seed, Numbers::Uint8),
        _ => {}
    }
    let blocks: Vec<Block> = Block::ALL.into_iter().filter(|block| *block != Block::FakeQuantize).collect();
    branches::random(seed, &blocks)
}

proptest! {
    #[test]
    fn a_second_round_changes_nothing(seed: u64) {
        let first = onnx::read(onnx::write(&network(seed)).expect("writes")).expect("reads");
        let bytes = onnx::write(&first).expect("writes");
        prop_assert!(onnx::write(&first).expect("writes") == bytes);
        let second = onnx::read(bytes).expect("reads");
        let ops = |graph: &Graph| graph.nodes.iter().map(|node| node.op.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ops(&second), ops(&first));
    }

    #[test]
    fn names_survive(seed: u64) {
        let graph = network(seed);
        let again = onnx::read(onnx::write(&graph).expect("writes")).expect("reads");
        // What only changes how a tensor is seen is told by the layer that needs it.
        let seen = |op: &Op| matches!(op, Op::Flatten | Op::Reshape { .. });
        // A layer without a bias takes the constant that is added behind it.
        let bias = |node: &Node| {
            matches!(node.op, Op::Elementwise(Elementwise { function: Binary::Add, .. }))
                && node.inputs.iter().any(|id| graph.tensor(*id).data.is_some())
        };
        for node in graph.nodes.iter().filter(|node| !seen(&node.op) && !bias(node)) {
            prop_assert!(again.nodes.iter().any(|other| other.name == node.name), "{}", node.name);
        }
        for (ids, others) in [(&graph.inputs, &again.inputs), (&graph.outputs, &again.outputs)] {
            for (&id, &other) in ids.iter().zip(others) {
                prop_assert_eq!(&graph.tensor(id).name, &again.tensor(other).name);
                prop_assert_eq!(&graph.tensor(id).shape, &again.tensor(other).shape);
            }
        }
        for tensor in graph.tensors.iter().filter(|tensor| tensor.data.is_some()) {
            prop_assert!(again.tensors.iter().any(|other| other.name == tensor.name), "{}", tensor.name);
        }
    }

    #[test]
    fn changed_bits_never_panic(seed in 0u64..40, position: prop::sample::Index, bit in 0u32..8) {
        let mut bytes = onnx::write(&network(seed)).expect("writes");
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(graph) = onnx::read(bytes) {
            graph.verify().expect("what is read is sound");
            let _ = onnx::write(&graph);
        }
    }

    #[test]
    fn changed_bits_in_exports_never_panic(
        export in proptest::sample::select(EXPORTS.to_vec()),
        position: prop::sample::Index,
        bit in 0u32..8,
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/onnx").join(export);
        let mut bytes = std::fs::read(path).expect("stands in the repository");
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(graph) = onnx::read(bytes) {
            graph.verify().expect("what is read is sound");
            let _ = onnx::write(&graph);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = onnx::read(bytes);
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = onnx::write(&network(3)).expect("writes");
    for part in 0..64 {
        let cut = bytes[..bytes.len() * part / 64].to_vec();
        let error = onnx::read(cut).expect_err("a part is no file");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[test]
fn metadata_is_kept() {
    let mut graph = network(1);
    graph.metadata.insert("classes".to_owned(), "cat\ndog".to_owned());
    let again = onnx::read(onnx::write(&graph).expect("writes")).expect("reads");
    assert_eq!(again.metadata, graph.metadata);
    assert_eq!(again.name, graph.name);
}

#[test]
fn what_onnx_cannot_express_is_refused_by_name() {
    let mut fake = Graph::new("fake");
    let x = fake.add_input("image", Shape::batched(&[4, 4, 1]), DType::F32);
    let bounds = ["min", "max"].map(|name| fake.add_constant(name, &[1], TensorData::F32(vec![1.0])));
    let op = Op::FakeQuantize(FakeQuantize { bits: 8 });
    let y = fake.add_node("node", op, &[x, bounds[0], bounds[1]]).expect("fits");
    fake.outputs.push(y);
    let mut opaque = fake.clone();
    opaque.nodes[0].op = Op::Opaque(Opaque { code: "MYSTERY".to_owned(), attributes: Vec::new() });
    let mut integers = graphs::random(3, Numbers::Int8);
    let image = integers.inputs[0];
    integers.tensor_mut(image).quantization = None;
    let cases = [
        (fake, "node `node`: expected an operator that ONNX has, found fake quantization"),
        (opaque, "node `node`: expected an operator that ONNX has, found MYSTERY"),
        (integers, "expected floats or quantized integers, found i8 without a scale"),
    ];
    for (graph, expected) in cases {
        let error = onnx::write(&graph).expect_err("refuses");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
