//! SOFTMAX.

use super::{Arithmetic, Emitter, Options, Reading, Source, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{builtin, options, softmax_options as fields};
use taper_graph::{Node, Op, Softmax};

const VERSIONS: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, softmax: &Softmax) -> Result<()> {
    let version = VERSIONS.of(emitter.of_activations(node)?);
    let fields = vec![(fields::BETA, Value::F32(softmax.beta))];
    let options = Options::Fields { options_type: options::SOFTMAX, fields };
    emitter.plain(node, builtin::SOFTMAX, version, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::SOFTMAX)? else {
        return Ok(None);
    };
    if Arithmetic::of_activations(x, y).is_none() || source.inputs.len() != 1 {
        return Ok(None);
    }
    Ok(Some((Op::Softmax(Softmax { beta: options.scalar(fields::BETA, 0.0)? }), inputs)))
}
