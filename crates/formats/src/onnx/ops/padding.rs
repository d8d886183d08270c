//! Pad with a constant, around images.

use crate::error::Result;
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Node, Op, Pad, Padding};

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=4, &["mode", "pads", "paddings", "value"])?;
    let mode = operation.text("mode", "constant")?;
    if mode != "constant" {
        return Err(operation.unsupported(format!("expected a constant border, found mode `{mode}`")));
    }
    let x = importer.activation(operation, 0)?;
    let rank = x.view.rank();
    let pads = match operation.integers("pads") {
        Some(pads) => pads.to_vec(),
        None => importer.integers(operation, 1)?.unwrap_or_default(),
    };
    let value = match operation.attribute("value") {
        Some(attribute) => attribute.f.unwrap_or(0.0),
        None => importer.number(operation, 2)?.unwrap_or(0.0),
    };
    let axes = match importer.integers(operation, 3)? {
        Some(axes) => operation.axes(&axes, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(operation.invalid(format!("expected {} pads, found {pads:?}", 2 * axes.len())));
    }
    if pads.iter().all(|&pad| pad == 0) {
        return Ok(Value::Activation(x));
    }
    let (tensor, order) = super::image(importer, operation, &x)?;
    let mut padding = Padding::default();
    for (place, &axis) in axes.iter().enumerate() {
        let count = |at: usize| operation.count("pads", pads[at]);
        let (before, behind) = (count(place)?, count(place + axes.len())?);
        match order.iter().position(|&held| held == axis) {
            Some(1) => (padding.top, padding.bottom) = (before, behind),
            Some(2) => (padding.left, padding.right) = (before, behind),
            _ if before == 0 && behind == 0 => {}
            _ => {
                return Err(operation.unsupported(format!(
                    "expected a border around height and width, found {pads:?} for axes {axes:?}"
                )));
            }
        }
    }
    let y = importer.add(operation, Op::Pad(Pad { padding, value }), &[tensor])?;
    Ok(importer.ordered(y, &order))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, pad: &Pad) -> Result<()> {
    let Padding { top, bottom, left, right } = pad.padding;
    let pads = emitter.list(node, "pads", &[0, 0, top, left, 0, 0, bottom, right])?;
    let inputs = vec![emitter.input(node, 0)?, pads, emitter.scalar(pad.value)?];
    emitter.layer(node, "Pad", inputs, vec![("mode", Field::Text("constant"))])
}
