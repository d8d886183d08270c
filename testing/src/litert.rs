//! LiteRT (PyPI `ai-edge-litert`) as an outside judge, in a Python virtual environment of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
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
    python: PathBuf,
}

impl Litert {
    /// Finds or makes the environment below cargo's target folder. Where there is no Python or no PyPI, this prints why,
    /// and the caller is to skip its test.
    #[must_use]
    pub fn set_up() -> Option<Self> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match PYTHON.get_or_init(environment) {
            Ok(python) => Some(Self { python: python.clone() }),
            Err(reason) => {
                report(reason);
                None
            }
        }
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
        let script = folder.join("litert.py");
        write(&script, SCRIPT.as_bytes())?;
        execute(Command::new(&self.python).arg(&script).arg(folder))?;
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

/// Python of the ready environment. A lock lets one test make it while the others wait.
fn environment() -> Result<PathBuf, String> {
    let target = target_folder()?;
    let name = format!("{}-{}", PACKAGES[0].replace("==", "-"), PACKAGES[1].replace("==", "-"));
    let folder = target.join(&name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let ready = folder.join("ready");
    let lock = target.join(format!("{name}.lock"));
    let lock = File::create(&lock).map_err(|error| format!("cannot create {}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("cannot lock {name}: {error}"))?;
    if ready.exists() {
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    execute(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"];
    execute(Command::new(&python).args(pip).args(PACKAGES))?;
    write(&ready, b"")?;
    Ok(python)
}

/// The folder that cargo builds in: the one above the test that bears cargo's mark.
fn target_folder() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| format!("cannot find the running test: {error}"))?;
    test.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .map(Path::to_owned)
        .ok_or_else(|| format!("expected {} below a target folder", test.display()))
}

fn execute(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[allow(clippy::print_stderr, reason = "a skipped test must say so, and only the test's output can")]
fn report(reason: &str) {
    eprintln!("skipped: LiteRT is not to be had here: {reason}");
}
