//! Keras's files and PyTorch's: what is refused and in which words, and damage that must not do more than fail.

use hdf5_pure::{AttrValue, FileBuilder};
use std::path::{Path, PathBuf};
use taper_formats::{ErrorKind, keras, load, weights};
use taper_graph::{Graph, Op};

const FILES: [&str; 6] =
    ["small.keras", "small.h5", "small.weights.h5", "small.pth", "legacy.pth", "checkpoint.pth"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/keras").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).expect("is in the repository")
}

/// A model without weights, as Keras 2 writes it.
fn read_config(config: &str) -> Result<Graph, taper_formats::FormatError> {
    let mut file = FileBuilder::new();
    file.set_attr("model_config", AttrValue::VarLenString(config.to_owned()));
    file.set_attr("keras_version", AttrValue::VarLenString("2.4.0".to_owned()));
    keras::read(file.finish().expect("writes"))
}

/// A functional model of an image and these layers, the last of which is named `last`.
fn functional(layers: &str) -> String {
    format!(
        r#"{{"class_name": "Functional", "config": {{"name": "m", "layers": [
            {{"class_name": "InputLayer", "name": "x", "inbound_nodes": [],
              "config": {{"batch_input_shape": [null, 4, 4, 2], "dtype": "float32"}}}}, {layers}],
            "input_layers": [["x", 0, 0]], "output_layers": [["last", 0, 0]]}}}}"#
    )
}

fn layer(class: &str, name: &str, config: &str, from: &str) -> String {
    format!(
        r#"{{"class_name": "{class}", "name": "{name}", "config": {{{config}}}, "inbound_nodes": [[{from}]]}}"#
    )
}

#[test]
fn nodes_bear_the_names_of_layers() {
    let expected = ["conv", "bn", "flat", "dense", "dense/softmax"];
    for name in ["small.keras", "small.h5"] {
        let graph = load(&golden(name)).expect("reads");
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!((names, graph.name.as_str()), (expected.to_vec(), "small"), "{name}");
    }
    assert_eq!(load(&golden("small.keras")).expect("reads"), load(&golden("small.h5")).expect("reads"));
}

#[test]
fn functions_of_tensorflow_are_read_in_the_older_syntax() {
    let halved = layer(
        "TFOpLambda",
        "half",
        r#""function": "math.truediv""#,
        r#"["x", 0, 0, {"y": 2.0, "name": null}]"#,
    );
    let sum = layer(
        "TFOpLambda",
        "last",
        r#""function": "__operators__.add""#,
        r#"["half", 0, 0, {"y": ["x", 0, 0]}]"#,
    );
    let graph = read_config(&functional(&format!("{halved}, {sum}"))).expect("reads");
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["divide", "add"]);
    assert_eq!(graph.nodes[1].inputs, [graph.nodes[0].outputs[0], graph.inputs[0]]);
}

