//! Files that the writer would not make: opaque operators, tables that share their parts, names that stand twice.

mod several_nodes;

use super::build::{Builder, Offset, Value};
use super::flat::Table;
use super::ops::{Carried, Code, Operator, Options, opaque};
use super::schema::{self, builtin};
use super::{read, write};
use crate::error::ErrorKind;
use taper_graph::{DType, Graph, Node, Op, Opaque, Shape, Tensor};

/// A graph of one opaque operator over two inputs.
fn opaque_graph(
    code: Code<'_>,
    options: Options<'_>,
    custom_options: Option<&[u8]>,
    inputs: Vec<i32>,
) -> Graph {
    let carried = Carried { custom_options, ..Carried::default() };
    let operator = Operator { code, since: None, inputs, outputs: Vec::new(), options, carried };
    let attributes = opaque::attributes(&operator, &[]).expect("small");
    let mut graph = Graph::new("opaque");
    let inputs =
        ["a", "b"].map(|name| graph.add_input(name, Shape::batched(&[1, 1, 8]), DType::F32)).to_vec();
    let shape = Shape::batched(&[8]);
    graph.tensors.push(Tensor {
        name: "y".to_owned(),
        shape,
        dtype: DType::F32,
        quantization: None,
        data: None,
    });
    let output = taper_graph::TensorId(2);
    let name = code.custom.map_or_else(|| schema::builtin_name(code.builtin), str::to_owned);
    let op = Op::Opaque(Opaque { code: name, attributes });
    graph.nodes.push(Node { name: "y".to_owned(), op, inputs, outputs: vec![output] });
    graph.outputs.push(output);
    graph
}

/// A flatbuffer whose root is `SqueezeOptions` with these dimensions.
fn squeeze_options(dims: &[i32]) -> Vec<u8> {
    let mut builder = Builder::with_capacity(64, "test").expect("small");
    let dims = builder.vector(dims);
    let root = builder.table([(super::flat::Field::new(0, "SqueezeOptions.squeeze_dims"), dims)]);
    builder.finish(root, "TEST")
}

#[test]
fn opaque_operators_keep_their_options_and_absent_inputs() {
    let options = squeeze_options(&[1, 2, -3]);
    let table = Table::root(&options, "test").expect("sound");
    let squeeze = Options::Verbatim { options_type: schema::options::SQUEEZE, table };
    let code = Code { builtin: builtin::SQUEEZE, custom: None, version: 2 };
    let custom = Code { builtin: builtin::CUSTOM, custom: Some("edgetpu-custom-op"), version: 1 };
    let cases = [
        opaque_graph(code, squeeze, None, vec![0, 1]),
        opaque_graph(custom, Options::None, Some(b"package"), vec![0, -1, 1, -1]),
    ];
    for graph in cases {
        let mut graph = graph;
        for _ in 0..2 {
            let again = read(&write(&graph).expect("writes")).expect("reads");
            assert_eq!(again, graph);
            graph = again;
        }
    }
}

#[test]
fn vectors_in_opaque_options_are_copied() {
    let options = squeeze_options(&[1, 2, -3]);
    let table = Table::root(&options, "test").expect("sound");
    let squeeze = Options::Verbatim { options_type: schema::options::SQUEEZE, table };
    let code = Code { builtin: builtin::SQUEEZE, custom: None, version: 1 };
    let file = write(&opaque_graph(code, squeeze, None, vec![0, 1])).expect("writes");
    let model = Table::root(&file, "model").expect("sound");
    let subgraph =
        model.tables(schema::model::SUBGRAPHS).expect("sound").get(0).expect("one").expect("sound");
    let operator =
        subgraph.tables(schema::subgraph::OPERATORS).expect("sound").get(0).expect("one").expect("sound");
    let options = operator.table(schema::operator::OPTIONS).expect("sound").expect("there");
    let dims =
        options.scalars::<i32>(super::flat::Field::new(0, "squeeze_dims")).expect("sound").expect("there");
    assert_eq!(dims.collect::<Vec<_>>(), [1, 2, -3]);
}

