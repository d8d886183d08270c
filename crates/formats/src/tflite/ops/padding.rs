//! Padding: explicit pixels in the graph; SAME, VALID or a PAD of its own in TFLite.

use super::{Arithmetic, Emitter, Options, Reading, Source, Versions, to_i32, unwritable};
use crate::error::{FormatError, Result};
use crate::tflite::schema::{self, builtin, options};
use taper_graph::{
    Activation, DType, Dim, Graph, Node, NodeId, Op, Pad, Padding, PoolKind, Quantization, Shape, Tensor,
    TensorData, TensorId,
};

const PAD: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
const PADV2: Versions = Versions::new(1, [1, 9, 0], 2, [1, 14, 0]);

/// Operators between a maximum and the nonlinearity in front of it; the bound keeps hostile chains cheap.
const LONGEST_WALK: usize = 32;

/// A window that slides over an image; height before width.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
}

/// The pixels that a padding scheme of TFLite stands for.
pub(super) fn read(
    scheme: i8,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<Padding> {
    match scheme {
        schema::padding::SAME => Ok(Padding::same(input, kernel, stride, dilation)),
        schema::padding::VALID => Ok(Padding::default()),
        _ => Err(FormatError::invalid("padding", format!("expected SAME (0) or VALID (1), found {scheme}"))),
    }
}

/// The tensor that `node`'s operator is to read and its padding scheme. Where neither scheme says what the window
/// does, a PAD in front does it.
pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, window: Window) -> Result<(i32, i8)> {
    let x = emitter.tensor(node, 0)?;
    let [height, width, _] = x.shape.image().unwrap_or_default();
    let position = to_i32(node.inputs[0].0, "tensor position")?;
    if window.padding == Padding::default() {
        return Ok((position, schema::padding::VALID));
    }
    if window.padding == Padding::same([height, width], window.kernel, window.stride, window.dilation) {
        return Ok((position, schema::padding::SAME));
    }
    if !zeros_are_exact(emitter.graph, &emitter.producers, node) {
        return Err(unwritable(
            node,
            &format!(
                "expected padding as SAME or VALID, or maxima of values that cannot be negative, found {:?}",
                window.padding
            ),
        ));
    }
    let padded = pad(emitter, node, x, window.padding)?;
    Ok((padded, schema::padding::VALID))
}

/// Emits a PAD and returns the tensor that it writes. TFLite pads integers with their zero point.
fn pad<'g>(emitter: &mut Emitter<'g>, node: &'g Node, x: &Tensor, padding: Padding) -> Result<i32> {
    let paddings = margins(emitter, node, padding)?;
    let Padding { top, bottom, left, right } = padding;
    let grown = |(dim, more): (&Dim, usize)| match *dim {
        Dim::Fixed(size) => Dim::Fixed(size + more),
        Dim::Batch(batch) => Dim::Batch(batch),
    };
    let more = [0, top + bottom, left + right, 0];
    let shape = Shape::new(x.shape.dims().iter().zip(more).map(grown).collect());
    let padded =
        emitter.add(Tensor { name: format!("{}/pad", node.name), shape, data: None, ..x.clone() })?;
    let version = PAD.of(emitter.of_activations(node)?);
    let input = to_i32(node.inputs[0].0, "tensor position")?;
    emitter.operator(builtin::PAD, version, vec![input, paddings], vec![padded], pad_options());
    Ok(padded)
}

/// Adds the constant `[4, 2]` that tells by how much each axis is padded.
fn margins<'g>(emitter: &mut Emitter<'g>, node: &'g Node, padding: Padding) -> Result<i32> {
    let Padding { top, bottom, left, right } = padding;
    let margins = [0, 0, top, bottom, left, right, 0, 0];
    let values = margins.iter().map(|&margin| to_i32(margin, "padding")).collect::<Result<_>>()?;
    emitter.add_i32(format!("{}/paddings", node.name), &[4, 2], values)
}

fn pad_options<'g>() -> Options<'g> {
    Options::Fields { options_type: options::PAD, fields: Vec::new() }
}

