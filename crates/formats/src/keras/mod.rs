//! Keras: `.keras` archives of Keras 3 and `.h5` files of Keras 2 and 3, read into a graph.
//!
//! Sequential, functional and nested models are read, channels last. Layers that are called several times share their
//! constants. What is nothing at inference (noise, random augmentation) leaves no node.

mod config;
mod container;
mod layers;
mod network;
mod variables;

use crate::budget::Budget;
use crate::error::{FormatError, Result};
use container::Container;
use taper_graph::Graph;

/// Reads the bytes of a `.keras` or `.h5` file that holds a whole model.
///
/// Nodes bear the names of layers. A layer that needs several nodes names the others `LAYER/…`; so does a second call.
///
/// # Errors
/// If the bytes are not a model of Keras, its weights do not fit it, or it has a layer that graphs cannot express; the error
/// names the layer and its class.
pub fn read(bytes: Vec<u8>) -> Result<Graph> {
    let mut budget = Budget::of(bytes.len());
    let container = Container::open(bytes, &mut budget)?;
    let model = config::Model::parse(&container.config)?;
    let paths = variables::paths(&model, &container)?;
    network::build(&model, &paths, &container, &mut budget)
}

/// The error of a layer: its class, and what was expected of it.
fn wrong_layer(layer: &config::Layer, message: impl Into<String>) -> FormatError {
    FormatError::unsupported(format!("layer `{}` ({})", layer.name, layer.class), message)
}
