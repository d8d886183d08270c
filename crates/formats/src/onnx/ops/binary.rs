//! Functions of two operands, value by value, and concatenation.

use super::window;
use crate::error::Result;
use crate::onnx::emitter::{Emitter, TO_FIRST};
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Binary, Concat, Elementwise, Node, Op, TensorId};

pub(super) fn read<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    function: Binary,
) -> Result<Value> {
    operation.expect(2..=2, &[])?;
    if function == Binary::Add
        && let Some(value) = fuse_bias(importer, operation)?
    {
        return Ok(value);
    }
    let a = importer.activation(operation, 0)?;
    let b = importer.activation(operation, 1)?;
    let rank = a.view.rank().max(b.view.rank());
    let (tensors, order) = meet(importer, operation, [widened(a, rank), widened(b, rank)].to_vec())?;
    let op = Op::Elementwise(Elementwise { function, activation: None });
    let y = importer.add(operation, op, &tensors)?;
    Ok(importer.ordered(y, &order))
}

/// The activation with axes of size 1 in front, as broadcasting has it.
fn widened(x: Activation, rank: usize) -> Activation {
    let added: Vec<usize> = (0..rank - x.view.rank()).collect();
    Activation { tensor: x.tensor, view: x.view.unsqueezed(&added) }
}

/// A bias that a layer has not got yet, added to what nothing else reads.
fn fuse_bias<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Option<Value>> {
    let (x, bias) = match (importer.value(operation, 0)?, importer.value(operation, 1)?) {
        (Value::Activation(x), Value::Constant(_) | Value::Folded(_)) => (x.clone(), 1),
        (Value::Constant(_) | Value::Folded(_), Value::Activation(x)) => (x.clone(), 0),
        _ => return Ok(None),
    };
    let constant = importer.required(operation, bias)?;
    let Some(constant) = importer.per_channel(&x, &constant) else {
        return Ok(None);
    };
    let name = operation.input(1 - bias).unwrap_or_default();
    let is_layer = |op: &Op| matches!(op, Op::Conv2d(_) | Op::FullyConnected(_));
    match importer.only_read_here(name, x.tensor) {
        Some(node) if is_layer(&node.op) && node.inputs.len() == 2 => {}
        Some(_) | None => return Ok(None),
    }
    let bias = importer.parameter(&constant)?;
    if let Some(node) = importer.only_read_here(name, x.tensor) {
        node.inputs.push(bias);
    }
    importer.rename(operation, x.tensor);
    Ok(Some(Value::Activation(x)))
}

/// Tensors with the axes of all operands in one order, and that order: one that most of them have already.
fn meet<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    operands: Vec<Activation>,
) -> Result<(Vec<TensorId>, Vec<usize>)> {
    let rank = operands.first().map_or(0, |x| x.view.rank());
    let mut orders: Vec<Vec<usize>> =
        operands.iter().filter_map(|x| x.view.order(importer.shape(x.tensor))).collect();
    orders.push((0..rank).collect());
    let as_is = |order: &Vec<usize>| {
        operands.iter().filter(|x| x.view.is_ordered(importer.shape(x.tensor), order)).count()
    };
    let possible = |order: &&Vec<usize>| {
        operands
            .iter()
            .all(|x| x.view.is_ordered(importer.shape(x.tensor), order) || x.view.is_row_major(order))
    };
    // The first of the best, so that the choice follows from the order of the operands.
    let best = orders.iter().filter(possible).rev().max_by_key(|order| as_is(order));
    let order = best.or(orders.first()).cloned().unwrap_or_default();
    let tensors = operands
        .iter()
        .map(|x| importer.arranged(operation, x, &order))
        .collect::<Result<_>>()?;
    Ok((tensors, order))
}

pub(super) fn read_concat<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=usize::MAX, &["axis"])?;
    let operands = (0..operation.0.input.len())
        .map(|position| importer.activation(operation, position))
        .collect::<Result<Vec<_>>>()?;
    let rank = operands.first().map_or(0, |x| x.view.rank());
    if operands.iter().any(|x| x.view.rank() != rank) {
        return Err(operation.invalid("expected inputs of one rank, found several"));
    }
    let axis = operation.axis(operation.integer("axis").unwrap_or(1), rank)?;
    let (tensors, order) = meet(importer, operation, operands)?;
    let place = order.iter().position(|&held| held == axis).unwrap_or(axis);
    let y = importer.add(operation, Op::Concat(Concat { axis: place }), &tensors)?;
    Ok(importer.ordered(y, &order))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, function: Binary) -> Result<()> {
    let kind = match function {
        Binary::Add => "Add",
        Binary::Multiply => "Mul",
        Binary::Maximum => "Max",
    };
    let inputs = vec![emitter.input(node, 0)?, emitter.input(node, 1)?];
    emitter.layer(node, kind, inputs, Vec::new())
}

pub(super) fn write_concat(emitter: &mut Emitter<'_>, node: &Node, concat: &Concat) -> Result<()> {
    let inputs = (0..node.inputs.len()).map(|position| emitter.input(node, position)).collect::<Result<_>>()?;
    let images = emitter.tensor(node, 0).shape.rank() == 4;
    let inside = TO_FIRST.iter().position(|&axis| axis == concat.axis).filter(|_| images);
    let axis = window::count(inside.unwrap_or(concat.axis))?;
    emitter.layer(node, "Concat", inputs, vec![("axis", axis)])
}
