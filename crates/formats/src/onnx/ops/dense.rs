//! Gemm and MatMul with constant weights: fully connected layers.

use super::parameters;
use crate::error::Result;
use crate::onnx::constant::Constant;
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Dim, FullyConnected, Node, Op, TensorId};

pub(super) fn read_gemm<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=3, &["alpha", "beta", "transA", "transB"])?;
    let factors = [operation.float("alpha", 1.0)?, operation.float("beta", 1.0)?];
    if operation.flag("transA") || factors != [1.0; 2] {
        return Err(operation.unsupported(format!(
            "expected an input as it is and factors of 1, found transA {} and factors {factors:?}",
            operation.integer("transA").unwrap_or(0)
        )));
    }
    let weights = weights(importer, operation)?;
    let weights = if operation.flag("transB") { weights } else { weights.transposed(&[1, 0]) };
    let bias = match importer.constant(operation, 2)? {
        Some(bias) => Some(vector(&bias, weights.dims[0]).ok_or_else(|| {
            operation.unsupported(format!("expected one bias for each output, found {:?}", bias.dims))
        })?),
        None => None,
    };
    fully_connected(importer, operation, &weights, bias)
}

pub(super) fn read_matmul<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=2, &[])?;
    let weights = weights(importer, operation)?.transposed(&[1, 0]);
    fully_connected(importer, operation, &weights, None)
}

fn weights<'m>(importer: &Importer<'m>, operation: Operation<'m>) -> Result<Constant> {
    let weights = importer.required(operation, 1)?;
    match weights.dims[..] {
        [_, _] => Ok(weights),
        _ => Err(operation.unsupported(format!("expected a matrix of weights, found {:?}", weights.dims))),
    }
}

/// The constant as `size` elements; `None` if it is more than a vector.
fn vector(constant: &Constant, size: usize) -> Option<Constant> {
    constant.reshaped(vec![constant.elements()])?.broadcast(&[size])
}

/// A fully connected layer on weights `[O,I]` over input 0.
pub(super) fn fully_connected<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    weights: &Constant,
    bias: Option<Constant>,
) -> Result<Value> {
    let x = importer.activation(operation, 0)?;
    let (input, columns) = rows(importer, operation, &x)?;
    let weights = in_order(importer, &x, weights, &columns).ok_or_else(|| {
        operation.invalid(format!("expected weights for the input's features, found {:?}", weights.dims))
    })?;
    let features = weights.dims[1..].iter().product();
    let sizes = [weights.dims[0], features];
    let inputs = parameters::layer(importer, operation, input, (&weights, &sizes), bias.as_ref())?;
    let y = importer.add(operation, Op::FullyConnected(FullyConnected::default()), &inputs)?;
    let features = if weights.dims[0] == 1 { Vec::new() } else { vec![1] };
    Ok(Value::Activation(Activation { tensor: y, view: x.view.with_last(features) }))
}

/// The tensor `[N,K]` with the features of each image, and the axes of `x` that they are made of.
fn rows<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: &Activation,
) -> Result<(TensorId, Vec<usize>)> {
    let shape = importer.shape(x.tensor);
    let last =
        x.view.rank().checked_sub(1).filter(|&last| last > 0).ok_or_else(|| {
            operation.unsupported("expected an input [N, K], found one of fewer dimensions")
        })?;
    let outer: Vec<usize> = (0..last).flat_map(|axis| x.view.axes(axis)).copied().collect();
    let columns = x.view.axes(last).to_vec();
    if !matches!(outer[..], [] | [0]) || columns.contains(&0) {
        return Err(operation.unsupported(format!(
            "expected one row of features for each image, found the tensor `{}` {shape}",
            importer.graph.tensor(x.tensor).name
        )));
    }
    let input = match shape.rank() {
        2 => x.tensor,
        _ => importer.add_helper(operation, "flatten", Op::Flatten, &[x.tensor])?,
    };
    Ok((input, columns))
}

/// Weights `[O,I]`, whose features come in the order of `columns`, in the order of the tensor's axes. Where the order
/// changes, the features are seen as those axes.
fn in_order(
    importer: &Importer<'_>,
    x: &Activation,
    weights: &Constant,
    columns: &[usize],
) -> Option<Constant> {
    if columns.is_sorted() {
        return Some(weights.clone());
    }
    let shape = importer.shape(x.tensor);
    let sizes = columns.iter().map(|&axis| match shape.dims()[axis] {
        Dim::Fixed(size) => Some(size),
        Dim::Batch(_) => None,
    });
    let dims: Vec<usize> = std::iter::once(Some(weights.dims[0])).chain(sizes).collect::<Option<_>>()?;
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_unstable_by_key(|&position| columns[position]);
    let order: Vec<usize> =
        std::iter::once(0).chain(order.into_iter().map(|position| position + 1)).collect();
    Some(weights.reshaped(dims)?.transposed(&order))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let mut inputs = vec![emitter.input(node, 0)?, emitter.constant(node, 1, &[0, 1])?];
    if node.inputs.len() > 2 {
        inputs.push(emitter.constant(node, 2, &[0])?);
    }
    emitter.layer(node, "Gemm", inputs, vec![("transB", Field::Integer(1))])
}
