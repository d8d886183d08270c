//! Batch normalisation with what its step took in: a sum and a rectifier.

use super::{Call, Gradients, Layer, Mode, Needs, Site, apart, fused};
use crate::error::Result;
use crate::train::parameter::ParameterId;
use taper_graph::BatchNorm;
use taper_kernels::lanes::{self, Activation, Affine, AffineGradient, BatchNormGradient, Running};

struct Normalisation {
    kernel: lanes::BatchNorm,
    gamma: ParameterId,
    beta: ParameterId,
    running: [ParameterId; 2],
    residual: bool,
    learns: bool,
    /// Whether it normalises with the batch's statistics in training: those of a frozen one stay.
    moves: bool,
}

/// A layer for batch normalisation.
///
/// # Errors
/// If its parameters are no constants.
pub(super) fn batch_norm(site: &Site<'_>, norm: &BatchNorm) -> Result<Box<dyn Layer>> {
    let map = site.channels_of(0)?;
    let running = [site.parameter(3)?, site.parameter(4)?];
    Ok(Box::new(Normalisation {
        kernel: lanes::BatchNorm {
            batch: site.images,
            channels: map.channels,
            pixels: map.pixels(),
            epsilon: norm.epsilon,
            activation: fused(site, site.step.fused.activation)?,
            isa: site.isa,
        },
        gamma: site.parameter(1)?,
        beta: site.parameter(2)?,
        running,
        residual: site.step.fused.residual,
        learns: site.step.learns,
        moves: site.step.learns && !running.iter().any(|id| site.parameters.is_frozen(*id)),
    }))
}

impl Layer for Normalisation {
    fn needs(&self) -> Needs {
        Needs { input: true, output: self.residual && self.kernel.activation != Activation::None }
    }

    fn passes(&self, input: usize) -> bool {
        input == 1
    }

    fn running(&self) -> Option<[ParameterId; 2]> {
        self.moves.then_some(self.running)
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = [call.x(0), call.y()];
        let residual = self.residual.then(|| call.x(1)).filter(|residual| *residual != x);
        let Call { arena, parameters, statistics, workspace, mode, .. } = call;
        let [gamma, beta] = [self.gamma, self.beta].map(|id| parameters.value(id));
        let affine = Affine { gamma, beta };
        let (x, residual, y) = match residual {
            Some(residual) => {
                let [x, residual, y] = apart(arena, [x, residual, y]);
                (&*x, Some(&*residual), y)
            }
            None => {
                let [x, y] = apart(arena, [x, y]);
                let x = &*x;
                (x, self.residual.then_some(x), y)
            }
        };
        match mode {
            Mode::Train if self.moves => {
                self.kernel.forward(x, affine, residual, y, statistics, workspace);
            }
            Mode::Train | Mode::Evaluate => {
                let [mean, variance] = self.running.map(|id| parameters.value(id));
                let running = Running { mean, variance };
                self.kernel.forward_frozen(x, affine, running, residual, y, statistics);
            }
        }
    }

    fn backward(&self, call: &mut Call<'_>, gradients: &mut Gradients<'_>) {
        let (x, y, dy, dx) = (call.x(0), call.y(), call.dy(), call.dx(0));
        let Call { arena, statistics, workspace, .. } = call;
        let kept = self.needs().output.then_some(y);
        let (x, dy, y, dx) = match (kept, dx) {
            (None, None) => {
                let [x, dy] = apart(arena, [x, dy]);
                (&*x, dy, None, None)
            }
            (None, Some(dx)) => {
                let [x, dy, dx] = apart(arena, [x, dy, dx]);
                (&*x, dy, None, Some(dx))
            }
            (Some(y), None) => {
                let [x, dy, y] = apart(arena, [x, dy, y]);
                (&*x, dy, Some(&*y), None)
            }
            (Some(y), Some(dx)) => {
                let [x, dy, y, dx] = apart(arena, [x, dy, y, dx]);
                (&*x, dy, Some(&*y), Some(dx))
            }
        };
        let activations = BatchNormGradient { x, dy, y_with_residual: y, dx };
        if !self.learns {
            return self.kernel.backward_frozen(activations, statistics, None, workspace);
        }
        gradients.write([self.gamma, self.beta], |[gamma, beta]| {
            let affine = AffineGradient { gamma, beta };
            if self.moves {
                self.kernel.backward(activations, statistics, affine, workspace);
            } else {
                self.kernel.backward_frozen(activations, statistics, Some(affine), workspace);
            }
        });
    }
}
