//! onnxruntime and `onnx.checker` (PyPI) as outside judges, in a Python virtual environment of their own.

use crate::python::{Python, read, report, write};
use std::sync::OnceLock;

const PACKAGES: [&str; 3] = ["onnx==1.23.2", "onnxruntime==1.32.0", "numpy==2.4.6"];
const SCRIPT: &str = include_str!("onnxruntime.py");
/// Installs the package that FOLDER/package names into FOLDER/site.
const INSTALL: &str = "\
import pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[1])
package = (folder / 'package').read_text()
pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries=1', '--no-deps']
subprocess.run([*pip, '--target', folder / 'site', package], check=True)
";

/// A model and what to feed it.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The bytes of an `.onnx` file.
    pub model: &'a [u8],
    /// For each input, the whole batch as raw little-endian elements.
    pub inputs: Vec<Vec<u8>>,
    /// The size of the batch, if the model leaves it open.
    pub batch: usize,
}

/// A Python interpreter that has onnxruntime.
#[derive(Debug, Clone)]
pub struct Onnxruntime {
    python: Python,
}

impl Onnxruntime {
    /// Finds or makes the environment below cargo's target folder. Where there is no Python or no PyPI, this prints why,
    /// and the caller is to skip its test.
    #[must_use]
    pub fn set_up() -> Option<Self> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| Python::set_up("onnxruntime", &PACKAGES));
        python.clone().map(|python| Self { python })
    }

    /// The file at `path` of a package on PyPI, pinned with `==`. Where there is no PyPI, this prints why, and the caller is
    /// to skip its test.
    #[must_use]
    pub fn file_of_package(&self, package: &str, path: &str) -> Option<Vec<u8>> {
        let installed = || {
            let folder =
                tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
            write(&folder.path().join("package"), package.as_bytes())?;
            self.python.run(INSTALL, folder.path())?;
            read(&folder.path().join("site").join(path))
        };
        installed().map_err(|reason| report(package, &reason)).ok()
    }

    /// Checks and runs models in one process: for each, its outputs as raw little-endian elements.
    ///
    /// # Errors
    /// The number of the first model that is not valid or cannot be run, and the judge's own words.
    pub fn run_all(&self, jobs: &[Job<'_>]) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let folder =
            tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let folder = folder.path();
        let mut lines = String::new();
        for (number, job) in jobs.iter().enumerate() {
            write(&folder.join(format!("{number}.onnx")), job.model)?;
            for (position, input) in job.inputs.iter().enumerate() {
                write(&folder.join(format!("{number}.in.{position}")), input)?;
            }
            lines.push_str(&format!("{number} {}\n", job.batch));
        }
        write(&folder.join("jobs"), lines.as_bytes())?;
        self.python.run(SCRIPT, folder)?;
        (0..jobs.len())
            .map(|number| {
                (0..)
                    .map(|position| folder.join(format!("{number}.out.{position}")))
                    .take_while(|path| path.exists())
                    .map(|path| read(&path))
                    .collect()
            })
            .collect()
    }
}
