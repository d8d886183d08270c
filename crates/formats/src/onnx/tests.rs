//! Models made by hand: what is folded, what is refused and how, and files that try to harm.

mod batch;
mod quantization;

use super::schema::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Tensor, TensorShape, TensorType, Type,
    ValueInfo, data_type,
};
use super::{read, read_beside};
use crate::error::ErrorKind;
use prost::Message;
use std::fs;
use taper_graph::{Op, Padding, PoolKind, ResizeCoordinates, Shape};

fn value(name: &str, dims: &[i64]) -> ValueInfo {
    let dim = |&size: &i64| match size {
        0 => Dimension { dim_value: None, dim_param: Some("n".to_owned()) },
        size => Dimension { dim_value: Some(size), dim_param: None },
    };
    let shape = Some(TensorShape { dim: dims.iter().map(dim).collect() });
    let tensor = Some(TensorType { elem_type: data_type::FLOAT, shape });
    ValueInfo { name: name.to_owned(), of_type: Some(Type { tensor }) }
}

fn floats(name: &str, dims: &[i64], each: f32) -> Tensor {
    let count: i64 = dims.iter().product();
    let float_data = vec![each; usize::try_from(count).expect("small")];
    Tensor {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: data_type::FLOAT,
        float_data,
        ..Tensor::default()
    }
}

fn integers(name: &str, values: &[i64]) -> Tensor {
    let dims = vec![i64::try_from(values.len()).expect("small")];
    let int64_data = values.to_vec();
    Tensor { name: name.to_owned(), dims, data_type: data_type::INT64, int64_data, ..Tensor::default() }
}

fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: values.to_vec(), ..Attribute::default() }
}

fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value), ..Attribute::default() }
}

fn text(name: &str, value: &'static str) -> Attribute {
    Attribute { name: name.to_owned(), s: Some(value.into()), ..Attribute::default() }
}

/// A node of this kind that writes `output`.
fn node(kind: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: kind.to_owned(),
        attribute,
        ..Node::default()
    }
}

/// A model from `image [N,3,8,8]` to `y`.
fn model(opset: i64, node: Vec<Node>, initializer: Vec<Tensor>) -> Model {
    Model {
        ir_version: Some(7),
        opset_import: vec![OperatorSet { domain: String::new(), version: Some(opset) }],
        graph: Some(Graph {
            node,
            initializer,
            input: vec![value("image", &[0, 3, 8, 8])],
            output: vec![value("y", &[])],
            ..Graph::default()
        }),
        ..Model::default()
    }
}

/// The graph of a model.
fn graph(model: &Model) -> taper_graph::Graph {
    read(model.encode_to_vec()).expect("reads")
}

/// Reads a model that must be refused, with these words.
fn refused(model: &Model, kind: ErrorKind, words: &[&str]) {
    let error = read(model.encode_to_vec()).expect_err("refuses");
    let message = error.to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert_eq!(error.kind(), kind, "{message}");
}

#[test]
fn attributes_of_old_sets_and_inputs_of_new_ones_say_the_same() {
    let old = model(
        7,
        vec![
            node("Pad", &["image"], "p", vec![ints("pads", &[0, 0, 1, 0, 0, 0, 2, 3])]),
            node("Squeeze", &["p"], "s", vec![ints("axes", &[])]),
            node(
                "Clip",
                &["s"],
                "y",
                vec![
                    Attribute { name: "min".to_owned(), f: Some(0.0), ..Attribute::default() },
                    Attribute { name: "max".to_owned(), f: Some(6.0), ..Attribute::default() },
                ],
            ),
        ],
        Vec::new(),
    );
    let pads = integers("pads", &[0, 0, 1, 0, 0, 0, 2, 3]);
    let bounds = [floats("least", &[], 0.0), floats("greatest", &[], 6.0)];
    let [least, greatest] = bounds;
    let new = model(
        18,
        vec![
            node("Pad", &["image", "pads"], "p", Vec::new()),
            node("Identity", &["p"], "s", Vec::new()),
            node("Clip", &["s", "least", "greatest"], "y", Vec::new()),
        ],
        vec![pads, least, greatest],
    );
    let (old, new) = (graph(&old), graph(&new));
    assert!(old == new);
    let Op::Pad(pad) = &new.nodes[0].op else {
        panic!("expected a border, found {}", new.nodes[0].op.name())
    };
    assert_eq!(pad.padding, Padding { top: 1, bottom: 2, left: 0, right: 3 });
}

