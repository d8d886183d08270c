//! SLICE and STRIDED_SLICE; and what takes several slices, or drops axes of them: SPLIT, SPLIT_V and UNPACK.

use super::{
    Arithmetic, Emitter, Expansion, Nodes, Options, Reading, Source, Version, Versions, axis_behind_batch,
    reshape, to_i32, unwritable,
};
use crate::error::{FormatError, Result};
use crate::tflite::build::Value;
use crate::tflite::flat::Table;
use crate::tflite::schema::{builtin, options, pack_options, strided_slice_options as fields};
use taper_graph::{AxisSlice, Dim, Node, Op, Shape, StridedSlice, Tensor};

const SLICE: Versions = Versions::new(1, [1, 14, 0], 2, [1, 14, 0]);
const STRIDED_SLICE: Versions = Versions::new(1, [1, 6, 0], 2, [1, 14, 0]);
/// Of tensors with more than four axes.
const DEEP_SLICE: Version = Version { number: 5, since: [2, 5, 0] };
const DEEP_STRIDED_SLICE: Version = Version { number: 4, since: [2, 2, 0] };

/// Stands for all that is left of an axis.
const REST: i32 = -1;
/// The bit of the batch in the masks of STRIDED_SLICE.
const BATCH: i32 = 1;

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, slice: &StridedSlice) -> Result<()> {
    emitter.same_quantization(node)?;
    emitter.of_activations(node)?;
    let x = to_i32(node.inputs[0].0, "tensor position")?;
    write_from(emitter, node, x, &slice.axes)
}

/// Slices the tensor at position `x` into what `node` writes: a SLICE, or a STRIDED_SLICE where a step is longer than 1.
/// Neither fixes the batch.
pub(super) fn write_from<'g>(
    emitter: &mut Emitter<'g>,
    node: &'g Node,
    x: i32,
    axes: &[AxisSlice],
) -> Result<()> {
    let y = emitter.output(node)?;
    let arithmetic = Arithmetic::of_activations(y, y)
        .ok_or_else(|| unwritable(node, &format!("expected f32, i8 or u8, found {}", y.dtype)))?;
    let sizes = y.shape.with_batch(1).into_iter().enumerate();
    let mut ranges: Vec<AxisSlice> =
        sizes.map(|(axis, count)| AxisSlice { axis, start: 0, step: 1, count }).collect();
    for part in axes {
        ranges[part.axis] = *part;
    }
    let rank = ranges.len();
    let constant = |name: &str, value: &dyn Fn(&AxisSlice) -> usize| {
        let values = ranges.iter().map(|range| to_i32(value(range), name)).collect::<Result<Vec<_>>>()?;
        Ok::<_, FormatError>((format!("{}/{name}", node.name), values))
    };
    let begin = constant("begin", &|range| range.start)?;
    let mut inputs = vec![x];
    if axes.iter().all(|part| part.step == 1) {
        let (name, mut sizes) = constant("size", &|range| range.count)?;
        if let Some(batch) = sizes.first_mut() {
            *batch = REST;
        }
        for (name, values) in [begin, (name, sizes)] {
            inputs.push(emitter.add_i32(name, &[rank], values)?);
        }
        let version = if rank > 4 { DEEP_SLICE } else { SLICE.of(arithmetic) };
        let options = Options::Fields { options_type: options::SLICE, fields: Vec::new() };
        return emitter.with_inputs(node, builtin::SLICE, version, inputs, options);
    }
    let end = constant("end", &|range| range.start + (range.count.max(1) - 1) * range.step + 1)?;
    let steps = constant("strides", &|range| range.step)?;
    for (name, values) in [begin, end, steps] {
        inputs.push(emitter.add_i32(name, &[rank], values)?);
    }
    let version = if rank > 4 { DEEP_STRIDED_SLICE } else { STRIDED_SLICE.of(arithmetic) };
    let fields = vec![(fields::BEGIN_MASK, Value::I32(BATCH)), (fields::END_MASK, Value::I32(BATCH))];
    let options = Options::Fields { options_type: options::STRIDED_SLICE, fields };
    emitter.with_inputs(node, builtin::STRIDED_SLICE, version, inputs, options)
}

