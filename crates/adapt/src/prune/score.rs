//! Scores of channels: the average percentage of zeros (APoZ).

use crate::error::Result;
use crate::train::{Evaluation, Evaluator, evaluate};
use std::collections::{BTreeMap, BTreeSet};
use taper_data::{Dataset, Preprocess};
use taper_graph::{ChannelGroups, ChannelUnit, Graph, LayerChannel, TensorId, nonlinearity_output};

/// The scores of one layer's channels.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerScores {
    /// Name of the channel group.
    pub group: String,
    /// The score of each channel, from 0 (always active) to 1 (always zero).
    pub scores: Vec<f64>,
}

/// Where a channel is scored: an activation, and the channel's index in it.
type Place = (TensorId, usize);

/// The APoZ of every removable channel over `dataset`, and how well the network does on it:
///
/// `APoZ(c) = Σ_n Σ_hw [f(O_c,n,hw) = 0] / (N·H·W)`, with `f` the nonlinearity that follows the channel, wherever it
/// stands. Of a channel that several layers make, because a sum ties them, it is the mean over their nonlinearities.
/// Layers that no nonlinearity follows have no zeros to count, and no scores.
///
/// # Errors
/// If the network cannot be evaluated on the data.
pub fn apoz(
    network: &mut dyn Evaluator,
    graph: &Graph,
    dataset: &Dataset,
    preprocess: Preprocess,
) -> Result<(Vec<LayerScores>, Evaluation)> {
    let groups = ChannelGroups::of(graph);
    let scored: Vec<(&str, Vec<Vec<Place>>)> = groups
        .prunable()
        .map(|group| (group.name.as_str(), group.units.iter().map(|unit| places(graph, unit)).collect()))
        .filter(|(_, places): &(_, Vec<Vec<Place>>)| places.iter().all(|places| !places.is_empty()))
        .collect();
    let observed: BTreeSet<TensorId> =
        scored.iter().flat_map(|(_, places)| places.iter().flatten()).map(|(tensor, _)| *tensor).collect();
    let observed: Vec<TensorId> = observed.into_iter().collect();
    network.watch(&observed)?;
    let evaluation = evaluate(network, dataset, preprocess)?;
    let zeros: BTreeMap<TensorId, Vec<u64>> = observed.into_iter().zip(network.take_zeros()).collect();
    let share = |&(tensor, index): &Place| {
        let [height, width, _] = graph.tensor(tensor).shape.image().unwrap_or([1, 1, 1]);
        zeros[&tensor][index] as f64 / (dataset.len() * height * width).max(1) as f64
    };
    let score = |places: &Vec<Place>| places.iter().map(share).sum::<f64>() / places.len() as f64;
    let scores = scored.iter().map(|(group, units)| LayerScores {
        group: (*group).to_owned(),
        scores: units.iter().map(score).collect(),
    });
    Ok((scores.collect(), evaluation))
}

/// Where a channel stands behind the nonlinearities of its layers, each place once.
fn places(graph: &Graph, unit: &ChannelUnit) -> Vec<Place> {
    let behind = |channel: &LayerChannel| Some((nonlinearity_output(graph, channel.layer)?, channel.index));
    unit.channels.iter().filter_map(behind).collect::<BTreeSet<Place>>().into_iter().collect()
}
