//! Conv.

use super::parameters;
use super::window::{self, Window};
use crate::error::Result;
use crate::onnx::constant::Constant;
use crate::onnx::emitter::{Emitter, TO_FIRST};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Conv2d, Node, Op};

/// What the operator may be told.
pub(super) const ATTRIBUTES: [&str; 6] =
    ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
/// Order of the axes of weights `[O,I,KH,KW]` in `[O,KH,KW,I]`.
const WEIGHTS: [usize; 4] = [0, 2, 3, 1];

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=3, &ATTRIBUTES)?;
    let (weights, bias) = (importer.required(operation, 1)?, importer.constant(operation, 2)?);
    convolve(importer, operation, &weights, bias.as_ref())
}

/// A convolution of input 0.
pub(super) fn convolve<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    weights: &Constant,
    bias: Option<&Constant>,
) -> Result<Value> {
    let &[_, _, height, width] = &weights.dims[..] else {
        return Err(
            operation.unsupported(format!("expected weights of a 2-D convolution, found {:?}", weights.dims))
        );
    };
    let x = importer.image(operation, 0)?;
    let input = super::pixels(importer, operation, x)?;
    let window = Window::read(operation, input, [height, width])?;
    let groups = operation.count("group", operation.integer("group").unwrap_or(1))?;
    let weights = weights.transposed(&WEIGHTS);
    let inputs = parameters::layer(importer, operation, x, (&weights, &weights.dims), bias)?;
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
