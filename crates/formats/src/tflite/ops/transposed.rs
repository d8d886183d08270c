//! TRANSPOSE_CONV; with a SLICE behind it where neither of its paddings cuts off what the graph does.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions, padding, slice, to_i32};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, options, transpose_conv_options as fields};
use taper_graph::{AxisSlice, ConvTranspose2d, Graph, Node, Op, Padding, Shape, StridedSlice, Tensor};

/// Without a bias.
const PLAIN: Versions = Versions::new(1, [1, 9, 0], 2, [2, 2, 0]);
const BIASED: Version = Version { number: 3, since: [2, 3, 0] };
const ACTIVATED: Version = Version { number: 4, since: [2, 13, 0] };

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, conv: &ConvTranspose2d) -> Result<()> {
    let arithmetic = emitter.of_layer(node)?;
    let fused = emitter.fused(node, conv.activation)?;
    let weights = emitter.tensor(node, 1)?.shape.sizes().unwrap_or_default();
    let sizes = emitter.output(node)?.shape.with_batch(1);
    let same = Padding::same([sizes[1], sizes[2]], [weights[1], weights[2]], conv.stride, [1, 1]);
    let cut = [conv.padding.top, conv.padding.left];
    // Without padding TRANSPOSE_CONV may stop anywhere below and on the right, but cuts off nothing before.
    let (padding, before) = match cut {
        [0, 0] => (schema::padding::VALID, None),
        _ if cut == [same.top, same.left] => (schema::padding::SAME, None),
        _ => (schema::padding::VALID, Some(cut)),
    };
    let version = match (fused, node.inputs.len()) {
        (schema::NO_ACTIVATION, 2) => PLAIN.of(arithmetic),
        (schema::NO_ACTIVATION, _) => BIASED,
        _ => ACTIVATED,
    };
    let [rows, columns] = before.unwrap_or_default();
    let sizes = [sizes[0], sizes[1] + rows, sizes[2] + columns, sizes[3]];
    let shape = sizes.iter().map(|&size| to_i32(size, "size")).collect::<Result<_>>()?;
    let shape = emitter.add_i32(format!("{}/output_shape", node.name), &[4], shape)?;
    let own = emitter.positions(&node.inputs)?;
    let mut inputs = vec![shape, own[1], own[0]];
    inputs.extend(own.get(2));
    let fields = vec![
        (fields::PADDING, Value::I8(padding)),
        (fields::STRIDE_W, Value::I32(to_i32(conv.stride[1], "stride")?)),
        (fields::STRIDE_H, Value::I32(to_i32(conv.stride[0], "stride")?)),
        (fields::ACTIVATION, Value::I8(fused)),
    ];
    let options = Options::Fields { options_type: options::TRANSPOSE_CONV, fields };
    let Some([rows, columns]) = before else {
        return emitter.with_inputs(node, builtin::TRANSPOSE_CONV, version, inputs, options);
    };
    let y = emitter.output(node)?;
    let batch = y.shape.dims()[0];
    let shape = Shape::new(vec![batch, sizes[1].into(), sizes[2].into(), sizes[3].into()]);
    let uncut = emitter.add(Tensor { name: format!("{}/uncut", node.name), shape, ..y.clone() })?;
    emitter.operator(builtin::TRANSPOSE_CONV, version, inputs, vec![uncut], options);
    let [_, height, width, _] = sizes;
    let axes = [(1, rows, height), (2, columns, width)].map(|(axis, start, size)| AxisSlice {
        axis,
        start,
        step: 1,
        count: size - start,
    });
    slice::write_from(emitter, node, uncut, &axes)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(options), Some(y)) = (source.options(options::TRANSPOSE_CONV)?, source.output()) else {
        return Ok(None);
    };
    let inputs = match *source.inputs {
        [_, Some(weights), Some(x)] | [_, Some(weights), Some(x), None] => vec![x, weights],
        [_, Some(weights), Some(x), Some(bias)] => vec![x, weights, bias],
        _ => return Ok(None),
    };
    let [x, weights] = [inputs[0], inputs[1]].map(|id| &source.tensors[id.0]);
    let bias = inputs.get(2).map(|id| &source.tensors[id.0]);
    let constant = inputs[1..].iter().all(|id| source.tensors[id.0].data.is_some());
    let (Some([in_h, in_w, channels]), Some([out_h, out_w, _])) = (x.shape.image(), y.shape.image()) else {
        return Ok(None);
    };
    let (Some([kernel_h, kernel_w, inner]), Some(sizes)) = (weights.shape.image(), source.i32_values(0))
    else {
        return Ok(None);
    };
    let sizes: Vec<_> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
    let agrees = sizes.get(1..3) == Some(&[Some(out_h), Some(out_w)][..]);
    let computes = Arithmetic::of_layer(x, weights, bias, y).is_some() && inner == channels;
    let Some(activation) = schema::activation(options.scalar(fields::ACTIVATION, schema::NO_ACTIVATION)?)
    else {
        return Ok(None);
    };
    let stride =
        [source.pixels(&options, fields::STRIDE_H, 0)?, source.pixels(&options, fields::STRIDE_W, 0)?];
    let kernel = [kernel_h, kernel_w];
    let scheme = options.scalar(fields::PADDING, schema::padding::SAME)?;
    let before = padding::read(scheme, [out_h, out_w], kernel, stride, [1, 1])?;
    let vertical = after(in_h, out_h, kernel[0], stride[0], before.top);
    let horizontal = after(in_w, out_w, kernel[1], stride[1], before.left);
    let (Some([bottom, added_rows]), Some([right, added_columns]), true) =
        (vertical, horizontal, constant && agrees && computes)
    else {
        return Ok(None);
    };
    let padding = Padding { top: before.top, bottom, left: before.left, right };
    let output_padding = [added_rows, added_columns];
    Ok(Some((Op::ConvTranspose2d(ConvTranspose2d { stride, padding, output_padding, activation }), inputs)))
}

