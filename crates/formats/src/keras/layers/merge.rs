//! Layers of several inputs.

use super::Site;
use crate::error::Result;
use crate::keras::network::Operand;
use taper_graph::{Binary, Concat, Elementwise, Op, TensorId};

/// A function of two or more inputs, from left to right; the last node bears the layer's name.
pub(super) fn elementwise(site: &mut Site<'_, '_>, operands: &[Operand]) -> Result<TensorId> {
    let function = match site.layer.class.as_str() {
        "Add" => Binary::Add,
        "Multiply" => Binary::Multiply,
        _ => Binary::Maximum,
    };
    let inputs = tensors(site, operands)?;
    let [first, middle @ .., last] = &inputs[..] else {
        return Err(site.wrong(format!("expected at least two inputs, found {}", inputs.len())));
    };
    let op = Op::Elementwise(Elementwise { function, activation: None });
    let mut x = *first;
    for (position, &input) in (1..).zip(middle) {
        x = site.part(&position.to_string(), op.clone(), &[x, input])?;
    }
    site.node(op, &[x, *last])
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
