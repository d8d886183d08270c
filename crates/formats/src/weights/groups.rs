//! The arrays of Keras's HDF5 files, by layer.
//!
//! Keras 2 lists the layers in an attribute `layer_names` and each layer's arrays in `weight_names`. Keras 3 numbers a layer's
//! arrays in a group `vars` and keeps the layer's name as an attribute of it (`keras/src/saving/saving_lib.py`).

use super::array::Weights;
use super::assign::Layout;
use super::hdf5::Hdf5;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::collections::BTreeSet;

/// Where a whole model keeps its weights.
pub(crate) const MODEL_WEIGHTS: &str = "model_weights";
/// The layers in Keras 2's list.
pub(crate) const LAYER_NAMES: &str = "layer_names";
/// The arrays of one layer in Keras 2's list.
pub(crate) const WEIGHT_NAMES: &str = "weight_names";
/// How deep models may be nested in one another.
const DEPTH: usize = 32;
/// How many groups a file may have.
const GROUPS: usize = 100_000;

pub(super) fn read(file: &Hdf5, budget: &mut Budget) -> Result<Weights> {
    let root = if file.has_group(MODEL_WEIGHTS) { MODEL_WEIGHTS } else { "" };
    let mut weights = Weights::new(Layout::Keras);
    match file.attributes(root)?.texts(LAYER_NAMES)? {
        Some(layers) => {
            for layer in layers {
                read_listed(file, root, &layer, &mut weights, budget)?;
            }
        }
        None => read_numbered(file, &mut weights, budget)?,
    }
    if weights.is_empty() {
        return Err(FormatError::unsupported(
            "hdf5 file",
            "expected the weights of a Keras model, found none",
        ));
    }
    Ok(weights)
}

fn read_listed(
    file: &Hdf5,
    root: &str,
    layer: &str,
    weights: &mut Weights,
    budget: &mut Budget,
) -> Result<()> {
    let group = join(root, layer);
    let names = file.attributes(&group)?.texts(WEIGHT_NAMES)?.unwrap_or_default();
    let paths: Vec<&str> = names.iter().map(|name| name.split(':').next().unwrap_or(name)).collect();
    let parents: BTreeSet<&str> = paths.iter().map(|path| split(path).0).collect();
    for (name, path) in names.iter().zip(&paths) {
        let array = file.array(&join(&group, name), budget)?;
        let (parent, variable) = split(path);
        // The arrays of a nested model belong to several layers. Those of one layer may bear the name of an earlier session.
        let full = match parents.len() {
            0 | 1 => join(layer, variable),
            _ => join(split(parent).1, variable),
        };
        weights.push(if weights.get(&full).is_some() { (*path).to_owned() } else { full }, array)?;
    }
    Ok(())
}

/// A path without its last part, and that part.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn read_numbered(file: &Hdf5, weights: &mut Weights, budget: &mut Budget) -> Result<()> {
    let mut pending = vec![(String::new(), 0)];
    let mut seen = 0;
    while let Some((group, depth)) = pending.pop() {
        seen += 1;
        if depth > 2 * DEPTH || seen > GROUPS {
            return Err(FormatError::unsupported("hdf5 file", "expected fewer groups within one another"));
        }
        for name in file.groups(&group)?.into_iter().rev() {
            let inner = join(&group, &name);
            match name.as_str() {
                "vars" => {
                    let attributes = file.attributes(&inner)?;
                    let layer = attributes.text("name")?.unwrap_or(&group);
                    for position in 0..file.arrays(&inner)?.len() {
                        let array = file.array(&format!("{inner}/{position}"), budget)?;
                        weights.push(format!("{layer}/{position}"), array)?;
                    }
                }
                "optimizer" if group.is_empty() => {}
                _ => pending.push((inner, depth + 1)),
            }
        }
    }
    Ok(())
}

pub(crate) fn join(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}
