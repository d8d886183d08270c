//! FULLY_CONNECTED.

use super::{Arithmetic, Emitter, Options, Reading, Source, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, fully_connected_options as fields, options};
use taper_graph::{FullyConnected, Node, Op};

const VERSIONS: Versions = Versions::new(1, [1, 5, 0], 4, [1, 14, 0]);
/// The only layout of weights that is not shuffled.
const DEFAULT_FORMAT: i8 = 0;

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, dense: &FullyConnected) -> Result<()> {
    let version = VERSIONS.of(emitter.of_layer(node)?);
    let fused = emitter.fused(node, dense.activation)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    // A bias marked as absent keeps the lowest version; leaving it out would ask for version 6.
    inputs.resize(3, -1);
    let fields = vec![
        (fields::ACTIVATION, Value::I8(fused)),
        (fields::WEIGHTS_FORMAT, Value::I8(DEFAULT_FORMAT)),
        (fields::KEEP_NUM_DIMS, Value::Flag(false)),
    ];
    let options = Options::Fields { options_type: options::FULLY_CONNECTED, fields };
    emitter.with_inputs(node, builtin::FULLY_CONNECTED, version, inputs, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(y)) = (source.layer_inputs(), source.output()) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::FULLY_CONNECTED)? else {
        return Ok(None);
    };
    let [x, weights] = [inputs[0], inputs[1]].map(|id| &source.tensors[id.0]);
    let bias = inputs.get(2).map(|id| &source.tensors[id.0]);
    let Some(activation) = schema::activation(options.scalar(fields::ACTIVATION, 0)?) else {
        return Ok(None);
    };
    // TFLite flattens inputs of other ranks on the way and may split them into several rows.
    let matrices =
        x.shape.rank() == 2 && y.shape.rank() == 2 && x.shape.channels() == weights.shape.channels();
    let default_format = options.scalar(fields::WEIGHTS_FORMAT, DEFAULT_FORMAT)? == DEFAULT_FORMAT;
    if !matrices || !default_format || Arithmetic::of_layer(x, weights, bias, y).is_none() {
        return Ok(None);
    }
    Ok(Some((Op::FullyConnected(FullyConnected { activation }), inputs)))
}
