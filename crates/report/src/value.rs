//! Raw values: a table's cell, and a value that carries the way it is printed.

use serde::{Deserialize, Serialize};

use crate::Format;

/// A raw value. In JSON it is a string, a number or `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing known; printed as a dash, empty in CSV.
    Missing,
    /// A whole number, exact in every form.
    Integer(i64),
    /// A number; one that is not finite counts as missing.
    Number(f64),
    /// Text.
    Text(String),
}

impl Cell {
    /// The number to print or draw, if there is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Cell::Integer(integer) => Some(*integer as f64),
            Cell::Number(number) => Some(*number).filter(|number| number.is_finite()),
            Cell::Missing | Cell::Text(_) => None,
        }
    }

    /// What a reader sees; `unit` follows a number.
    pub fn text(&self, format: Format, unit: &str) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Missing => Format::MISSING.to_owned(),
            Cell::Integer(integer) if format == Format::Plain && unit.is_empty() => integer.to_string(),
            Cell::Integer(integer) => format.with_unit(*integer as f64, unit),
            Cell::Number(number) => format.with_unit(*number, unit),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Cell::Integer(number.into())
    }
}

/// A number beyond [`i64::MAX`], such as a random seed, becomes text and stays exact.
impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
    }
}

/// A number beyond [`i64::MAX`] becomes text and stays exact.
impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Missing, Into::into)
    }
}

/// A raw value and the way it is printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The raw value.
    pub cell: Cell,
    /// How a number is printed.
    pub format: Format,
    /// The unit that follows a number; may be empty.
    pub unit: String,
}

impl Value {
    /// A value without a unit.
    pub fn new(cell: impl Into<Cell>, format: Format) -> Self {
        Self { cell: cell.into(), format, unit: String::new() }
    }

    /// The same value with a unit.
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// What a reader sees.
    pub fn text(&self) -> String {
        self.cell.text(self.format, &self.unit)
    }
}

impl<T: Into<String>> From<T> for Value {
    fn from(text: T) -> Self {
        Self::new(text.into(), Format::Plain)
    }
}

/// Numbers that may be not finite, which JSON cannot hold: written as `null`, read back as NaN.
pub(crate) mod finite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Some(*number).filter(|number| number.is_finite()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_exact() {
        let cases: &[(u64, Format, &str)] = &[
            (4826, Format::Integer, "4\u{202f}826"),
            (4826, Format::Plain, "4826"),
            (9_007_199_254_740_993, Format::Plain, "9007199254740993"),
            (u64::MAX, Format::Plain, "18446744073709551615"),
        ];
        for (number, format, expected) in cases {
            assert_eq!(Cell::from(*number).text(*format, ""), *expected);
        }
    }
}
