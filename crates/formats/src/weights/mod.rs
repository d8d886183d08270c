//! Files of weights alone: Keras's HDF5, safetensors, and PyTorch's state dictionaries.
//!
//! [`load`] reads all arrays of a file, [`assign`] puts them into a network of the same architecture.

mod array;
mod assign;
mod element;
mod groups;
pub(crate) mod hdf5;
mod names;
mod pickle;
#[cfg(test)]
mod tests;
mod torch;
pub(crate) mod zip;

pub use array::{Array, Weights};
pub use assign::{Layout, Report, assign};
pub use element::Element;
pub(crate) use groups::{MODEL_WEIGHTS, WEIGHT_NAMES, join};

use crate::budget::Budget;
use crate::checkpoint;
use crate::error::{FormatError, Result};
use crate::safetensors::Container;
use hdf5::Hdf5;
use std::fs;
use std::path::Path;
use zip::Zip;

/// Where Keras keeps the weights in its archive.
pub(crate) const KERAS_WEIGHTS: &str = "model.weights.h5";
/// First byte of a pickle of protocol 2 or later.
const PICKLE: u8 = 0x80;

/// Reads the weights in a `.h5`, `.keras`, `.safetensors`, `.pth`, `.pt` or `.taper` file. Its content tells what it is.
///
/// Arrays of Keras are named `LAYER/VARIABLE`, or `LAYER/0`, `LAYER/1` and so on where the file numbers them; others as the
/// file names them. A `.taper` file holds the arrays of its graph, other safetensors files those of PyTorch, or of Keras if
/// a name has a `/`.
///
/// # Errors
/// If the file cannot be read, holds no weights or something that is none; every error names the file.
pub fn load(path: &Path) -> Result<Weights> {
    let bytes = fs::read(path).map_err(FormatError::io("read the file"));
    bytes.and_then(read).map_err(|error| error.in_file(path))
}

/// Reads weights from the bytes of a file; see [`load`].
///
/// # Errors
/// If the bytes hold no weights or something that is none.
pub fn read(bytes: Vec<u8>) -> Result<Weights> {
    let mut budget = Budget::of(bytes.len());
    if bytes.starts_with(&hdf5::SIGNATURE) {
        return groups::read(&Hdf5::open(bytes)?, &mut budget);
    }
    if bytes.starts_with(&zip::SIGNATURE) {
        let zip = Zip::open(&bytes, &mut budget)?;
        if torch::is_archive(&zip) {
            return torch::read_archive(&zip, &mut budget);
        }
        let file = zip.read(KERAS_WEIGHTS, &mut budget)?.ok_or_else(|| {
            let expected = format!("expected an entry `{KERAS_WEIGHTS}` or `data.pkl`, found neither");
            FormatError::unsupported("zip archive", expected)
        })?;
        budget.spend(file.len(), KERAS_WEIGHTS)?;
        return groups::read(&Hdf5::open(file.into_owned())?, &mut budget);
    }
    if bytes.first() == Some(&PICKLE) {
        return torch::read_legacy(&bytes, &mut budget);
    }
    read_safetensors(&bytes, &mut budget)
}

fn read_safetensors(bytes: &[u8], budget: &mut Budget) -> Result<Weights> {
    let container = Container::read(bytes)?;
    let tensors = container.raw();
    let layout = if checkpoint::holds_graph(&container.metadata) {
        Layout::Graph
    } else if tensors.iter().any(|(name, ..)| name.contains('/')) {
        Layout::Keras
    } else {
        Layout::Torch
    };
    let mut weights = Weights::new(layout);
    for (name, element, sizes, data) in tensors {
        weights.push(name.to_owned(), Array::row_major(name, element, data, sizes, budget)?)?;
    }
    Ok(weights)
}
