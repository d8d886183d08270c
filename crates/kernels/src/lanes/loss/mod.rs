//! Losses on lane layout, each with the gradient of its mean.
//!
//! Every loss is a weighted mean over images, pixels or elements, and its callers give the divisor, `total_weight`,
//! themselves: the chunks of whole blocks into which a batch may be cut then have losses and gradients that add up to
//! those of the batch. With a divisor of 0, where nothing counts, loss and gradient are 0.
//!
//! Terms are computed and summed in f64, in an order that follows from the shapes alone. Exponentials and logarithms
//! are the module's own, so that they fill vectors.

mod cross_entropy;
mod distillation;
mod elementary;
mod elements;
mod maps;
mod regression;
mod sigmoid;

use std::ops::AddAssign;

pub use cross_entropy::SoftmaxCrossEntropy;
pub use distillation::Distillation;
pub use regression::{Regression, RegressionLoss};
pub use sigmoid::SigmoidCrossEntropy;

/// What a batch's predictions came to. Summaries of a batch's chunks add up to the batch's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSummary {
    /// Mean loss; of a chunk, its part of the batch's mean. Cross-entropies are in nats.
    pub loss: f64,
    /// How many predictions were right: images or pixels with their largest logit at their label, where among equal
    /// logits the first counts, or elements on their target's side of the threshold. A regression has none.
    pub correct: usize,
    /// How many predictions counted: all but those that a label or a weight of 0 tells to ignore.
    pub counted: usize,
}

impl AddAssign for LossSummary {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.counted += other.counted;
    }
}

/// What each term of a mean is multiplied by.
fn scale_of(total_weight: f64) -> f64 {
    if total_weight == 0.0 { 0.0 } else { 1.0 / total_weight }
}
