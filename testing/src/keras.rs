//! Keras 3 (PyPI) as an outside judge: it writes models of several architectures, and what it predicts with them.

use crate::python::{Python, read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Keras's own NumPy backend needs JAX as well, so that JAX computes.
const PACKAGES: [&str; 4] = ["keras==3.15.1", "jax==0.10.2", "h5py==3.16.0", "numpy==2.4.6"];
const SCRIPT: &str = include_str!("keras.py");

/// A folder of models, alive as long as this is.
#[derive(Debug)]
pub struct Models {
    folder: TempDir,
}

/// A batch for each input and output of a model, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// What the model was given.
    pub inputs: Vec<Vec<f32>>,
    /// What Keras made of it; empty if Keras did not run the file.
    pub outputs: Vec<Vec<f32>>,
}

impl Models {
    /// Lets Keras write the models. Where there is no Python or no PyPI, this prints why, and the caller is to skip its test.
    ///
    /// # Errors
    /// Keras's own words if it fails.
    pub fn write() -> Option<Result<Self, String>> {
        static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| Python::set_up("Keras", &PACKAGES)).as_ref()?;
        let folder = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"));
        Some(folder.and_then(|folder| {
            python.run(SCRIPT, folder.path())?;
            Ok(Self { folder })
        }))
    }

    /// The files with this extension, sorted by name.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn files(&self, extension: &str) -> Result<Vec<PathBuf>, String> {
        let cannot = |error| format!("cannot list the folder of models: {error}");
        let mut files = Vec::new();
        for entry in self.folder.path().read_dir().map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.to_string_lossy().ends_with(extension) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// What Keras predicts with the model in `file`.
    ///
    /// # Errors
    /// If what it wrote cannot be read.
    pub fn prediction(&self, file: &Path) -> Result<Prediction, String> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let arrays = |role: &str| {
            let paths = (0..).map(|position| self.folder.path().join(format!("{name}.{role}.{position}")));
            paths.take_while(|path| path.exists()).map(|path| floats(&path)).collect::<Result<_, _>>()
        };
        Ok(Prediction { inputs: arrays("in")?, outputs: arrays("out")? })
    }
}

fn floats(path: &Path) -> Result<Vec<f32>, String> {
    let bytes = read(path)?;
    let (values, _) = bytes.as_chunks();
    Ok(values.iter().copied().map(f32::from_le_bytes).collect())
}
