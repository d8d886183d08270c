//! ADD, MUL and MAXIMUM of two activations.

use super::{Emitter, Options, Reading, Source, Version, Versions};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, binary_options as fields, builtin, options};
use taper_graph::{Binary, Dim, Elementwise, Node, Op, Quantization, Tensor};

/// Of ADD and MUL.
const SUM: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
/// Of MUL, where integers grow by a factor of at least 1.
const GROWING: Version = Version { number: 3, since: [1, 15, 0] };
const MAXIMUM: Versions = Versions::new(1, [1, 14, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, elementwise: &Elementwise) -> Result<()> {
    let arithmetic = emitter.of_operands(node)?;
    let (builtin, version, options_type) = match elementwise.function {
        Binary::Add => (builtin::ADD, SUM.of(arithmetic), options::ADD),
        Binary::Multiply => {
            let tensors = [emitter.tensor(node, 0)?, emitter.tensor(node, 1)?, emitter.output(node)?];
            let version = if grows(tensors) { GROWING } else { SUM.of(arithmetic) };
            (builtin::MUL, version, options::MUL)
        }
        Binary::Maximum => (builtin::MAXIMUM, MAXIMUM.of(arithmetic), options::MAXIMUM_MINIMUM),
    };
    let fused = emitter.fused(node, elementwise.activation)?;
    let fields = match elementwise.function {
        Binary::Add | Binary::Multiply => vec![(fields::ACTIVATION, Value::I8(fused))],
        Binary::Maximum if fused == schema::NO_ACTIVATION => Vec::new(),
        Binary::Maximum => {
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
        builtin::MUL => (Binary::Multiply, options::MUL),
        _ => (Binary::Maximum, options::MAXIMUM_MINIMUM),
    };
    let activation = match (function, source.options(options_type)?) {
        (Binary::Maximum, _) => Some(None),
        (Binary::Add | Binary::Multiply, Some(options)) => {
            schema::activation(options.scalar(fields::ACTIVATION, schema::NO_ACTIVATION)?)
        }
        (Binary::Add | Binary::Multiply, None) => None,
    };
    let meet = a.shape.rank() == b.shape.rank()
        && a.shape
            .dims()
            .iter()
            .zip(b.shape.dims())
            .all(|(a, b)| a == b || *a == Dim::Fixed(1) || *b == Dim::Fixed(1));
    let (Some(activation), true, 2) = (activation, meet && source.are_activations(), source.inputs.len())
    else {
        return Ok(None);
    };
    Ok(Some((Op::Elementwise(Elementwise { function, activation }), inputs)))
}
