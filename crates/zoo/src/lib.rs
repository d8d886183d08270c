//! Networks built as graphs, with the published shapes and with weights of zero.
//!
//! The weights wait for `taper_adapt::train::initialize` or for a file. Layer names are Keras's.

mod builder;
mod mobilenet;
mod resnet;
mod vgg;

pub use mobilenet::mobilenet_v1;
pub use resnet::resnet50;
pub use vgg::{Normalisation, Vgg, vgg_small, vgg16, vgg16_pruned};

use taper_graph::{Graph, Result};
use thiserror::Error;

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 6] = ["vgg16", "vgg16-bn", "vgg16-pruned", "vgg-small", "resnet50", "mobilenet-v1"];

/// What a network is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Height, width and channels of one image.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
}

/// Why a network could not be built.
#[derive(Debug, Error)]
pub enum ZooError {
    /// No network has this name.
    #[error("no network is named `{name}`; expected one of {}", NAMES.join(", "))]
    UnknownName {
        /// The name that was asked for.
        name: String,
    },
    /// The network does not fit the task.
    #[error(transparent)]
    Graph(#[from] taper_graph::GraphError),
}

/// The network named `name`, for `task`.
///
/// # Errors
/// If there is no such network, or the images are too small for it.
pub fn by_name(name: &str, task: Task) -> std::result::Result<Graph, ZooError> {
    let graph: Result<Graph> = match name {
        "vgg16" => vgg16(task, Normalisation::None),
        "vgg16-bn" => vgg16(task, Normalisation::Batch),
        "vgg16-pruned" => vgg16_pruned(task),
        "vgg-small" => vgg_small(task),
        "resnet50" => resnet50(task),
        "mobilenet-v1" => mobilenet_v1(task),
        _ => {
            return Err(ZooError::UnknownName { name: name.to_owned() });
        }
    };
    Ok(graph?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_graph::{ChannelGroups, ChannelRemoval, remove_channels};

    #[test]
    fn every_layer_but_the_last_can_be_narrowed_to_one_channel() {
        for name in NAMES {
            let graph = by_name(name, Task { input: [32, 32, 1], classes: 10 }).expect("fits");
            let groups = ChannelGroups::of(&graph);
            let removals: Vec<_> = groups
                .prunable()
                .map(|group| ChannelRemoval {
                    group: group.name.clone(),
                    channels: (1..group.units.len()).collect(),
                })
                .collect();
            assert_eq!(removals.len() + 1, groups.0.len(), "{name}");
            let narrow = remove_channels(&graph, &removals).expect("one channel stays in each layer");
            assert!(taper_graph::cost(&narrow).parameters < 2000, "{name}");
        }
    }
}