/// A slice that takes of each axis what is given; axes that stay whole are left out. `None` if the batch does not stay, or
/// the slice reaches beyond an axis.
fn slice(x: &Tensor, ranges: &[AxisSlice]) -> Option<Op> {
    let mut axes = Vec::new();
    for range in ranges {
        let size = x.shape.dims().get(range.axis)?.with_batch(1);
        let last = range.count.checked_sub(1)?.checked_mul(range.step)?.checked_add(range.start)?;
        if last >= size || range.step == 0 {
            return None;
        }
        let whole = range.start == 0 && range.step == 1 && range.count == size;
        match (whole, range.axis) {
            (true, _) => {}
            (false, 0) => return None,
            (false, _) => axes.push(*range),
        }
    }
    Some(Op::StridedSlice(StridedSlice { axes }))
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let (Some(begin), Some(size)) = (source.integers(1), source.integers(2)) else { return Ok(None) };
    let rank = x.shape.rank();
    if [begin.len(), size.len(), y.shape.rank()] != [rank; 3] || source.inputs.len() != 3 || !source.moves() {
        return Ok(None);
    }
    let ranges: Option<Vec<AxisSlice>> = (0..rank)
        .map(|axis| {
            let (start, dim) = (usize::try_from(begin[axis]).ok()?, x.shape.dims()[axis]);
            let count = match (size[axis], dim) {
                (-1, _) => dim.with_batch(1).checked_sub(start)?,
                (_, Dim::Batch(_)) => return None,
                (count, Dim::Fixed(_)) => usize::try_from(count).ok()?,
            };
            (y.shape.dims()[axis].with_batch(1) == count).then_some(AxisSlice { axis, start, step: 1, count })
        })
        .collect();
    Ok(ranges.and_then(|ranges| slice(x, &ranges)).map(|op| (op, inputs)))
}

/// A slice, and a reshape where axes are dropped.
pub(super) fn read_strided(source: &Source<'_>) -> Expansion {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(options) = source.options(options::STRIDED_SLICE)? else { return Ok(None) };
    let unknown = options.scalar::<i32>(fields::ELLIPSIS_MASK, 0)? != 0
        || options.scalar::<i32>(fields::NEW_AXIS_MASK, 0)? != 0
        || options.flag(fields::OFFSET)?;
    if unknown || source.inputs.len() != 4 || !source.moves() {
        return Ok(None);
    }
    let Some(taken) = Taken::read(source, x, &options)? else { return Ok(None) };
    let Some(op) = slice(x, &taken.ranges) else { return Ok(None) };
    let mut dims = x.shape.dims().to_vec();
    for range in taken.ranges.iter().filter(|range| range.axis > 0) {
        dims[range.axis] = range.count.into();
    }
    let sliced = Shape::new(dims);
    let left: Vec<usize> = sliced
        .with_batch(1)
        .into_iter()
        .enumerate()
        .filter(|(axis, _)| !taken.dropped.contains(axis))
        .map(|(_, size)| size)
        .collect();
    if y.shape.with_batch(1) != left {
        return Ok(None);
    }
    if taken.dropped.is_empty() {
        return Ok(Some(source.alone(op, inputs)));
    }
    let mut nodes = Nodes::default();
    let between = nodes.between(source, format!("{}/slice", y.name), sliced, x);
    nodes.then(op, &inputs, between);
    nodes.then(reshape::to(&left[1..]), &[between], source.outputs[0]);
    Ok(Some(nodes))
}

/// What a STRIDED_SLICE takes of each axis.
struct Taken {
    ranges: Vec<AxisSlice>,
    /// Axes of one index that it drops; never the batch.
    dropped: Vec<usize>,
}

