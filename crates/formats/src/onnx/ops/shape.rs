//! Transpose, Reshape, Flatten, Squeeze and Unsqueeze: they change how the model sees a tensor, and seldom the tensor.

use crate::error::Result;
use crate::onnx::emitter::{Emitter, Field, TO_FIRST, integers};
use crate::onnx::fold::{Folded, Number, slice_bounds};
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use crate::onnx::view::Reshaped;
use taper_graph::{AxisSlice, Dim, Node, Shape};

pub(super) fn read_identity<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &[])?;
    importer.value(operation, 0).cloned()
}

pub(super) fn read_transpose<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["perm"])?;
    let value = importer.value(operation, 0)?.clone();
    let rank = rank(&value);
    let axes = match operation.integers("perm") {
        Some(perm) => operation.axes(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    if axes.len() != rank {
        return Err(operation.invalid(format!("expected {rank} axes, found {axes:?}")));
    }
    Ok(match value {
        Value::Activation(Activation { tensor, view }) => {
            Value::Activation(Activation { tensor, view: view.transposed(&axes) })
        }
        Value::Constant(constant) => Value::Constant(constant.transposed(&axes)),
        Value::Folded(folded) if rank < 2 => Value::Folded(folded),
        Value::Folded(_) => Value::Constant(importer.required(operation, 0)?.transposed(&axes)),
    })
}

fn rank(value: &Value) -> usize {
    match value {
        Value::Activation(x) => x.view.rank(),
        Value::Constant(constant) => constant.dims.len(),
        Value::Folded(folded) => folded.dims.len(),
    }
}

pub(super) fn read_reshape<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=2, &["shape", "allowzero"])?;
    let wanted = match operation.integers("shape") {
        Some(shape) => shape.iter().map(|&size| Number::Integer(size)).collect(),
        None => importer.numbers(operation, 1)?.map_or_else(Vec::new, |folded| folded.numbers),
    };
    let target = target(importer, operation, &wanted)?;
    reshape(importer, operation, target)
}

/// The dimensions that `wanted` asks for: 0 stands for that of the input, −1 for what is left.
fn target<'m>(importer: &Importer<'m>, operation: Operation<'m>, wanted: &[Number]) -> Result<Vec<Dim>> {
    let own = dims(importer, operation)?;
    let mut left = None;
    let mut target = Vec::with_capacity(wanted.len());
    for (axis, &number) in wanted.iter().enumerate() {
        target.push(match number {
            Number::Batch => Dim::BATCH,
            Number::Integer(size)
                if axis == 0 && own.first() == Some(&Dim::BATCH) && importer.facts.is_batch(size) =>
            {
                Dim::BATCH
            }
            Number::Integer(0) if !operation.flag("allowzero") => *own
                .get(axis)
                .ok_or_else(|| operation.invalid(format!("expected an input with an axis {axis}")))?,
            Number::Integer(-1) if left.is_none() => {
                left = Some(axis);
                Dim::Fixed(1)
            }
            Number::Integer(size) => usize::try_from(size)
                .map(Dim::Fixed)
                .map_err(|_| operation.invalid(format!("expected sizes or one −1, found {wanted:?}")))?,
            Number::Real(_) => return Err(operation.invalid("expected integers as shape, found reals")),
        });
    }
    if let Some(axis) = left {
        target[axis] = rest(&own, &target).ok_or_else(|| {
            operation.unsupported(format!(
                "expected the size left by {wanted:?} of {} to be the batch or a fixed one",
                Shape::new(own.clone())
            ))
        })?;
    }
    Ok(target)
}

/// What `target` leaves of `own`: the batch alone, or a fixed size.
fn rest(own: &[Dim], target: &[Dim]) -> Option<Dim> {
    let fixed = |dims: &[Dim]| {
        dims.iter().try_fold(1usize, |product, dim| match dim {
            Dim::Fixed(size) => product.checked_mul(*size),
            Dim::Batch(_) => Some(product),
        })
    };
    let batches = |dims: &[Dim]| dims.iter().filter(|dim| **dim == Dim::BATCH).count();
    let (all, known) = (fixed(own)?, fixed(target)?);
    if known == 0 || !all.is_multiple_of(known) {
        return None;
    }
    match (batches(own).checked_sub(batches(target))?, all / known) {
        (0, size) => Some(Dim::Fixed(size)),
        (1, 1) => Some(Dim::BATCH),
        _ => None,
    }
}

/// The dimensions of input 0 as the model sees them.
fn dims<'m>(importer: &Importer<'m>, operation: Operation<'m>) -> Result<Vec<Dim>> {
    let fixed = |dims: &[usize]| dims.iter().copied().map(Dim::Fixed).collect();
    match importer.value(operation, 0)? {
        Value::Activation(x) => {
            // An axis in which the batch is merged with others is reshaped only by what names the batch again.
            let shape = importer.shape(x.tensor);
            Ok(x.view.dims(shape).unwrap_or_else(|| shape.dims().to_vec()))
        }
        Value::Constant(constant) => Ok(fixed(&constant.dims)),
        Value::Folded(folded) => Ok(fixed(&folded.dims)),
    }
}

