//! Nonlinearities, value by value.

use super::parameters;
use crate::error::Result;
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Activation, Binary, Node, Op, TensorId};

/// ONNX's attributes of `min(max(x + 3, 0), 6) / 6`.
const HARD_SIGMOID_ALPHA: f32 = 1.0 / 6.0;
const HARD_SIGMOID_BETA: f32 = 0.5;

/// A nonlinearity without attributes.
pub(super) fn read<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    function: Activation,
) -> Result<Value> {
    operation.expect(1..=1, &[])?;
    apply(importer, operation, function)
}

fn apply<'m>(importer: &mut Importer<'m>, operation: Operation<'m>, function: Activation) -> Result<Value> {
    let x = importer.activation(operation, 0)?;
    if fuse(importer, operation, x.tensor, function) {
        return Ok(Value::Activation(x));
    }
    let y = importer.add(operation, Op::Activation { function }, &[x.tensor])?;
    Ok(super::viewed(y, &x))
}

/// Fuses a nonlinearity behind an operator on integers whose output is quantized only behind it; false if it cannot be.
fn fuse<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: TensorId,
    function: Activation,
) -> bool {
    let name = operation.input(0).unwrap_or_default();
    if !importer.lacks_meaning(x) {
        return false;
    }
    match importer.only_read_here(name, x).and_then(|node| node.op.fused_activation_mut()) {
        Some(fused @ None) => *fused = Some(function),
        Some(Some(_)) | None => return false,
    }
    importer.rename(operation, x);
    true
}

pub(super) fn read_leaky_relu<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["alpha"])?;
    let slope = operation.float("alpha", 0.01)?;
    apply(importer, operation, Activation::LeakyRelu { slope })
}

pub(super) fn read_clip<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=3, &["min", "max"])?;
    let mut bound = |name: &str, position, default| match operation.attribute(name) {
        Some(attribute) => Ok(attribute.f.unwrap_or(0.0)),
        None => importer.number(operation, position).map(|number| number.unwrap_or(default)),
    };
    let (least, greatest) = (bound("min", 1, f32::MIN)?, bound("max", 2, f32::MAX)?);
    match (least, greatest) {
        (0.0, 6.0) => apply(importer, operation, Activation::Relu6),
        (0.0, f32::MAX..) => apply(importer, operation, Activation::Relu),
        (-1.0, 1.0) => apply(importer, operation, Activation::ReluN1To1),
        _ => {
            let x = importer.activation(operation, 0)?;
            let y = bound_below_and_above(importer, operation, x.tensor, [least, greatest])?;
            Ok(super::viewed(y, &x))
        }
    }
}

/// `min(max(x, least), greatest)`.
fn bound_below_and_above<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: TensorId,
    [least, greatest]: [f32; 2],
) -> Result<TensorId> {
    let above = importer.with_scalar(operation, Some("least"), Binary::Maximum, x, least)?;
    importer.with_scalar(operation, None, Binary::Minimum, above, greatest)
}

pub(super) fn read_elu<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["alpha"])?;
    let alpha = operation.float("alpha", 1.0)?;
    apply(importer, operation, Activation::Elu { alpha })
}

/// `min(max(alpha · x + beta, 0), 1)`.
pub(super) fn read_hard_sigmoid<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["alpha", "beta"])?;
    let (alpha, beta) = (operation.float("alpha", 0.2)?, operation.float("beta", 0.5)?);
    if (alpha - HARD_SIGMOID_ALPHA).abs() < 1e-6 && beta == HARD_SIGMOID_BETA {
        return apply(importer, operation, Activation::HardSigmoid);
    }
    let x = importer.activation(operation, 0)?;
    let scaled = importer.with_scalar(operation, Some("scaled"), Binary::Multiply, x.tensor, alpha)?;
    let shifted = importer.with_scalar(operation, Some("shifted"), Binary::Add, scaled, beta)?;
    let y = bound_below_and_above(importer, operation, shifted, [0.0, 1.0])?;
    Ok(super::viewed(y, &x))
}

pub(super) fn read_prelu<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=2, &[])?;
    let (x, slopes) = (importer.activation(operation, 0)?, importer.required(operation, 1)?);
    let (tensor, order) = importer.laid_out(operation, &x)?;
    let x = importer.seen(tensor, &order);
    let slopes = importer.per_channel(&x, &slopes).ok_or_else(|| {
        operation.unsupported(format!("expected one slope for each channel, found {:?}", slopes.dims))
    })?;
    let slopes = parameters::operand(importer, operation, tensor, &slopes)?;
    let y = importer.add(operation, Op::Prelu, &[x.tensor, slopes])?;
    Ok(super::viewed(y, &x))
}

/// Writes a nonlinearity, alone or behind an operator, that reads `x` and writes `y`.
pub(in crate::onnx) fn write(
    emitter: &mut Emitter<'_>,
    name: &str,
    function: Activation,
    x: String,
    y: String,
) -> Result<()> {
    let (kind, inputs, fields) = match function {
        Activation::Relu => ("Relu", vec![x], Vec::new()),
        Activation::Relu6 => ("Clip", vec![x, emitter.scalar(0.0)?, emitter.scalar(6.0)?], Vec::new()),
        Activation::LeakyRelu { slope } => ("LeakyRelu", vec![x], vec![("alpha", Field::Float(slope))]),
        Activation::Sigmoid => ("Sigmoid", vec![x], Vec::new()),
        Activation::Tanh => ("Tanh", vec![x], Vec::new()),
        Activation::HardSwish => {
            emitter.demand(14);
            ("HardSwish", vec![x], Vec::new())
        }
        Activation::HardSigmoid => {
            let alpha = ("alpha", Field::Float(HARD_SIGMOID_ALPHA));
            ("HardSigmoid", vec![x], vec![alpha, ("beta", Field::Float(HARD_SIGMOID_BETA))])
        }
        Activation::Elu { alpha } => ("Elu", vec![x], vec![("alpha", Field::Float(alpha))]),
        Activation::Silu => {
            let gate = emitter.value_name(&format!("{name}/sigmoid"));
            let sigmoid = emitter.node_name(&gate);
            emitter.push(sigmoid, "Sigmoid", vec![x.clone()], gate.clone(), Vec::new());
            ("Mul", vec![x, gate], Vec::new())
        }
        Activation::ReluN1To1 => ("Clip", vec![x, emitter.scalar(-1.0)?, emitter.scalar(1.0)?], Vec::new()),
    };
    emitter.push(name.to_owned(), kind, inputs, y, fields);
    Ok(())
}

pub(super) fn write_prelu(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = emitter.input(node, 0)?;
    let channels = emitter.tensor(node, 1).shape.sizes().unwrap_or_default();
    let mut sizes = channels;
    if emitter.tensor(node, 0).shape.rank() == 4 {
        sizes.extend([1, 1]);
    }
    let axes: Vec<usize> = (0..sizes.len()).collect();
    let slopes = emitter.constant_of(node.inputs[1], &sizes, &axes)?;
    emitter.layer(node, "PRelu", vec![x, slopes], Vec::new())
}