#[test]
fn a_layer_called_twice_gives_two_nodes() {
    let twice = r#"["x", 0, 0, {}]], [["last", 0, 0, {}]"#;
    let config = functional(&layer("MaxPooling2D", "last", r#""pool_size": 2, "strides": 1"#, twice));
    let graph =
        read_config(&config.replace(r#"[["last", 0, 0]]}}"#, r#"[["last", 1, 0]]}}"#)).expect("reads");
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["last", "last/2"]);
    assert!(graph.nodes.iter().all(|node| matches!(node.op, Op::Pool2d(_))));
}

#[test]
fn what_cannot_be_read_is_named() {
    let x = r#"["x", 0, 0, {}]"#;
    for (layers, expected) in [
        (
            layer("LSTM", "last", "", x),
            "layer `last` (LSTM): expected a layer of convolutional networks that Taper knows",
        ),
        (
            layer("Conv2D", "last", r#""data_format": "channels_first""#, x),
            "layer `last` (Conv2D): expected images with channels last, found `data_format` channels_first",
        ),
        (
            layer("ReLU", "last", r#""threshold": 1"#, x),
            "layer `last` (ReLU): expected `threshold` to be 0, without a step, found 1",
        ),
        (
            layer("Activation", "last", r#""activation": "gelu""#, x),
            "layer `last` (Activation): expected `activation` to be linear, relu, relu6, leaky_relu, elu, silu, hard_swish, \
             sigmoid, tanh, softmax, or of Keras 3 hard_sigmoid, found \"gelu\"",
        ),
        (
            layer("Softmax", "last", r#""axis": 1"#, x),
            "layer `last` (Softmax): expected `axis` to be the innermost, found 1",
        ),
        (layer("Conv2D", "last", "", x), "layer `last` (Conv2D): expected a variable `kernel`, found none"),
        (
            layer("Flatten", "last", "", r#"["y", 0, 0, {}]"#),
            "keras model `m`: expected output 0 of call 0 of layer `y`, found none",
        ),
        (
            layer("Add", "last", "", r#"["x", 0, 0, {}], ["last", 0, 0, {}]"#),
            "layer `last` (Add): expected layers without a cycle, found it in one",
        ),
        (
            layer("UpSampling2D", "last", r#""size": [16777217, 2]"#, x),
            "layer `last` (UpSampling2D): expected `size` to be one or two counts, found [16777217,2]",
        ),
        (
            format!("{0}, {0}", layer("Flatten", "last", "", x)),
            "keras model `m`: expected layers of different names, found `last` twice",
        ),
    ] {
        let message = read_config(&functional(&layers)).expect_err("refuses").to_string();
        assert_eq!(message, expected);
    }
}

#[test]
fn weights_alone_are_no_model() {
    let error = load(&golden("small.weights.h5")).expect_err("refuses");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().ends_with("the file holds weights without their model"), "{error}");
}

#[test]
fn a_configuration_of_many_levels_is_refused() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let message = read_config(&format!(r#"{{"config": {open}{close}}}"#)).expect_err("refuses").to_string();
    assert!(message.contains("recursion limit"), "{message}");
}

/// Each model calls the one in it twice: 20 levels would make a million nodes.
#[test]
fn models_that_multiply_are_refused() {
    let mut inner = layer("Flatten", "last", "", r#"["x", 0, 0, {}]"#);
    for _ in 0..20 {
        let mut model = functional(&inner);
        model.pop();
        inner = format!(
            r#"{model}, "name": "last", "inbound_nodes": [[["x", 0, 0, {{}}]], [["x", 0, 0, {{}}]]]}}"#
        );
    }
    let message = read_config(&functional(&inner)).expect_err("refuses").to_string();
    assert!(message.contains("expected at most 50000 calls"), "{message}");
}

/// A protocol 2 pickle of the older format's magic number and protocol, so that what follows is read.
fn behind_a_header(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend_from_slice(pickle);
    bytes
}

#[test]
fn code_in_a_pickle_is_refused_by_name() {
    for (pickle, name) in [
        (&b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..], "os.system"),
        (b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.", "__builtin__.eval"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.", "posix.system"),
        (b"\x80\x02ccollections\nCounter\n)R.", "collections.Counter"),
    ] {
        for bytes in [pickle.to_vec(), behind_a_header(pickle)] {
            let error = weights::read(bytes).expect_err("refuses");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().starts_with(&format!("pickle global `{name}`")), "{error}");
        }
    }
    let message = weights::load(&golden("module.pth")).expect_err("refuses").to_string();
    assert!(message.contains("pickle global `torch.nn.modules.container.Sequential`"), "{message}");
}

#[test]
fn opcodes_that_build_objects_are_refused() {
    // INST, OBJ, NEWOBJ and an extension code call what they name without REDUCE.
    for pickle in [&b"\x80\x02(ios\nsystem\n."[..], b"\x80\x02(o.", b"\x80\x02)\x81.", b"\x80\x02\x82\x01."] {
        let message = weights::read(pickle.to_vec()).expect_err("refuses").to_string();
        assert!(message.contains("expected the opcodes of a state dictionary"), "{message}");
    }
}

#[test]
fn a_dictionary_that_holds_itself_ends() {
    // A list and a dictionary that are their own items.
    for pickle in [&b"\x80\x02]q\0h\0a."[..], b"\x80\x02}q\0X\x01\0\0\0ah\0s."] {
        weights::read(behind_a_header(pickle)).expect_err("refuses");
    }
}

fn read_everything(bytes: &[u8]) {
    let _ = weights::read(bytes.to_vec());
    let _ = keras::read(bytes.to_vec());
}

#[test]
fn cut_files_fail() {
    for name in FILES {
        let bytes = bytes(name);
        for part in 0..64 {
            let cut = &bytes[..bytes.len() * part / 64];
            assert!(keras::read(cut.to_vec()).is_err(), "{name} {part}");
            assert!(weights::read(cut.to_vec()).is_err(), "{name} {part}");
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    for name in FILES {
        let original = bytes(name);
        for part in 0..256 {
            let position = original.len() * part / 256;
            for damage in [0x01, 0x80, 0xff] {
                let mut bytes = original.clone();
                bytes[position] ^= damage;
                read_everything(&bytes);
            }
            for fill in [0x00, 0x7f, 0xff] {
                let mut bytes = original.clone();
                let end = (position + 8).min(bytes.len());
                bytes[position..end].fill(fill);
                read_everything(&bytes);
            }
        }
    }
}
