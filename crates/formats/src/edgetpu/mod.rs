//! Models compiled for the Coral Edge TPU: what the package in their custom operator holds.
//!
//! The official compiler replaces the operators that it maps by one `edgetpu-custom-op`, whose options are a FlexBuffer
//! map. Its key `4` holds a flatbuffer `Package` with the identifier `DWN1`, which holds a `MultiExecutable`, which holds
//! one or more `Executable`s. The layout is that of `executable/executable.fbs` in google-coral/libedgetpu.
//!
//! Measured, on the 32 compiled models of public repositories that the tests read where they are at hand: one operator for
//! each model; runtime versions 10 to 14; types of executables; the sums of parameters, instructions, scratch and narrow
//! memory; the sums of the input and output layers' bytes. Each model holds either one stand-alone executable or one that
//! caches parameters and one that executes. Still to be verified: data types other than 8-bit integers, layers that run
//! several times for an inference, packages for several chips ([`Package::parse`] refuses those without executables of
//! their own).
//!
//! ```
//! # fn show(graph: &taper_graph::Graph) -> taper_formats::Result<()> {
//! for node in &graph.nodes {
//!     if let taper_graph::Op::Opaque(opaque) = &node.op
//!         && let Some(package) = taper_formats::edgetpu::Package::of(opaque)?
//!     {
//!         println!("{} bytes of parameters are cached", package.cached_parameter_bytes());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod flexbuffer;
mod package;

pub use package::{CUSTOM_OPERATOR, DataType, Executable, ExecutableType, Layer, Package};
