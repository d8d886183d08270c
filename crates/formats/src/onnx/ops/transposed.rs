//! ConvTranspose.

use super::parameters;
use super::window::{self, explicit};
use crate::error::Result;
use crate::onnx::emitter::Emitter;
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::{GREATEST_COUNT, Operation};
use taper_graph::{ConvTranspose2d, Node, Op, Padding};

/// Order of the axes of weights `[I,O,KH,KW]` in `[O,KH,KW,I]`, and back.
const READ: [usize; 4] = [1, 2, 3, 0];
const WRITTEN: [usize; 4] = [3, 0, 1, 2];

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    let attributes = ["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "pads", "strides"];
    operation.expect(2..=3, &attributes)?;
    let weights = importer.required(operation, 1)?;
    let &[_, _, height, width] = &weights.dims[..] else {
        return Err(
            operation.unsupported(format!("expected weights of a 2-D convolution, found {:?}", weights.dims))
        );
    };
    let (groups, dilation) = (operation.integer("group").unwrap_or(1), operation.pair("dilations", 1)?);
    if groups != 1 || dilation != [1, 1] {
        return Err(operation.unsupported(format!(
            "expected one group and a dilation of 1, found {groups} and {dilation:?}"
        )));
    }
    let x = importer.image(operation, 0)?;
    let (stride, output_padding) = (operation.pair("strides", 1)?, operation.pair("output_padding", 0)?);
    let padding = padding(operation, [height, width], stride, output_padding)?;
    let weights = weights.transposed(&READ);
    let bias = importer.constant(operation, 2)?;
    let inputs = parameters::layer(importer, operation, x, (&weights, &weights.dims), bias.as_ref())?;
    let op = Op::ConvTranspose2d(ConvTranspose2d { stride, padding, output_padding, activation: None });
    let y = importer.add(operation, op, &inputs)?;
    Ok(importer.channels_last(y))
}

/// What is cut off; for SAME, so much that the output has `input · stride` pixels.
fn padding(
    operation: Operation<'_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    output_padding: [usize; 2],
) -> Result<Padding> {
    let auto_pad = operation.text("auto_pad", "NOTSET")?;
    let [total_h, total_w] = [0, 1].map(|axis| {
        let covered = kernel[axis].min(GREATEST_COUNT) + output_padding[axis];
        covered.saturating_sub(stride[axis])
    });
    let halves = |total: usize| [total / 2, total - total / 2];
    let ([low_h, high_h], [low_w, high_w]) = (halves(total_h), halves(total_w));
    match auto_pad {
        "NOTSET" | "" => explicit(operation),
        "VALID" => Ok(Padding::default()),
        "SAME_UPPER" => Ok(Padding { top: low_h, bottom: high_h, left: low_w, right: high_w }),
        "SAME_LOWER" => Ok(Padding { top: high_h, bottom: low_h, left: high_w, right: low_w }),
        other => Err(operation.invalid(format!(
            "expected an auto_pad of NOTSET, VALID, SAME_UPPER or SAME_LOWER, found `{other}`"
        ))),
    }
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, conv: &ConvTranspose2d) -> Result<()> {
    let mut inputs = vec![emitter.input(node, 0)?, emitter.constant(node, 1, &WRITTEN)?];
    if node.inputs.len() > 2 {
        inputs.push(emitter.constant(node, 2, &[0])?);
    }
    let sizes = emitter.tensor(node, 1).shape.sizes().unwrap_or_default();
    let fields = vec![
        ("kernel_shape", window::pixels(sizes.get(1..3).unwrap_or_default())?),
        ("output_padding", window::pixels(&conv.output_padding)?),
        ("pads", window::pads(conv.padding)?),
        ("strides", window::pixels(&conv.stride)?),
    ];
    emitter.layer(node, "ConvTranspose", inputs, fields)
}