impl Taken {
    fn read(source: &Source<'_>, x: &Tensor, options: &Table<'_>) -> Result<Option<Self>> {
        let masks = [fields::BEGIN_MASK, fields::END_MASK, fields::SHRINK_AXIS_MASK];
        let [begin_mask, end_mask, shrink_mask] =
            [options.scalar(masks[0], 0)?, options.scalar(masks[1], 0)?, options.scalar(masks[2], 0)?];
        let (Some(begin), Some(end), Some(steps)) =
            (source.integers(1), source.integers(2), source.integers(3))
        else {
            return Ok(None);
        };
        let rank = x.shape.rank();
        if [begin.len(), end.len(), steps.len()] != [rank; 3] || rank > 31 {
            return Ok(None);
        }
        let mut taken = Self { ranges: Vec::with_capacity(rank), dropped: Vec::new() };
        for axis in 0..rank {
            let bit = |mask: i32| mask >> axis & 1 == 1;
            let dim = x.shape.dims()[axis];
            let (Ok(size), Ok(step)) = (i64::try_from(dim.with_batch(1)), usize::try_from(steps[axis]))
            else {
                return Ok(None);
            };
            if step == 0 {
                return Ok(None);
            }
            // An index counts from the end where it is negative, and stops at the border.
            let place =
                |index: i64| (if index < 0 { index.saturating_add(size) } else { index }).clamp(0, size);
            let drops = bit(shrink_mask);
            let start = if bit(begin_mask) && !drops { 0 } else { place(begin[axis]) };
            let stop = match (drops, bit(end_mask)) {
                (true, _) => start.saturating_add(1),
                (false, true) => size,
                (false, false) => place(end[axis]),
            };
            let fixes_batch = drops || !bit(end_mask);
            let (Ok(start), Ok(len)) = (usize::try_from(start), usize::try_from(stop - start)) else {
                return Ok(None);
            };
            if axis == 0 && (drops || fixes_batch && matches!(dim, Dim::Batch(_))) {
                return Ok(None);
            }
            if drops {
                taken.dropped.push(axis);
            }
            let step = if drops { 1 } else { step };
            taken.ranges.push(AxisSlice { axis, start, step, count: len.div_ceil(step) });
        }
        Ok(Some(taken))
    }
}

/// A slice for each output, one behind the other.
pub(super) fn read_split(source: &Source<'_>) -> Expansion {
    let (position, axis, inputs) = match source.code.builtin {
        builtin::SPLIT => (1, 0, 2),
        _ => (0, 2, 3),
    };
    let (Some(Some(input)), Some(x)) = (source.inputs.get(position), source.tensor(position)) else {
        return Ok(None);
    };
    let Some(axis) = source.axis(axis, x).filter(|_| source.inputs.len() == inputs && source.moves_from(x))
    else {
        return Ok(None);
    };
    let mut nodes = Nodes::default();
    let mut start = 0;
    for &output in source.outputs {
        let (whole, part) = (x.shape.with_batch(1), source.tensors[output.0].shape.with_batch(1));
        let equal =
            part.len() == whole.len() && (0..whole.len()).all(|at| at == axis || part[at] == whole[at]);
        let count = part.get(axis).copied().filter(|_| equal).unwrap_or_default();
        let Some(op) = slice(x, &[AxisSlice { axis, start, step: 1, count }]) else { return Ok(None) };
        nodes.then(op, &[*input], output);
        start += count;
    }
    Ok((Some(start) == x.shape.with_batch(1).get(axis).copied()).then_some(nodes))
}

/// A slice for each output, whose axis a reshape drops.
pub(super) fn read_unpack(source: &Source<'_>) -> Expansion {
    let (Some(inputs), Some(x)) = (source.first_inputs(1), source.tensor(0)) else { return Ok(None) };
    let Some(options) = source.options(options::UNPACK)? else { return Ok(None) };
    let axis = axis_behind_batch(i64::from(options.scalar::<i32>(pack_options::AXIS, 0)?), x);
    let Some(axis) = axis.filter(|_| source.inputs.len() == 1 && source.moves()) else { return Ok(None) };
    let mut dims = x.shape.dims().to_vec();
    dims[axis] = 1.into();
    let sliced = Shape::new(dims);
    let mut left = sliced.with_batch(1);
    left.remove(axis);
    let mut nodes = Nodes::default();
    for (start, &output) in source.outputs.iter().enumerate() {
        let y = &source.tensors[output.0];
        let Some(op) = slice(x, &[AxisSlice { axis, start, step: 1, count: 1 }]) else { return Ok(None) };
        if y.shape.with_batch(1) != left {
            return Ok(None);
        }
        let between = nodes.between(source, format!("{}/slice", y.name), sliced.clone(), x);
        nodes.then(op, &inputs, between);
        nodes.then(reshape::to(&left[1..]), &[between], output);
    }
    Ok(Some(nodes))
}
