//! RELU and RELU6.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions};
use crate::error::Result;
use crate::tflite::schema::builtin;
use taper_graph::{Activation, Node, Op};

const RELU: Versions = Versions {
    float: Version { number: 1, since: [1, 5, 0] },
    uint8: Version { number: 2, since: [2, 1, 0] },
    int8: Version { number: 2, since: [2, 1, 0] },
};
const RELU6: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, function: Activation) -> Result<()> {
    let arithmetic = emitter.of_activations(node)?;
    let (builtin, version) = match function {
        Activation::Relu => (builtin::RELU, RELU.of(arithmetic)),
        Activation::Relu6 => (builtin::RELU6, RELU6.of(arithmetic)),
    };
    emitter.plain(node, builtin, version, Options::None)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let function = if source.code.builtin == builtin::RELU { Activation::Relu } else { Activation::Relu6 };
    let same = Arithmetic::of_activations(x, y).is_some() && source.inputs.len() == 1;
    Ok(same.then_some((Op::Activation { function }, inputs)))
}
