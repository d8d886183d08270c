//! Softmax.

use crate::error::Result;
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Node, Op, Softmax};

/// From this version on softmax is over one axis; before, over all from that axis on.
const OF_ONE_AXIS: i64 = 13;

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["axis"])?;
    let x = importer.activation(operation, 0)?;
    let (tensor, order) = importer.laid_out(operation, &x)?;
    let x = importer.seen(tensor, &order);
    let rank = x.view.rank();
    let one = importer.opset >= OF_ONE_AXIS;
    let axis = operation.axis(operation.integer("axis").unwrap_or(if one { -1 } else { 1 }), rank)?;
    let end = if one { axis + 1 } else { rank };
    let over: Vec<usize> = (axis..end).flat_map(|axis| x.view.axes(axis)).copied().collect();
    let shape = importer.shape(x.tensor);
    if over != [shape.rank() - 1] {
        return Err(operation.unsupported(format!(
            "expected softmax over the innermost axis of `{}` {shape}, found it over {over:?}",
            importer.graph.tensor(x.tensor).name
        )));
    }
    let y = importer.add(operation, Op::Softmax(Softmax { beta: 1.0 }), &[x.tensor])?;
    Ok(super::viewed(y, &x))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, softmax: &Softmax) -> Result<()> {
    let mut x = emitter.input(node, 0)?;
    if softmax.beta != 1.0 {
        let beta = emitter.scalar(softmax.beta)?;
        x = emitter.helper(node, "scaled", "Mul", vec![x, beta], Vec::new());
    }
    let axis = if emitter.tensor(node, 0).shape.rank() == 4 { 1 } else { -1 };
    emitter.layer(node, "Softmax", vec![x], vec![("axis", Field::Integer(axis))])
}
