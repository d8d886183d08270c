//! Conv.

use super::window::{self, Window};
use crate::error::Result;
use crate::onnx::emitter::{Emitter, TO_FIRST};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Conv2d, Node, Op};

/// Order of the axes of weights `[O,I,KH,KW]` in `[O,KH,KW,I]`.
const WEIGHTS: [usize; 4] = [0, 2, 3, 1];

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=3, &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])?;
    let weights = importer.required(operation, 1)?;
    let &[_, _, height, width] = &weights.dims[..] else {
        return Err(
            operation.unsupported(format!("expected weights of a 2-D convolution, found {:?}", weights.dims))
        );
    };
    let x = importer.image(operation, 0)?;
    let input = super::pixels(importer, operation, x)?;
    let window = Window::read(operation, input, [height, width])?;
    let groups = operation.count("group", operation.integer("group").unwrap_or(1))?;
    let mut inputs = vec![x, importer.parameter(&weights.transposed(&WEIGHTS))?];
    if let Some(bias) = importer.constant(operation, 2)? {
        inputs.push(importer.parameter(&bias)?);
    }
    let Window { stride, dilation, padding, .. } = window;
    let op = Op::Conv2d(Conv2d { stride, dilation, padding, groups, activation: None });
    let y = importer.add(operation, op, &inputs)?;
    Ok(importer.channels_last(y))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, conv: &Conv2d) -> Result<()> {
    let mut inputs = vec![emitter.input(node, 0)?, emitter.constant(node, 1, &TO_FIRST)?];
    if node.inputs.len() > 2 {
        inputs.push(emitter.constant(node, 2, &[0])?);
    }
    let sizes = emitter.tensor(node, 1).shape.sizes().unwrap_or_default();
    let fields = vec![
        ("dilations", window::pixels(&conv.dilation)?),
        ("group", window::count(conv.groups)?),
        ("kernel_shape", window::pixels(sizes.get(1..3).unwrap_or_default())?),
        ("pads", window::pads(conv.padding)?),
        ("strides", window::pixels(&conv.stride)?),
    ];
    emitter.layer(node, "Conv", inputs, fields)
}
