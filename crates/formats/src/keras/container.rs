//! The two containers: Keras 3's archive, and the HDF5 file of Keras 2.

use crate::budget::Budget;
use crate::error::{FormatError, Result};
use crate::weights::KERAS_WEIGHTS;
use crate::weights::hdf5::{self, Hdf5};
use crate::weights::zip::{self, Zip};
use serde_json::Value;

/// The largest configuration of a small file. Parsed, it takes up to about 25 times its size.
const FREE_CONFIG: usize = 1 << 20;
/// A file's length admits one byte of configuration in so many.
const BYTES_PER_CONFIG: usize = 10;

/// A model's configuration and its weights.
pub(super) struct Container {
    pub(super) config: Value,
    pub(super) weights: Hdf5,
    pub(super) rules: Rules,
    /// Keras's major version, as far as the file tells.
    pub(super) version: Option<u32>,
}

/// How the weights of a layer are addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// By the layer's place among those of its class: `layers/conv2d_1/vars/0`.
    Numbered,
    /// By the outermost layer's name, and the list that it holds.
    Listed,
}

impl Container {
    pub(super) fn open(bytes: Vec<u8>, budget: &mut Budget) -> Result<Self> {
        let length = bytes.len();
        if bytes.starts_with(&hdf5::SIGNATURE) {
            let weights = Hdf5::open(bytes)?;
            let root = weights.attributes("")?;
            let config = root.text("model_config")?.ok_or_else(|| {
                FormatError::unsupported(
                    "hdf5 file",
                    "expected an attribute `model_config`, found none: the file holds weights without their model",
                )
            })?;
            let config = parse("model_config", config.as_bytes(), length)?;
            let version = major(root.text("keras_version")?);
            return Ok(Self { config, weights, rules: Rules::Listed, version });
        }
        if !bytes.starts_with(&zip::SIGNATURE) {
            return Err(FormatError::invalid("keras file", "expected an HDF5 file or a zip archive"));
        }
        let zip = Zip::open(&bytes, budget)?;
        let mut entry = |name: &str| {
            let missing = || FormatError::invalid("keras archive", format!("expected an entry `{name}`"));
            zip.read(name, budget)?.ok_or_else(missing)
        };
        let metadata = parse("metadata.json", &entry("metadata.json")?, length)?;
        let config = parse("config.json", &entry("config.json")?, length)?;
        let weights = entry(KERAS_WEIGHTS)?;
        budget.spend(weights.len(), KERAS_WEIGHTS)?;
        let weights = Hdf5::open(weights.into_owned())?;
        let version = major(metadata.get("keras_version").and_then(Value::as_str));
        Ok(Self { config, weights, rules: Rules::Numbered, version })
    }
}

fn major(version: Option<&str>) -> Option<u32> {
    version?.split('.').next()?.parse().ok()
}

fn parse(name: &str, json: &[u8], file: usize) -> Result<Value> {
    let most = FREE_CONFIG + file / BYTES_PER_CONFIG;
    if json.len() > most {
        let message = format!("expected at most {most} bytes, found {}", json.len());
        return Err(FormatError::unsupported(name, message));
    }
    serde_json::from_slice(json)
        .map_err(|error| FormatError::invalid(name, format!("is not valid JSON: {error}")))
}
