//! The facade: a recipe becomes a run.
//!
//! [`run::start`] works a [`Recipe`] off in a new run directory, [`run::resume`] takes an interrupted run up again,
//! [`evaluate()`] and [`run_on_arrays`] run a finished network, [`inspect()`] tells what a network is, [`export()`] converts
//! its file, and [`compare()`] tells where two networks part. Whoever watches implements [`Observer`].

mod arrays;
mod bench;
mod compare;
mod document;
mod error;
mod evaluate;
mod events;
mod export;
mod inspect;
mod machine;
mod predict;
pub mod recipe;
pub mod run;
pub mod run_dir;
mod source;
mod threads;

pub use arrays::{WrittenArray, run_on_arrays};
pub use bench::{TrainBench, TrainBenchOptions, bench_train};
pub use compare::{Comparison, ComparisonInput, Difference, compare};
pub use error::{Result, ToolkitError};
pub use evaluate::{Accuracy, evaluate};
pub use events::{
    DataSummary, Event, IntegersTested, NetworkTime, Observer, Phase, Progress, Scope, SplitSummary, Started,
    Tested, TimedNetwork,
};
pub use export::{ExportSource, export};
pub use inspect::{
    EdgeTpuExecutable, EdgeTpuLayer, EdgeTpuOperator, EdgeTpuPackage, Inspection, OperatorInfo, TensorInfo,
    inspect, write_page,
};
pub use machine::Machine;
pub use recipe::Recipe;
