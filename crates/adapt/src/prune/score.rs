//! Scores of channels: the average percentage of zeros (APoZ).

use crate::error::Result;
use crate::train::{Evaluation, Network, evaluate};
use taper_data::{Dataset, Preprocess};
use taper_graph::{ChannelGroups, Graph, nonlinearity_output};

/// The scores of one layer's channels.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerScores {
    /// Name of the channel group: that of the layer.
    pub group: String,
    /// The score of each channel, from 0 (always active) to 1 (always zero).
    pub scores: Vec<f64>,
}

/// The APoZ of every removable channel over `dataset`, and how well the network does on it:
///
/// `APoZ(c) = Σ_n Σ_hw [f(O_c,n,hw) = 0] / (N·H·W)`, with `f` the nonlinearity that follows the channel, wherever it
/// stands. Layers that no nonlinearity follows have no zeros to count, and no scores.
///
/// # Errors
/// If the network cannot be evaluated on the data.
pub fn apoz(
    network: &mut Network,
    graph: &Graph,
    dataset: &Dataset,
    preprocess: Preprocess,
) -> Result<(Vec<LayerScores>, Evaluation)> {
    let groups = ChannelGroups::of(graph);
    let observed: Vec<_> = groups
        .prunable()
        .filter_map(|group| Some((group, nonlinearity_output(graph, group.layer)?)))
        .collect();
    network.watch(&observed.iter().map(|(_, tensor)| *tensor).collect::<Vec<_>>())?;
    let evaluation = evaluate(network, dataset, preprocess)?;
    let zeros = network.take_zeros();
    let scores = observed.iter().zip(zeros).map(|((group, tensor), zeros)| {
        let [height, width, _] = graph.tensor(*tensor).shape.image().unwrap_or([1, 1, 1]);
        let values = (dataset.len() * height * width).max(1) as f64;
        let scores = zeros.into_iter().map(|count| count as f64 / values).collect();
        LayerScores { group: group.name.clone(), scores }
    });
    Ok((scores.collect(), evaluation))
}
