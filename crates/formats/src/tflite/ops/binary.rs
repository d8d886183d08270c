//! ADD, SUB, MUL, DIV, MAXIMUM and MINIMUM of two activations, or of one and a constant.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, binary_options as fields, builtin, options};
use taper_graph::{Binary, DType, Dim, Elementwise, Node, Op, Quantization, Shape, Tensor};

/// Of ADD and MUL.
pub(super) const SUM: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
const DIFFERENCE: Versions = Versions::new(1, [1, 6, 0], 2, [1, 14, 0]);
const QUOTIENT: Version = Version { number: 1, since: [1, 6, 0] };
/// Of MUL, where integers grow by a factor of at least 1.
const GROWING: Version = Version { number: 3, since: [1, 15, 0] };
/// Of MAXIMUM and MINIMUM.
const EXTREME: Versions = Versions::new(1, [1, 14, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, elementwise: &Elementwise) -> Result<()> {
    let arithmetic = emitter.of_operands(node)?;
    let (builtin, version, options_type) = match elementwise.function {
        Binary::Add => (builtin::ADD, SUM.of(arithmetic), options::ADD),
        Binary::Subtract => (builtin::SUB, DIFFERENCE.of(arithmetic), options::SUB),
        Binary::Multiply => {
            let tensors = [emitter.tensor(node, 0)?, emitter.tensor(node, 1)?, emitter.output(node)?];
            let version = if grows(tensors) { GROWING } else { SUM.of(arithmetic) };
            (builtin::MUL, version, options::MUL)
        }
        Binary::Divide if arithmetic == Arithmetic::Int8 => {
            return Err(super::unwritable(node, "expected f32 or u8, which DIV computes in, found i8"));
        }
        Binary::Divide => (builtin::DIV, QUOTIENT, options::DIV),
        Binary::Maximum => (builtin::MAXIMUM, EXTREME.of(arithmetic), options::MAXIMUM_MINIMUM),
        Binary::Minimum => (builtin::MINIMUM, EXTREME.of(arithmetic), options::MAXIMUM_MINIMUM),
    };
    let fused = emitter.fused(node, elementwise.activation)?;
    let fields = match elementwise.function {
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => {
            vec![(fields::ACTIVATION, Value::I8(fused))]
        }
        Binary::Maximum | Binary::Minimum if fused == schema::NO_ACTIVATION => Vec::new(),
        Binary::Maximum | Binary::Minimum => {
            return Err(super::unwritable(node, "expected no nonlinearity fused behind it, found one"));
        }
    };
    emitter.plain(node, builtin, version, Options::Fields { options_type, fields })
}

/// Whether the product of integers of these tensors is multiplied by 1 or more on its way to the output.
fn grows(tensors: [&Tensor; 3]) -> bool {
    match tensors.map(|tensor| &tensor.quantization) {
        [
            Some(Quantization::PerTensor { scale: a, .. }),
            Some(Quantization::PerTensor { scale: b, .. }),
            Some(Quantization::PerTensor { scale: y, .. }),
        ] => a * b / y >= 1.0,
        _ => false,
    }
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(a), Some(b)) = (source.first_inputs(2), source.tensor(0), source.tensor(1))
    else {
        return Ok(None);
    };
    let (function, options_type) = match source.code.builtin {
        builtin::ADD => (Binary::Add, options::ADD),
        builtin::SUB => (Binary::Subtract, options::SUB),
        builtin::MUL => (Binary::Multiply, options::MUL),
        builtin::DIV => (Binary::Divide, options::DIV),
        builtin::MINIMUM => (Binary::Minimum, options::MAXIMUM_MINIMUM),
        _ => (Binary::Maximum, options::MAXIMUM_MINIMUM),
    };
    let activation = match (function, source.options(options_type)?) {
        (Binary::Maximum | Binary::Minimum, _) => Some(None),
        (Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide, Some(options)) => {
            schema::activation(options.scalar(fields::ACTIVATION, schema::NO_ACTIVATION)?)
        }
        (Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide, None) => None,
    };
    let fits = match (&a.data, &b.data) {
        (None, None) => a.shape.rank() == b.shape.rank(),
        (None, Some(_)) => serves_all(b, &a.shape),
        (Some(_), None) => serves_all(a, &b.shape),
        (Some(_), Some(_)) => false,
    };
    // Integers are divided in u8 only.
    let computes = function != Binary::Divide || a.dtype != DType::I8;
    let operands = fits && computes && meet(&a.shape, &b.shape) && source.are_operands();
    let (Some(activation), true, 2) = (activation, operands, source.inputs.len()) else {
        return Ok(None);
    };
    Ok(Some((Op::Elementwise(Elementwise { function, activation }), inputs)))
}

/// Whether all innermost sizes that both shapes have are equal or 1.
fn meet(a: &Shape, b: &Shape) -> bool {
    let sizes = a.dims().iter().rev().zip(b.dims().iter().rev());
    sizes.into_iter().all(|(a, b)| a == b || *a == Dim::Fixed(1) || *b == Dim::Fixed(1))
}

/// Whether a constant has one set of values for all images of an activation.
fn serves_all(constant: &Tensor, activation: &Shape) -> bool {
    let rank = constant.shape.rank();
    rank < activation.rank()
        || rank == activation.rank()
            && constant.shape.dims().first().is_none_or(|size| *size == Dim::Fixed(1))
}
