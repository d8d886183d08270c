//! The plan of a session: steps in order, and where in the arenas each tensor stands.

use crate::arena::{Lifetime, layout};
use crate::backend::Port;
use crate::error::{Result, RunError};
use crate::kernel::{Element, Kernel};
use crate::lower;
use crate::memory::{ALIGNMENT, Memory};
use std::ops::Range;
use taper_graph::{DType, Graph, GraphError, Node, TensorId};
use taper_kernels::cpu::Isa;

/// Where a tensor stands: its type, and its range in the arena of that type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) element: Element,
    pub(crate) range: Range<usize>,
}

/// One node, ready to run.
#[derive(Debug)]
pub(crate) struct Step {
    kernel: Kernel,
    xs: Vec<Place>,
    scratch: Range<usize>,
    pub(crate) y: Place,
    pub(crate) output: TensorId,
}

impl Step {
    pub(crate) fn run(&self, memory: &mut Memory, threads: usize) {
        self.kernel.run(memory, &self.xs, self.scratch.clone(), &self.y, threads);
    }
}

/// A graph that is ready to run, without its memory.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) inputs: Vec<(TensorId, Place)>,
    pub(crate) outputs: Vec<Place>,
    pub(crate) input_ports: Vec<Port>,
    pub(crate) output_ports: Vec<Port>,
}

impl Plan {
    /// Plans `graph` for `batch` images, and takes its memory.
    pub(crate) fn new(graph: &Graph, batch: usize, isa: Isa) -> Result<(Self, Memory)> {
        graph.verify()?;
        if batch == 0 {
            return Err(impossible(graph, batch, "expected at least one image"));
        }
        let too_large = || impossible(graph, batch, "it needs more memory than there is");
        check_bytes(graph, batch).ok_or_else(too_large)?;
        let kernels = graph
            .nodes
            .iter()
            .map(|node| lower::lower(graph, node, batch, isa))
            .collect::<Result<Vec<Kernel>>>()?;
        let buffers = Buffers::new(graph, batch, &kernels)?;
        let (places, memory) = buffers.place().ok_or_else(too_large)?;
        let place = |tensor: TensorId| {
            let buffer = buffers.of_tensor[tensor.0].ok_or_else(|| constant(graph, tensor))?;
            Ok(places[buffer].clone())
        };
        let mut steps = Vec::with_capacity(kernels.len());
        for ((node, kernel), scratch) in graph.nodes.iter().zip(kernels).zip(&buffers.of_scratch) {
            let xs: Vec<Place> = activations(graph, node).map(place).collect::<Result<_>>()?;
            if xs.is_empty() {
                return Err(constant(graph, node.inputs[0]));
            }
            steps.push(Step {
                kernel,
                xs,
                scratch: scratch.map_or(0..0, |buffer| places[buffer].range.clone()),
                y: place(node.outputs[0])?,
                output: node.outputs[0],
            });
        }
        let ports = |ids: &[TensorId]| ids.iter().map(|&id| port(graph, id, batch)).collect::<Result<_>>();
        let plan = Self {
            steps,
            inputs: graph.inputs.iter().map(|&id| Ok((id, place(id)?))).collect::<Result<_>>()?,
            outputs: graph.outputs.iter().map(|&id| place(id)).collect::<Result<_>>()?,
            input_ports: ports(&graph.inputs)?,
            output_ports: ports(&graph.outputs)?,
        };
        Ok((plan, memory))
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.kernel.weight_bytes()).sum()
    }
}

/// What needs memory: tensors that are not constant, and scratch.
struct Buffers {
    buffers: Vec<(Element, Lifetime)>,
    /// Buffer of each tensor; `None` for constants.
    of_tensor: Vec<Option<usize>>,
    /// Buffer of each node's scratch; `None` if it needs none.
    of_scratch: Vec<Option<usize>>,
}

