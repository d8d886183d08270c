//! Models of quantized integers, made by hand: what becomes of them, and what is refused.

use super::*;
use taper_graph::{Activation, DType, Quantization, TensorData};

fn bytes(name: &str, dims: &[i64], data_type: i32, values: &[i32]) -> Tensor {
    let int32_data = values.to_vec();
    Tensor { name: name.to_owned(), dims: dims.to_vec(), data_type, int32_data, ..Tensor::default() }
}

fn scale(name: &str, scale: f32) -> Tensor {
    floats(name, &[], scale)
}

/// Scales and zero points, and weights `[2,3,1,1]` with a bias.
fn constants() -> Vec<Tensor> {
    vec![
        scale("sx", 0.5),
        bytes("zx", &[], data_type::INT8, &[3]),
        scale("sy", 0.25),
        bytes("zy", &[], data_type::INT8, &[-7]),
        bytes("w", &[2, 3, 1, 1], data_type::INT8, &[1, -2, 3, -4, 5, -6]),
        Tensor { float_data: vec![0.5, 2.0], ..floats("sw", &[2], 0.0) },
        bytes("zw", &[2], data_type::INT8, &[0, 0]),
        bytes("b", &[2], data_type::INT32, &[10, 20]),
        Tensor { float_data: vec![0.25, 1.0], ..floats("sb", &[2], 0.0) },
    ]
}

fn axis() -> Vec<Attribute> {
    vec![int("axis", 0)]
}

/// A convolution between DequantizeLinear and QuantizeLinear, with these nodes on its output `c` that give `d`.
fn around(middle: Vec<Node>) -> Vec<Node> {
    let before = vec![
        node("QuantizeLinear", &["image", "sx", "zx"], "xq", Vec::new()),
        node("DequantizeLinear", &["xq", "sx", "zx"], "x", Vec::new()),
        node("DequantizeLinear", &["w", "sw", "zw"], "wd", axis()),
        node("DequantizeLinear", &["b", "sb"], "bd", axis()),
        node("Conv", &["x", "wd", "bd"], "c", Vec::new()),
    ];
    let behind = vec![
        node("QuantizeLinear", &["d", "sy", "zy"], "dq", Vec::new()),
        node("DequantizeLinear", &["dq", "sy", "zy"], "y", Vec::new()),
    ];
    [before, middle, behind].concat()
}

fn relu() -> Vec<Node> {
    vec![node("Relu", &["c"], "d", Vec::new())]
}

#[test]
fn a_layer_between_dequantize_and_quantize_becomes_one_of_integers() {
    let graph = graph(&model(13, around(relu()), constants()));
    let [quantize, conv] = &graph.nodes[..] else { panic!("expected two nodes, found {:?}", graph.nodes) };
    assert_eq!(quantize.op, Op::Quantize { dtype: DType::I8 });
    assert_eq!(conv.op.fused_activation(), Some(Some(Activation::Relu)));
    let [x, weights, bias] = [0, 1, 2].map(|position| graph.tensor(conv.inputs[position]));
    let output = graph.tensor(graph.outputs[0]);
    assert_eq!((output.name.as_str(), output.dtype), ("y", DType::I8));
    assert_eq!(x.quantization, Some(Quantization::PerTensor { scale: 0.5, zero_point: 3 }));
    assert_eq!(output.quantization, Some(Quantization::PerTensor { scale: 0.25, zero_point: -7 }));
    assert_eq!(weights.quantization, Some(Quantization::PerAxis { axis: 0, scales: vec![0.5, 2.0] }));
    assert_eq!(bias.quantization, Some(Quantization::PerAxis { axis: 0, scales: vec![0.25, 1.0] }));
    assert_eq!(bias.data, Some(TensorData::I32(vec![10, 20])));
}

