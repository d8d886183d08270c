//! MAX_POOL_2D and AVERAGE_POOL_2D; over the whole map, REDUCE_MAX and MEAN.

use super::padding::{self, Window};
use super::{Arithmetic, Emitter, Expansion, Nodes, Options, Reading, Source, Versions, to_i32};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, options, pool_2d_options as fields, reducer_options};
use taper_graph::{Node, Op, Pool2d, PoolKind, Shape};

const POOL: Versions = Versions::new(1, [1, 5, 0], 2, [1, 14, 0]);
const MEAN: Versions = Versions::new(1, [1, 6, 0], 2, [1, 14, 0]);
const REDUCE_MAX: Versions = Versions::new(1, [1, 11, 0], 2, [1, 14, 0]);

/// Height and width of `[N, H, W, C]`.
const IMAGE_AXES: [i32; 2] = [1, 2];

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, pool: &Pool2d) -> Result<()> {
    emitter.same_quantization(node)?;
    let version = POOL.of(emitter.of_activations(node)?);
    let builtin = match pool.kind {
        PoolKind::Max => builtin::MAX_POOL_2D,
        PoolKind::Average => builtin::AVERAGE_POOL_2D,
    };
    let window = Window { kernel: pool.window, stride: pool.stride, dilation: [1, 1], padding: pool.padding };
    let (x, padding) = padding::write(emitter, node, window)?;
    let fields = vec![
        (fields::PADDING, Value::I8(padding)),
        (fields::STRIDE_W, Value::I32(to_i32(pool.stride[1], "stride")?)),
        (fields::STRIDE_H, Value::I32(to_i32(pool.stride[0], "stride")?)),
        (fields::FILTER_WIDTH, Value::I32(to_i32(pool.window[1], "window")?)),
        (fields::FILTER_HEIGHT, Value::I32(to_i32(pool.window[0], "window")?)),
        (fields::ACTIVATION, Value::I8(schema::NO_ACTIVATION)),
    ];
    let options = Options::Fields { options_type: options::POOL_2D, fields };
    emitter.with_inputs(node, builtin, version, vec![x], options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::POOL_2D)? else {
        return Ok(None);
    };
    let Some([height, width, _]) = x.shape.image() else {
        return Ok(None);
    };
    let fused = schema::activation(options.scalar(fields::ACTIVATION, 0)?) != Some(None);
    let same = Arithmetic::of_activations(x, y).is_some() && x.quantization == y.quantization;
    if fused || !same || source.inputs.len() != 1 {
        return Ok(None);
    }
    let kind = if source.code.builtin == builtin::MAX_POOL_2D { PoolKind::Max } else { PoolKind::Average };
    let window = [
        source.pixels(&options, fields::FILTER_HEIGHT, 0)?,
        source.pixels(&options, fields::FILTER_WIDTH, 0)?,
    ];
    let stride =
        [source.pixels(&options, fields::STRIDE_H, 0)?, source.pixels(&options, fields::STRIDE_W, 0)?];
    let scheme = options.scalar(fields::PADDING, schema::padding::SAME)?;
    let padding = padding::read(scheme, [height, width], window, stride, [1, 1])?;
    Ok(Some((Op::Pool2d(Pool2d { kind, window, stride, padding }), inputs)))
}

pub(super) fn write_global<'g>(emitter: &mut Emitter<'g>, node: &'g Node, kind: PoolKind) -> Result<()> {
    let arithmetic = emitter.of_activations(node)?;
    let (builtin, version) = match kind {
        PoolKind::Max => (builtin::REDUCE_MAX, REDUCE_MAX.of(arithmetic)),
        PoolKind::Average => (builtin::MEAN, MEAN.of(arithmetic)),
    };
    let axes = emitter.add_i32(format!("{}/axes", node.name), &[2], IMAGE_AXES.to_vec())?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(axes);
    let fields = vec![(reducer_options::KEEP_DIMS, Value::Flag(true))];
    let options = Options::Fields { options_type: options::REDUCER, fields };
    emitter.with_inputs(node, builtin, version, inputs, options)
}

/// Without the axes that it takes, the operator is a pooling and a reshape.
pub(super) fn read_global(source: &Source<'_>) -> Expansion {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::REDUCER)? else {
        return Ok(None);
    };
    let Some(axes) = source.i32_values(1) else {
        return Ok(None);
    };
    let mut axes: Vec<i32> =
        axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(4) } else { axis }).collect();
    axes.sort_unstable();
    let ([batch, _, _, channels], true) = (x.shape.dims(), axes == IMAGE_AXES) else {
        return Ok(None);
    };
    if x.shape.image().is_none() || Arithmetic::of_activations(x, y).is_none() {
        return Ok(None);
    }
    let kind = if source.code.builtin == builtin::REDUCE_MAX { PoolKind::Max } else { PoolKind::Average };
    let pool = Op::GlobalPool2d { kind };
    if options.flag(reducer_options::KEEP_DIMS)? {
        return Ok(Some(source.alone(pool, inputs)));
    }
    let mut nodes = Nodes::default();
    let shape = Shape::new(vec![*batch, 1.into(), 1.into(), *channels]);
    let pooled = nodes.between(source, format!("{}/pooled", y.name), shape, y);
    nodes.then(pool, &inputs, pooled);
    nodes.then(Op::Flatten, &[pooled], source.outputs[0]);
    Ok(Some(nodes))
}
