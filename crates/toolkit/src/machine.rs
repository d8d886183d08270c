//! The machine that a run is measured on.

use serde::{Deserialize, Serialize};
use std::fs;
use taper_run::Cpu;

/// What is worth knowing of a machine beside a measured time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name, where the operating system tells it.
    pub processor: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// The fastest vector instructions that the kernels use on it.
    pub instructions: String,
    /// Operating system and architecture.
    pub system: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        Self {
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: Cpu::default().isa.name().to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// The first `model name` of Linux's list of processors.
fn processor() -> Option<String> {
    let list = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = list.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}