#[test]
fn floats_that_the_model_quantizes_itself_are_the_same_integers() {
    let mut nodes = around(relu());
    nodes[2] = node("DequantizeLinear", &["wq", "sw", "zw"], "wd", axis());
    nodes.insert(2, node("QuantizeLinear", &["w_float", "sw", "zw"], "wq", axis()));
    // A bias of floats gets the scale of the products.
    nodes[5].input[2] = "b_float".to_owned();
    let mut constants = constants();
    let weights = vec![0.5, -1.0, 1.5, -8.0, 10.0, -12.0];
    constants.push(Tensor { float_data: weights, ..floats("w_float", &[2, 3, 1, 1], 0.0) });
    constants.push(Tensor { float_data: vec![2.5, 20.0], ..floats("b_float", &[2], 0.0) });
    let found = graph(&model(13, nodes, constants));
    let expected = graph(&model(13, around(relu()), self::constants()));
    let data = |graph: &taper_graph::Graph| {
        let conv = &graph.nodes[1];
        [1, 2].map(|position| {
            let tensor = graph.tensor(conv.inputs[position]);
            (tensor.data.clone(), tensor.quantization.clone())
        })
    };
    assert_eq!(data(&found), data(&expected));
}

#[test]
fn a_layer_on_integers_is_the_same() {
    let inputs = ["xq", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"];
    let nodes = vec![
        node("QuantizeLinear", &["image", "sx", "zx"], "xq", Vec::new()),
        node("QLinearConv", &inputs, "c", Vec::new()),
        node("DequantizeLinear", &["c", "sy", "zy"], "y", Vec::new()),
    ];
    let found = graph(&model(13, nodes, constants()));
    let mut expected = around(Vec::new());
    expected[5].input[0] = "c".to_owned();
    assert_eq!(found, graph(&model(13, expected, constants())));
}

#[test]
fn unsigned_integers_beside_signed_ones_become_signed() {
    let mut constants = constants();
    constants[1] = bytes("zx", &[], data_type::UINT8, &[131]);
    constants[3] = bytes("zy", &[], data_type::UINT8, &[121]);
    let found = graph(&model(13, around(relu()), constants));
    assert_eq!(found, graph(&model(13, around(relu()), self::constants())));
}

#[test]
fn what_moves_values_may_stand_before_the_quantization() {
    let largest = vec![node("GlobalMaxPool", &["c"], "d", Vec::new())];
    let graph = graph(&model(13, around(largest), constants()));
    assert_eq!(graph.nodes.len(), 3);
    let meanings = graph.nodes[1..].iter().map(|node| &graph.tensor(node.outputs[0]).quantization);
    for quantization in meanings {
        assert_eq!(*quantization, Some(Quantization::PerTensor { scale: 0.25, zero_point: -7 }));
    }
}

#[test]
fn what_integers_cannot_compute_is_refused_by_name() {
    let unsupported = ErrorKind::Unsupported;
    let refuse = |nodes: Vec<Node>, constants: Vec<Tensor>, words: &[&str]| {
        refused(&model(13, nodes, constants), unsupported, words);
    };
    let tanh = vec![node("Elu", &["c"], "e", Vec::new()), node("Elu", &["e"], "d", Vec::new())];
    refuse(around(tanh), constants(), &["node `d`", "`e`", "to be quantized before it is read"]);
    let mut read_twice = around(relu());
    read_twice.insert(6, node("Tanh", &["d"], "other", Vec::new()));
    refuse(read_twice, constants(), &["`d`"]);
    let mut plain = around(relu());
    plain[4].input[1] = "w_float".to_owned();
    let with_floats = [constants(), vec![floats("w_float", &[2, 3, 1, 1], 1.0)]].concat();
    refuse(plain, with_floats, &["node `c` (Conv)", "`w_float`", "found f32"]);
    let mut open = around(relu());
    open.truncate(6);
    open[5].output = vec!["y".to_owned()];
    refuse(open, constants(), &["value `y`", "scale"]);
    let mut other = around(relu());
    other[1].input[1] = "sy".to_owned();
    refuse(other, constants(), &["node `x` (DequantizeLinear)", "`xq`", "others"]);
    let mut shifted = constants();
    shifted[6] = bytes("zw", &[2], data_type::INT8, &[1, 1]);
    refuse(around(relu()), shifted, &["node `wd` (DequantizeLinear)", "zero point of 1"]);
    let integers = vec![node("ConvInteger", &["image", "w"], "y", Vec::new())];
    refuse(integers, constants(), &["node `y` (ConvInteger)"]);
    let mut blocks = around(relu());
    blocks[2].attribute.push(int("block_size", 2));
    refuse(blocks, constants(), &["node `wd`", "blocks"]);
    let mut unsound = constants();
    unsound[0] = scale("sx", -1.0);
    refused(&model(13, around(relu()), unsound), ErrorKind::Invalid, &["node `xq`", "-1"]);
}
