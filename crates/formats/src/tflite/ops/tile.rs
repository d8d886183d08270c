//! TILE.

use super::{Emitter, Options, Reading, Source, Versions, to_i32};
use crate::error::Result;
use crate::tflite::schema::{builtin, options};
use taper_graph::{Node, Op};

const VERSIONS: Versions = Versions::new(1, [1, 10, 1], 3, [2, 8, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, repeats: &[usize]) -> Result<()> {
    emitter.same_quantization(node)?;
    let version = VERSIONS.of(emitter.of_activations(node)?);
    let mut values = vec![1];
    for &repeats in repeats {
        values.push(to_i32(repeats, "repeats")?);
    }
    let repeats = emitter.add_i32(format!("{}/repeats", node.name), &[values.len()], values)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(repeats);
    let options = Options::Fields { options_type: options::TILE, fields: Vec::new() };
    emitter.with_inputs(node, builtin::TILE, version, inputs, options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let Some(values) = source.integers(1) else { return Ok(None) };
    let repeats: Option<Vec<usize>> = values.iter().map(|&value| usize::try_from(value).ok()).collect();
    let Some([1, repeats @ ..]) = repeats.as_deref() else { return Ok(None) };
    let (sizes, tiled) = (x.shape.with_batch(1), y.shape.with_batch(1));
    let fits = repeats.len() + 1 == sizes.len()
        && tiled.len() == sizes.len()
        && (0..repeats.len())
            .all(|at| repeats[at] > 0 && sizes[at + 1].checked_mul(repeats[at]) == Some(tiled[at + 1]));
    let op = Op::Tile { repeats: repeats.to_vec() };
    Ok((fits && source.moves() && source.inputs.len() == 2).then_some((op, inputs)))
}
