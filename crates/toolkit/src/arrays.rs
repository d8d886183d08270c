//! A network on arrays from files: NumPy in, NumPy out.

use crate::error::{Result, ToolkitError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use taper_formats::npy::{self, Array};
use taper_formats::{FormatError, write_file_atomic};
use taper_graph::{Dim, Graph, TensorData, TensorId};
use taper_run::{Cpu, CpuSession, Session, View};

/// An output of a network, written to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrittenArray {
    /// Name of the tensor.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Sizes, the batch first.
    pub shape: Vec<usize>,
    /// Type of the elements.
    pub dtype: String,
}

/// Runs the network in the file `model` on the arrays in `inputs`, `.npy` files in the order of the network's inputs, and
/// writes each output to a `.npy` file of its name in the folder `output`, which is made if need be.
///
/// Floats are quantized where an input holds integers. Outputs keep their type. The outermost size of an array is the
/// batch; it may be left out where that is 1.
///
/// # Errors
/// If a file cannot be read or written, or an array does not fit its input.
pub fn run_on_arrays(model: &Path, inputs: &[PathBuf], output: &Path) -> Result<Vec<WrittenArray>> {
    let graph = taper_formats::load(model)?;
    let mut session = prepare(&graph, &model.display().to_string(), inputs)?;
    session.run()?;
    fs::create_dir_all(output).map_err(|error| ToolkitError::Io {
        path: output.display().to_string(),
        action: "make the folder",
        error,
    })?;
    let mut taken = BTreeSet::new();
    let mut written = Vec::new();
    for (index, port) in session.outputs().iter().enumerate() {
        let data = session.output(index)?.to_data();
        let file = output.join(file_name(&port.name, index, &mut taken));
        write_file_atomic(&file, &npy::write(&Array { sizes: port.sizes.clone(), data }))?;
        let (name, shape, dtype) = (port.name.clone(), port.sizes.clone(), port.dtype.to_string());
        written.push(WrittenArray { name, file, shape, dtype });
    }
    Ok(written)
}

/// A session for the batch of these arrays, with its inputs set.
///
/// # Errors
/// As [`run_on_arrays`].
pub(crate) fn prepare(graph: &Graph, model: &str, inputs: &[PathBuf]) -> Result<CpuSession> {
    if inputs.len() != graph.inputs.len() {
        let names: Vec<_> = graph.inputs.iter().map(|id| format!("`{}`", graph.tensor(*id).name)).collect();
        return Err(ToolkitError::Mismatch {
            model: model.to_owned(),
            data: "--input".to_owned(),
            message: format!(
                "expected an array for each of {} inputs ({}), found {}",
                names.len(),
                names.join(", "),
                inputs.len()
            ),
        });
    }
    let mut arrays = Vec::new();
    let mut batch = None;
    for (path, &input) in inputs.iter().zip(&graph.inputs) {
        let array = read(path)?;
        let found = batch_of(graph, input, &array).filter(|found| batch.is_none_or(|batch| batch == *found));
        batch = Some(found.ok_or_else(|| {
            let tensor = graph.tensor(input);
            let of_batch = batch.map_or_else(String::new, |batch| format!(" with a batch of {batch}"));
            ToolkitError::Mismatch {
                model: model.to_owned(),
                data: path.display().to_string(),
                message: format!(
                    "expected an array {} for `{}`{of_batch}, found {:?}",
                    tensor.shape, tensor.name, array.sizes
                ),
            }
        })?);
        arrays.push(array);
    }
    let mut session = Cpu::default().session(graph, batch.unwrap_or(1))?;
    for (index, (array, path)) in arrays.iter().zip(inputs).enumerate() {
        let integers = session.inputs()[index].dtype.integer_range().is_some();
        match &array.data {
            TensorData::F32(values) if integers => session.set_real_input(index, values)?,
            TensorData::F32(values) => session.set_input(index, View::F32(values))?,
            TensorData::I8(values) => session.set_input(index, View::I8(values))?,
            TensorData::U8(values) => session.set_input(index, View::U8(values))?,
            TensorData::I16(_) | TensorData::I32(_) | TensorData::I64(_) => {
                let port = &session.inputs()[index];
                return Err(ToolkitError::Mismatch {
                    model: model.to_owned(),
                    data: path.display().to_string(),
                    message: format!(
                        "expected an array of f32 or {} for `{}`, found {}",
                        port.dtype,
                        port.name,
                        array.data.dtype()
                    ),
                });
            }
        }
    }
    Ok(session)
}

fn read(path: &Path) -> Result<Array> {
    let bytes = fs::read(path).map_err(|error| ToolkitError::Io {
        path: path.display().to_string(),
        action: "read",
        error,
    })?;
    npy::read(&bytes)
        .map_err(|source| FormatError::InFile { path: path.to_owned(), source: source.into() }.into())
}

/// The batch of an array that fits an input.
fn batch_of(graph: &Graph, input: TensorId, array: &Array) -> Option<usize> {
    let dims = graph.tensor(input).shape.dims();
    let fits = |sizes: &[usize]| {
        sizes.len() == dims.len()
            && dims.iter().zip(sizes).all(|(dim, &size)| match dim {
                Dim::Fixed(fixed) => *fixed == size,
                Dim::Batch(_) => size > 0,
            })
    };
    let with_batch = [&[1][..], &array.sizes].concat();
    let sizes = [array.sizes.clone(), with_batch].into_iter().find(|sizes| fits(sizes))?;
    let batch = dims.iter().zip(sizes).find_map(|(dim, size)| matches!(dim, Dim::Batch(_)).then_some(size));
    Some(batch.unwrap_or(1))
}

/// A file's name for an output: letters, digits, `.`, `-` and `_` of its name stay.
fn file_name(name: &str, index: usize, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let mut stem: String = name.chars().map(plain).collect();
    if stem.trim_matches(['.', '_']).is_empty() || !taken.insert(stem.to_lowercase()) {
        stem = format!("{stem}-{index}");
        taken.insert(stem.to_lowercase());
    }
    format!("{stem}.npy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_file_names_of_their_own() {
        let mut taken = BTreeSet::new();
        let names = ["StatefulPartitionedCall:0", "a/b", "a_b", "", "A_b", ".."];
        let files: Vec<_> =
            names.iter().enumerate().map(|(index, name)| file_name(name, index, &mut taken)).collect();
        assert_eq!(
            files,
            ["StatefulPartitionedCall_0.npy", "a_b.npy", "a_b-2.npy", "-3.npy", "A_b-4.npy", "..-5.npy"]
        );
    }
}
