//! Float tensors become integers, by TFLite's quantization specification.

use super::calibrate::{Range, Ranges};
use super::config::{IoType, QuantizeConfig, QuantizedType, WeightScales};
use crate::error::{AdaptError, Result};
use taper_graph::{Activation, DType, Graph, Node, Op, PoolKind, Quantization, Tensor, TensorData, TensorId};

/// The greatest bias that leaves room for the sum of products in 32 bits.
const GREATEST_BIAS: f32 = (1 << 30) as f32;

/// The full-integer network of a folded float network: int8 weights, symmetric; int8 activations; int32 biases.
///
/// With `io = "uint8"` the network's ends are unsigned, as images come, with a `quantize` operator at each end.
///
/// # Errors
/// If a range is missing, a layer's bias is no constant, or an operator has no integer form.
pub fn quantize(graph: &Graph, ranges: &Ranges, config: &QuantizeConfig) -> Result<Graph> {
    let QuantizedType::Int8 = config.dtype;
    let mut integers = graph.clone();
    for &input in &graph.inputs {
        set_activation(&mut integers, input, activation_of(graph, input, ranges)?);
    }
    for node in &graph.nodes {
        quantize_node(graph, &mut integers, node, ranges, config)?;
    }
    match config.io {
        IoType::Int8 => {}
        IoType::Uint8 => unsigned_ends(&mut integers),
    }
    integers.verify()?;
    Ok(integers)
}

fn quantize_node(
    graph: &Graph,
    integers: &mut Graph,
    node: &Node,
    ranges: &Ranges,
    config: &QuantizeConfig,
) -> Result<()> {
    let [output] = node.outputs[..] else {
        return Err(unsupported(graph, node, "has not exactly one output"));
    };
    limits_only(graph, node)?;
    let quantization = match &node.op {
        Op::Conv2d(conv) if conv.groups != 1 => {
            return Err(unsupported(graph, node, "falls into groups, which have no integer form here"));
        }
        Op::Conv2d(_) => {
            quantize_layer(graph, integers, node, config.weights)?;
            activation_of(graph, output, ranges)?
        }
        Op::FullyConnected(_) => {
            quantize_layer(graph, integers, node, WeightScales::PerTensor)?;
            activation_of(graph, output, ranges)?
        }
        Op::Activation { .. } => activation_of(graph, output, ranges)?,
        Op::ConvTranspose2d(_)
        | Op::Prelu
        | Op::Elementwise(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Resize2d(_)
        | Op::ArgMax(_)
        | Op::FakeQuantize(_) => return Err(unsupported(graph, node, "has no integer form here")),
        Op::Dropout(_) => return Err(unsupported(graph, node, "serves training: fold it away first")),
        // These keep the scale of their input, so that they need no arithmetic or only a mean.
        Op::Pool2d(_)
        | Op::GlobalPool2d { kind: PoolKind::Max | PoolKind::Average }
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::StridedSlice(_)
        | Op::Tile { .. } => integers
            .tensor(node.inputs[0])
            .quantization
            .clone()
            .ok_or_else(|| unsupported(graph, node, "reads a tensor without quantization"))?,
        // The specification fixes the output of softmax: the values 0 to 255/256.
        Op::Softmax(_) => Quantization::PerTensor { scale: 1.0 / 256.0, zero_point: -128 },
        Op::BatchNorm(_) => return Err(unsupported(graph, node, "has no integer form: fold it first")),
        Op::Quantize { .. } => {
            return Err(unsupported(graph, node, "is already there: the network is quantized"));
        }
        Op::Opaque(_) => return Err(unsupported(graph, node, "is not understood")),
    };
    set_activation(integers, output, quantization);
    Ok(())
}

/// Refuses nonlinearities, alone or fused, that integers cannot have by a limit of their range.
fn limits_only(graph: &Graph, node: &Node) -> Result<()> {
    let function = if let Op::Activation { function } = node.op {
        Some(function)
    } else {
        node.op.fused_activation().flatten()
    };
    match function {
        Some(
            function @ (Activation::LeakyRelu { .. }
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::HardSwish
            | Activation::HardSigmoid
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::ReluN1To1),
        ) => Err(unsupported(
            graph,
            node,
            &format!("needs {}, which has no integer form here", function.name()),
        )),
        Some(Activation::Relu | Activation::Relu6) | None => Ok(()),
    }
}

/// Weights become int8, the bias int32 with the scale `input · weights`.
fn quantize_layer(graph: &Graph, integers: &mut Graph, node: &Node, scales: WeightScales) -> Result<()> {
    let Some(Quantization::PerTensor { scale: input_scale, .. }) =
        integers.tensor(node.inputs[0]).quantization
    else {
        return Err(unsupported(graph, node, "reads a tensor without quantization"));
    };
    let floats = |id: TensorId| {
        let tensor = graph.tensor(id);
        let message = format!("expected `{}` to be constant finite floats", tensor.name);
        let values = tensor.f32_data().filter(|values| values.iter().all(|value| value.is_finite()));
        values.ok_or_else(|| unsupported(graph, node, &message))
    };
    let weights = floats(node.inputs[1])?;
    let channels = graph.tensor(node.inputs[1]).shape.with_batch(1)[0];
    let zeros = vec![0.0; channels];
    let bias = node.inputs.get(2).map(|id| floats(*id)).transpose()?.unwrap_or(&zeros);

    // A channel whose bias dwarfs its weights needs a coarser scale, or the bias would not fit.
    let scale_of = |weights: &[f32], bias: &[f32]| {
        let least = greatest(bias) / (input_scale * GREATEST_BIAS);
        let scale = (greatest(weights) / 127.0).max(least);
        if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
    };
    let per_channel = weights.len() / channels;
    let channel_scales: Vec<f32> = match scales {
        WeightScales::PerChannel => {
            weights.chunks(per_channel).zip(bias.chunks(1)).map(|(w, b)| scale_of(w, b)).collect()
        }
        WeightScales::PerTensor => vec![scale_of(weights, bias); channels],
    };
    let quantized = weights
        .chunks(per_channel)
        .zip(&channel_scales)
        .flat_map(|(weights, scale)| {
            weights.iter().map(move |w| (w / scale).round().clamp(-127.0, 127.0) as i8)
        })
        .collect();
    let bias_scales: Vec<f32> = channel_scales.iter().map(|scale| scale * input_scale).collect();
    let quantized_bias = bias
        .iter()
        .zip(&bias_scales)
        .map(|(bias, scale)| (f64::from(*bias) / f64::from(*scale)).round() as i32)
        .collect();

    let as_quantization = |values: Vec<f32>| match scales {
        WeightScales::PerTensor => Quantization::PerTensor { scale: values[0], zero_point: 0 },
        WeightScales::PerChannel => Quantization::PerAxis { axis: 0, scales: values },
    };
    set_constant(integers, node.inputs[1], TensorData::I8(quantized), as_quantization(channel_scales));
    if let Some(&id) = node.inputs.get(2) {
        set_constant(integers, id, TensorData::I32(quantized_bias), as_quantization(bias_scales));
    }
    Ok(())
}

/// The scale and zero point of an activation: its range, widened to hold 0, spread over −128..=127.
fn activation_of(graph: &Graph, id: TensorId, ranges: &Ranges) -> Result<Quantization> {
    let Range { min, max } = *ranges.get(&id).ok_or_else(|| AdaptError::Unsupported {
        pass: "quantize",
        network: graph.name.clone(),
        message: format!("`{}` was not calibrated", graph.tensor(id).name),
    })?;
    let (min, max) = (min.min(0.0), max.max(0.0));
    let scale = (max - min) / 255.0;
    // An activation that is always 0 may have any scale.
    let scale = if scale >= f32::MIN_POSITIVE { scale } else { 1.0 };
    let zero_point = (-128.0 - min / scale).round().clamp(-128.0, 127.0) as i32;
    Ok(Quantization::PerTensor { scale, zero_point })
}

fn greatest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |greatest, value| greatest.max(value.abs()))
}

