//! The recipe: one TOML file that says what a run does.

mod config;
mod decode;
mod document;
mod error;

pub use config::{Goal, Measure, Model};
pub use error::{Place, Problem, RecipeError};

use crate::run_dir;
use decode::Fault;
use document::Document;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use taper_adapt::ConfigError;
use taper_adapt::prune::PruneConfig;
use taper_adapt::quantize::QuantizeConfig;
use taper_adapt::train::TrainConfig;
use taper_data::{DataConfig, DataError};

/// All settings of a run. Every key has a default; [`Recipe::DEFAULT`] and `Recipe::default()` hold the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Name of the run and of its directory. If absent, the network, the data and a number that is still free, such as
    /// `vgg16-mnist-001`.
    pub name: Option<String>,
    /// Decides everything random. The same seed gives the same bytes.
    pub seed: u64,
    /// Threads to compute with; 0 for as many as the processor has. The results do not depend on it.
    pub threads: usize,
    /// The network to adapt.
    pub model: Model,
    /// The samples to train, judge and calibrate with.
    pub data: DataConfig,
    /// Training before pruning.
    pub train: TrainConfig,
    /// Adaptive iterative pruning.
    pub prune: PruneConfig,
    /// What the adapted network must keep to.
    pub goal: Goal,
    /// Quantization to integers.
    pub quantize: QuantizeConfig,
    /// Measurement of the time per image.
    pub measure: Measure,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            name: None,
            seed: 1,
            threads: 0,
            model: Model::default(),
            data: DataConfig::default(),
            train: TrainConfig::default(),
            prune: PruneConfig::default(),
            goal: Goal::default(),
            quantize: QuantizeConfig::default(),
            measure: Measure::default(),
        }
    }
}

/// More threads than any machine serves; a misprint must not ask the system for millions.
const MOST_THREADS: usize = 1024;

impl Recipe {
    /// The default recipe as a commented file to start from.
    pub const DEFAULT: &'static str = include_str!("default.toml");

    /// Reads the recipe at `path` and lays `overrides`, each `KEY=VALUE` with a dotted key and a TOML value or a bare
    /// string, over it.
    ///
    /// # Errors
    /// If the file cannot be read, or for the reasons of [`Recipe::parse`].
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let origin = path.display().to_string();
        match read(path) {
            Ok(text) => Self::parse(&text, &origin, overrides),
            Err(error) => Err(RecipeError::of_recipe(&origin, error.into())),
        }
    }

    /// Parses the recipe `text`, which came from `origin` (for errors), with `overrides` as in [`Recipe::load`].
    ///
    /// # Errors
    /// If it is not TOML, has an unknown key, or a value that is of the wrong type, misspelt or out of its range. The
    /// error names the key, and the line or the override.
    pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let document = Document::parse(origin, text, overrides, Self::DEFAULT)?;
        let recipe: Self = decode::decode(&document.root).map_err(|Fault { problem, origin }| {
            RecipeError::new(document.place(origin.as_ref()), problem)
        })?;
        recipe.validate().map_err(|ConfigError { key, expected, found }| {
            RecipeError::new(document.place_of(&key), Problem::Value { key, expected, found })
        })?;
        Ok(recipe)
    }

    /// Checks every value, as [`Recipe::parse`] does, for a recipe that was made in code.
    ///
    /// # Errors
    /// Names the first key whose value is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error = |key: &str, expected: &str, found: String| {
            Err(ConfigError { key: key.to_owned(), expected: expected.to_owned(), found })
        };
        if let Some(name) = &self.name
            && !run_dir::is_name(name)
        {
            return error("name", run_dir::NAME_RULE, format!("{name:?}"));
        }
        if self.threads > MOST_THREADS {
            return error("threads", "0 to 1024", self.threads.to_string());
        }
        for (key, seed) in [("seed", self.seed), ("data.seed", self.data.seed)] {
            if i64::try_from(seed).is_err() {
                return error(key, "a whole number that TOML can hold, below 2^63", seed.to_string());
            }
        }
        self.model.validate()?;
        match self.data.validate() {
            Err(DataError::Config { key, expected, found }) => return error(key, expected, found),
            Err(other) => return error("data", "sound settings", other.to_string()),
            Ok(()) => {}
        }
        self.train.validate()?;
        self.prune.validate()?;
        self.goal.validate()?;
        self.quantize.validate()?;
        self.measure.validate()
    }

    /// The recipe as TOML with every value that is set, defaults included.
    ///
    /// # Errors
    /// If a number is too large for TOML, which [`Recipe::validate`] excludes.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string_pretty(self).map_err(|error| {
            RecipeError::of_recipe("the resolved recipe", Problem::Syntax(error.to_string()))
        })
    }

    /// The JSON schema of a recipe, for editors.
    #[must_use]
    pub fn json_schema() -> Schema {
        schemars::schema_for!(Self)
    }

    /// What the run is about, as a stem for names: `vgg16-mnist`.
    #[must_use]
    pub fn stem(&self) -> String {
        let word = |source: &str| {
            let stem = Path::new(source).file_stem().unwrap_or_default().to_string_lossy();
            stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>()
        };
        let stem = format!("{}-{}", word(self.model.name()), word(&self.data.source));
        stem.trim_matches('-').to_lowercase()
    }
}

fn read(path: &Path) -> io::Result<String> {
    /// A recipe is written by hand; what is larger is not one.
    const MAX_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("expected a recipe of at most {MAX_BYTES} bytes, found more")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