/// Writes padding that stands alone: PAD of zeros, or PADV2 of another float.
pub(super) fn write_pad<'g>(emitter: &mut Emitter<'g>, node: &'g Node, pad: &Pad) -> Result<()> {
    emitter.same_quantization(node)?;
    let arithmetic = emitter.of_activations(node)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(margins(emitter, node, pad.padding)?);
    if pad.value == 0.0 {
        return emitter.with_inputs(node, builtin::PAD, PAD.of(arithmetic), inputs, pad_options());
    }
    if arithmetic != Arithmetic::Float {
        return Err(unwritable(node, &format!("expected zeros around integers, found {}", pad.value)));
    }
    inputs.push(emitter.add(Tensor {
        name: format!("{}/value", node.name),
        shape: Shape::fixed(&[1]),
        dtype: DType::F32,
        quantization: None,
        data: Some(TensorData::F32(vec![pad.value])),
    })?);
    let options = Options::Fields { options_type: options::PADV2, fields: Vec::new() };
    emitter.with_inputs(node, builtin::PADV2, PADV2.of(arithmetic), inputs, options)
}

pub(super) fn read_pad(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(values) = source.i32_values(1) else {
        return Ok(None);
    };
    let margins: Option<Vec<usize>> = values.iter().map(|&value| usize::try_from(value).ok()).collect();
    let Some(&[0, 0, top, bottom, left, right, 0, 0]) = margins.as_deref() else {
        return Ok(None);
    };
    let value = match (source.code.builtin, source.inputs.len(), source.tensor(2)) {
        (builtin::PAD, 2, _) => Some(0.0),
        // The border of integers is an integer, which stands for another value in each quantization.
        (builtin::PADV2, 3, Some(value)) => match value.f32_data() {
            Some(&[value]) => Some(value).filter(|value| value.is_finite()),
            Some(_) | None => None,
        },
        _ => None,
    };
    let image = x.shape.image().is_some_and(|sizes| !sizes.contains(&0));
    let same = Arithmetic::of_activations(x, y).is_some() && x.quantization == y.quantization;
    let Some(value) = value.filter(|_| image && same) else {
        return Ok(None);
    };
    let padding = Padding { top, bottom, left, right };
    Ok(Some((Op::Pad(Pad { padding, value }), inputs)))
}

