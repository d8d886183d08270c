//! What training asks of the hardware that it runs on.

use super::layer::Mode;
use super::loss::Targets;
use super::network::NetworkSettings;
use super::optimizer::OptimizerSettings;
use crate::error::Result;
use std::collections::BTreeMap;
use taper_graph::{Graph, Shape, TensorId};
use taper_kernels::lanes::LossSummary;

/// Hardware on which networks are trained and evaluated.
///
/// Training, pruning and runs know it by this trait alone, so that a GPU can take the CPU's place. An engine gives the
/// same bytes for the same graph, settings and batches, on any number of threads; two engines may round differently.
pub trait Engine: Sync {
    /// Makes a float network with one input and one output ready to be evaluated.
    ///
    /// # Errors
    /// If the graph is inconsistent, or holds an operator that the engine does not have.
    fn evaluator(&self, graph: &Graph, settings: &NetworkSettings) -> Result<Box<dyn Evaluator>>;

    /// Makes a float network with one input and one output ready to learn.
    ///
    /// # Errors
    /// As for [`Engine::evaluator`], and if nothing is to learn.
    fn learner(
        &self,
        graph: &Graph,
        settings: &NetworkSettings,
        optimizer: OptimizerSettings,
    ) -> Result<Box<dyn Learner>>;
}

/// A network on an engine.
pub trait Evaluator {
    /// The network's name.
    fn name(&self) -> &str;

    /// The shape of the input.
    fn input_shape(&self) -> &Shape;

    /// The number of classes: the channels of the output.
    fn classes(&self) -> usize;

    /// Runs a batch forward, with the running statistics of batch normalisation. `images` is `[N][H][W][C]`, already
    /// preprocessed.
    ///
    /// # Errors
    /// If the batch does not fit the network or its loss, or not into the memory budget.
    fn evaluate(&mut self, images: &[f32], targets: Targets<'_>) -> Result<LossSummary>;

    /// Where a batch first meets a value that is not finite, such as "the output of `conv1`"; `None` if nowhere. The
    /// parameters are to be those with which it met one.
    ///
    /// # Errors
    /// As for [`Evaluator::evaluate`].
    fn find_fault(&mut self, images: &[f32], targets: Targets<'_>, mode: Mode) -> Result<Option<String>>;

    /// From here on, counts the zeros of each channel of these activations.
    ///
    /// # Errors
    /// If one of them is not computed.
    fn watch(&mut self, tensors: &[TensorId]) -> Result<()>;

    /// How many values of each channel of each watched activation were zero since this was last asked.
    fn take_zeros(&mut self) -> Vec<Vec<u64>>;
}

/// A network that learns on an engine, with its parameters and the state of its optimizer.
pub trait Learner {
    /// The network with the parameters as they stand, to be asked.
    fn network(&self) -> &dyn Evaluator;

    /// The network with the parameters as they stand, to be run.
    fn network_mut(&mut self) -> &mut dyn Evaluator;

    /// Learns from a batch: forward, loss, backward, and a step of the optimizer, which is not taken if the loss or a
    /// gradient is not finite. Arguments as for [`Evaluator::evaluate`]; batch normalisation uses the batch's statistics
    /// and moves the running ones.
    ///
    /// # Errors
    /// As for [`Evaluator::evaluate`].
    fn step(&mut self, images: &[f32], targets: Targets<'_>, learning_rate: f32) -> Result<Step>;

    /// The parameter that had the largest gradient in the last batch, and the norm of that gradient.
    fn largest_gradient(&self) -> (&str, f64);

    /// The network with the parameters as they stand.
    fn to_graph(&self) -> Graph;

    /// Steps taken.
    fn steps(&self) -> u64;

    /// Parameters (`value/NAME`) and moments of the optimizer (`moment0/NAME`, …): with the number of steps, all that is
    /// needed to go on to the same bytes.
    fn state(&self) -> BTreeMap<String, Vec<f32>>;

    /// Goes on from where `state` stood after `steps` steps. What it needs is taken out of `state`.
    ///
    /// # Errors
    /// If something is missing or of another size.
    fn restore(&mut self, steps: u64, state: &mut BTreeMap<String, Vec<f32>>) -> Result<()>;
}

/// What learning from a batch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The loss before the step.
    pub summary: LossSummary,
    /// The norm of all gradients together, before clipping.
    pub gradient_norm: f64,
}
