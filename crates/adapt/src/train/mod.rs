//! Training: reverse mode over the graph, optimizers, schedules, early stopping.
//!
//! A [`Network`] is a float graph made ready to learn; a [`Fit`] trains one epoch by epoch and can be stored and taken
//! up again between epochs.

mod bench;
mod config;
mod evaluate;
mod fit;
mod initialize;
mod layer;
mod loss;
mod network;
mod optimizer;
mod parameter;
mod plan;
mod program;
mod worker;

pub use bench::{LayerSpeed, StepBenchmark, TrainingSpeed};
pub use config::{EarlyStopping, OptimizerKind, Schedule, TrainConfig, TrainWhen};
pub use evaluate::{Evaluation, evaluate};
pub use fit::{EpochRecord, Fit, FitProgress, FitSettings, FitState, StepProgress};
pub use initialize::initialize;
pub use loss::{Loss, SoftmaxCrossEntropy, Targets};
pub use network::{Network, NetworkSettings};
pub use taper_kernels::lanes::{LossSummary, RegressionLoss};
pub use worker::LayerTime;
