//! Line plots: series over a shared horizontal axis, in one panel or several stacked ones.

use serde::{Deserialize, Serialize};

use crate::value::finite;
use crate::{Column, Format, Row, Table};

/// Panels stacked over one horizontal axis.
///
/// Series of the same name look the same in all panels and stand once in the legend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinePlot {
    /// Machine-readable name, such as the stem of its CSV file.
    pub name: String,
    /// What the plot shows; printed above it.
    pub title: String,
    /// A sentence below the title that says what to look for; may be empty.
    pub caption: String,
    /// The shared horizontal axis.
    pub x: Axis,
    /// Vertical lines through all panels.
    pub guides: Vec<Guide>,
    /// The panels, from top to bottom.
    pub panels: Vec<Panel>,
}

impl LinePlot {
    /// The points as a table, one per row: the label of the panel's vertical axis, the series' name, x and y.
    pub fn table(&self) -> Table {
        let rows = self.panels.iter().flat_map(|panel| {
            panel.series.iter().flat_map(move |series| {
                series.points.iter().map(move |point| -> Row {
                    [
                        panel.y.label.as_str().into(),
                        series.name.as_str().into(),
                        point.x.into(),
                        point.y.into(),
                    ]
                    .into()
                })
            })
        });
        Table {
            name: self.name.clone(),
            caption: self.title.clone(),
            columns: vec![
                Column::text("panel", "Panel"),
                Column::text("series", "Series"),
                Column::number("x", self.x.label.clone(), self.x.format).unit(self.x.unit.clone()),
                Column::number("y", "Value", Format::Plain),
            ],
            rows: rows.collect(),
        }
    }
}

/// One vertical axis and what is drawn against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// The vertical axis.
    pub y: Axis,
    /// Horizontal lines, such as a budget.
    pub guides: Vec<Guide>,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
}

/// An axis; its range follows from the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What is drawn along it.
    pub label: String,
    /// The unit; may be empty.
    pub unit: String,
    /// How values become lengths.
    pub scale: Scale,
    /// How ticks are printed; their digits follow from the distance between them. With
    /// [`Format::Integer`] all ticks are whole numbers.
    pub format: Format,
}

impl Axis {
    /// A linear axis without a unit.
    pub fn linear(label: impl Into<String>, format: Format) -> Self {
        Self { label: label.into(), unit: String::new(), scale: Scale::Linear, format }
    }

    /// A logarithmic axis without a unit.
    pub fn log(label: impl Into<String>, format: Format) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label, format) }
    }

    /// The same axis with a unit.
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }
}

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long; values that are not positive cannot be drawn and are left out.
    Log,
}

/// A named line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// How the points are drawn.
    pub marks: Marks,
    /// The points in drawing order. One that cannot be drawn (not finite, or not positive on a logarithmic axis)
    /// interrupts the line.
    pub points: Vec<Point>,
}

/// How a series' points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marks {
    /// A line; for many points.
    Line,
    /// A line with a marker at each point; for few points that were each measured.
    LineAndMarkers,
    /// Markers alone; for points without an order.
    Markers,
}

/// A point of a series. In JSON a coordinate that is not finite is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Along the horizontal axis.
    #[serde(with = "finite")]
    pub x: f64,
    /// Along the vertical axis.
    #[serde(with = "finite")]
    pub y: f64,
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self { x, y }
    }
}

/// A straight line across the plot at one value, such as a budget or the chosen iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guide {
    /// Where on the axis.
    #[serde(with = "finite")]
    pub value: f64,
    /// Printed at the line; may be empty.
    pub label: String,
}

impl Guide {
    /// A line at `value`.
    pub fn new(value: f64, label: impl Into<String>) -> Self {
        Self { value, label: label.into() }
    }
}
