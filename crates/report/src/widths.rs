//! The widths of a network's layers, before and after.

use serde::{Deserialize, Serialize};

use crate::{Column, Format, Row, Table};

/// The widths of a network's layers, before and after, as a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WidthBars {
    /// Machine-readable name, such as the stem of its CSV file.
    pub name: String,
    /// What the picture shows; printed above it.
    pub title: String,
    /// A sentence below the title; may be empty.
    pub caption: String,
    /// What is counted, such as "channels".
    pub unit: String,
    /// The layers, from the network's input to its output.
    pub layers: Vec<LayerWidth>,
}

impl WidthBars {
    /// The widths as a table of layer, before and after.
    pub fn table(&self) -> Table {
        let row = |layer: &LayerWidth| -> Row {
            [layer.name.as_str().into(), layer.before.into(), layer.after.into()].into()
        };
        Table {
            name: self.name.clone(),
            caption: self.title.clone(),
            columns: vec![
                Column::text("layer", "Layer"),
                Column::number("before", "Before", Format::Integer).unit(self.unit.clone()),
                Column::number("after", "After", Format::Integer).unit(self.unit.clone()),
            ],
            rows: self.layers.iter().map(row).collect(),
        }
    }
}

/// One layer's width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerWidth {
    /// The layer's name.
    pub name: String,
    /// Its width before, in the picture's unit.
    pub before: u64,
    /// Its width after; zero if the layer is gone.
    pub after: u64,
}