/// Joins each PAD with the convolution or maximum pooling behind it, where the result is exactly the same.
///
/// The nodes' tensors that are no longer used stay in the graph.
pub(in crate::tflite) fn fuse(graph: &mut Graph) {
    let producers = producers(graph);
    let reads = reads(graph);
    let mut joined = vec![false; graph.nodes.len()];
    for position in 0..graph.nodes.len() {
        let node = &graph.nodes[position];
        let Some(&padded) = node.inputs.first() else {
            continue;
        };
        let Some(producer) = producers[padded.0].filter(|_| reads[padded.0] == 1) else {
            continue;
        };
        let producer_node = graph.node(producer);
        let (Op::Pad(Pad { padding, value: 0.0 }), [x]) = (&producer_node.op, &producer_node.inputs[..])
        else {
            continue;
        };
        let (x, padding) = (*x, *padding);
        let exact = zeros_are_exact(graph, &producers, node);
        let node = &mut graph.nodes[position];
        match &mut node.op {
            Op::Conv2d(conv) if exact && conv.padding == Padding::default() => conv.padding = padding,
            Op::Pool2d(pool)
                if exact && pool.padding == Padding::default() && hangs(padding, pool.window) =>
            {
                pool.padding = padding;
            }
            Op::Conv2d(_)
            | Op::Pool2d(_)
            | Op::ConvTranspose2d(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::Prelu
            | Op::Elementwise(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::ArgMax(_)
            | Op::Softmax(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Quantize { .. }
            | Op::Opaque(_) => continue,
        }
        node.inputs[0] = x;
        joined[producer.0] = true;
    }
    let mut joined = joined.into_iter();
    graph.nodes.retain(|_| !joined.next().unwrap_or(false));
}

/// Whether every window still covers a pixel of the image, as the graph's pooling demands.
fn hangs(padding: Padding, window: [usize; 2]) -> bool {
    padding.top.max(padding.bottom) < window[0] && padding.left.max(padding.right) < window[1]
}

/// Whether zeros around the input of `node` are what its own padding means: always for convolution; for maxima only
/// if no value is below zero; never for means, which leave padded pixels out.
fn zeros_are_exact(graph: &Graph, producers: &[Option<NodeId>], node: &Node) -> bool {
    match &node.op {
        Op::Conv2d(_) => true,
        Op::Pool2d(pool) => match pool.kind {
            PoolKind::Max => node.inputs.first().is_some_and(|&x| never_negative(graph, producers, x)),
            PoolKind::Average => false,
        },
        Op::ConvTranspose2d(_)
        | Op::FullyConnected(_)
        | Op::BatchNorm(_)
        | Op::Activation { .. }
        | Op::Prelu
        | Op::Elementwise(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Resize2d(_)
        | Op::GlobalPool2d { .. }
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::StridedSlice(_)
        | Op::Tile { .. }
        | Op::ArgMax(_)
        | Op::Softmax(_)
        | Op::Dropout(_)
        | Op::FakeQuantize(_)
        | Op::Quantize { .. }
        | Op::Opaque(_) => false,
    }
}

fn never_negative(graph: &Graph, producers: &[Option<NodeId>], mut tensor: TensorId) -> bool {
    for _ in 0..LONGEST_WALK {
        let Tensor { dtype, quantization, .. } = graph.tensor(tensor);
        if let (Some(Quantization::PerTensor { zero_point, .. }), Some((least, _))) =
            (quantization, dtype.integer_range())
        {
            return i64::from(*zero_point) == least;
        }
        let Some(node) = producers[tensor.0].map(|id| graph.node(id)) else {
            return false;
        };
        let input = node.inputs.first().copied();
        let passes_on = match &node.op {
            Op::Softmax(_) => return true,
            Op::Activation { function } => return hides_negatives(Some(*function)),
            Op::Conv2d(conv) => return hides_negatives(conv.activation),
            Op::ConvTranspose2d(conv) => return hides_negatives(conv.activation),
            Op::FullyConnected(dense) => return hides_negatives(dense.activation),
            Op::Elementwise(elementwise) => return hides_negatives(elementwise.activation),
            Op::Pad(pad) => input.filter(|_| pad.value >= 0.0),
            Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Resize2d(_)
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::Dropout(_)
            | Op::Quantize { .. } => input,
            Op::BatchNorm(_)
            | Op::Prelu
            | Op::Concat(_)
            | Op::ArgMax(_)
            | Op::FakeQuantize(_)
            | Op::Opaque(_) => {
                return false;
            }
        };
        match passes_on {
            Some(input) => tensor = input,
            None => return false,
        }
    }
    false
}

/// Whether a nonlinearity gives no value below zero.
fn hides_negatives(activation: Option<Activation>) -> bool {
    match activation {
        Some(Activation::Relu | Activation::Relu6 | Activation::Sigmoid | Activation::HardSigmoid) => true,
        Some(
            Activation::LeakyRelu { .. }
            | Activation::Tanh
            | Activation::HardSwish
            | Activation::Elu { .. }
            | Activation::Silu
            | Activation::ReluN1To1,
        )
        | None => false,
    }
}

/// How often each tensor is read, by nodes and by the caller.
pub(super) fn reads(graph: &Graph) -> Vec<usize> {
    let mut reads = vec![0; graph.tensors.len()];
    for id in graph.nodes.iter().flat_map(|node| &node.inputs).chain(&graph.outputs) {
        reads[id.0] += 1;
    }
    reads
}

/// The node that writes each tensor.
pub(super) fn producers(graph: &Graph) -> Vec<Option<NodeId>> {
    let mut producers = vec![None; graph.tensors.len()];
    for (id, node) in graph.nodes_with_ids() {
        for output in &node.outputs {
            producers[output.0] = Some(id);
        }
    }
    producers
}
