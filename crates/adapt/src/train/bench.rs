//! The speed of training steps: forward, loss, backward and Adam.

use super::config::TrainConfig;
use super::network::{Network, NetworkSettings};
use super::optimizer::Optimizer;
use super::worker::LayerTime;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use taper_data::Rng;
use taper_graph::{Graph, Op, cost};
use taper_kernels::cpu::{Isa, fma_peak};

/// How long the machine's peak is measured, before the steps and after them.
const PEAK_DURATION: Duration = Duration::from_millis(300);

/// Training steps of one network on noise, to be timed.
pub struct StepBenchmark {
    graph: Graph,
    network: Network,
    optimizer: Optimizer,
    images: Vec<f32>,
    labels: Vec<u32>,
}

/// How fast training steps are. Floating point operations are counted as two per multiply–accumulate, for the forward
/// pass, the gradients of weights and, but for the first layer, the gradients of inputs; taps that fall on padding count
/// although they are skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSpeed {
    /// Median over the steps.
    pub images_per_s: f64,
    /// Median over the steps.
    pub gflop_per_s: f64,
    /// What fused multiply-adds reach on all threads, the greater of before and after the steps.
    pub peak_gflop_per_s: f64,
    /// `gflop_per_s / peak_gflop_per_s`.
    pub share_of_peak: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// The layers with multiply–accumulates, in order.
    pub layers: Vec<LayerSpeed>,
}

/// How fast one layer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSpeed {
    /// Name of the layer.
    pub layer: String,
    /// Shape of its weights, OHWI or OI.
    pub weights: String,
    /// Median time of its forward pass in a step.
    pub forward_s: f64,
    /// Median time of its backward pass in a step.
    pub backward_s: f64,
    /// Forward, in GFLOP/s.
    pub forward_gflop_per_s: f64,
    /// Backward, in GFLOP/s.
    pub backward_gflop_per_s: f64,
}

impl StepBenchmark {
    /// Prepares steps of `batch` images.
    ///
    /// # Errors
    /// If the network cannot be trained.
    pub fn new(graph: &Graph, batch: usize, settings: &NetworkSettings) -> Result<Self> {
        let network = Network::with_settings(graph.clone(), settings)?;
        let optimizer = TrainConfig::default().optimizer_settings();
        let pixels = graph.tensor(graph.single_input()?).shape.elements(1).unwrap_or(0);
        let mut rng = Rng::new(1);
        let classes = network.classes() as u64;
        Ok(Self {
            graph: graph.clone(),
            optimizer: Optimizer::new(optimizer, network.parameters()),
            network,
            images: (0..batch * pixels).map(|_| rng.symmetric(1.0) as f32).collect(),
            labels: (0..batch).map(|_| rng.below(classes) as u32).collect(),
        })
    }

    /// Takes steps for at least `duration`, and three at least, after two that do not count.
    ///
    /// # Errors
    /// If a step cannot be taken.
    pub fn run(&mut self, duration: Duration) -> Result<TrainingSpeed> {
        let peak_before = fma_peak(Isa::best(), PEAK_DURATION);
        self.step()?;
        self.step()?;
        self.network.take_times();
        let (mut steps, mut layers) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        while steps.len() < 3 || begun.elapsed() < duration {
            let started = Instant::now();
            self.step()?;
            steps.push(started.elapsed().as_secs_f64());
            layers.push(self.network.take_times());
        }
        let peak = peak_before.max(fma_peak(Isa::best(), PEAK_DURATION)) / 1e9;
        let layers = self.layers(&layers);
        let batch = self.labels.len() as f64;
        let step = median(steps.iter().copied());
        let gflop = layers
            .iter()
            .map(|layer| {
                layer.forward_gflop_per_s * layer.forward_s + layer.backward_gflop_per_s * layer.backward_s
            })
            .sum::<f64>();
        Ok(TrainingSpeed {
            images_per_s: batch / step,
            gflop_per_s: gflop / step,
            peak_gflop_per_s: peak,
            share_of_peak: gflop / step / peak,
            steps: steps.len(),
            layers,
        })
    }

    fn step(&mut self) -> Result<()> {
        /// Small, so that the weights hardly change while the clock runs.
        const LEARNING_RATE: f32 = 1e-6;
        self.network.learn(&self.images, &self.labels)?;
        self.optimizer.step(&mut self.network, LEARNING_RATE);
        Ok(())
    }

    /// The layers that multiply, from the times of every step.
    fn layers(&self, steps: &[Vec<LayerTime>]) -> Vec<LayerSpeed> {
        let costs = cost(&self.graph);
        let mut layers = Vec::new();
        for (position, name) in self.network.steps().enumerate() {
            let node = self.graph.nodes.iter().zip(&costs.nodes).find(|(node, _)| node.name == name);
            let Some((node, cost)) = node else { continue };
            if !matches!(node.op, Op::Conv2d(_) | Op::FullyConnected(_)) {
                continue;
            }
            let forward_s = median(steps.iter().map(|layers| layers[position].forward));
            let backward_s = median(steps.iter().map(|layers| layers[position].backward));
            let gflop = 2e-9 * cost.macs as f64 * self.labels.len() as f64;
            // The first layer has no gradient of its input to compute.
            let passes = if layers.is_empty() { 1.0 } else { 2.0 };
            layers.push(LayerSpeed {
                layer: name.to_owned(),
                weights: self.graph.tensor(node.inputs[1]).shape.to_string(),
                forward_s,
                backward_s,
                forward_gflop_per_s: gflop / forward_s,
                backward_gflop_per_s: passes * gflop / backward_s,
            });
        }
        layers
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
