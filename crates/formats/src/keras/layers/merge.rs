//! Layers of several inputs.

use super::{Site, binary};
use crate::error::Result;
use crate::keras::network::Operand;
use taper_graph::{Binary, Concat, Op, TensorId};

/// Names of a function's operands where they are numbers, and so constants of the layer.
const NUMBERS: [&str; 2] = ["a", "b"];

/// A function of two or more inputs, from left to right; the last node bears the layer's name.
pub(super) fn elementwise(
    site: &mut Site<'_, '_>,
    function: Binary,
    operands: &[Operand],
) -> Result<TensorId> {
    if let &[a, b] = operands {
        let operands = [number_or_tensor(site, NUMBERS[0], a)?, number_or_tensor(site, NUMBERS[1], b)?];
        return site.binary(function, operands);
    }
    let inputs = tensors(site, operands)?;
    let [first, middle @ .., last] = &inputs[..] else {
        return Err(site.wrong(format!("expected at least two inputs, found {}", inputs.len())));
    };
    if matches!(function, Binary::Subtract | Binary::Divide) {
        return Err(site.wrong(format!("expected two inputs, found {}", inputs.len())));
    }
    let x = joined(site, function, *first, middle)?;
    site.binary(function, [x, *last])
}

/// The sum of all inputs, times what makes it their mean.
pub(super) fn average(site: &mut Site<'_, '_>, operands: &[Operand]) -> Result<TensorId> {
    let inputs = tensors(site, operands)?;
    let Some((first, rest)) = inputs.split_first() else {
        return Err(site.wrong("expected at least one input, found none"));
    };
    let count = u16::try_from(inputs.len()).map_err(|_| site.wrong("expected fewer than 65536 inputs"))?;
    let sum = joined(site, Binary::Add, *first, rest)?;
    let share = site.constant("share", |_, _| Ok((Vec::new(), vec![1.0 / f32::from(count)])))?;
    site.binary(Binary::Multiply, [sum, share])
}

/// TFOpLambda: a function of TensorFlow, by its name.
pub(super) fn function(site: &mut Site<'_, '_>, operands: &[Operand]) -> Result<TensorId> {
    let name = site.layer.text("function").unwrap_or_default();
    let function = match name.trim_start_matches("math.").trim_start_matches("__operators__.") {
        "add" => Binary::Add,
        "subtract" => Binary::Subtract,
        "multiply" => Binary::Multiply,
        "truediv" | "divide" => Binary::Divide,
        "maximum" => Binary::Maximum,
        "minimum" => Binary::Minimum,
        _ => return Err(site.layer.unexpected("function", "an arithmetic function of two operands")),
    };
    elementwise(site, function, operands)
}

fn joined(site: &mut Site<'_, '_>, function: Binary, first: TensorId, rest: &[TensorId]) -> Result<TensorId> {
    let mut x = first;
    for (position, &input) in (1..).zip(rest) {
        x = site.part(&position.to_string(), binary(function), &[x, input])?;
    }
    Ok(x)
}

fn number_or_tensor(site: &mut Site<'_, '_>, role: &'static str, operand: Operand) -> Result<TensorId> {
    match operand {
        Operand::Tensor(x) => Ok(x),
        Operand::Number(number) => site.constant(role, |_, _| Ok((Vec::new(), vec![number]))),
    }
}

pub(super) fn concatenate(site: &mut Site<'_, '_>, operands: &[Operand]) -> Result<TensorId> {
    let inputs = tensors(site, operands)?;
    let Some(&first) = inputs.first() else {
        return Err(site.wrong("expected at least one input, found none"));
    };
    let rank = site.rank(first);
    let axis = site.layer.axis("axis", rank)?;
    let axis = axis.or(rank.checked_sub(1)).ok_or_else(|| site.wrong("expected inputs with axes"))?;
    site.node(Op::Concat(Concat { axis }), &inputs)
}

fn tensors(site: &Site<'_, '_>, operands: &[Operand]) -> Result<Vec<TensorId>> {
    let tensor = |operand: &Operand| match *operand {
        Operand::Tensor(x) => Ok(x),
        Operand::Number(number) => Err(site.wrong(format!("expected tensors, found the number {number}"))),
    };
    operands.iter().map(tensor).collect()
}
