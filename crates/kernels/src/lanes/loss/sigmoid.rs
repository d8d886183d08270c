//! Sigmoid (binary) cross-entropy on logits.

use super::LossSummary;
use super::elementary::{exp, ln};
use super::elements::{self, ElementLoss, Targets};
use crate::cpu::Isa;
use crate::lanes::{Lanes, Workspace};

/// Cross-entropy of `sigmoid(logits)`, `[blocks][channels][pixels]`, against targets in 0..=1, `[N][pixels][channels]`.
///
/// An element of logit z, target t and positive weight p loses `-p t ln σ(z) - (1 - t) ln(1 - σ(z))`.
#[derive(Clone, Copy, Debug)]
pub struct SigmoidCrossEntropy<'a> {
    /// Channels.
    pub channels: usize,
    /// Pixels per image.
    pub pixels: usize,
    /// A weight p of the positive class per channel; without them each is 1.
    pub positive_weights: Option<&'a [f32]>,
    /// The instruction set to use.
    pub isa: Isa,
}

impl<'a> SigmoidCrossEntropy<'a> {
    /// Positives weigh as much as negatives.
    pub fn new(channels: usize, pixels: usize, isa: Isa) -> Self {
        Self { channels, pixels, positive_weights: None, isa }
    }

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
    /// if given, with the gradient by the logits, which is 0 in lanes past the last image.
    ///
    /// `total_weight` is that of the whole batch, of which these images may be a chunk. A logit is right if it is above 0
    /// where the target is above 1/2, and not above 0 elsewhere.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for.
    pub fn run(
        &self,
        logits: &[Lanes],
        targets: &[f32],
        element_weights: Option<&[f32]>,
        total_weight: f64,
        gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        if let Some(weights) = self.positive_weights {
            assert_eq!(weights.len(), self.channels, "positive weights");
        }
        let targets = Targets { values: targets, weights: element_weights };
        let shape = [self.channels, self.pixels];
        let loss_of = |channel: usize| {
            Positive(self.positive_weights.map_or(1.0, |weights| f64::from(weights[channel])))
        };
        elements::run(loss_of, self.isa, shape, logits, targets, total_weight, gradient, workspace)
    }
}

/// The weight p of a channel's positive class.
#[derive(Clone, Copy)]
struct Positive(f64);

impl Positive {
    /// What multiplies `-ln σ(z)` once the loss is written `(1 - t) z - (p t + 1 - t) ln σ(z)`.
    #[inline(always)]
    fn weight(self, target: f64) -> f64 {
        self.0 * target + (1.0 - target)
    }
}

impl ElementLoss for Positive {
    #[inline(always)]
    fn loss(self, logit: f64, target: f64) -> f64 {
        // -ln σ(z) = ln(1 + exp(-|z|)) + max(-z, 0), in which nothing overflows.
        let below = if logit > 0.0 { 0.0 } else { -logit };
        (1.0 - target) * logit + self.weight(target) * (ln(1.0 + exp(-logit.abs())) + below)
    }

    #[inline(always)]
    fn slope(self, logit: f64, target: f64) -> f64 {
        let small = exp(-logit.abs());
        let complement = (if logit > 0.0 { small } else { 1.0 }) / (1.0 + small);
        (1.0 - target) - self.weight(target) * complement
    }

    #[inline(always)]
    fn is_right(self, logit: f32, target: f32) -> bool {
        (logit > 0.0) == (target > 0.5)
    }
}
