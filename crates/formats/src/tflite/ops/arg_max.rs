//! ARG_MAX.

use super::{Arithmetic, Emitter, Options, Reading, Source, Versions, to_i32, unwritable};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, arg_max_options as fields, builtin, options};
use taper_graph::{ArgMax, DType, Node, Op};

const VERSIONS: Versions = Versions::new(1, [1, 9, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, arg_max: &ArgMax) -> Result<()> {
    let x = emitter.tensor(node, 0)?;
    let arithmetic = Arithmetic::of(x.dtype)
        .ok_or_else(|| unwritable(node, &format!("expected f32, i8 or u8, found {}", x.dtype)))?;
    let axis = emitter.add_i32(format!("{}/axis", node.name), &[1], vec![to_i32(arg_max.axis, "axis")?])?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(axis);
    let fields = vec![(fields::OUTPUT_TYPE, Value::I8(schema::tensor_type(arg_max.dtype)))];
    let options = Options::Fields { options_type: options::ARG_MAX, fields };
    emitter.with_inputs(node, builtin::ARG_MAX, VERSIONS.of(arithmetic), inputs, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(axis) = source.axis(1, x) else { return Ok(None) };
    let indices = matches!(y.dtype, DType::I32 | DType::I64);
    let mut left = x.shape.with_batch(1);
    left.remove(axis);
    let computes = Arithmetic::of(x.dtype).is_some()
        && x.data.is_none()
        && !x.shape.with_batch(1).contains(&0)
        && y.shape.with_batch(1) == left;
    let op = Op::ArgMax(ArgMax { axis, dtype: y.dtype });
    Ok((indices && computes && source.inputs.len() == 2).then_some((op, inputs)))
}
