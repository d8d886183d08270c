//! RESHAPE, as far as it flattens.

use super::{Emitter, Options, Reading, Source, Version, to_i32};
use crate::error::Result;
use crate::tflite::schema::builtin;
use taper_graph::{Node, Op};

const VERSION: Version = Version { number: 1, since: [1, 5, 0] };

pub(super) fn write_flatten<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    emitter.same_quantization(node)?;
    let features = emitter.output(node)?.shape.channels().unwrap_or_default();
    // An open batch lets a runtime resize the input. The Edge TPU's compiler has mapped such a RESHAPE: that of
    // `keras_lstm_mnist_ptq`, one of its public test models.
    let values = vec![-1, to_i32(features, "features")?];
    let shape = emitter.add_i32(format!("{}/shape", node.name), &[2], values)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(shape);
    emitter.with_inputs(node, builtin::RESHAPE, VERSION, inputs, Options::None)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    // The output's shape tells what the reshape does, whichever way its target is given, unless that is computed.
    let constant = source.tensor(1).is_none_or(|shape| shape.data.is_some());
    let flattens = y.shape.rank() == 2
        && x.shape.rank() > 0
        && x.shape.dims()[0].with_batch(1) == y.shape.dims()[0].with_batch(1);
    let same = x.dtype == y.dtype && x.quantization == y.quantization;
    Ok((constant && flattens && same).then_some((Op::Flatten, inputs)))
}