fn set_activation(graph: &mut Graph, id: TensorId, quantization: Quantization) {
    let tensor = graph.tensor_mut(id);
    tensor.dtype = DType::I8;
    tensor.quantization = Some(quantization);
}

fn set_constant(graph: &mut Graph, id: TensorId, data: TensorData, quantization: Quantization) {
    let tensor = graph.tensor_mut(id);
    tensor.dtype = data.dtype();
    tensor.data = Some(data);
    tensor.quantization = Some(quantization);
}

/// Puts a `quantize` operator at each end, so that inputs and outputs are uint8. The outer tensors keep their names.
fn unsigned_ends(graph: &mut Graph) {
    for position in 0..graph.inputs.len() {
        let (outer, inner) = (graph.inputs[position], split(graph, graph.inputs[position]));
        for node in &mut graph.nodes {
            node.inputs.iter_mut().filter(|id| **id == outer).for_each(|id| *id = inner);
        }
        graph.nodes.insert(position, requantize(graph, DType::I8, outer, inner));
    }
    for position in 0..graph.outputs.len() {
        let (outer, inner) = (graph.outputs[position], split(graph, graph.outputs[position]));
        for node in &mut graph.nodes {
            node.inputs
                .iter_mut()
                .chain(&mut node.outputs)
                .filter(|id| **id == outer)
                .for_each(|id| *id = inner);
        }
        let node = requantize(graph, DType::U8, inner, outer);
        graph.nodes.push(node);
    }
}

/// Turns an int8 tensor at an end of the graph into its unsigned twin, and adds the int8 one beside it.
fn split(graph: &mut Graph, outer: TensorId) -> TensorId {
    let inner = Tensor { name: format!("{}_int8", graph.tensor(outer).name), ..graph.tensor(outer).clone() };
    graph.tensors.push(inner);
    let tensor = graph.tensor_mut(outer);
    tensor.dtype = DType::U8;
    if let Some(Quantization::PerTensor { zero_point, .. }) = &mut tensor.quantization {
        *zero_point += 128;
    }
    TensorId(graph.tensors.len() - 1)
}

fn requantize(graph: &Graph, dtype: DType, from: TensorId, to: TensorId) -> Node {
    let name = format!("{}_quantize", graph.tensor(to).name);
    Node { name, op: Op::Quantize { dtype }, inputs: vec![from], outputs: vec![to] }
}

fn unsupported(graph: &Graph, node: &Node, message: &str) -> AdaptError {
    AdaptError::Unsupported {
        pass: "quantize",
        network: graph.name.clone(),
        message: format!("`{}` ({}) {message}", node.name, node.op.name()),
    }
}
