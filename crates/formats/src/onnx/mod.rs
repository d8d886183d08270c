//! ONNX: protocol buffers of operator sets 7 and newer.
//!
//! A graph's images are `[N,H,W,C]`, those of an ONNX model `[N,C,H,W]` in most places. Reading follows how each value of
//! the model lies in the graph's tensors (`view.rs`), so that no transposition is left behind.

mod constant;
mod emitter;
mod external;
mod fold;
mod importer;
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
