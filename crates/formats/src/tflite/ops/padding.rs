//! Padding: explicit pixels in the graph; SAME, VALID or a PAD of its own in TFLite.

use super::{Emitter, Options, Versions, opaque, to_i32, unwritable};
use crate::error::{FormatError, Result};
use crate::tflite::schema::{self, builtin, options};
use taper_graph::{
    Dim, Graph, Node, NodeId, Op, Padding, PoolKind, Quantization, Shape, Tensor, TensorData, TensorId,
};

const PAD: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);

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
    let Padding { top, bottom, left, right } = padding;
    let margins = [[0, 0], [top, bottom], [left, right], [0, 0]];
    let values =
        margins.as_flattened().iter().map(|&margin| to_i32(margin, "padding")).collect::<Result<_>>()?;
    let paddings = emitter.add_i32(format!("{}/paddings", node.name), &[4, 2], values)?;
    let grown = |(dim, [before, after]): (&Dim, [usize; 2])| match *dim {
        Dim::Fixed(size) => Dim::Fixed(size + before + after),
        Dim::Batch(batch) => Dim::Batch(batch),
    };
    let shape = Shape::new(x.shape.dims().iter().zip(margins).map(grown).collect());
    let padded =
        emitter.add(Tensor { name: format!("{}/pad", node.name), shape, data: None, ..x.clone() })?;
    let version = PAD.of(emitter.of_activations(node)?);
    let input = to_i32(node.inputs[0].0, "tensor position")?;
    let options = Options::Fields { options_type: options::PAD, fields: Vec::new() };
    emitter.operator(builtin::PAD, version, vec![input, paddings], vec![padded], options);
    Ok(padded)
}

/// Joins each PAD with the convolution or maximum pooling behind it, where the result is exactly the same.
///
/// The nodes' tensors that are no longer used stay in the graph.
pub(in crate::tflite) fn fuse(graph: &mut Graph) {
    let producers = producers(graph);
    let mut uses = vec![0usize; graph.tensors.len()];
    for id in graph.nodes.iter().flat_map(|node| &node.inputs).chain(&graph.outputs) {
        uses[id.0] += 1;
    }
    let mut joined = vec![false; graph.nodes.len()];
    for position in 0..graph.nodes.len() {
        let node = &graph.nodes[position];
        let Some(&padded) = node.inputs.first() else {
            continue;
        };
        let Some(producer) = producers[padded.0].filter(|_| uses[padded.0] == 1) else {
            continue;
        };
        let Some((x, padding)) = zero_padding(graph, graph.node(producer)) else {
            continue;
        };
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
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Softmax(_)
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

/// What a PAD of an image reads, and by how much it pads height and width; `None` for anything else.
fn zero_padding(graph: &Graph, node: &Node) -> Option<(TensorId, Padding)> {
    let Op::Opaque(opaque) = &node.op else { return None };
    let ([x, paddings], [y]) = (&node.inputs[..], &node.outputs[..]) else {
        return None;
    };
    let is_pad = opaque::record(opaque).is_ok_and(|record| record.code.builtin == builtin::PAD);
    let values: Vec<usize> = match &graph.tensor(*paddings).data {
        Some(TensorData::I32(values)) => {
            values.iter().map(|&value| usize::try_from(value)).collect::<std::result::Result<_, _>>().ok()?
        }
        Some(_) | None => return None,
    };
    let [0, 0, top, bottom, left, right, 0, 0] = values[..] else {
        return None;
    };
    let (from, to) = (graph.tensor(*x), graph.tensor(*y));
    let same = from.dtype == to.dtype && from.quantization == to.quantization;
    (is_pad && same).then_some((*x, Padding { top, bottom, left, right }))
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
        Op::FullyConnected(_)
        | Op::BatchNorm(_)
        | Op::Activation { .. }
        | Op::GlobalPool2d { .. }
        | Op::Flatten
        | Op::Softmax(_)
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
            Op::Activation { .. } | Op::Softmax(_) => return true,
            Op::Conv2d(conv) => return conv.activation.is_some(),
            Op::FullyConnected(dense) => return dense.activation.is_some(),
            Op::BatchNorm(_) => return false,
            Op::Pool2d(_) | Op::GlobalPool2d { .. } | Op::Flatten | Op::Quantize { .. } => input,
            Op::Opaque(opaque) => {
                let pad = opaque::record(opaque).is_ok_and(|record| record.code.builtin == builtin::PAD);
                input.filter(|_| pad)
            }
        };
        match passes_on {
            Some(input) => tensor = input,
            None => return false,
        }
    }
    false
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