#[test]
fn data_lies_at_multiples_of_sixteen_bytes() {
    for seed in 0..8 {
        let file = write(&taper_testing::graphs::random(seed, taper_testing::graphs::Numbers::Int8))
            .expect("writes");
        assert_eq!(file.len() % 16, 0);
        let model = Table::root(&file, "model").expect("sound");
        for buffer in model.tables(schema::model::BUFFERS).expect("sound").iter() {
            let data = buffer.and_then(|buffer| buffer.byte_vector(schema::buffer::DATA)).expect("sound");
            if let Some(data) = data {
                assert_eq!((data.as_ptr().addr() - file.as_ptr().addr()) % 16, 0);
            }
        }
    }
}

/// A file with `count` constants that share one name and one buffer of `bytes` bytes.
fn shared_constants(count: usize, bytes: usize) -> Vec<u8> {
    let mut builder = Builder::with_capacity(bytes, "test").expect("small");
    let data = builder.aligned_bytes(&vec![0; bytes]);
    let buffers: Vec<Offset> = vec![builder.table([]), builder.table([(schema::buffer::DATA, data)])];
    let row = [
        (schema::tensor::SHAPE, builder.vector(&[i32::try_from(bytes).expect("small")])),
        (schema::tensor::TYPE, Value::I8(schema::tensor_type(DType::I8))),
        (schema::tensor::BUFFER, Value::U32(1)),
        (schema::tensor::NAME, builder.string("same")),
    ];
    let tensor = builder.table(row);
    let outputs: Vec<i32> = (0..count).map(|position| i32::try_from(position).expect("small")).collect();
    let row = [
        (schema::subgraph::TENSORS, builder.vector(&vec![tensor; count])),
        (schema::subgraph::OUTPUTS, builder.vector(&outputs)),
    ];
    let subgraph = builder.table(row);
    let row = [
        (schema::model::VERSION, Value::U32(schema::VERSION)),
        (schema::model::SUBGRAPHS, builder.vector(&[subgraph])),
        (schema::model::BUFFERS, builder.vector(&buffers)),
    ];
    let root = builder.table(row);
    builder.finish(root, schema::IDENTIFIER)
}

#[test]
fn names_that_stand_twice_get_a_number() {
    let graph = read(&shared_constants(3, 4)).expect("reads");
    let names: Vec<&str> = graph.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["same", "same_1", "same_2"]);
}

#[test]
fn parts_that_are_shared_do_not_multiply_memory() {
    let error = read(&shared_constants(1000, 1 << 20)).expect_err("a gigabyte from a megabyte");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("again and again"), "{error}");
}

/// A file of `readers` custom operators that read an input and one state, and keep one intermediate tensor.
fn stateful(readers: usize) -> Vec<u8> {
    let mut builder = Builder::with_capacity(1024, "test").expect("small");
    let tensors: Vec<Offset> = (0..3 + readers)
        .map(|position| {
            let mut row = vec![
                (schema::tensor::SHAPE, builder.vector(&[1, 2])),
                (schema::tensor::TYPE, Value::I8(schema::tensor_type(DType::I8))),
                (schema::tensor::NAME, builder.string(["x", "state", "inner", "y", "z"][position])),
            ];
            if position == 1 {
                row.push((schema::tensor::IS_VARIABLE, Value::Flag(true)));
            }
            builder.table(row)
        })
        .collect();
    let operators: Vec<Offset> = (0..readers)
        .map(|reader| {
            let output = i32::try_from(3 + reader).expect("small");
            let row = [
                (schema::operator::INPUTS, builder.vector(&[0, -1, 1])),
                (schema::operator::OUTPUTS, builder.vector(&[output])),
                (schema::operator::MUTATING_VARIABLE_INPUTS, builder.vector(&[false, false, true])),
                (schema::operator::INTERMEDIATES, builder.vector(&[2])),
            ];
            builder.table(row)
        })
        .collect();
    let subgraph = [
        (schema::subgraph::TENSORS, builder.vector(&tensors)),
        (schema::subgraph::INPUTS, builder.vector(&[0])),
        (schema::subgraph::OUTPUTS, builder.vector(&[3])),
        (schema::subgraph::OPERATORS, builder.vector(&operators)),
    ];
    let subgraph = builder.table(subgraph);
    let code = [
        (schema::operator_code::CUSTOM_CODE, builder.string("Recurrent")),
        (schema::operator_code::BUILTIN_CODE, Value::I32(builtin::CUSTOM)),
    ];
    let code = builder.table(code);
    let buffer = builder.table([]);
    let row = [
        (schema::model::VERSION, Value::U32(schema::VERSION)),
        (schema::model::OPERATOR_CODES, builder.vector(&[code])),
        (schema::model::SUBGRAPHS, builder.vector(&[subgraph])),
        (schema::model::BUFFERS, builder.vector(&[buffer])),
    ];
    let root = builder.table(row);
    builder.finish(root, schema::IDENTIFIER)
}

