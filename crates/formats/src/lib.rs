//! Bytes to graphs and back: TFLite, ONNX and Taper checkpoints; Keras's models to graphs; weights alone; what a compiled
//! Edge TPU model holds; and arrays in NumPy's format.
//!
//! Readers take foreign bytes: they never panic, never allocate more than about four times the file, and tell what is
//! *invalid* from what is *unsupported*. Writers are deterministic: the same graph gives the same bytes.
//! [`load`] picks the reader, and [`write_file_atomic`] is how every file of Taper reaches the disk.

mod budget;
mod error;
mod file;
mod flat;
mod safetensors;

pub mod checkpoint;
pub mod edgetpu;
pub mod keras;
pub mod npy;
pub mod onnx;
pub mod tflite;
pub mod weights;

pub use checkpoint::{Checkpoint, ExtraTensor};
pub use error::{ErrorKind, FormatError, Result};
pub use file::{load, save, write_file_atomic};
