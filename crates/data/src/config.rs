//! The recipe's `[data]` table.

use std::collections::BTreeSet;
use std::ops::RangeBounds;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::augment::AugmentConfig;
use crate::dataset::ImageShape;
use crate::error::DataError;
use crate::preprocess::Preprocess;
use crate::source::EMBEDDED;

/// Where samples come from, how they are divided, and what happens to them on the way into the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `mnist` for the 10,000 digits inside Taper, or the path of IDX files, plain or gzipped: a directory
    /// that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`; a directory that holds one pair of images and labels; or a file of images
    /// `X-images-idx3-ubyte`, whose labels are in `X-labels-idx1-ubyte` beside it. Or the path of a directory
    /// that holds one folder of PNG, JPEG, BMP or WebP files for each class, or two such directories named
    /// `train` and `test`.
    pub source: String,
    /// Names of the classes in the order of their labels. If empty, as many classes as the training labels
    /// use, named `0`, `1`, and so on, or the names of the folders in ascending order.
    pub classes: Vec<String>,
    /// The shape that image files are brought to.
    pub image: ImageConfig,
    /// Share of the samples that is set aside for validation: of the training images if the source has a test
    /// set of its own, otherwise of all. Greater than 0.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub validation: f64,
    /// Share of all samples that is set aside for testing if the source has no test set of its own. Greater
    /// than 0.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub test: f64,
    /// Decides which samples go where. It is apart from the seed of training, so that runs with different
    /// seeds are judged on the same samples. The digits of `mnist` are in a fixed order and divided in that
    /// order.
    pub seed: u64,
    /// Use at most this many training samples, with the classes in proportion.
    #[schemars(range(min = 1))]
    pub train_limit: Option<usize>,
    /// Use at most this many validation samples, with the classes in proportion.
    #[schemars(range(min = 1))]
    pub validation_limit: Option<usize>,
    /// Use at most this many test samples, with the classes in proportion.
    #[schemars(range(min = 1))]
    pub test_limit: Option<usize>,
    /// How a byte of an image becomes an input of the network.
    pub preprocess: Preprocess,
    /// Random changes to training images.
    pub augment: AugmentConfig,
}

/// The shape that image files are brought to: stretched or shrunk to a size, in grey or in colour. What is absent is as
/// the network asks if it comes from a file, else as the first image has it. IDX files keep their shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Rows.
    #[schemars(range(min = 1, max = 4096))]
    pub height: Option<usize>,
    /// Columns.
    #[schemars(range(min = 1, max = 4096))]
    pub width: Option<usize>,
    /// 1: grey. 3: red, green and blue.
    #[schemars(range(min = 1, max = 3))]
    pub channels: Option<usize>,
}

impl ImageConfig {
    /// The shape for a network that takes `input`, where the first image has the shape `first`.
    pub(crate) fn shape(
        &self,
        input: Option<ImageShape>,
        first: ImageShape,
    ) -> Result<ImageShape, DataError> {
        let ImageShape { height, width, channels } = input.unwrap_or(first);
        let shape = Self {
            height: self.height.or(Some(height)),
            width: self.width.or(Some(width)),
            channels: self.channels.or(Some(channels)),
        };
        shape.validate()?;
        Ok(shape.or(first))
    }

    /// An error if images that cannot be changed are to have another shape.
    pub(crate) fn check_fixed(&self, found: ImageShape) -> Result<(), DataError> {
        if self.or(found) == found {
            return Ok(());
        }
        let shape = self.or(found);
        Err(out_of_range(
            "data.image",
            "the shape of the images in an IDX file, which is kept",
            format!("{shape} for images of {found}"),
        ))
    }

    fn or(&self, shape: ImageShape) -> ImageShape {
        ImageShape {
            height: self.height.unwrap_or(shape.height),
            width: self.width.unwrap_or(shape.width),
            channels: self.channels.unwrap_or(shape.channels),
        }
    }

