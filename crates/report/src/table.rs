//! Tables: typed columns, raw cells, and rows with a standing.

use serde::{Deserialize, Serialize};

use crate::{Cell, Format};

/// Rows and typed columns.
///
/// A row shorter than the columns is filled with missing cells; cells beyond the columns are shown under no heading.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Machine-readable name, such as the stem of its CSV file.
    pub name: String,
    /// What the table shows; printed above it.
    pub caption: String,
    /// The columns, from left to right.
    pub columns: Vec<Column>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row>,
}

impl Table {
    /// Cells per row: as many as there are columns, or as the longest row has.
    pub(crate) fn width(&self) -> usize {
        self.rows.iter().map(|row| row.cells.len()).fold(self.columns.len(), usize::max)
    }

    /// Whether any row has a standing, so that the table needs a place to print it.
    pub(crate) fn has_status(&self) -> bool {
        self.rows.iter().any(|row| row.status != Status::Plain)
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Machine-readable name: the heading in CSV and the key in [`Records`](crate::Records).
    pub key: String,
    /// The heading that a reader sees.
    pub title: String,
    /// The unit below the heading; may be empty. Cells are printed without it.
    pub unit: String,
    /// Neighbouring columns of the same group share a heading above their own; empty for none.
    pub group: String,
    /// Where cells stand.
    pub align: Align,
    /// How numbers are printed.
    pub format: Format,
}

impl Column {
    /// A column of numbers, aligned to the right.
    pub fn number(key: impl Into<String>, title: impl Into<String>, format: Format) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            unit: String::new(),
            group: String::new(),
            align: Align::Right,
            format,
        }
    }

    /// A column of text, aligned to the left.
    pub fn text(key: impl Into<String>, title: impl Into<String>) -> Self {
        Self { align: Align::Left, ..Self::number(key, title, Format::Plain) }
    }

    /// The same column with a unit.
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// The same column in a group.
    pub fn group(self, group: impl Into<String>) -> Self {
        Self { group: group.into(), ..self }
    }
}

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// At the left, for text.
    Left,
    /// At the right, for numbers.
    Right,
    /// In the middle, for short marks.
    Centre,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The raw cells, one per column.
    pub cells: Vec<Cell>,
    /// The row's standing among the others.
    #[serde(default)]
    pub status: Status,
}

impl Row {
    /// The same row with a standing.
    pub fn status(self, status: Status) -> Self {
        Self { status, ..self }
    }
}

impl<T: IntoIterator<Item = Cell>> From<T> for Row {
    fn from(cells: T) -> Self {
        Self { cells: cells.into_iter().collect(), status: Status::Plain }
    }
}

/// A row's standing among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// One of many.
    #[default]
    Plain,
    /// The one that was taken; printed with emphasis.
    Chosen,
    /// Tried and undone; printed faintly.
    RolledBack,
}

impl Status {
    /// The word that a reader sees; empty for a plain row.
    pub fn label(self) -> &'static str {
        match self {
            Status::Plain => "",
            Status::Chosen => "chosen",
            Status::RolledBack => "rolled back",
        }
    }
}