impl Buffers {
    /// Node `n` is step `n + 1`; callers write inputs before and read outputs after all steps. Inputs live on to
    /// the end, because a session runs again with the inputs that it has.
    fn new(graph: &Graph, batch: usize, kernels: &[Kernel]) -> Result<Self> {
        let end = graph.nodes.len() + 1;
        let mut this = Self {
            buffers: Vec::new(),
            of_tensor: vec![None; graph.tensors.len()],
            of_scratch: Vec::with_capacity(graph.nodes.len()),
        };
        for &input in &graph.inputs {
            this.add_tensor(graph, batch, input, 0)?;
            this.keep(input, end);
        }
        for (step, (node, kernel)) in (1..).zip(graph.nodes.iter().zip(kernels)) {
            let (x, y) = (node.inputs[0], node.outputs[0]);
            activations(graph, node).for_each(|x| this.keep(x, step));
            match kernel {
                Kernel::View => this.of_tensor[y.0] = this.of_tensor[x.0],
                Kernel::Move(_)
                | Kernel::ArgMax(_)
                | Kernel::F32(_)
                | Kernel::Integer(_)
                | Kernel::Quantize(_)
                | Kernel::Rescale(_) => {
                    this.add_tensor(graph, batch, y, step)?;
                }
            }
            let scratch = kernel.scratch().map(|(element, len)| {
                this.buffers.push((element, Lifetime { len, first: step, last: step }));
                this.buffers.len() - 1
            });
            this.of_scratch.push(scratch);
        }
        for &output in &graph.outputs {
            this.keep(output, end);
        }
        Ok(this)
    }

    fn add_tensor(&mut self, graph: &Graph, batch: usize, id: TensorId, step: usize) -> Result<()> {
        let tensor = graph.tensor(id);
        let element = match tensor.dtype {
            DType::F32 => Element::F32,
            DType::I8 => Element::I8,
            DType::U8 => Element::U8,
            DType::I32 => Element::I32,
            DType::I64 => Element::I64,
            DType::I16 => {
                let message = format!("expected f32, i8, u8, i32 or i64, found {}", tensor.dtype);
                return Err(invalid(graph, id, message));
            }
        };
        let len = tensor.shape.with_batch(batch).iter().product();
        self.of_tensor[id.0] = Some(self.buffers.len());
        self.buffers.push((element, Lifetime { len, first: step, last: step }));
        Ok(())
    }

    fn keep(&mut self, tensor: TensorId, step: usize) {
        if let Some(buffer) = self.of_tensor[tensor.0] {
            let last = &mut self.buffers[buffer].1.last;
            *last = step.max(*last);
        }
    }

    /// Lays out one arena per type. `None` if there is not so much memory.
    fn place(&self) -> Option<(Vec<Place>, Memory)> {
        let mut places: Vec<Place> =
            self.buffers.iter().map(|&(element, _)| Place { element, range: 0..0 }).collect();
        let mut lens = [0; Element::ALL.len()];
        for (element, total) in Element::ALL.into_iter().zip(&mut lens) {
            let of_element = |index: &usize| self.buffers[*index].0 == element;
            let indices: Vec<usize> = (0..self.buffers.len()).filter(of_element).collect();
            let lifetimes: Vec<Lifetime> = indices.iter().map(|&index| self.buffers[index].1).collect();
            let layout = layout(&lifetimes, ALIGNMENT / element.bytes())?;
            for ((index, lifetime), offset) in indices.into_iter().zip(lifetimes).zip(layout.offsets) {
                places[index].range = offset..offset + lifetime.len;
            }
            *total = layout.len;
        }
        Some((places, Memory::new(lens)?))
    }
}

/// What a node reads at run time: the inputs that are not constant.
fn activations<'g>(graph: &'g Graph, node: &'g Node) -> impl Iterator<Item = TensorId> + 'g {
    node.inputs.iter().copied().filter(|id| graph.tensor(*id).data.is_none())
}

/// Bytes of all tensors together; `None` if memory's addresses do not suffice.
fn check_bytes(graph: &Graph, batch: usize) -> Option<isize> {
    graph.tensors.iter().try_fold(0isize, |sum, tensor| {
        let bytes = tensor.shape.elements(batch)?.checked_mul(tensor.dtype.bytes())?;
        sum.checked_add(isize::try_from(bytes).ok()?)
    })
}

fn port(graph: &Graph, id: TensorId, batch: usize) -> Result<Port> {
    let tensor = graph.tensor(id);
    let quantization = match tensor.dtype {
        DType::F32 => None,
        DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => lower::affine(graph, id).ok(),
    };
    Ok(Port {
        name: tensor.name.clone(),
        sizes: tensor.shape.with_batch(batch),
        dtype: tensor.dtype,
        quantization,
    })
}

fn invalid(graph: &Graph, id: TensorId, message: String) -> RunError {
    GraphError::InvalidTensor { tensor: graph.tensor(id).name.clone(), message }.into()
}

fn constant(graph: &Graph, id: TensorId) -> RunError {
    invalid(graph, id, "expected an activation, found a constant".to_owned())
}

fn impossible(graph: &Graph, batch: usize, message: &str) -> RunError {
    RunError::Batch { graph: graph.name.clone(), batch, message: message.to_owned() }
}
