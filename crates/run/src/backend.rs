//! What runs graphs: the traits that every backend and its sessions implement.

use crate::error::{Result, RunError};
use crate::lower::affine;
use taper_graph::{DType, Graph, TensorData, TensorId};
use taper_kernels::int8::{self, Affine};

/// Something that can run graphs: the CPU, an accelerator, a simulation of one.
pub trait Backend {
    /// The backend's name in reports and messages.
    fn name(&self) -> &str;

    /// Makes a graph ready to run with batches of `batch` images.
    ///
    /// # Errors
    /// If the graph is invalid, the backend cannot run one of its nodes, or the batch is impossible.
    fn prepare(&self, graph: &Graph, batch: usize) -> Result<Box<dyn Session>>;
}

/// A graph that is ready to run.
///
/// Inputs keep their values from run to run; outputs hold those of the last run.
pub trait Session: Send {
    /// The inputs, in the graph's order.
    fn inputs(&self) -> &[Port];

    /// The outputs, in the graph's order.
    fn outputs(&self) -> &[Port];

    /// Sets input `index`: all images of the batch, row-major.
    ///
    /// # Errors
    /// If there is no such input, or type or length differ from the input's.
    fn set_input(&mut self, index: usize, values: View<'_>) -> Result<()>;

    /// Sets input `index` from real values, which are quantized if the input holds integers: `x / scale` rounded
    /// half away from zero, plus the zero point, saturated.
    ///
    /// # Errors
    /// If there is no such input, or the length differs from the input's.
    fn set_real_input(&mut self, index: usize, values: &[f32]) -> Result<()>;

    /// Runs the graph.
    ///
    /// # Errors
    /// If the backend fails; the CPU never does.
    fn run(&mut self) -> Result<()>;

    /// The values of output `index`.
    ///
    /// # Errors
    /// If there is no such output.
    fn output(&self, index: usize) -> Result<View<'_>>;

    /// Writes the real values of output `index` to `values`, dequantized if the output holds integers. Indices, which have
    /// no scale, become the nearest floats.
    ///
    /// # Errors
    /// If there is no such output, or the length differs from the output's.
    fn real_output(&self, index: usize, values: &mut [f32]) -> Result<()> {
        let output = self.output(index)?;
        let port = &self.outputs()[index];
        port.check_len(values.len())?;
        match output {
            View::F32(reals) => values.copy_from_slice(reals),
            View::I8(integers) => int8::dequantize(port.affine()?, integers, values),
            View::U8(integers) => int8::dequantize(port.affine()?, integers, values),
            View::I32(indices) => widen(indices, values, |index| index as f32),
            View::I64(indices) => widen(indices, values, |index| index as f32),
        }
        Ok(())
    }

    /// The memory that the session holds.
    fn memory(&self) -> MemoryUse;
}

/// Bytes that a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Activations and scratch.
    pub arena_bytes: usize,
    /// Weights and biases, as packed.
    pub weight_bytes: usize,
}

/// An input or output of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Name of the tensor.
    pub name: String,
    /// Its sizes, the batch included.
    pub sizes: Vec<usize>,
    /// Type of its elements.
    pub dtype: DType,
    /// What its integers mean; `None` for floats.
    pub quantization: Option<Affine>,
}

impl Port {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the number of elements that a caller brings.
    ///
    /// # Errors
    /// If it differs from the port's.
    pub fn check_len(&self, found: usize) -> Result<()> {
        if found == self.len() {
            return Ok(());
        }
        Err(self.values(format!("expected {} elements {:?}, found {found}", self.len(), self.sizes)))
    }

    /// What the port's integers mean.
    ///
    /// # Errors
    /// If the tensor has no quantization.
    pub fn affine(&self) -> Result<Affine> {
        self.quantization.ok_or_else(|| self.values("expected a quantization, found none".to_owned()))
    }

    pub(crate) fn values(&self, message: String) -> RunError {
        RunError::Values { tensor: self.name.clone(), message }
    }
}

/// Values of a tensor, row-major.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 8-bit signed integers.
    I8(&'a [i8]),
    /// 8-bit unsigned integers.
    U8(&'a [u8]),
    /// Indices of 32 bits.
    I32(&'a [i32]),
    /// Indices of 64 bits.
    I64(&'a [i64]),
}

impl<'a> View<'a> {
    /// The values, if they are floats.
    #[must_use]
    pub fn floats(self) -> Option<&'a [f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::I8(_) | Self::U8(_) | Self::I32(_) | Self::I64(_) => None,
        }
    }

    /// The real values that those of `tensor` stand for; indices become the nearest floats.
    ///
    /// # Errors
    /// If they are integers of 8 bits, and the tensor has no scale and zero point.
    pub fn real(self, graph: &Graph, tensor: TensorId) -> Result<Vec<f32>> {
        let mut reals = vec![0.0; self.len()];
        match self {
            Self::F32(values) => reals.copy_from_slice(values),
            Self::I8(values) => int8::dequantize(affine(graph, tensor)?, values, &mut reals),
            Self::U8(values) => int8::dequantize(affine(graph, tensor)?, values, &mut reals),
            Self::I32(indices) => widen(indices, &mut reals, |index| index as f32),
            Self::I64(indices) => widen(indices, &mut reals, |index| index as f32),
        }
        Ok(reals)
    }

    /// A copy of the values.
    #[must_use]
    pub fn to_data(self) -> TensorData {
        match self {
            Self::F32(values) => TensorData::F32(values.to_vec()),
            Self::I8(values) => TensorData::I8(values.to_vec()),
            Self::U8(values) => TensorData::U8(values.to_vec()),
            Self::I32(values) => TensorData::I32(values.to_vec()),
            Self::I64(values) => TensorData::I64(values.to_vec()),
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I8(_) => DType::I8,
            Self::U8(_) => DType::U8,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
        }
    }
}

fn widen<T: Copy>(from: &[T], to: &mut [f32], convert: impl Fn(T) -> f32) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = convert(from);
    }
}
