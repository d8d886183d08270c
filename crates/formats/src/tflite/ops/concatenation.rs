//! CONCATENATION of activations, along any axis but the batch; and PACK, which makes the axis first.

use super::{
    Emitter, Expansion, Nodes, Options, Reading, Source, Versions, axis_behind_batch, reshape, to_i32,
};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, concatenation_options as fields, options, pack_options};
use taper_graph::{Concat, Node, Op, Shape, TensorId};

const VERSIONS: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, concat: &Concat) -> Result<()> {
    let version = VERSIONS.of(emitter.of_operands(node)?);
    let fields = vec![
        (fields::AXIS, Value::I32(to_i32(concat.axis, "axis")?)),
        (fields::ACTIVATION, Value::I8(schema::NO_ACTIVATION)),
    ];
    let options = Options::Fields { options_type: options::CONCATENATION, fields };
    emitter.plain(node, builtin::CONCATENATION, version, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(first)) = (source.first_inputs(source.inputs.len()), source.tensor(0)) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::CONCATENATION)? else {
        return Ok(None);
    };
    let rank = first.shape.rank();
    let axis = i64::from(options.scalar::<i32>(fields::AXIS, 0)?);
    let axis = if axis < 0 { i64::try_from(rank).unwrap_or(i64::MAX) + axis } else { axis };
    let Some(axis) = usize::try_from(axis).ok().filter(|axis| (1..rank).contains(axis)) else {
        return Ok(None);
    };
    let plain = options.scalar(fields::ACTIVATION, schema::NO_ACTIVATION)? == schema::NO_ACTIVATION;
    let fits = inputs.iter().all(|id| {
        let dims = source.tensors[id.0].shape.dims();
        dims.len() == rank && (0..rank).all(|at| at == axis || dims[at] == first.shape.dims()[at])
    });
    Ok((plain && fits && source.are_activations()).then_some((Op::Concat(Concat { axis }), inputs)))
}

/// Each input gets the new axis by a reshape.
pub(super) fn read_pack(source: &Source<'_>) -> Expansion {
    let (Some(inputs), Some(x), Some(y)) =
        (source.first_inputs(source.inputs.len()), source.tensor(0), source.output())
    else {
        return Ok(None);
    };
    let Some(options) = source.options(options::PACK)? else {
        return Ok(None);
    };
    let axis = i64::from(options.scalar::<i32>(pack_options::AXIS, 0)?);
    let same = |id: &TensorId| {
        let input = &source.tensors[id.0];
        input.shape == x.shape && input.data.is_none() && source.moves_from(input)
    };
    let (Some(axis), true) = (axis_behind_batch(axis, y), inputs.iter().all(same)) else {
        return Ok(None);
    };
    let mut dims = x.shape.dims().to_vec();
    if axis > dims.len() {
        return Ok(None);
    }
    dims.insert(axis, 1.into());
    let shape = Shape::new(dims);
    let widen = reshape::to(&shape.with_batch(1)[1..]);
    let mut nodes = Nodes::default();
    let mut parts = Vec::with_capacity(inputs.len());
    for (position, input) in inputs.into_iter().enumerate() {
        let name = format!("{}/part{position}", y.name);
        let part = nodes.between(source, name, shape.clone(), y);
        nodes.then(widen.clone(), &[input], part);
        parts.push(part);
    }
    nodes.then(Op::Concat(Concat { axis }), &parts, source.outputs[0]);
    Ok(Some(nodes))
}
