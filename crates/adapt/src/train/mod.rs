//! Training: reverse mode over the graph, optimizers, schedules, early stopping.
//!
//! An [`Engine`] makes a float graph ready to learn or to be evaluated; a [`Fit`] trains it epoch by epoch and can be stored
//! and taken up again between epochs. The engine that is there is the CPU: [`Cpu`], with its [`Network`].

mod bench;
mod config;
mod cpu;
mod engine;
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
pub use cpu::Cpu;
pub use engine::{Engine, Evaluator, Learner, Step};
pub use evaluate::{Evaluation, evaluate};
pub use fit::{EpochRecord, Fit, FitProgress, FitSettings, FitState, StepProgress};
pub use initialize::initialize;
pub use layer::Mode;
pub use loss::{Loss, SoftmaxCrossEntropy, Targets};
pub use network::{Network, NetworkSettings};
pub use optimizer::OptimizerSettings;
pub use taper_kernels::lanes::{LossSummary, RegressionLoss};
pub use worker::LayerTime;
