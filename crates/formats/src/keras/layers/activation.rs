//! Nonlinearities: as layers, as operations, and as an option of other layers.

use super::{Site, binary};
use crate::error::Result;
use crate::weights::Array;
use serde_json::Value;
use taper_graph::{Activation, Binary, Op, Softmax, TensorId};

/// A function that Keras names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Linear,
    Softmax,
    Graph(Activation),
}

/// Where a function stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the layer.
    Alone,
    /// Behind the node that bears the layer's name.
    Behind,
}

/// The functions that graphs have.
const FUNCTIONS: &str = "linear, relu, relu6, leaky_relu, elu, silu, hard_swish, sigmoid, tanh, softmax, or of Keras 3 \
                         hard_sigmoid";
/// The slope of Keras's function `leaky_relu`.
const FUNCTION_SLOPE: f32 = 0.2;
/// The slope of the layer LeakyReLU.
const LAYER_SLOPE: f32 = 0.3;

/// The layer's option `activation`.
pub(super) fn of_option(site: &Site<'_, '_>) -> Result<Function> {
    let Some(option) = site.layer.option("activation") else { return Ok(Function::Linear) };
    let name = option.as_str().or_else(|| option.get("config").and_then(Value::as_str));
    name.and_then(|name| named(site, name)).ok_or_else(|| site.layer.unexpected("activation", FUNCTIONS))
}

fn named(site: &Site<'_, '_>, name: &str) -> Option<Function> {
    Some(Function::Graph(match name {
        "linear" => return Some(Function::Linear),
        "softmax" => return Some(Function::Softmax),
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu { slope: FUNCTION_SLOPE },
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "hard_swish" | "hard_silu" => Activation::HardSwish,
        "silu" | "swish" => Activation::Silu,
        "elu" => Activation::Elu { alpha: 1.0 },
        // Keras 2 has another: clip(0.2 x + 0.5).
        "hard_sigmoid" if site.builder.version() != Some(2) => Activation::HardSigmoid,
        _ => return None,
    }))
}

/// What the option `activation` makes of `x`.
pub(super) fn behind(site: &mut Site<'_, '_>, x: TensorId, place: Place) -> Result<TensorId> {
    let function = of_option(site)?;
    apply(site, x, function, place)
}

/// What a function makes of the output of the layer's node, unless it is fused into that.
pub(super) fn apart(site: &mut Site<'_, '_>, x: TensorId, function: Function) -> Result<TensorId> {
    match function {
        Function::Graph(Activation::Relu | Activation::Relu6) => Ok(x),
        Function::Linear | Function::Softmax | Function::Graph(_) => apply(site, x, function, Place::Behind),
    }
}

fn apply(site: &mut Site<'_, '_>, x: TensorId, function: Function, place: Place) -> Result<TensorId> {
    let (op, part) = match function {
        Function::Linear => return Ok(x),
        Function::Softmax => (Op::Softmax(Softmax { beta: 1.0 }), "softmax"),
        Function::Graph(function) => (Op::Activation { function }, "activation"),
    };
    match place {
        Place::Alone => site.node(op, &[x]),
        Place::Behind => site.part(part, op, &[x]),
    }
}

/// ReLU, LeakyReLU, ELU, PReLU and Softmax.
pub(super) fn layer(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let function = match site.layer.class.as_str() {
        "ReLU" => return rectifier(site, x),
        "LeakyReLU" => {
            let slope = site.layer.number("negative_slope")?.or(site.layer.number("alpha")?);
            Function::Graph(Activation::LeakyRelu { slope: slope.unwrap_or(LAYER_SLOPE) })
        }
        "ELU" => Function::Graph(Activation::Elu { alpha: site.layer.number("alpha")?.unwrap_or(1.0) }),
        "PReLU" => return prelu(site, x),
        _ => {
            let rank = site.rank(x);
            let axis = site.layer.axis("axis", rank)?;
            if axis.is_some_and(|axis| axis + 1 != rank) {
                return Err(site.layer.unexpected("axis", "the innermost"));
            }
            Function::Softmax
        }
    };
    apply(site, x, function, Place::Alone)
}

/// ReLU: `max(x, 0)`, with a slope below, and cut off at a limit above.
fn rectifier(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let number = |name: &str| site.layer.number(name);
    let (most, slope) = (number("max_value")?, number("negative_slope")?.unwrap_or(0.0));
    if number("threshold")?.unwrap_or(0.0) != 0.0 {
        return Err(site.layer.unexpected("threshold", "0, without a step"));
    }
    let function = match (most, slope) {
        (Some(6.0), 0.0) => return apply(site, x, Function::Graph(Activation::Relu6), Place::Alone),
        (_, 0.0) => Activation::Relu,
        (_, slope) => Activation::LeakyRelu { slope },
    };
    let Some(most) = most else { return apply(site, x, Function::Graph(function), Place::Alone) };
    let x = site.part("unlimited", Op::Activation { function }, &[x])?;
    let most = site.constant("limit", |_, _| Ok((Vec::new(), vec![most])))?;
    site.binary(Binary::Minimum, [x, most])
}

/// PReLU. Slopes of their own for pixels multiply the negative part of `x`.
fn prelu(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let slopes = site.constant("slopes", |builder, layer| {
        let Array { sizes, values, .. } = builder.variable(layer, "alpha")?;
        match sizes[..] {
            [.., channels] if channels == values.len() => Ok((vec![channels], values)),
            _ => Ok((sizes, values)),
        }
    })?;
    if site.rank(slopes) == 1 {
        return site.node(Op::Prelu, &[x, slopes]);
    }
    let positive = site.part("positive", Op::Activation { function: Activation::Relu }, &[x])?;
    let zero = site.constant("zero", |_, _| Ok((Vec::new(), vec![0.0])))?;
    let negative = site.part("negative", binary(Binary::Minimum), &[x, zero])?;
    let product = site.part("product", binary(Binary::Multiply), &[negative, slopes])?;
    site.binary(Binary::Add, [positive, product])
}

/// A function of `keras.ops.nn`.
pub(super) fn operation(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let function = match site.layer.class.as_str() {
        "Relu" => Activation::Relu,
        "Relu6" => Activation::Relu6,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "HardSilu" | "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => Activation::HardSigmoid,
        "Silu" => Activation::Silu,
        "Elu" => Activation::Elu { alpha: site.layer.number("alpha")?.unwrap_or(1.0) },
        _ => {
            let slope = site.layer.number("negative_slope")?.unwrap_or(FUNCTION_SLOPE);
            Activation::LeakyRelu { slope }
        }
    };
    site.node(Op::Activation { function }, &[x])
}
