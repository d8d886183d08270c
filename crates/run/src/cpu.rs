//! The CPU backend.

use crate::backend::{Backend, MemoryUse, Port, Session, View};
use crate::error::{Result, RunError};
use crate::kernel::Element;
use crate::memory::Memory;
use crate::plan::{Place, Plan, Step};
use std::num::NonZeroUsize;
use taper_graph::{Graph, TensorId};
use taper_kernels::cpu::Isa;
use taper_kernels::int8;

/// Runs graphs on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// Threads that share the work of one node. The outputs do not depend on it.
    pub threads: NonZeroUsize,
    /// Instruction set of the kernels.
    pub isa: Isa,
}

impl Default for Cpu {
    /// One thread, and the fastest instructions that this CPU has.
    fn default() -> Self {
        Self { threads: NonZeroUsize::MIN, isa: Isa::best() }
    }
}

impl Cpu {
    /// Makes a graph ready to run with batches of `batch` images.
    ///
    /// # Errors
    /// If the graph is invalid or has a node that cannot run, the batch is impossible, or there are no threads.
    pub fn session(&self, graph: &Graph, batch: usize) -> Result<CpuSession> {
        let (plan, memory) = Plan::new(graph, batch, self.isa)?;
        let threads = self.threads.get();
        let pool = (threads > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
            .transpose()
            .map_err(|error| RunError::Threads { threads, message: error.to_string() })?;
        Ok(CpuSession { plan, memory, pool })
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn prepare(&self, graph: &Graph, batch: usize) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.session(graph, batch)?))
    }
}

/// A graph that is ready to run on the CPU.
#[derive(Debug)]
pub struct CpuSession {
    plan: Plan,
    memory: Memory,
    pool: Option<rayon::ThreadPool>,
}

impl CpuSession {
    fn input(&mut self, index: usize) -> Result<(&Port, &Place, &mut Memory)> {
        let count = self.plan.inputs.len();
        let (_, place) = self.plan.inputs.get(index).ok_or_else(|| no_such("input", count, index))?;
        Ok((&self.plan.input_ports[index], place, &mut self.memory))
    }

    /// Runs the graph and hands out every activation, inputs first, as soon as it is computed.
    pub fn run_observed(&mut self, observe: &mut dyn FnMut(TensorId, View<'_>)) {
        let Self { plan, memory, pool } = self;
        for (tensor, place) in &plan.inputs {
            observe(*tensor, view(memory, place));
        }
        for step in &plan.steps {
            run_steps(std::slice::from_ref(step), memory, pool.as_ref());
            observe(step.output, view(memory, &step.y));
        }
    }
}

fn view<'a>(memory: &'a Memory, place: &Place) -> View<'a> {
    let range = place.range.clone();
    match place.element {
        Element::F32 => View::F32(memory.f32.read(range)),
        Element::I8 => View::I8(memory.i8.read(range)),
        Element::U8 => View::U8(memory.u8.read(range)),
        Element::I32 => View::I32(memory.i32.read(range)),
        Element::I64 => View::I64(memory.i64.read(range)),
        Element::I16 => unreachable!("only scratch is i16"),
    }
}

fn run_steps(steps: &[Step], memory: &mut Memory, pool: Option<&rayon::ThreadPool>) {
    match pool {
        None => steps.iter().for_each(|step| step.run(memory, 1)),
        Some(pool) => {
            let threads = pool.current_num_threads();
            pool.install(|| steps.iter().for_each(|step| step.run(memory, threads)));
        }
    }
}

fn no_such(direction: &'static str, count: usize, index: usize) -> RunError {
    RunError::NoSuchPort { direction, count, index }
}

impl Session for CpuSession {
    fn inputs(&self) -> &[Port] {
        &self.plan.input_ports
    }

    fn outputs(&self) -> &[Port] {
        &self.plan.output_ports
    }

    fn set_input(&mut self, index: usize, values: View<'_>) -> Result<()> {
        let (port, place, memory) = self.input(index)?;
        port.check_len(values.len())?;
        if port.dtype != values.dtype() {
            return Err(port.values(format!("expected {}, found {}", port.dtype, values.dtype())));
        }
        let range = place.range.clone();
        match values {
            View::F32(values) => memory.f32.write(range).copy_from_slice(values),
            View::I8(values) => memory.i8.write(range).copy_from_slice(values),
            View::U8(values) => memory.u8.write(range).copy_from_slice(values),
            View::I32(values) => memory.i32.write(range).copy_from_slice(values),
            View::I64(values) => memory.i64.write(range).copy_from_slice(values),
        }
        Ok(())
    }

    fn set_real_input(&mut self, index: usize, values: &[f32]) -> Result<()> {
        let (port, place, memory) = self.input(index)?;
        port.check_len(values.len())?;
        let range = place.range.clone();
        match place.element {
            Element::F32 => memory.f32.write(range).copy_from_slice(values),
            Element::I8 => int8::quantize(port.affine()?, values, memory.i8.write(range)),
            Element::U8 => int8::quantize(port.affine()?, values, memory.u8.write(range)),
            Element::I32 | Element::I64 => {
                return Err(port.values(format!("expected indices {}, found real values", port.dtype)));
            }
            Element::I16 => unreachable!("only scratch is i16"),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        run_steps(&self.plan.steps, &mut self.memory, self.pool.as_ref());
        Ok(())
    }

    fn output(&self, index: usize) -> Result<View<'_>> {
        let outputs = &self.plan.outputs;
        let place = outputs.get(index).ok_or_else(|| no_such("output", outputs.len(), index))?;
        Ok(view(&self.memory, place))
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { arena_bytes: self.memory.bytes(), weight_bytes: self.plan.weight_bytes() }
    }
}