fn reshape<'m>(importer: &mut Importer<'m>, operation: Operation<'m>, target: Vec<Dim>) -> Result<Value> {
    let sizes = Shape::new(target.clone()).sizes();
    match importer.value(operation, 0)?.clone() {
        Value::Activation(x) => {
            let shape = importer.shape(x.tensor).clone();
            let Some(Reshaped { view, cut }) = x.view.reshaped(&shape, &target) else {
                let plain: Vec<usize> = (0..x.view.rank()).collect();
                if x.view.is_row_major(&plain) {
                    let order: Vec<usize> = (0..target.len()).collect();
                    let tensor = importer.cut(operation, x.tensor, target)?;
                    return Ok(importer.ordered(tensor, &order));
                }
                return Err(operation.unsupported(format!(
                    "expected a reshape of `{}` {shape} that keeps the batch and cuts or joins whole axes, \
                     found {}",
                    importer.graph.tensor(x.tensor).name,
                    Shape::new(target)
                )));
            };
            let tensor = match cut {
                Some(dims) => importer.cut(operation, x.tensor, dims)?,
                None => x.tensor,
            };
            Ok(Value::Activation(Activation { tensor, view }))
        }
        Value::Constant(constant) => {
            if let Some(reshaped) = sizes.clone().and_then(|sizes| constant.reshaped(sizes)) {
                return Ok(Value::Constant(reshaped));
            }
            let folded = Folded::of(&constant, operation, &mut importer.budget)?;
            reshape_numbers(operation, folded.numbers, sizes)
        }
        Value::Folded(Folded { numbers, .. }) => reshape_numbers(operation, numbers, sizes),
    }
}

fn reshape_numbers(
    operation: Operation<'_>,
    numbers: Vec<Number>,
    sizes: Option<Vec<usize>>,
) -> Result<Value> {
    let count = |dims: &[usize]| dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match sizes {
        Some(dims) if count(&dims) == Some(numbers.len()) => Ok(Value::Folded(Folded { dims, numbers })),
        Some(_) | None => Err(operation.invalid(format!("expected a shape for {} elements", numbers.len()))),
    }
}

pub(super) fn read_flatten<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["axis"])?;
    let own = dims(importer, operation)?;
    let axis = operation.integer("axis").unwrap_or(1);
    let axis =
        if usize::try_from(axis) == Ok(own.len()) { own.len() } else { operation.axis(axis, own.len())? };
    let product = |dims: &[Dim]| rest(dims, &[]);
    let (Some(outer), Some(inner)) = (product(&own[..axis]), product(&own[axis..])) else {
        return Err(operation.unsupported(format!(
            "expected the batch as an axis of its own, found it merged: {} at {axis}",
            Shape::new(own)
        )));
    };
    reshape(importer, operation, vec![outer, inner])
}

/// Axes as an attribute, before version 13, or as an input.
fn axes<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Option<Vec<i64>>> {
    operation.expect(1..=2, &["axes"])?;
    match operation.integers("axes") {
        Some(axes) => Ok(Some(axes.to_vec())),
        None => importer.integers(operation, 1),
    }
}

pub(super) fn read_squeeze<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    let axes = axes(importer, operation)?;
    let own = dims(importer, operation)?;
    let dropped = match axes {
        Some(axes) => operation.axes(&axes, own.len())?,
        None => (0..own.len()).filter(|&axis| own[axis] == Dim::Fixed(1)).collect(),
    };
    if let Some(&axis) = dropped.iter().find(|&&axis| own[axis] != Dim::Fixed(1)) {
        return Err(operation.invalid(format!("expected axis {axis} of size 1, found {}", own[axis])));
    }
    match importer.value(operation, 0)?.clone() {
        Value::Activation(Activation { tensor, view }) => {
            Ok(Value::Activation(Activation { tensor, view: view.squeezed(&dropped) }))
        }
        Value::Constant(_) | Value::Folded(_) => {
            let kept = (0..own.len()).filter(|axis| !dropped.contains(axis)).map(|axis| own[axis]);
            reshape(importer, operation, kept.collect())
        }
    }
}

