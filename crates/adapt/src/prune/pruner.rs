//! The iterations of pruning: propose a smaller network, judge it after retraining, accept it or roll it back.

use super::config::{Criterion, Decisions, PruneConfig};
use super::law::{Changes, Measure};
use super::score::{LayerScores, apoz};
use crate::error::{AdaptError, Result};
use crate::train::{Engine, Evaluation, NetworkSettings, evaluate};
use serde::{Deserialize, Serialize};
use taper_data::{Dataset, Preprocess};
use taper_graph::{ChannelRemoval, Graph, GraphCost, cost, remove_channels};

/// What each divergence multiplies the learning rate by.
const SLOWER: f64 = 0.1;

/// Where pruning stands between two proposals; with the network accepted last, all that is needed to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneState {
    /// Iterations accepted.
    pub iterations: usize,
    /// Attempts at the next iteration that were rolled back.
    pub rolled_back: u32,
    /// How many of them because their retraining diverged.
    #[serde(default)]
    pub diverged: u32,
    /// What the laws set for the iteration accepted last.
    pub decisions: Option<Decisions>,
    /// The networks accepted last and before that, as the context law sees them; the unpruned one comes first.
    pub measures: Vec<Measure>,
    /// The unpruned network on the validation split.
    pub baseline: Evaluation,
    /// Why pruning has ended; `None` while it goes on.
    pub ended: Option<String>,
}

/// A smaller network that waits to be retrained.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The iteration, from 1.
    pub iteration: usize,
    /// The attempt at it, from 1.
    pub attempt: usize,
    /// What the laws set, with their reasons. A later attempt's cut is gentler.
    pub decisions: Decisions,
    /// The removal, to be replayed on the network that it was proposed for.
    pub removals: Vec<ChannelRemoval>,
    /// The smaller network, with the surviving weights.
    pub graph: Graph,
    /// The smaller network on the validation split before retraining.
    pub before: Evaluation,
    /// What happened to each layer.
    pub layers: Vec<LayerCut>,
}

/// What a cut did to one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerCut {
    /// Name of the layer.
    pub layer: String,
    /// Channels before the cut.
    pub channels: usize,
    /// Channels removed.
    pub removed: usize,
    /// Mean APoZ of the layer's channels.
    pub mean_score: f64,
}

/// One attempt at an iteration, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// The iteration, from 1.
    pub iteration: usize,
    /// The attempt at it, from 1.
    pub attempt: usize,
    /// What the laws set, with their reasons.
    pub decisions: Decisions,
    /// Parameters of the smaller network.
    pub parameters: u64,
    /// Multiply–accumulates of the smaller network.
    pub macs: u64,
    /// On the validation split, before retraining.
    pub before: Evaluation,
    /// On the validation split, after retraining.
    pub after: Evaluation,
    /// What happened to each layer.
    pub layers: Vec<LayerCut>,
    /// Whether the iteration stands; if not, it was rolled back.
    pub accepted: bool,
}

/// Drives pruning.
#[derive(Debug, Clone)]
pub struct Pruner {
    config: PruneConfig,
    /// The loss of accuracy against the unpruned network that an iteration may not exceed.
    max_accuracy_loss: f64,
    state: PruneState,
}

impl Pruner {
    /// Begins with a trained network and how it does on the validation split.
    #[must_use]
    pub fn new(config: PruneConfig, max_accuracy_loss: f64, graph: &Graph, baseline: Evaluation) -> Self {
        let state = PruneState {
            iterations: 0,
            rolled_back: 0,
            diverged: 0,
            decisions: None,
            measures: vec![measure(&cost(graph), baseline)],
            baseline,
            ended: None,
        };
        Self { config, max_accuracy_loss, state }
    }

    /// Goes on from a stored state.
    #[must_use]
    pub fn restore(config: PruneConfig, max_accuracy_loss: f64, state: PruneState) -> Self {
        Self { config, max_accuracy_loss, state }
    }

    /// Where pruning stands.
    #[must_use]
    pub fn state(&self) -> &PruneState {
        &self.state
    }

    /// Scores the channels of the network accepted last and cuts the surplus ones; `None` when pruning has ended, with
    /// the reason in [`PruneState::ended`].
    ///
    /// # Errors
    /// If the network cannot be evaluated on the data or its channels cannot be removed.
    pub fn propose(
        &mut self,
        engine: &dyn Engine,
        graph: &Graph,
        validation: &Dataset,
        preprocess: Preprocess,
    ) -> Result<Option<Proposal>> {
        if self.state.ended.is_none() {
            self.state.ended = self.end(&cost(graph));
        }
        if self.state.ended.is_some() {
            return Ok(None);
        }
        let decisions = self.decide();
        let evaluator = |graph: &Graph| engine.evaluator(graph, &NetworkSettings::default());
        let scores = match self.config.criterion {
            Criterion::Apoz => apoz(&mut *evaluator(graph)?, graph, validation, preprocess)?.0,
        };
        let (removals, layers) = self.cut(&scores, &decisions)?;
        if removals.is_empty() {
            self.state.ended = Some(format!(
                "no channel passes the cut of {} with a c_min of {}",
                decisions.cut.value, decisions.c_min.value
            ));
            return Ok(None);
        }
        let smaller = remove_channels(graph, &removals)?;
        let before = evaluate(&mut *evaluator(&smaller)?, validation, preprocess)?;
        Ok(Some(Proposal {
            iteration: self.state.iterations + 1,
            attempt: self.state.rolled_back as usize + 1,
            decisions,
            removals,
            graph: smaller,
            before,
            layers,
        }))
    }

