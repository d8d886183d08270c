//! LiteRT (PyPI `ai-edge-litert`) as an outside judge, in a Python virtual environment of its own.

use crate::python::{Python, read, write};
use std::path::Path;
use std::sync::OnceLock;

/// The pinned packages; the environment's folder carries their versions, so a new pin makes a new one.
const PACKAGES: [&str; 2] = ["ai-edge-litert==2.1.5", "numpy==2.4.6"];
const SCRIPT: &str = include_str!("litert.py");

/// Which of LiteRT's kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// The plain kernels that define the result.
    Reference,
    /// The optimised ones that an application gets.
    Default,
}

/// A model and what to feed it.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The bytes of a `.tflite` file.
    pub model: &'a [u8],
    /// For each input, all samples side by side as raw little-endian elements.
    pub inputs: Vec<Vec<u8>>,
    /// The number of samples; the model runs once for each.
    pub samples: usize,
}

/// What a model gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For each output, all samples side by side as raw little-endian elements.
    pub outputs: Vec<Vec<u8>>,
    /// Names of the model's tensors, as LiteRT reads them.
    pub tensor_names: Vec<String>,
}

/// A Python interpreter that has LiteRT.
#[derive(Debug, Clone)]
pub struct Litert {
    python: Python,
}

impl Litert {
    /// Finds or makes the environment below cargo's target folder. Where there is no Python or no PyPI, this prints why,
    /// and the caller is to skip its test.
    #[must_use]
    pub fn set_up() -> Option<Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| Python::set_up("LiteRT", &PACKAGES));
        python.clone().map(|python| Self { python })
    }

    /// Runs one model.
    ///
    /// # Errors
    /// LiteRT's own words if it cannot load or run the model.
    pub fn run(&self, job: Job<'_>, resolver: Resolver) -> Result<Outcome, String> {
        let mut outcomes = self.run_all(&[job], resolver)?;
        outcomes.pop().ok_or_else(|| "litert gave no outcome".to_owned())
    }

    /// Runs many models in one process.
    ///
    /// # Errors
    /// The number of the first model that LiteRT cannot load or run, and its own words.
    pub fn run_all(&self, jobs: &[Job<'_>], resolver: Resolver) -> Result<Vec<Outcome>, String> {
        let folder =
            tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let folder = folder.path();
        let mut lines = String::new();
        for (number, job) in jobs.iter().enumerate() {
            write(&folder.join(format!("{number}.tflite")), job.model)?;
            for (position, input) in job.inputs.iter().enumerate() {
                write(&folder.join(format!("{number}.in.{position}")), input)?;
            }
            let resolver = match resolver {
                Resolver::Reference => "reference",
                Resolver::Default => "default",
            };
            lines.push_str(&format!("{number} {resolver} {}\n", job.samples));
        }
        write(&folder.join("jobs"), lines.as_bytes())?;
        self.python.run(SCRIPT, folder)?;
        (0..jobs.len()).map(|number| outcome(folder, number)).collect()
    }
}

fn outcome(folder: &Path, number: usize) -> Result<Outcome, String> {
    let outputs = (0..)
        .map(|position| folder.join(format!("{number}.out.{position}")))
        .take_while(|path| path.exists())
        .map(|path| read(&path))
        .collect::<Result<_, _>>()?;
    let names = String::from_utf8_lossy(&read(&folder.join(format!("{number}.names")))?).into_owned();
    Ok(Outcome { outputs, tensor_names: names.lines().map(str::to_owned).collect() })
}