pub(super) fn read_unsqueeze<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    let axes = axes(importer, operation)?
        .ok_or_else(|| operation.invalid("expected the axes to add, found none"))?;
    let own = dims(importer, operation)?;
    let rank = own.len().saturating_add(axes.len());
    let added = operation.axes(&axes, rank)?;
    match importer.value(operation, 0)?.clone() {
        Value::Activation(Activation { tensor, view }) => {
            Ok(Value::Activation(Activation { tensor, view: view.unsqueezed(&added) }))
        }
        Value::Constant(_) | Value::Folded(_) => {
            let mut own = own.into_iter();
            let dims = (0..rank).map(|axis| match added.contains(&axis) {
                true => Dim::Fixed(1),
                false => own.next().unwrap_or(Dim::Fixed(1)),
            });
            reshape(importer, operation, dims.collect())
        }
    }
}

/// A cast of floats to floats, which the graph has of one width.
pub(super) fn read_cast<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    use crate::onnx::schema::data_type;
    operation.expect(1..=1, &["to", "saturate"])?;
    let to = operation.integer("to").and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    if to != data_type::FLOAT {
        return Err(operation
            .unsupported(format!("expected a cast of activations to float, found {}", data_type::name(to))));
    }
    importer.activation(operation, 0).map(Value::Activation)
}

/// A slice, or nothing where it takes all.
pub(super) fn read_slice<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=5, &["starts", "ends", "axes"])?;
    let own = dims(importer, operation)?;
    let mut parts = Vec::new();
    for (start, end, axis, step) in slice_bounds(importer, operation)? {
        let axis = operation.axis(axis, own.len())?;
        let all = match own[axis] {
            Dim::Fixed(size) => usize::try_from(end).is_ok_and(|end| end >= size),
            Dim::Batch(_) => end >= i64::from(i32::MAX) || importer.facts.is_batch(end),
        };
        if start == 0 && step == 1 && all {
            continue;
        }
        let part = part_of(own[axis], start, end, step).ok_or_else(|| {
            operation.unsupported(format!(
                "expected a slice of indices within axis {axis} of {}, found {start} to {end} by {step}",
                Shape::new(own.clone())
            ))
        })?;
        parts.push(AxisSlice { axis, ..part });
    }
    if parts.is_empty() {
        importer.value(operation, 0).cloned()
    } else {
        super::slice::read(importer, operation, &parts)
    }
}

/// What a slice takes of an axis, if the axis is not the batch, the step leads forward and anything is left. Indices count
/// from the end where they are negative, and stop at the border.
fn part_of(dim: Dim, start: i64, end: i64, step: i64) -> Option<AxisSlice> {
    let Dim::Fixed(size) = dim else { return None };
    let size = i64::try_from(size).ok()?;
    let place = |index: i64| (if index < 0 { index.saturating_add(size) } else { index }).clamp(0, size);
    let start = usize::try_from(place(start)).ok()?;
    let len = usize::try_from(place(end)).ok()?.checked_sub(start)?;
    let step = usize::try_from(step).ok().filter(|&step| step > 0)?;
    let count = Some(len.div_ceil(step)).filter(|&count| count > 0)?;
    Some(AxisSlice { axis: 0, start, step, count })
}

/// An expansion that changes nothing.
pub(super) fn read_expand<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=2, &[])?;
    let own = dims(importer, operation)?;
    let wanted = importer.numbers(operation, 1)?.map_or_else(Vec::new, |folded| folded.numbers);
    let lacking = own.len().checked_sub(wanted.len());
    let unchanged = lacking.is_some_and(|lacking| {
        wanted.iter().zip(&own[lacking..]).all(|(wanted, own)| match (wanted, own) {
            (Number::Integer(1), _) | (Number::Batch, Dim::Batch(_)) => true,
            (Number::Integer(wanted), Dim::Batch(_)) => importer.facts.is_batch(*wanted),
            (Number::Integer(wanted), Dim::Fixed(own)) => usize::try_from(*wanted) == Ok(*own),
            (Number::Real(_) | Number::Batch, _) => false,
        })
    });
    match unchanged {
        true => importer.value(operation, 0).cloned(),
        false => Err(operation.unsupported(format!(
            "expected an expansion that changes nothing of {}, found {wanted:?}",
            Shape::new(own)
        ))),
    }
}

pub(super) fn write_reshape(emitter: &mut Emitter<'_>, node: &Node, shape: &[usize]) -> Result<()> {
    let x = emitter.channels_last(node, 0)?;
    // A size of 0 stands for the input's own.
    let sizes = emitter.list(node, "shape", &[&[0], shape].concat())?;
    let inputs = vec![x, sizes];
    if shape.len() + 1 != TO_FIRST.len() {
        return emitter.layer(node, "Reshape", inputs, Vec::new());
    }
    let image = emitter.helper(node, "reshape", "Reshape", inputs, Vec::new());
    let axes = integers(&TO_FIRST)?;
    emitter.layer(node, "Transpose", vec![image], vec![("perm", Field::Integers(axes))])
}

pub(super) fn write_flatten(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = emitter.channels_last(node, 0)?;
    emitter.layer(node, "Flatten", vec![x], vec![("axis", Field::Integer(1))])
}