#[test]
fn pooling_counts_zeros_and_hangs_over_as_onnx_says() {
    let pool = |attributes: &[Attribute]| {
        let kernel = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
        let attributes = kernel.into_iter().chain(attributes.iter().cloned()).collect();
        graph(&model(13, vec![node("AveragePool", &["image"], "y", attributes)], Vec::new()))
    };
    let padding = |graph: &taper_graph::Graph| {
        graph
            .nodes
            .iter()
            .map(|node| match &node.op {
                Op::Pad(pad) => pad.padding,
                Op::Pool2d(pool) if pool.kind == PoolKind::Average => pool.padding,
                other => panic!("expected padding or pooling, found {}", other.name()),
            })
            .collect::<Vec<_>>()
    };
    let around = Padding { top: 1, bottom: 1, left: 1, right: 1 };
    let over = Padding { bottom: 1, right: 1, ..Padding::default() };
    let (pads, ceil, count) = (ints("pads", &[1; 4]), int("ceil_mode", 1), int("count_include_pad", 1));
    assert_eq!(padding(&pool(&[])), [Padding::default()]);
    assert_eq!(padding(&pool(std::slice::from_ref(&ceil))), [over]);
    assert_eq!(padding(&pool(std::slice::from_ref(&pads))), [around]);
    assert_eq!(padding(&pool(&[pads.clone(), count.clone()])), [around, Padding::default()]);
    let both = Padding { bottom: 2, right: 2, ..around };
    assert_eq!(padding(&pool(&[pads.clone(), ceil.clone()])), [both]);
    assert_eq!(padding(&pool(&[pads, ceil, count])), [around, over]);
    assert_eq!(padding(&pool(&[text("auto_pad", "SAME_UPPER")])), [over]);
    let lower = Padding { top: 1, left: 1, ..Padding::default() };
    assert_eq!(padding(&pool(&[text("auto_pad", "SAME_LOWER")])), [lower]);
}

#[test]
fn sizes_computed_from_the_shape_leave_one_resize() {
    // As PyTorch writes `interpolate(x, scale_factor=2)` in old sets.
    let nodes = vec![
        node("Shape", &["image"], "shape", Vec::new()),
        node("Gather", &["shape", "two"], "h", vec![int("axis", 0)]),
        node("Cast", &["h"], "hf", vec![int("to", 1)]),
        node("Mul", &["hf", "factor"], "h2", Vec::new()),
        node("Floor", &["h2"], "h3", Vec::new()),
        node("Cast", &["h3"], "h4", vec![int("to", 7)]),
        node("Unsqueeze", &["h4"], "h5", vec![ints("axes", &[0])]),
        node("Slice", &["shape", "zero", "two_list"], "nc", Vec::new()),
        node("Concat", &["nc", "h5", "h5"], "sizes", vec![int("axis", 0)]),
        node("Resize", &["image", "", "", "sizes"], "y", vec![text("mode", "linear")]),
    ];
    let two = Tensor { dims: Vec::new(), ..integers("two", &[2]) };
    let constants = vec![two, integers("zero", &[0]), integers("two_list", &[2]), floats("factor", &[], 2.0)];
    let graph = graph(&model(12, nodes, constants));
    let [only] = &graph.nodes[..] else { panic!("expected one node, found {}", graph.nodes.len()) };
    let Op::Resize2d(resize) = &only.op else { panic!("expected a resize, found {}", only.op.name()) };
    assert_eq!((resize.size, resize.coordinates), ([16, 16], ResizeCoordinates::HalfPixel));
    assert_eq!(graph.tensor(graph.outputs[0]).shape, Shape::batched(&[16, 16, 3]));
}

#[test]
fn what_a_graph_cannot_express_is_refused_by_name() {
    let one = |kind: &str, attributes: Vec<Attribute>| {
        model(13, vec![node(kind, &["image"], "y", attributes)], vec![])
    };
    let unsupported = ErrorKind::Unsupported;
    refused(&one("If", Vec::new()), unsupported, &["node `y` (If)", "operator that Taper knows"]);
    refused(&one("Relu", vec![int("mystery", 1)]), unsupported, &["(Relu)", "`mystery`"]);
    let mut foreign = one("Relu", Vec::new());
    foreign.graph.as_mut().expect("is there").node[0].domain = "com.example".to_owned();
    refused(&foreign, unsupported, &["node `y` (Relu)", "`com.example`"]);
    let mut dynamic = one("Relu", Vec::new());
    dynamic.graph.as_mut().expect("is there").input = vec![value("image", &[0, 3, 0, 8])];
    refused(&dynamic, unsupported, &["input `image`", "dimension 2", "`n`"]);
    refused(&one("Softmax", vec![int("axis", 2)]), unsupported, &["(Softmax)", "innermost axis"]);
    let mut old = one("Relu", Vec::new());
    old.opset_import[0].version = Some(6);
    refused(&old, unsupported, &["opset_import", "7 or newer, found 6"]);
}

