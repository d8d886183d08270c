//! The facade: a recipe becomes a run.
//!
//! [`run::start`] works a [`Recipe`] off in a new run directory, [`run::resume`] takes an interrupted run up again,
//! [`evaluate()`] runs a finished network on data, and [`inspect()`] tells what a network is. Whoever watches implements
//! [`Observer`].

mod bench;
mod document;
mod error;
mod evaluate;
mod events;
mod inspect;
mod machine;
mod predict;
pub mod recipe;
pub mod run;
pub mod run_dir;
mod source;
mod threads;

pub use bench::{TrainBench, TrainBenchOptions, bench_train};
pub use error::{Result, ToolkitError};
pub use evaluate::{Accuracy, evaluate};
pub use events::{
    DataSummary, Event, IntegersTested, NetworkTime, Observer, Phase, Progress, Scope, SplitSummary, Started,
    Tested, TimedNetwork,
};
pub use inspect::{Inspection, OperatorInfo, TensorInfo, inspect};
pub use machine::Machine;
pub use recipe::Recipe;
