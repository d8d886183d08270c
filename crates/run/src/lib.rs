//! Memory-planned execution of graphs on the CPU.
//!
//! A [`Backend`] prepares a graph for one batch size; the [`Session`] that it returns runs it again and again. All
//! work that can be done once is done at preparation: checks, packing of weights, and the plan of one arena per
//! element type. [`Session::run`] allocates nothing on the CPU.

pub mod arena;
mod backend;
mod cpu;
mod error;
mod kernel;
mod lower;
mod memory;
mod plan;

pub use backend::{Backend, MemoryUse, Port, Session, View};
pub use cpu::{Cpu, CpuSession};
pub use error::{Result, RunError};