    fn validate(&self) -> Result<(), DataError> {
        for (key, side) in [("data.image.height", self.height), ("data.image.width", self.width)] {
            if let Some(side) = side.filter(|side| !(1..=4096).contains(side)) {
                return Err(out_of_range(key, "1 to 4096", side.to_string()));
            }
        }
        match self.channels {
            None | Some(1 | 3) => Ok(()),
            Some(channels) => Err(out_of_range("data.image.channels", "1 or 3", channels.to_string())),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: EMBEDDED.to_owned(),
            classes: Vec::new(),
            image: ImageConfig::default(),
            validation: 0.1,
            test: 0.2,
            seed: 0,
            train_limit: None,
            validation_limit: None,
            test_limit: None,
            preprocess: Preprocess::default(),
            augment: AugmentConfig::default(),
        }
    }
}

impl DataConfig {
    /// Checks every value, without touching the source.
    ///
    /// # Errors
    /// [`DataError::Config`] names the first key whose value is out of its range.
    pub fn validate(&self) -> Result<(), DataError> {
        if self.source.is_empty() {
            return Err(out_of_range("data.source", "`mnist` or a path", "an empty string"));
        }
        let mut names = BTreeSet::new();
        for name in &self.classes {
            if name.is_empty() || !names.insert(name) {
                return Err(out_of_range("data.classes", "distinct names", format!("{name:?}")));
            }
        }
        within("data.validation", self.validation, f64::MIN_POSITIVE..=0.9, "a number above 0 up to 0.9")?;
        within("data.test", self.test, f64::MIN_POSITIVE..=0.9, "a number above 0 up to 0.9")?;
        let held_out = self.validation + self.test;
        within("data.test", held_out, ..1.0, "a sum of validation and test below 1")?;
        let limits = [
            ("data.train_limit", self.train_limit),
            ("data.validation_limit", self.validation_limit),
            ("data.test_limit", self.test_limit),
        ];
        for (key, limit) in limits {
            if limit == Some(0) {
                return Err(out_of_range(key, "at least 1", "0"));
            }
        }
        self.image.validate()?;
        self.preprocess.validate()?;
        self.augment.validate()
    }
}

/// An error unless `value` lies in `range`; a NaN lies in none.
pub(crate) fn within(
    key: &'static str,
    value: f64,
    range: impl RangeBounds<f64>,
    expected: &'static str,
) -> Result<(), DataError> {
    if range.contains(&value) { Ok(()) } else { Err(out_of_range(key, expected, value.to_string())) }
}

fn out_of_range(key: &'static str, expected: &'static str, found: impl Into<String>) -> DataError {
    DataError::Config { key, expected, found: found.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        DataConfig::default().validate().unwrap();
    }

    #[test]
    fn errors_name_the_key() {
        fn check(change: impl Fn(&mut DataConfig), key: &str) {
            let mut config = DataConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}: expected ")), "{error}");
        }
        check(|c| c.source.clear(), "data.source");
        check(|c| c.classes = vec!["a".into(), "a".into()], "data.classes");
        check(|c| c.train_limit = Some(0), "data.train_limit");
        check(|c| c.validation_limit = Some(0), "data.validation_limit");
        check(|c| c.test_limit = Some(0), "data.test_limit");
        check(|c| (c.validation, c.test) = (0.5, 0.5), "data.test");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1e9] {
            check(|c| c.validation = bad, "data.validation");
            check(|c| c.test = bad, "data.test");
            check(|c| c.preprocess.scale = bad, "data.preprocess.scale");
            check(|c| c.preprocess.mean = bad, "data.preprocess.mean");
            check(|c| c.augment.shift = bad, "data.augment.shift");
            check(|c| c.augment.rotation = bad, "data.augment.rotation");
            check(|c| c.augment.scale = bad, "data.augment.scale");
        }
        check(|c| c.validation = 0.0, "data.validation");
        check(|c| c.test = 0.0, "data.test");
        check(|c| c.image.height = Some(0), "data.image.height");
        check(|c| c.image.width = Some(5000), "data.image.width");
        check(|c| c.image.channels = Some(2), "data.image.channels");
        check(|c| c.preprocess.scale = 0.0, "data.preprocess.scale");
    }

    #[test]
    fn unknown_keys_are_errors() {
        for text in [r#"{"sauce": "mnist"}"#, r#"{"augment": {"shear": 1}}"#, r#"{"preprocess": {"std": 1}}"#]
        {
            let error = serde_json::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
        assert_eq!(serde_json::from_str::<DataConfig>("{}").unwrap(), DataConfig::default());
    }
}
