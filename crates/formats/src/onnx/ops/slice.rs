//! Slice, Tile and ArgMax of activations.

use super::window;
use crate::error::{FormatError, Result};
use crate::onnx::emitter::{Emitter, Field, TO_FIRST};
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use crate::onnx::schema::data_type;
use taper_graph::{ArgMax, AxisSlice, DType, Node, Op, StridedSlice};

/// The slice of an activation that takes these parts of the model's axes.
pub(super) fn read<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    parts: &[AxisSlice],
) -> Result<Value> {
    let x = importer.activation(operation, 0)?;
    let (tensor, order) = importer.laid_out(operation, &x)?;
    let place = |(place, held): (usize, &usize)| {
        let part = parts.iter().find(|part| part.axis == *held)?;
        Some(AxisSlice { axis: place, ..*part })
    };
    let axes = order.iter().enumerate().filter_map(place).collect();
    let y = importer.add(operation, Op::StridedSlice(StridedSlice { axes }), &[tensor])?;
    Ok(importer.ordered(y, &order))
}

pub(super) fn read_tile<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=2, &[])?;
    let x = importer.activation(operation, 0)?;
    let given = importer.integers(operation, 1)?.unwrap_or_default();
    let (tensor, order) = importer.laid_out(operation, &x)?;
    let repeats: Option<Vec<usize>> =
        order.iter().map(|&axis| given.get(axis).and_then(|&count| usize::try_from(count).ok())).collect();
    let Some([1, repeats @ ..]) = repeats.as_deref().filter(|repeats| repeats.len() == given.len()) else {
        return Err(operation.unsupported(format!("expected one copy of the batch, found copies {given:?}")));
    };
    let y = importer.add(operation, Op::Tile { repeats: repeats.to_vec() }, &[tensor])?;
    Ok(importer.ordered(y, &order))
}

pub(super) fn read_arg_max<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["axis", "keepdims", "select_last_index"])?;
    if operation.flag("select_last_index") {
        return Err(operation.unsupported("expected the first of equal values, found the last"));
    }
    let x = importer.activation(operation, 0)?;
    let axis = operation.axis(operation.integer("axis").unwrap_or(0), x.view.rank())?;
    let (tensor, mut order) = importer.laid_out(operation, &x)?;
    let place = order.iter().position(|&held| held == axis).unwrap_or(axis);
    let op = Op::ArgMax(ArgMax { axis: place, dtype: DType::I64 });
    let y = importer.add(operation, op, &[tensor])?;
    order.remove(place);
    order.iter_mut().filter(|held| **held > axis).for_each(|held| *held -= 1);
    let Activation { tensor, view } = importer.seen(y, &order);
    let keeps = operation.integer("keepdims").unwrap_or(1) != 0;
    let view = if keeps { view.unsqueezed(&[axis]) } else { view };
    Ok(Value::Activation(Activation { tensor, view }))
}

/// What a list of one value for each of the graph's axes is for the model's.
fn arranged(values: Vec<usize>) -> Vec<usize> {
    if values.len() == TO_FIRST.len() { TO_FIRST.map(|axis| values[axis]).to_vec() } else { values }
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, slice: &StridedSlice) -> Result<()> {
    let rank = emitter.tensor(node, 0).shape.rank();
    let inside =
        |axis: usize| TO_FIRST.iter().position(|&own| own == axis).filter(|_| rank == 4).unwrap_or(axis);
    let list = |of: &dyn Fn(&AxisSlice) -> usize| slice.axes.iter().map(of).collect::<Vec<_>>();
    if slice.axes.is_empty() {
        let x = emitter.input(node, 0)?;
        return emitter.layer(node, "Identity", vec![x], Vec::new());
    }
    let end = |part: &AxisSlice| part.start + (part.count.max(1) - 1) * part.step + 1;
    let mut inputs = vec![emitter.input(node, 0)?];
    inputs.push(emitter.list(node, "starts", &list(&|part| part.start))?);
    inputs.push(emitter.list(node, "ends", &list(&end))?);
    inputs.push(emitter.list(node, "axes", &list(&|part| inside(part.axis)))?);
    inputs.push(emitter.list(node, "steps", &list(&|part| part.step))?);
    emitter.layer(node, "Slice", inputs, Vec::new())
}

pub(super) fn write_tile(emitter: &mut Emitter<'_>, node: &Node, repeats: &[usize]) -> Result<()> {
    let repeats = arranged([&[1], repeats].concat());
    let inputs = vec![emitter.input(node, 0)?, emitter.list(node, "repeats", &repeats)?];
    emitter.layer(node, "Tile", inputs, Vec::new())
}

pub(super) fn write_arg_max(emitter: &mut Emitter<'_>, node: &Node, arg_max: &ArgMax) -> Result<()> {
    let rank = emitter.tensor(node, 0).shape.rank();
    if rank > 4 {
        return Err(FormatError::unsupported(
            format!("node `{}`", node.name),
            format!("expected at most 4 axes of arg max, found {rank}"),
        ));
    }
    // Where the channels go, what is left stands in the graph's order.
    let (x, axis) = match (rank, arg_max.axis) {
        (4, 3) => (emitter.input(node, 0)?, 1),
        (_, axis) => (emitter.channels_last(node, 0)?, axis),
    };
    let fields = vec![("axis", window::count(axis)?), ("keepdims", Field::Integer(0))];
    if arg_max.dtype == DType::I64 {
        return emitter.layer(node, "ArgMax", vec![x], fields);
    }
    let wide = emitter.helper(node, "wide", "ArgMax", vec![x], fields);
    emitter.layer(node, "Cast", vec![wide], vec![("to", Field::Integer(i64::from(data_type::INT32)))])
}
