//! TFLite: flatbuffers of schema version 3, written and read without any foreign code.
//!
//! ```
//! use taper_graph::{DType, Graph, Op, Shape};
//!
//! let mut graph = Graph::new("tiny");
//! let x = graph.add_input("x", Shape::batched(&[4, 4, 1]), DType::F32);
//! let y = graph.add_node("flat", Op::Flatten, &[x])?;
//! graph.outputs.push(y);
//! let bytes = taper_formats::tflite::write(&graph)?;
//! assert_eq!(taper_formats::tflite::read(&bytes)?, graph);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod build;
mod metadata;
mod ops;
mod reader;
mod schema;
mod signature;
mod tensor;
#[cfg(test)]
mod tests;
mod writer;

use crate::error::Result;
use crate::flat;
use taper_graph::Opaque;

pub use reader::read;
pub use writer::write;

/// The options of a custom operator that came from a TFLite file.
pub(crate) fn custom_options(opaque: &Opaque) -> Result<&[u8]> {
    Ok(ops::opaque::record(opaque)?.custom_options()?.unwrap_or_default())
}
