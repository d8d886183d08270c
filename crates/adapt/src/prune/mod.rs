//! Adaptive iterative pruning: score channels, cut the surplus ones, retrain, with hyper-parameters that follow laws.
//!
//! The driver alternates with training: [`Pruner::propose`] cuts, the caller retrains the proposed network with a
//! [`Fit`](crate::train::Fit), and [`Pruner::conclude`] accepts the result or rolls it back.

mod config;
mod law;
mod pruner;
mod rule;
mod score;

pub use config::{Criterion, Decisions, Laws, PruneConfig};
pub use law::{Changes, Decision, Gains, HyperParameter, Law, Measure, Step};
pub use pruner::{Iteration, LayerCut, Proposal, PruneState, Pruner, estimated_seconds};
pub use rule::{CutError, CutRule};
pub use score::{LayerScores, apoz};
