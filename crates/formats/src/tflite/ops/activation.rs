//! RELU, RELU6, LEAKY_RELU, LOGISTIC, TANH, HARD_SWISH and PRELU.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{builtin, leaky_relu_options, options};
use taper_graph::{Activation, Node, Op, Shape, Tensor};

const RELU: Versions = Versions {
    float: Version { number: 1, since: [1, 5, 0] },
    uint8: Version { number: 2, since: [2, 1, 0] },
    int8: Version { number: 2, since: [2, 1, 0] },
};
const RELU6: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
const LEAKY_RELU: Version = Version { number: 1, since: [1, 13, 1] };
/// Of LOGISTIC and TANH.
const SIGMOID: Versions = Versions::new(1, [1, 14, 0], 2, [1, 14, 0]);
const HARD_SWISH: Version = Version { number: 1, since: [1, 15, 0] };
const PRELU: Version = Version { number: 1, since: [1, 8, 0] };

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, function: Activation) -> Result<()> {
    let arithmetic = emitter.of_activations(node)?;
    let (builtin, version, options) = match function {
        Activation::Relu => (builtin::RELU, RELU.of(arithmetic), Options::None),
        Activation::Relu6 => (builtin::RELU6, RELU6.of(arithmetic), Options::None),
        Activation::LeakyRelu { slope } => {
            let fields = vec![(leaky_relu_options::ALPHA, Value::F32(slope))];
            (builtin::LEAKY_RELU, LEAKY_RELU, Options::Fields { options_type: options::LEAKY_RELU, fields })
        }
        Activation::Sigmoid => (builtin::LOGISTIC, SIGMOID.of(arithmetic), Options::None),
        Activation::Tanh => (builtin::TANH, SIGMOID.of(arithmetic), Options::None),
        Activation::HardSwish => {
            let options = Options::Fields { options_type: options::HARD_SWISH, fields: Vec::new() };
            (builtin::HARD_SWISH, HARD_SWISH, options)
        }
    };
    emitter.plain(node, builtin, version, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let function = match source.code.builtin {
        builtin::RELU => Activation::Relu,
        builtin::RELU6 => Activation::Relu6,
        builtin::LEAKY_RELU => {
            let Some(options) = source.options(options::LEAKY_RELU)? else { return Ok(None) };
            let slope: f32 = options.scalar(leaky_relu_options::ALPHA, 0.0)?;
            if !slope.is_finite() {
                return Ok(None);
            }
            Activation::LeakyRelu { slope }
        }
        builtin::LOGISTIC => Activation::Sigmoid,
        builtin::TANH => Activation::Tanh,
        builtin::HARD_SWISH => Activation::HardSwish,
        _ => return Ok(None),
    };
    let same = Arithmetic::of_activations(x, y).is_some() && source.inputs.len() == 1;
    Ok(same.then_some((Op::Activation { function }, inputs)))
}

/// TFLite broadcasts the slopes over all axes but the batch, `[1, 1, C]` for images.
pub(super) fn write_prelu<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    let (x, slopes) = (emitter.tensor(node, 0)?, emitter.tensor(node, 1)?);
    emitter.of_operands(node)?;
    let mut sizes = vec![1; x.shape.rank().saturating_sub(2)];
    sizes.extend(slopes.shape.sizes().unwrap_or_default());
    let laid_out = Tensor { shape: Shape::fixed(&sizes), ..slopes.clone() };
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs[1] = emitter.lay_out(node.inputs[1], laid_out)?;
    emitter.with_inputs(node, builtin::PRELU, PRELU, inputs, Options::None)
}

pub(super) fn read_prelu(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(slopes), Some(y)) =
        (source.first_inputs(2), source.tensor(0), source.tensor(1), source.output())
    else {
        return Ok(None);
    };
    let per_channel = slopes.shape.channels() == x.shape.channels()
        && slopes.shape.elements(1) == slopes.shape.channels()
        && slopes.data.is_some()
        && source.is_own(inputs[1]);
    let same = Arithmetic::of_activations(x, y).is_some() && slopes.dtype == x.dtype;
    Ok((per_channel && same && source.inputs.len() == 2).then_some((Op::Prelu, inputs)))
}

/// The slopes as the graph has them: `[C]`.
pub(super) fn adopt_slopes(slopes: &mut Tensor) {
    slopes.shape = Shape::fixed(&[slopes.shape.channels().unwrap_or_default()]);
}