/// Lets each transposed convolution whose output only a slice of rows and columns reads write that slice itself.
///
/// The convolutions' own outputs, which are no longer used, stay in the graph.
pub(in crate::tflite) fn fuse(graph: &mut Graph) {
    let (producers, reads) = (padding::producers(graph), padding::reads(graph));
    let mut joined = vec![false; graph.nodes.len()];
    for position in 0..graph.nodes.len() {
        let Some(&uncut) = graph.nodes[position].inputs.first() else { continue };
        let Some(producer) = producers[uncut.0].filter(|_| reads[uncut.0] == 1) else { continue };
        let Some(conv) = cropped(graph, graph.node(producer), &graph.nodes[position]) else { continue };
        let inputs = graph.node(producer).inputs.clone();
        let node = &mut graph.nodes[position];
        (node.op, node.inputs) = (Op::ConvTranspose2d(conv), inputs);
        joined[producer.0] = true;
    }
    let mut joined = joined.into_iter();
    graph.nodes.retain(|_| !joined.next().unwrap_or(false));
}

/// The transposed convolution that gives what `slice` takes of what `producer` gives, if both are such nodes.
fn cropped(graph: &Graph, producer: &Node, slice: &Node) -> Option<ConvTranspose2d> {
    let (Op::ConvTranspose2d(conv), Op::StridedSlice(StridedSlice { axes })) = (&producer.op, &slice.op)
    else {
        return None;
    };
    let [in_h, in_w, _] = graph.tensor(*producer.inputs.first()?).shape.image()?;
    let [kernel_h, kernel_w, _] = graph.tensor(*producer.inputs.get(1)?).shape.image()?;
    let [out_h, out_w, _] = graph.tensor(*slice.outputs.first()?).shape.image()?;
    let (mut top, mut left) = (conv.padding.top, conv.padding.left);
    for part in axes {
        match part {
            AxisSlice { axis: 1, start, step: 1, .. } => top += start,
            AxisSlice { axis: 2, start, step: 1, .. } => left += start,
            AxisSlice { .. } => return None,
        }
    }
    let [bottom, added_rows] = after(in_h, out_h, kernel_h, conv.stride[0], top)?;
    let [right, added_columns] = after(in_w, out_w, kernel_w, conv.stride[1], left)?;
    let padding = Padding { top, bottom, left, right };
    Some(ConvTranspose2d { padding, output_padding: [added_rows, added_columns], ..conv.clone() })
}

/// What is cut off behind the output of one axis, and what is added there: fewer than the stride.
fn after(input: usize, output: usize, kernel: usize, stride: usize, before: usize) -> Option<[usize; 2]> {
    let covered = input.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?;
    let end = output.checked_add(before)?;
    let added = end.saturating_sub(covered);
    (added < stride && output > 0).then_some([covered.saturating_sub(end), added])
}
