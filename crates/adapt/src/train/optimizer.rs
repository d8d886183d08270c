//! The optimizer with its state: one or two moments for each learned value.

use super::config::OptimizerKind;
use super::network::Network;
use super::parameter::{Parameters, Role};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Adam, Sgd, sum_of_squares};

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerSettings {
    /// How gradients become changes of the parameters.
    pub kind: OptimizerKind,
    /// For SGD: share of the last change that goes on.
    pub momentum: f32,
    /// For weights; biases and batch normalisation are free of it.
    pub weight_decay: f32,
    /// The greatest norm of all gradients together; larger ones are scaled down to it.
    pub clip_norm: Option<f32>,
}

/// Changes parameters by their gradients.
#[derive(Debug)]
pub(super) struct Optimizer {
    settings: OptimizerSettings,
    /// Moments of each parameter: velocity for SGD, mean and mean square for Adam.
    pub(super) moments: Vec<Vec<Vec<f32>>>,
    /// Steps taken.
    pub(super) steps: u64,
    isa: Isa,
}

impl Optimizer {
    pub(super) fn new(settings: OptimizerSettings, parameters: &Parameters) -> Self {
        let count = match settings.kind {
            OptimizerKind::Adam => 2,
            OptimizerKind::Sgd => 1,
        };
        let moments =
            parameters.iter().map(|parameter| vec![vec![0.0; parameter.gradient.len()]; count]).collect();
        Self { settings, moments, steps: 0, isa: Isa::best() }
    }

    /// Takes one step, but none where a gradient is not finite, so that the parameters stay good. Returns the norm of all
    /// gradients together, before clipping.
    pub(super) fn step(&mut self, network: &mut Network, learning_rate: f32) -> f64 {
        let (parameters, gradients) = network.parameters_and_gradients();
        let norm = sum_of_squares(self.isa, gradients).sqrt();
        if !norm.is_finite() {
            return norm;
        }
        self.steps += 1;
        let gradient_scale = match self.settings.clip_norm {
            Some(limit) if norm > f64::from(limit) => (f64::from(limit) / norm) as f32,
            Some(_) | None => 1.0,
        };
        for (parameter, moments) in parameters.iter_mut().zip(&mut self.moments) {
            let weight_decay = match parameter.role {
                Role::Weights => self.settings.weight_decay,
                Role::Offset => 0.0,
                Role::Statistic | Role::Fixed => continue,
            };
            let gradient = &gradients[parameter.gradient.clone()];
            if gradient.is_empty() {
                continue;
            }
            let value = &mut parameter.value;
            match (self.settings.kind, &mut moments[..]) {
                (OptimizerKind::Adam, [mean, square]) => {
                    let adam = Adam {
                        learning_rate,
                        beta1: 0.9,
                        beta2: 0.999,
                        epsilon: 1e-8,
                        weight_decay,
                        gradient_scale,
                    };
                    adam.step(self.isa, self.steps, value, gradient, mean, square);
                }
                (OptimizerKind::Sgd, [velocity]) => {
                    let momentum = self.settings.momentum;
                    let sgd = Sgd { learning_rate, momentum, weight_decay, gradient_scale };
                    sgd.step(self.isa, value, gradient, velocity);
                }
                (OptimizerKind::Adam | OptimizerKind::Sgd, _) => {
                    unreachable!("the number of moments follows from the kind of optimizer")
                }
            }
        }
        norm
    }
}
