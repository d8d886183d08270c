//! The optimizer with its state: one or two moments for each learned value.

use super::config::OptimizerKind;
use super::parameter::{Parameters, Role};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Adam, Sgd, sum_of_squares};

/// What does not change from step to step.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptimizerSettings {
    pub(super) kind: OptimizerKind,
    /// For SGD.
    pub(super) momentum: f32,
    /// For weights; biases and batch normalisation are free of it.
    pub(super) weight_decay: f32,
    /// The greatest norm of all gradients together; larger ones are scaled down to it.
    pub(super) clip_norm: Option<f32>,
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

    /// Takes one step. Returns the norm of all gradients together, before clipping.
    pub(super) fn step(&mut self, parameters: &mut Parameters, learning_rate: f32) -> f64 {
        self.steps += 1;
        let norm = norm(parameters);
        if let Some(limit) = self.settings.clip_norm
            && norm > f64::from(limit)
        {
            let factor = (f64::from(limit) / norm) as f32;
            for gradient in parameters.iter_mut().flat_map(|parameter| &mut parameter.gradient) {
                *gradient *= factor;
            }
        }
        for (parameter, moments) in parameters.iter_mut().zip(&mut self.moments) {
            let weight_decay = match parameter.role {
                Role::Weights => self.settings.weight_decay,
                Role::Offset => 0.0,
                Role::Statistic => continue,
            };
            let (value, gradient) = (&mut parameter.value, &parameter.gradient);
            match (self.settings.kind, &mut moments[..]) {
                (OptimizerKind::Adam, [mean, square]) => {
                    let adam = Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
                    adam.step(self.isa, self.steps, value, gradient, mean, square);
                }
                (OptimizerKind::Sgd, [velocity]) => {
                    let sgd = Sgd { learning_rate, momentum: self.settings.momentum, weight_decay };
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

/// The Euclidean norm of all gradients together.
fn norm(parameters: &Parameters) -> f64 {
    parameters.iter().map(|parameter| sum_of_squares(&parameter.gradient)).sum::<f64>().sqrt()
}
