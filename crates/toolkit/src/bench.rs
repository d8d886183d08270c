//! Benchmarks of Taper's own engines.

use crate::error::Result;
use crate::threads::thread_pool;
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;
use taper_adapt::train::{StepBenchmark, TrainConfig, TrainingSpeed, initialize};
use taper_zoo::Task;

/// What is benchmarked.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainBenchOptions {
    /// A network of the zoo, for grey images of 28×28 pixels (ResNet and MobileNet: 128×128) and 10 classes.
    pub network: String,
    /// Images per step.
    pub batch: usize,
    /// Threads; 0 for as many as the machine has.
    pub threads: usize,
    /// The most memory for activations and their gradients, in megabytes.
    pub memory_budget_mb: Option<usize>,
    /// How long steps are timed.
    pub duration: Duration,
}

/// How fast training steps are, on this machine and at this moment. The names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainBench {
    /// The network.
    pub network: String,
    /// Images per step.
    pub batch: usize,
    /// Threads that were used.
    pub threads: usize,
    /// The speed.
    #[serde(flatten)]
    pub speed: TrainingSpeed,
    /// The most memory that the process held, where the operating system tells it.
    pub peak_memory_bytes: Option<u64>,
}

/// Times training steps (forward, loss, backward, clipping and Adam) of a network of the zoo on noise.
///
/// # Errors
/// If there is no such network or it cannot be trained.
pub fn bench_train(options: &TrainBenchOptions) -> Result<TrainBench> {
    let side = match options.network.as_str() {
        "resnet50" | "mobilenet-v1" => 128,
        _ => 28,
    };
    let mut graph = taper_zoo::by_name(&options.network, Task { input: [side, side, 1], classes: 10 })?;
    initialize(&mut graph, 1);
    let pool = thread_pool(options.threads)?;
    let threads = pool.current_num_threads();
    let settings = TrainConfig { memory_budget_mb: options.memory_budget_mb, ..TrainConfig::default() };
    let settings = settings.network_settings(1);
    let speed =
        pool.install(|| StepBenchmark::new(&graph, options.batch, &settings)?.run(options.duration))?;
    Ok(TrainBench {
        network: options.network.clone(),
        batch: options.batch,
        threads,
        speed,
        peak_memory_bytes: peak_memory_bytes(),
    })
}

/// `VmHWM` of Linux's account of this process.
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
