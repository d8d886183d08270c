//! What configuration values must be, and the error for one that is not.

/// A configuration value that is out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// The key in the recipe, for example `prune.laws.batch.start`.
    pub key: String,
    /// What the value must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// A closed interval of finite numbers and its description in words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) min: f64,
    pub(crate) max: f64,
    expected: &'static str,
}

impl Bounds {
    pub(crate) const FINITE: Self = Self::new(f64::MIN, f64::MAX, "a finite number");
    pub(crate) const POSITIVE: Self = Self::new(f64::MIN_POSITIVE, f64::MAX, "a finite number above 0");
    pub(crate) const NOT_NEGATIVE: Self = Self::new(0.0, f64::MAX, "a finite number of at least 0");
    pub(crate) const SHARE: Self = Self::new(0.0, 1.0, "a number from 0 to 1");
    pub(crate) const BELOW_ONE: Self = Self::new(0.0, 1.0 - f64::EPSILON, "a number from 0 to below 1");
    pub(crate) const FACTOR: Self = Self::new(f64::MIN_POSITIVE, 1.0, "a number above 0 and at most 1");
    /// Counts stay within 32 bits, so that they convert to any integer type in use.
    pub(crate) const COUNT: Self = Self::new(1.0, u32::MAX as f64, "a number of at least 1");
    pub(crate) const COUNT_OR_NONE: Self = Self::new(0.0, u32::MAX as f64, "a number of at least 0");

    pub(crate) const fn new(min: f64, max: f64, expected: &'static str) -> Self {
        Self { min, max, expected }
    }

    /// Refuses `value` in the name of `key` unless it lies within.
    pub(crate) fn check(self, key: impl Into<String>, value: f64) -> Result<(), ConfigError> {
        if (self.min..=self.max).contains(&value) {
            Ok(())
        } else {
            Err(ConfigError { key: key.into(), expected: self.expected.to_owned(), found: value.to_string() })
        }
    }
}

/// Refuses a count of 0 in the name of `key`.
pub(crate) fn check_count(key: impl Into<String>, count: usize) -> Result<(), ConfigError> {
    if count > 0 {
        Ok(())
    } else {
        Err(ConfigError {
            key: key.into(),
            expected: "a whole number of at least 1".to_owned(),
            found: count.to_string(),
        })
    }
}
