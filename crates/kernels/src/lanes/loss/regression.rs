//! Squared error and Huber's loss.

use super::LossSummary;
use super::elements::{self, ElementLoss, Targets};
use crate::cpu::Isa;
use crate::lanes::{Lanes, Workspace};

/// What an element loses, by the difference d of prediction and target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RegressionLoss {
    /// `d²`.
    SquaredError,
    /// `d² / 2` where `|d| <= delta`, else `delta · (|d| - delta / 2)` (Huber, 1964).
    Huber {
        /// Where the parabola becomes a line.
        delta: f32,
    },
}

/// The mean loss of predictions `[blocks][channels][pixels]` against targets `[N][pixels][channels]`; plain vectors of
/// numbers have one pixel.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// Channels.
    pub channels: usize,
    /// Pixels per image.
    pub pixels: usize,
    /// What an element loses.
    pub loss: RegressionLoss,
    /// The instruction set to use.
    pub isa: Isa,
}

impl Regression {
    /// The sum of the weights of a batch's elements, `[N][pixels][channels]`: the divisor of the mean. Each weighs 1 if
    /// there are none.
    ///
    /// # Panics
    ///
    /// Panics if there are weights, but not one per element.
    pub fn total_weight(&self, batch: usize, element_weights: Option<&[f32]>) -> f64 {
        elements::total_weight(batch * self.channels * self.pixels, element_weights)
    }

    /// The loss of whole blocks of images, with a weight per element: 0 for those to be ignored. Overwrites `gradient`,
    /// if given, with the gradient by the predictions, which is 0 in lanes past the last image.
    ///
    /// `total_weight` is that of the whole batch, of which these images may be a chunk.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for.
    pub fn run(
        &self,
        predictions: &[Lanes],
        targets: &[f32],
        element_weights: Option<&[f32]>,
        total_weight: f64,
        gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        let targets = Targets { values: targets, weights: element_weights };
        let shape = [self.channels, self.pixels];
        elements::run(|_| self.loss, self.isa, shape, predictions, targets, total_weight, gradient, workspace)
    }
}

impl ElementLoss for RegressionLoss {
    #[inline(always)]
    fn loss(self, prediction: f64, target: f64) -> f64 {
        let difference = prediction - target;
        match self {
            RegressionLoss::SquaredError => difference * difference,
            RegressionLoss::Huber { delta } => {
                let (size, delta) = (difference.abs(), f64::from(delta));
                let (square, line) = (0.5 * difference * difference, delta * (size - 0.5 * delta));
                if size > delta { line } else { square }
            }
        }
    }

    #[inline(always)]
    fn slope(self, prediction: f64, target: f64) -> f64 {
        let difference = prediction - target;
        match self {
            RegressionLoss::SquaredError => 2.0 * difference,
            RegressionLoss::Huber { delta } => {
                let bound = f64::from(delta).copysign(difference);
                if difference.abs() > f64::from(delta) { bound } else { difference }
            }
        }
    }

    #[inline(always)]
    fn is_right(self, _: f32, _: f32) -> bool {
        false
    }
}
