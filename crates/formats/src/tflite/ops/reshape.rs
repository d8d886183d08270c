//! RESHAPE, and what it does under other names: SQUEEZE and EXPAND_DIMS.

use super::{Emitter, Options, Reading, Source, Version, to_i32};
use crate::error::Result;
use crate::tflite::schema::builtin;
use taper_graph::{Node, Op};

const VERSION: Version = Version { number: 1, since: [1, 5, 0] };

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    emitter.same_quantization(node)?;
    let sizes = emitter.output(node)?.shape.with_batch(1);
    // An open batch lets a runtime resize the input. The Edge TPU's compiler has mapped such a RESHAPE: that of
    // `keras_lstm_mnist_ptq`, one of its public test models.
    let mut values = vec![-1];
    for &size in sizes.iter().skip(1) {
        values.push(to_i32(size, "size")?);
    }
    let shape = emitter.add_i32(format!("{}/shape", node.name), &[values.len()], values)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(shape);
    emitter.with_inputs(node, builtin::RESHAPE, VERSION, inputs, Options::None)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    // The output's shape tells what the operator does, whichever way its target is given, unless that is computed.
    let constant = source.tensor(1).is_none_or(|shape| shape.data.is_some());
    let most_inputs = if source.code.builtin == builtin::SQUEEZE { 1 } else { 2 };
    let (sizes, reshaped) = (x.shape.with_batch(1), y.shape.with_batch(1));
    let (Some(batch), Some((outer, shape))) = (sizes.first(), reshaped.split_first()) else {
        return Ok(None);
    };
    let keeps_batch = batch == outer && x.shape.elements(1) == y.shape.elements(1);
    let same = x.dtype == y.dtype && x.quantization == y.quantization;
    let fits = constant && source.inputs.len() <= most_inputs && keeps_batch && same;
    Ok(fits.then_some((to(shape), inputs)))
}

/// The operator that gives what lies behind the batch these sizes.
pub(super) fn to(shape: &[usize]) -> Op {
    if shape.len() == 1 { Op::Flatten } else { Op::Reshape { shape: shape.to_vec() } }
}
