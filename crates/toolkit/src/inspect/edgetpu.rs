//! What the operators of a compiled Edge TPU model hold.

use serde::{Deserialize, Serialize};
use taper_formats::edgetpu::{Executable, Layer, Package};
use taper_graph::{Node, Op};

/// An operator that the Edge TPU's compiler made of all that it mapped, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeTpuOperator {
    /// Its name.
    pub name: String,
    /// What it holds; `null` if that cannot be read.
    pub package: Option<EdgeTpuPackage>,
    /// Why its package cannot be read.
    pub unreadable: Option<String>,
}

/// What the compiler made, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeTpuPackage {
    /// The oldest runtime that runs it.
    pub min_runtime_version: u32,
    /// The compiler's own words about its version; empty where it says nothing.
    pub compiler_version: String,
    /// Bytes of parameters that are brought to the device's memory once.
    pub cached_parameter_bytes: usize,
    /// Bytes of parameters that travel to the device in every inference.
    pub streamed_parameter_bytes: usize,
    /// What runs on the device, in the order of the file.
    pub executables: Vec<EdgeTpuExecutable>,
}

/// Instructions with parameters, or one of the two, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeTpuExecutable {
    /// What it is for: `stand-alone`, `parameter-caching` or `execution-only`.
    pub kind: String,
    /// The chip that it was compiled for.
    pub chip: String,
    /// Inputs that are processed at once.
    pub batch_size: u32,
    /// Bytes of parameters.
    pub parameter_bytes: usize,
    /// Bytes of instructions.
    pub instruction_bytes: usize,
    /// Bytes of the host's memory that the device uses to spill activations.
    pub scratch_bytes: u32,
    /// Bytes of narrow memory used in each tile.
    pub narrow_memory_bytes_per_tile: u32,
    /// What the device receives.
    pub inputs: Vec<EdgeTpuLayer>,
    /// What the device sends back.
    pub outputs: Vec<EdgeTpuLayer>,
}

/// An input or output of an executable, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeTpuLayer {
    /// Its tensor's name.
    pub name: String,
    /// Rows, columns and channels; 1 for dimensions that it does not have.
    pub shape: [u32; 3],
    /// Type of its elements.
    pub dtype: String,
    /// Real size of one integer step; 0 where the file has none.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
    /// Bytes that travel, with padding.
    pub bytes: u32,
    /// How often it travels in an inference.
    pub executions: u32,
}

impl EdgeTpuOperator {
    /// What `node` holds, if it is the Edge TPU's.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let Op::Opaque(opaque) = &node.op else { return None };
        let (package, unreadable) = match Package::of(opaque) {
            Ok(package) => (Some(EdgeTpuPackage::of(&package?)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Some(Self { name: node.name.clone(), package, unreadable })
    }
}

impl EdgeTpuPackage {
    /// Inputs and outputs of all executables with the executable and `input` or `output`.
    pub fn layers(&self) -> impl Iterator<Item = (&EdgeTpuExecutable, &'static str, &EdgeTpuLayer)> {
        self.executables.iter().flat_map(|part| {
            let inputs = part.inputs.iter().map(move |layer| (part, "input", layer));
            inputs.chain(part.outputs.iter().map(move |layer| (part, "output", layer)))
        })
    }

    fn of(package: &Package) -> Self {
        Self {
            min_runtime_version: package.min_runtime_version,
            compiler_version: package.compiler_version.clone(),
            cached_parameter_bytes: package.cached_parameter_bytes(),
            streamed_parameter_bytes: package.streamed_parameter_bytes(),
            executables: package.executables.iter().map(EdgeTpuExecutable::of).collect(),
        }
    }
}

impl EdgeTpuExecutable {
    fn of(part: &Executable) -> Self {
        Self {
            kind: part.kind.name().to_owned(),
            chip: part.chip.clone(),
            batch_size: part.batch_size,
            parameter_bytes: part.parameter_bytes,
            instruction_bytes: part.instruction_bytes,
            scratch_bytes: part.scratch_bytes,
            narrow_memory_bytes_per_tile: part.narrow_memory_bytes_per_tile,
            inputs: part.inputs.iter().map(EdgeTpuLayer::of).collect(),
            outputs: part.outputs.iter().map(EdgeTpuLayer::of).collect(),
        }
    }
}

impl EdgeTpuLayer {
    /// Rows, columns and channels for a reader.
    #[must_use]
    pub fn shape(&self) -> String {
        format!("{:?}", self.shape)
    }

    fn of(layer: &Layer) -> Self {
        Self {
            name: layer.name.clone(),
            shape: layer.shape,
            dtype: layer.data_type.name().to_owned(),
            scale: layer.scale,
            zero_point: layer.zero_point,
            bytes: layer.bytes,
            executions: layer.executions,
        }
    }
}
