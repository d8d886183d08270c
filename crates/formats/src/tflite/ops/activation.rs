//! RELU, RELU_N1_TO_1, RELU6, LEAKY_RELU, LOGISTIC, TANH, HARD_SWISH, ELU and PRELU; and the nonlinearities that TFLite
//! has no operator for, as several.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions, binary, to_i32, unwritable};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, binary_options as fields, builtin, leaky_relu_options, options};
use taper_graph::{Activation, DType, Node, Op, Shape, Tensor, TensorData};

const RELU: Versions = Versions {
    float: Version { number: 1, since: [1, 5, 0] },
    uint8: Version { number: 2, since: [2, 1, 0] },
    int8: Version { number: 2, since: [2, 1, 0] },
};
const RELU6: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
const RELU_N1_TO_1: Version = Version { number: 1, since: [1, 5, 0] };
const LEAKY_RELU: Version = Version { number: 1, since: [1, 13, 1] };
/// Of LOGISTIC and TANH.
const SIGMOID: Versions = Versions::new(1, [1, 14, 0], 2, [1, 14, 0]);
const HARD_SWISH: Version = Version { number: 1, since: [1, 15, 0] };
const ELU: Version = Version { number: 1, since: [1, 14, 0] };
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
        Activation::ReluN1To1 => (builtin::RELU_N1_TO_1, RELU_N1_TO_1, Options::None),
        Activation::Elu { alpha: 1.0 } => (builtin::ELU, ELU, Options::None),
        Activation::Elu { alpha } => {
            return Err(unwritable(node, &format!("expected an alpha of 1, which ELU has, found {alpha}")));
        }
        Activation::HardSigmoid => return write_hard_sigmoid(emitter, node),
        Activation::Silu => return write_silu(emitter, node),
    };
    emitter.plain(node, builtin, version, options)
}

/// ADD of 3 with a fused RELU6, and MUL of a sixth.
fn write_hard_sigmoid<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    let x = to_i32(floats(emitter, node)?, "tensor position")?;
    let [three, sixth] = [("three", 3.0), ("sixth", 1.0 / 6.0)].map(|(name, value)| Tensor {
        name: format!("{}/{name}", node.name),
        shape: Shape::fixed(&[1]),
        dtype: DType::F32,
        quantization: None,
        data: Some(TensorData::F32(vec![value])),
    });
    let three = emitter.add(three)?;
    let limited = between(emitter, node, "limited")?;
    let relu6 = emitter.fused(node, Some(Activation::Relu6))?;
    let sum = binary_options(options::ADD, relu6);
    emitter.operator(builtin::ADD, binary::SUM.of(Arithmetic::Float), vec![x, three], vec![limited], sum);
    let sixth = emitter.add(sixth)?;
    let product = binary_options(options::MUL, schema::NO_ACTIVATION);
    let version = binary::SUM.of(Arithmetic::Float);
    emitter.with_inputs(node, builtin::MUL, version, vec![limited, sixth], product)
}

/// LOGISTIC, and MUL with the input.
fn write_silu<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    let x = to_i32(floats(emitter, node)?, "tensor position")?;
    let gate = between(emitter, node, "gate")?;
    let version = SIGMOID.of(Arithmetic::Float);
    emitter.operator(builtin::LOGISTIC, version, vec![x], vec![gate], Options::None);
    let product = binary_options(options::MUL, schema::NO_ACTIVATION);
    emitter.with_inputs(node, builtin::MUL, binary::SUM.of(Arithmetic::Float), vec![x, gate], product)
}

/// The position of the input, whose integers would need scales for what stands in between.
fn floats<'g>(emitter: &Emitter<'g>, node: &'g Node) -> Result<usize> {
    match (emitter.of_activations(node)?, node.inputs.first()) {
        (Arithmetic::Float, Some(x)) => Ok(x.0),
        (Arithmetic::Float | Arithmetic::Uint8 | Arithmetic::Int8, _) => {
            let dtype = emitter.output(node)?.dtype;
            Err(unwritable(
                node,
                &format!("expected f32, as TFLite has it as several operators, found {dtype}"),
            ))
        }
    }
}

/// Adds an activation of the output's shape.
fn between<'g>(emitter: &mut Emitter<'g>, node: &'g Node, name: &str) -> Result<i32> {
    let y = emitter.output(node)?;
    emitter.add(Tensor { name: format!("{}/{name}", node.name), ..y.clone() })
}

fn binary_options<'g>(options_type: u8, fused: i8) -> Options<'g> {
    Options::Fields { options_type, fields: vec![(fields::ACTIVATION, Value::I8(fused))] }
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let function = match source.code.builtin {
        builtin::RELU => Activation::Relu,
        builtin::RELU6 => Activation::Relu6,
        builtin::RELU_N1_TO_1 => Activation::ReluN1To1,
        builtin::ELU => Activation::Elu { alpha: 1.0 },
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
