//! A plain document becomes one self-contained HTML file, CSV and JSON.
//!
//! A [`Document`] holds what a report says: figures, sections, tables, plots. It knows nothing of networks or
//! engines. It is the single source of all three forms:
//!
//! - [`html`] draws the page: one file, inline style and SVG, no script, no network, light and dark, print.
//! - [`csv`] writes one table with raw numbers; [`Document::tables`] lists every table, those behind the plots included.
//! - JSON is the document itself through `serde`; [`Records`] writes one table as an array of objects.
//!
//! Equal documents give equal bytes. Everything foreign is escaped, and a number that is not finite counts as missing.

mod document;
mod export;
mod format;
mod html;
mod network;
mod plot;
mod table;
mod value;
mod widths;

pub use document::{Block, Code, Document, Entry, Figure, KeyValues, Note, NoteKind, Section};
pub use export::{Records, csv};
pub use format::Format;
pub use html::html;
pub use network::NetworkDiagram;
pub use plot::{Axis, Guide, LinePlot, Marks, Panel, Point, Scale, Series};
pub use table::{Align, Column, Row, Status, Table};
pub use value::{Cell, Value};
pub use widths::{LayerWidth, WidthBars};