#[test]
fn state_and_intermediate_tensors_travel_with_their_operator() {
    let graph = read(&stateful(1)).expect("reads");
    assert_eq!((graph.tensors.len(), graph.nodes[0].inputs.len()), (2, 1));
    let file = write(&graph).expect("writes");
    assert_eq!(read(&file).expect("reads"), graph);

    let model = Table::root(&file, "model").expect("sound");
    let subgraph =
        model.tables(schema::model::SUBGRAPHS).expect("sound").get(0).expect("one").expect("sound");
    let tensors: Vec<(&str, bool)> = subgraph
        .tables(schema::subgraph::TENSORS)
        .expect("sound")
        .iter()
        .map(|tensor| {
            let tensor = tensor.expect("sound");
            let name = tensor.string(schema::tensor::NAME).expect("sound").expect("named");
            (name, tensor.flag(schema::tensor::IS_VARIABLE).expect("sound"))
        })
        .collect();
    assert_eq!(tensors, [("x", false), ("y", false), ("state", true), ("inner", false)]);
    let operator =
        subgraph.tables(schema::subgraph::OPERATORS).expect("sound").get(0).expect("one").expect("sound");
    let ids = |field| operator.scalars::<i32>(field).expect("sound").expect("there").collect::<Vec<_>>();
    assert_eq!(ids(schema::operator::INPUTS), [0, -1, 2]);
    assert_eq!(ids(schema::operator::INTERMEDIATES), [3]);
    let mutating = operator.byte_vector(schema::operator::MUTATING_VARIABLE_INPUTS).expect("sound");
    assert_eq!(mutating, Some(&[0, 0, 1][..]));
}

#[test]
fn shared_state_is_refused_by_name() {
    let error = read(&stateful(2)).expect_err("two operators share it");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    assert!(message.contains("tensor `state`") && message.contains("used 2 times"), "{message}");
}

/// The file of [`stateful`] with one signature, under the key `run`, in which input 0 is called `image`.
fn signed() -> Graph {
    let mut graph = read(&stateful(1)).expect("reads");
    let signature = r#"[{"key":"run","inputs":[{"name":"image","tensor":"x"}],"outputs":[{"name":"classes","tensor":"y"}]}]"#;
    graph.metadata.insert("tflite.signatures".to_owned(), signature.to_owned());
    graph
}

#[test]
fn signatures_keep_their_names_as_long_as_their_tensors_are_there() {
    let mut graph = signed();
    assert_eq!(read(&write(&graph).expect("writes")).expect("reads"), graph);

    graph.tensors[1].name = "z".to_owned();
    graph.nodes[0].name = "z".to_owned();
    let file = write(&graph).expect("writes");
    let again = read(&file).expect("reads");
    assert_eq!(again.metadata.get("tflite.signatures"), None);
    assert_eq!(write(&again).expect("writes"), file);

    graph.metadata.insert("tflite.signatures".to_owned(), "no JSON".to_owned());
    let message = write(&graph).expect_err("refuses").to_string();
    assert!(message.contains("metadata `tflite.signatures`"), "{message}");
}

#[test]
fn metadata_that_is_not_text_survives() {
    let mut graph = read(&stateful(1)).expect("reads");
    for (name, text) in [("hex:TFLITE_METADATA", "00ff10"), ("hex:no digits", "x"), ("hex:hex:nested", "61")]
    {
        graph.metadata.insert(name.to_owned(), text.to_owned());
    }
    let file = write(&graph).expect("writes");
    assert!(file.windows(3).any(|window| window == [0x00, 0xff, 0x10]));
    let again = read(&file).expect("reads");
    assert_eq!(again.metadata["hex:TFLITE_METADATA"], "00ff10");
    assert_eq!(write(&again).expect("writes"), file);
}

#[test]
fn tensors_without_a_name_are_named_by_their_position() {
    let mut graph = read(&stateful(1)).expect("reads");
    graph.tensors[1].name = String::new();
    let again = read(&write(&graph).expect("writes")).expect("reads");
    assert_eq!(again.tensors[1].name, "tensor_1");
}
