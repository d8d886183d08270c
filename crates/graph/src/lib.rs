//! The network as data: operators, tensors, shapes, verification, cost, channel groups and edits.
//!
//! A [`Graph`] is a list of named tensors and a list of nodes in topological order. Activations are NHWC,
//! convolution weights OHWI, fully connected weights OI: TFLite's own layouts. This crate knows no file format
//! and runs nothing; every other room of Taper speaks in its types.

mod channels;
mod cost;
mod edit;
mod error;
mod graph;
mod infer;
mod inference;
mod op;
mod shape;
mod tensor;
mod verify;

pub use channels::{ChannelGroup, ChannelGroups, ChannelUnit, LayerChannel, Slice, nonlinearity_output};
pub use cost::{GraphCost, NodeCost, cost};
pub use edit::{ChannelRemoval, remove_channels};
pub use error::{GraphError, Result};
pub use graph::{Graph, Node, NodeId, TensorId};
pub use infer::infer_output;
pub use op::{
    Activation, ArgMax, AxisSlice, BatchNorm, Binary, Concat, Conv2d, ConvKind, ConvTranspose2d, Dropout,
    Elementwise, FakeQuantize, FullyConnected, Op, Opaque, Pad, Padding, Pool2d, PoolKind, Resize2d,
    ResizeCoordinates, ResizeMethod, Softmax, StridedSlice,
};
pub use shape::{Batch, Dim, Shape};
pub use tensor::{DType, Quantization, Tensor, TensorData};