    /// Judges a proposal by how its network does on the validation split after retraining.
    ///
    /// An iteration that loses more than the accuracy budget is rolled back: the caller keeps the network accepted
    /// last, and the next proposal is a gentler attempt at the same iteration. After the last try pruning ends.
    pub fn conclude(&mut self, proposal: &Proposal, after: Evaluation) -> Iteration {
        let cost = cost(&proposal.graph);
        let lost = self.state.baseline.accuracy - after.accuracy;
        let accepted = lost <= self.max_accuracy_loss + f64::EPSILON;
        if accepted {
            self.state.iterations = proposal.iteration;
            (self.state.rolled_back, self.state.diverged) = (0, 0);
            self.state.decisions = Some(proposal.decisions.clone());
            self.state.measures.push(measure(&cost, after));
            if self.state.measures.len() > 2 {
                self.state.measures.remove(0);
            }
        } else {
            self.roll_back(proposal.iteration);
        }
        Iteration {
            iteration: proposal.iteration,
            attempt: proposal.attempt,
            decisions: proposal.decisions.clone(),
            parameters: cost.parameters,
            macs: cost.macs,
            before: proposal.before,
            after,
            layers: proposal.layers.clone(),
            accepted,
        }
    }

    /// Rolls a proposal back whose retraining diverged. The next one learns at a tenth of its rate; its cut stays.
    pub fn diverge(&mut self, proposal: &Proposal) {
        self.state.diverged += 1;
        self.roll_back(proposal.iteration);
    }

    fn roll_back(&mut self, iteration: usize) {
        self.state.rolled_back += 1;
        let PruneState { rolled_back: tries, diverged, .. } = self.state;
        if tries as usize >= self.config.tries.max(1) {
            let budget = self.max_accuracy_loss;
            self.state.ended = Some(match tries - diverged {
                0 => format!("retraining diverged in each of {tries} tries at iteration {iteration}"),
                lossy if diverged == 0 => {
                    format!(
                        "iteration {iteration} lost more than {budget} of accuracy in each of {lossy} tries"
                    )
                }
                lossy => format!(
                    "of {tries} tries at iteration {iteration}, {lossy} lost more than {budget} of accuracy and \
                     {diverged} diverged"
                ),
            });
        }
    }

    fn end(&self, cost: &GraphCost) -> Option<String> {
        if self.state.iterations >= self.config.iterations {
            return Some(format!("all {} iterations are done", self.config.iterations));
        }
        let target = self.config.target_parameters.filter(|target| cost.parameters <= *target as u64)?;
        Some(format!("the network has {} parameters, at most the {target} asked for", cost.parameters))
    }

    fn decide(&self) -> Decisions {
        let changes = match self.state.measures[..] {
            [ref earlier, ref later] => Changes::between(earlier, later),
            _ => Changes::default(),
        };
        let mut decisions = self.config.decide(self.state.decisions.as_ref(), &changes);
        let PruneState { rolled_back, diverged, .. } = self.state;
        let lossy = rolled_back - diverged;
        if lossy > 0 {
            let cut = &mut decisions.cut;
            let gentler = self.config.rule.gentler(cut.exact, lossy);
            cut.reason += &format!(", made gentler: {gentler}, after {lossy} roll-backs");
            (cut.exact, cut.value) = (gentler, gentler);
        }
        if diverged > 0 {
            let rate = &mut decisions.learning_rate;
            let slower = rate.value * SLOWER.powi(diverged as i32);
            rate.reason += &format!(", made slower: {slower:.3e}, as retraining diverged {diverged} times");
            (rate.exact, rate.value) = (slower, slower);
        }
        decisions
    }

    fn cut(
        &self,
        scores: &[LayerScores],
        decisions: &Decisions,
    ) -> Result<(Vec<ChannelRemoval>, Vec<LayerCut>)> {
        let (mut removals, mut layers) = (Vec::new(), Vec::new());
        for LayerScores { group, scores } in scores {
            let channels = self
                .config
                .rule
                .surplus(scores, decisions.cut.value, decisions.c_min.count())
                .map_err(|error| AdaptError::Cut { group: group.clone(), error })?;
            layers.push(LayerCut {
                layer: group.clone(),
                channels: scores.len(),
                removed: channels.len(),
                mean_score: scores.iter().sum::<f64>() / scores.len().max(1) as f64,
            });
            if !channels.is_empty() {
                removals.push(ChannelRemoval { group: group.clone(), channels });
            }
        }
        Ok((removals, layers))
    }
}

fn measure(cost: &GraphCost, evaluation: Evaluation) -> Measure {
    Measure { parameters: cost.parameters as f64, loss: evaluation.loss, time: estimated_seconds(cost) }
}

/// Time for one image by a plain cost model: 20 GMAC/s, 10 GB/s for parameters and activations, 1 µs per node.
///
/// The context law reads this in place of a measured time, so that the same seed gives the same network on a busy
/// machine too. Only its changes count, so its scale does not matter.
#[must_use]
pub fn estimated_seconds(cost: &GraphCost) -> f64 {
    let bytes = 4 * cost.parameters + cost.activation_bytes;
    cost.macs as f64 / 20e9 + bytes as f64 / 10e9 + cost.nodes.len() as f64 * 1e-6
}
