//! FULLY_CONNECTED.

use super::{Arithmetic, Emitter, Expansion, Nodes, Options, Source, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, fully_connected_options as fields, options};
use taper_graph::{FullyConnected, Node, Op, Shape};

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

/// TFLite flattens images on the way; the graph does it in a node of its own.
pub(super) fn read(source: &Source<'_>) -> Expansion {
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
    let default_format = options.scalar(fields::WEIGHTS_FORMAT, DEFAULT_FORMAT)? == DEFAULT_FORMAT;
    let (Some((&batch, rest)), true) = (x.shape.dims().split_first(), default_format && y.shape.rank() == 2)
    else {
        return Ok(None);
    };
    // The rows of the matrix may be others than the images: TFLite makes as many as the weights leave.
    let features = weights.shape.channels();
    let rows =
        Shape::new(rest.to_vec()).elements(1) == features && y.shape.with_batch(1)[0] == batch.with_batch(1);
    let (Some(features), true, Some(_)) = (features, rows, Arithmetic::of_layer(x, weights, bias, y)) else {
        return Ok(None);
    };
    let dense = Op::FullyConnected(FullyConnected { activation });
    if rest.len() == 1 {
        return Ok(Some(source.alone(dense, inputs)));
    }
    let mut nodes = Nodes::default();
    let shape = Shape::new(vec![batch, features.into()]);
    let flat = nodes.between(source, format!("{}/flat", y.name), shape, x);
    nodes.then(Op::Flatten, &inputs[..1], flat);
    nodes.then(dense, &[&[flat], &inputs[1..]].concat(), source.outputs[0]);
    Ok(Some(nodes))
}
