//! Batch normalisation with what its step took in: a sum and a rectifier.

use super::{Call, Layer, Mode, Needs, Site, apart, fused};
use crate::error::Result;
use crate::train::parameter::ParameterId;
use taper_graph::BatchNorm;
use taper_kernels::lanes::{self, Activation, Lanes, activation_backward};

struct Normalisation {
    kernel: lanes::BatchNorm,
    gamma: ParameterId,
    beta: ParameterId,
    running: [ParameterId; 2],
    residual: bool,
    activation: Activation,
    learns: bool,
}

/// A layer for batch normalisation.
///
/// # Errors
/// If its parameters are no constants.
pub(super) fn batch_norm(site: &Site<'_>, norm: &BatchNorm) -> Result<Box<dyn Layer>> {
    let map = site.map(0);
    Ok(Box::new(Normalisation {
        kernel: lanes::BatchNorm {
            batch: site.images,
            channels: map.channels,
            pixels: map.pixels(),
            epsilon: norm.epsilon,
            isa: site.isa,
        },
        gamma: site.parameter(1)?,
        beta: site.parameter(2)?,
        running: [site.parameter(3)?, site.parameter(4)?],
        residual: site.step.fused.residual,
        activation: fused(site, site.step.fused.activation)?,
        learns: site.step.learns,
    }))
}

impl Layer for Normalisation {
    fn needs(&self) -> Needs {
        Needs { input: true, output: self.activation != Activation::None }
    }

    fn passes(&self, input: usize) -> bool {
        input == 1
    }

    fn running(&self) -> Option<[ParameterId; 2]> {
        self.learns.then_some(self.running)
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = [call.x(0), call.y()];
        let residual = self.residual.then(|| call.x(1));
        let Call { arena, parameters, statistics, workspace, mode, .. } = call;
        let [gamma, beta] = [self.gamma, self.beta].map(|id| parameters.value(id));
        {
            let [x, y] = apart(arena, [x, y.clone()]);
            match mode {
                Mode::Train if self.learns => self.kernel.forward(x, gamma, beta, y, statistics, workspace),
                Mode::Train | Mode::Evaluate => {
                    let [mean, variance] = self.running.map(|id| parameters.value(id));
                    self.kernel.inference(x, gamma, beta, mean, variance, y);
                }
            }
        }
        if let Some(residual) = residual {
            let [residual, y] = apart(arena, [residual, y.clone()]);
            y.iter_mut().zip(residual).for_each(|(y, r)| y.0.iter_mut().zip(r.0).for_each(|(y, r)| *y += r));
        }
        let limit = match self.activation {
            Activation::None => return,
            Activation::Relu => f32::INFINITY,
            Activation::Relu6 => 6.0,
        };
        for Lanes(y) in &mut arena[y] {
            y.iter_mut().for_each(|y| *y = y.clamp(0.0, limit));
        }
    }

    fn backward(&self, call: &mut Call<'_>) {
        let (x, y, dy, dx) = (call.x(0), call.y(), call.dy(), call.dx(0));
        let Call { arena, parameters, gradients, statistics, workspace, .. } = call;
        if self.activation != Activation::None {
            let [y, dy] = apart(arena, [y, dy.clone()]);
            activation_backward(self.kernel.isa, self.activation, y, dy);
        }
        let gamma = parameters.value(self.gamma);
        let [dgamma, dbeta] = parameters.gradient_pair(self.gamma, self.beta, gradients);
        let mut unread = Vec::new();
        match dx {
            Some(dx) => {
                let [x, dy, dx] = apart(arena, [x, dy, dx]);
                self.kernel.backward(x, dy, gamma, statistics, dx, dgamma, dbeta, workspace);
            }
            None => {
                let [x, dy] = apart(arena, [x, dy]);
                unread.resize(x.len(), Lanes::ZERO);
                self.kernel.backward(x, dy, gamma, statistics, &mut unread, dgamma, dbeta, workspace);
            }
        }
    }
}