#[test]
fn broken_models_are_invalid() {
    let invalid = ErrorKind::Invalid;
    let cycle = vec![node("Relu", &["b"], "a", Vec::new()), node("Relu", &["a"], "b", Vec::new())];
    refused(&model(13, cycle, vec![]), invalid, &["node `a` (Relu)", "`b`"]);
    let twice = vec![node("Relu", &["image"], "y", Vec::new()), node("Relu", &["image"], "y", Vec::new())];
    refused(&model(13, twice, vec![]), invalid, &["a new name", "`y`"]);
    let conv = || vec![node("Conv", &["image", "w"], "y", Vec::new())];
    let short = Tensor { dims: vec![4, 3, 3, 3], ..floats("w", &[5], 1.0) };
    refused(&model(13, conv(), vec![short]), invalid, &["initializer `w`", "432 bytes", "found 20"]);
    let huge = Tensor { dims: vec![i64::MAX; 4], ..floats("w", &[5], 1.0) };
    refused(&model(13, conv(), vec![huge]), invalid, &["initializer `w`", "exceeds"]);
    let negative = Tensor { dims: vec![-1], ..floats("w", &[5], 1.0) };
    refused(&model(13, conv(), vec![negative]), invalid, &["initializer `w`", "found -1"]);
    let strides = vec![ints("strides", &[i64::MAX, 1])];
    let wide = vec![node("Conv", &["image", "w"], "y", strides)];
    refused(&model(13, wide, vec![floats("w", &[1, 3, 1, 1], 1.0)]), ErrorKind::Unsupported, &["strides"]);
    refused(&model(13, vec![], vec![]), invalid, &["output `y`", "found none"]);
}

#[test]
fn messages_that_swell_are_refused_before_they_are_decoded() {
    // Two bytes for each node.
    let nodes = [0x0a, 0x00].repeat(8 << 20);
    let mut length = Vec::new();
    prost::encoding::encode_varint(nodes.len() as u64, &mut length);
    let bytes = [&[0x3a][..], &length, &nodes].concat();
    let error = read(bytes).expect_err("refuses");
    assert!(error.to_string().contains("too much memory"), "{error}");
}

#[test]
fn constants_cannot_be_filled_without_bound() {
    let nodes = vec![
        node("ConstantOfShape", &["size"], "c", Vec::new()),
        node("Add", &["image", "c"], "y", Vec::new()),
    ];
    let model = model(13, nodes, vec![integers("size", &[1 << 40])]);
    refused(&model, ErrorKind::Unsupported, &["(ConstantOfShape)", "65536 elements"]);
}

#[test]
fn external_data_stays_inside_the_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let inside = folder.path().join("model");
    fs::create_dir(&inside).expect("creates");
    let weights: Vec<u8> =
        [7u8; 4].into_iter().chain([1.0f32; 12].iter().flat_map(|w| w.to_le_bytes())).collect();
    fs::write(inside.join("weights.bin"), &weights).expect("writes");
    fs::write(folder.path().join("secret"), &weights).expect("writes");
    let with = |location: &str, offset: &str| {
        let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
        let tensor = Tensor {
            float_data: Vec::new(),
            external_data: vec![entry("location", location), entry("offset", offset), entry("length", "48")],
            data_location: super::schema::EXTERNAL,
            ..floats("w", &[4, 3, 1, 1], 1.0)
        };
        model(13, vec![node("Conv", &["image", "w"], "y", Vec::new())], vec![tensor]).encode_to_vec()
    };
    let graph = read_beside(with("weights.bin", "4"), &inside).expect("reads");
    assert!(graph.tensors.iter().any(|tensor| tensor.f32_data() == Some(&[1.0; 12])));
    let cases = [
        ("../secret", "4", "inside the folder"),
        ("../../etc/passwd", "0", "inside the folder"),
        ("/etc/passwd", "0", "inside the folder"),
        ("weights.bin", "8", "expected 48 bytes"),
        ("weights.bin", "18446744073709551615", "expected 48 bytes"),
        ("weights.bin", "x", "expected a number as its offset"),
        ("missing", "0", "cannot read the external data"),
    ];
    for (location, offset, expected) in cases {
        let error = read_beside(with(location, offset), &inside).expect_err("refuses");
        assert!(error.to_string().contains(expected), "{location}: {error}");
    }
    let error = read(with("weights.bin", "4")).expect_err("refuses");
    assert!(error.to_string().contains("by its path"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let inside = folder.path().join("model");
    fs::create_dir(&inside).expect("creates");
    fs::write(folder.path().join("secret"), [0; 48]).expect("writes");
    std::os::unix::fs::symlink("../secret", inside.join("link")).expect("links");
    let location = Entry { key: "location".to_owned(), value: "link".to_owned() };
    let tensor = Tensor {
        float_data: Vec::new(),
        external_data: vec![location],
        data_location: super::schema::EXTERNAL,
        ..floats("w", &[4, 3, 1, 1], 1.0)
    };
    let model = model(13, vec![node("Conv", &["image", "w"], "y", Vec::new())], vec![tensor]);
    let error = read_beside(model.encode_to_vec(), &inside).expect_err("refuses");
    assert!(error.to_string().contains("inside the folder"), "{error}");
}
