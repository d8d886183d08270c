//! Functions of two operands, value by value, and concatenation.

use super::{parameters, window};
use crate::error::Result;
use crate::onnx::emitter::{Emitter, TO_FIRST};
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Activation as Function, Binary, Concat, DType, Elementwise, Node, Op, TensorId};

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
    if function == Binary::Multiply
        && let Some(value) = fuse_silu(importer, operation)?
    {
        return Ok(value);
    }
    let op = Op::Elementwise(Elementwise { function, activation: None });
    if let Some((x, constant)) = with_constant(importer, operation)? {
        return read_with_constant(importer, operation, op, x, constant);
    }
    let a = importer.activation(operation, 0)?;
    let b = importer.activation(operation, 1)?;
    let rank = a.view.rank().max(b.view.rank());
    let (tensors, order) = meet(importer, operation, [widened(a, rank), widened(b, rank)].to_vec())?;
    let y = importer.add(operation, op, &tensors)?;
    Ok(importer.ordered(y, &order))
}

/// The positions of the operands, if the first is an activation and the other a constant, or the other way round.
fn with_constant<'m>(importer: &Importer<'m>, operation: Operation<'m>) -> Result<Option<(usize, usize)>> {
    Ok(match (importer.value(operation, 0)?, importer.value(operation, 1)?) {
        (Value::Activation(_), Value::Constant(_) | Value::Folded(_)) => Some((0, 1)),
        (Value::Constant(_) | Value::Folded(_), Value::Activation(_)) => Some((1, 0)),
        (Value::Activation(_), Value::Activation(_))
        | (Value::Constant(_) | Value::Folded(_), Value::Constant(_) | Value::Folded(_)) => None,
    })
}

/// A function of activation `x` and a constant, whose axes are brought into the order of the tensor's.
fn read_with_constant<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    op: Op,
    x: usize,
    constant: usize,
) -> Result<Value> {
    let (at, constant) = (x, importer.required(operation, constant)?);
    let x = importer.activation(operation, x)?;
    let rank = x.view.rank().max(constant.dims.len());
    let x = widened(x, rank);
    let (tensor, order) = importer.laid_out(operation, &x)?;
    let ones = std::iter::repeat_n(1, rank - constant.dims.len());
    let dims = ones.chain(constant.dims.iter().copied()).collect();
    let aligned = constant.reshaped(dims).map(|constant| constant.transposed(&order));
    let lean = aligned.and_then(|constant| {
        let kept = constant.dims.iter().skip_while(|&&size| size == 1).copied().collect::<Vec<_>>();
        constant.reshaped(if kept.is_empty() { vec![1] } else { kept })
    });
    let constant = lean.ok_or_else(|| {
        operation.invalid(format!("expected a constant to broadcast, found {:?}", constant.dims))
    })?;
    let constant = parameters::operand(importer, operation, tensor, &constant)?;
    let inputs = if at == 0 { [tensor, constant] } else { [constant, tensor] };
    let y = importer.add(operation, op, &inputs)?;
    Ok(importer.ordered(y, &order))
}

/// The activation with axes of size 1 in front, as broadcasting has it.
fn widened(x: Activation, rank: usize) -> Activation {
    let added: Vec<usize> = (0..rank - x.view.rank()).collect();
    Activation { tensor: x.tensor, view: x.view.unsqueezed(&added) }
}

/// A bias that a layer has not got yet, added to what nothing else reads.
fn fuse_bias<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Option<Value>> {
    let Some((x, bias)) = with_constant(importer, operation)? else {
        return Ok(None);
    };
    let (name, x) = (operation.input(x).unwrap_or_default(), importer.activation(operation, x)?);
    let constant = importer.required(operation, bias)?;
    let Some(constant) = importer.per_channel(&x, &constant) else {
        return Ok(None);
    };
    let is_layer = |op: &Op| matches!(op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_));
    let layer = match importer.only_read_here(name, x.tensor) {
        Some(node) if is_layer(&node.op) && node.inputs.len() == 2 => [node.inputs[0], node.inputs[1]],
        Some(_) | None => return Ok(None),
    };
    let bias = parameters::bias(importer, operation, layer, &constant)?;
    if let Some(node) = importer.only_read_here(name, x.tensor) {
        node.inputs.push(bias);
    }
    importer.rename(operation, x.tensor);
    Ok(Some(Value::Activation(x)))
}

/// `x · sigmoid(x)`, as exporters write it, if nothing else reads the sigmoid.
fn fuse_silu<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Option<Value>> {
    for (x, gate) in [(0, 1), (1, 0)] {
        let (Value::Activation(x), Value::Activation(y)) =
            (importer.value(operation, x)?.clone(), importer.value(operation, gate)?.clone())
        else {
            return Ok(None);
        };
        let name = operation.input(gate).unwrap_or_default();
        let sigmoid = |op: &Op| *op == Op::Activation { function: Function::Sigmoid };
        let gates = |node: &mut Node| sigmoid(&node.op) && node.inputs == [x.tensor];
        if x.view == y.view
            && importer.graph.tensor(x.tensor).dtype == DType::F32
            && importer.only_read_here(name, y.tensor).is_some_and(gates)
        {
            importer.replace(operation, y.tensor, Op::Activation { function: Function::Silu });
            return Ok(Some(Value::Activation(y)));
        }
    }
    Ok(None)
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
    orders.extend(operands.iter().filter_map(|x| x.view.row_major_order()));
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
    let tensors = operands.iter().map(|x| importer.arranged(operation, x, &order)).collect::<Result<_>>()?;
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
        Binary::Subtract => "Sub",
        Binary::Divide => "Div",
        Binary::Maximum => "Max",
        Binary::Minimum => "Min",
    };
    let inputs = vec![operand(emitter, node, 0)?, operand(emitter, node, 1)?];
    emitter.layer(node, kind, inputs, Vec::new())
}

/// An operand, which may be a constant with fewer axes than the activation beside it.
fn operand(emitter: &mut Emitter<'_>, node: &Node, position: usize) -> Result<String> {
    let tensor = emitter.tensor(node, position);
    if tensor.data.is_none() {
        return emitter.input(node, position);
    }
    let mut sizes = tensor.shape.sizes().unwrap_or_default();
    let rank = emitter.tensor(node, 1 - position).shape.rank();
    if rank == TO_FIRST.len() {
        sizes.splice(0..0, std::iter::repeat_n(1, rank.saturating_sub(sizes.len())));
        return emitter.constant_of(node.inputs[position], &sizes, &TO_FIRST);
    }
    let axes: Vec<usize> = (0..sizes.len()).collect();
    emitter.constant_of(node.inputs[position], &sizes, &axes)
}

pub(super) fn write_concat(emitter: &mut Emitter<'_>, node: &Node, concat: &Concat) -> Result<()> {
    let inputs =
        (0..node.inputs.len()).map(|position| emitter.input(node, position)).collect::<Result<_>>()?;
    let images = emitter.tensor(node, 0).shape.rank() == 4;
    let inside = TO_FIRST.iter().position(|&axis| axis == concat.axis).filter(|_| images);
    let axis = window::count(inside.unwrap_or(concat.axis))?;
    emitter.layer(node, "Concat", inputs, vec![("axis", axis)])
}
