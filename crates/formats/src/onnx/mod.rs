//! ONNX: protocol buffers of operator sets 7 and newer.
//!
//! A graph's images are `[N,H,W,C]`, those of an ONNX model `[N,C,H,W]` in most places. Reading follows how each value of
//! the model lies in the graph's tensors (`view.rs`), so that no transposition is left behind.
//!
//! ```
//! use taper_graph::{DType, Graph, Op, PoolKind, Shape};
//!
//! let mut graph = Graph::new("tiny");
//! let x = graph.add_input("x", Shape::batched(&[4, 4, 1]), DType::F32);
//! let y = graph.add_node("mean", Op::GlobalPool2d { kind: PoolKind::Average }, &[x])?;
//! graph.outputs.push(y);
//! let bytes = taper_formats::onnx::write(&graph)?;
//! assert_eq!(taper_formats::onnx::read(bytes)?, graph);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod constant;
mod emitter;
mod external;
mod facts;
mod fold;
mod importer;
mod meaning;
mod operation;
mod ops;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod view;
mod wire;
mod writer;

pub use reader::{read, read_beside};
pub use writer::write;
