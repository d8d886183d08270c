//! The CPU as an engine.

use super::engine::{Engine, Evaluator, Learner, Step};
use super::layer::Mode;
use super::loss::Targets;
use super::network::{Network, NetworkSettings};
use super::optimizer::{Optimizer, OptimizerSettings};
use crate::error::{AdaptError, Result};
use std::collections::BTreeMap;
use taper_graph::{Graph, Shape, TensorId};
use taper_kernels::lanes::LossSummary;

/// The CPU: all threads of the pool that it is called on, and the best instruction set that there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

struct CpuLearner {
    network: Network,
    optimizer: Optimizer,
}

impl Engine for Cpu {
    fn evaluator(&self, graph: &Graph, settings: &NetworkSettings) -> Result<Box<dyn Evaluator>> {
        // Nothing learns here, so that nothing need be frozen either.
        let settings = NetworkSettings { freeze: Vec::new(), ..settings.clone() };
        Ok(Box::new(Network::with_settings(graph.clone(), &settings)?))
    }

    fn learner(
        &self,
        graph: &Graph,
        settings: &NetworkSettings,
        optimizer: OptimizerSettings,
    ) -> Result<Box<dyn Learner>> {
        let network = Network::with_settings(graph.clone(), settings)?;
        let optimizer = Optimizer::new(optimizer, network.parameters());
        Ok(Box::new(CpuLearner { network, optimizer }))
    }
}

impl Evaluator for Network {
    fn name(&self) -> &str {
        self.name()
    }

    fn input_shape(&self) -> &Shape {
        self.input_shape()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn evaluate(&mut self, images: &[f32], targets: Targets<'_>) -> Result<LossSummary> {
        self.evaluate(images, targets)
    }

    fn find_fault(&mut self, images: &[f32], targets: Targets<'_>, mode: Mode) -> Result<Option<String>> {
        self.find_fault(images, targets, mode)
    }

    fn watch(&mut self, tensors: &[TensorId]) -> Result<()> {
        self.watch(tensors)
    }

    fn take_zeros(&mut self) -> Vec<Vec<u64>> {
        self.take_zeros()
    }
}

impl Learner for CpuLearner {
    fn network(&self) -> &dyn Evaluator {
        &self.network
    }

    fn network_mut(&mut self) -> &mut dyn Evaluator {
        &mut self.network
    }

    fn step(&mut self, images: &[f32], targets: Targets<'_>, learning_rate: f32) -> Result<Step> {
        self.network.set_step(self.optimizer.steps);
        let summary = self.network.learn(images, targets)?;
        let gradient_norm = match summary.loss.is_finite() {
            true => self.optimizer.step(&mut self.network, learning_rate),
            false => f64::NAN,
        };
        Ok(Step { summary, gradient_norm })
    }

    fn largest_gradient(&self) -> (&str, f64) {
        self.network.largest_gradient()
    }

    fn to_graph(&self) -> Graph {
        self.network.to_graph()
    }

    fn steps(&self) -> u64 {
        self.optimizer.steps
    }

    fn state(&self) -> BTreeMap<String, Vec<f32>> {
        let mut state = BTreeMap::new();
        for (parameter, moments) in self.network.parameters().iter().zip(&self.optimizer.moments) {
            let name = &parameter.name;
            state.insert(format!("value/{name}"), parameter.value.clone());
            for (order, moment) in moments.iter().enumerate() {
                state.insert(format!("moment{order}/{name}"), moment.clone());
            }
        }
        state
    }

    fn restore(&mut self, steps: u64, state: &mut BTreeMap<String, Vec<f32>>) -> Result<()> {
        let network = self.network.name().to_owned();
        let mut take = |name: String, len: usize| take(&network, state, &name, len);
        for (parameter, moments) in self.network.parameters_mut().iter_mut().zip(&mut self.optimizer.moments)
        {
            let name = &parameter.name;
            parameter.value = take(format!("value/{name}"), parameter.value.len())?;
            for (order, moment) in moments.iter_mut().enumerate() {
                *moment = take(format!("moment{order}/{name}"), parameter.gradient.len())?;
            }
        }
        self.optimizer.steps = steps;
        Ok(())
    }
}

/// Takes `len` values by their name out of the state of `network`.
///
/// # Errors
/// If they are missing or of another number.
pub(super) fn take(
    network: &str,
    state: &mut BTreeMap<String, Vec<f32>>,
    name: &str,
    len: usize,
) -> Result<Vec<f32>> {
    let message = match state.remove(name) {
        Some(values) if values.len() == len => return Ok(values),
        Some(values) => format!("expected `{name}` of {len} values, found {}", values.len()),
        None => format!("`{name}` is missing"),
    };
    Err(AdaptError::State { network: network.to_owned(), message })
}
