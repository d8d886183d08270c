//! The document: what a report says, in the order in which it is read.

use serde::{Deserialize, Serialize};

use crate::{LinePlot, NetworkDiagram, Table, Value, WidthBars};

/// A whole report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// The page's heading and the browser's window title.
    pub title: String,
    /// One line below the title; may be empty.
    pub subtitle: String,
    /// The few figures that a reader should remember, most important first.
    pub summary: Vec<Figure>,
    /// The body.
    pub sections: Vec<Section>,
    /// Small print at the end, such as the program's version; may be empty.
    pub footer: String,
}

impl Document {
    /// Every table of the document in reading order; a plot contributes the points that it draws.
    pub fn tables(&self) -> Vec<Table> {
        self.sections
            .iter()
            .flat_map(|section| &section.blocks)
            .filter_map(|block| match block {
                Block::Table(table) => Some(table.clone()),
                Block::Network(diagram) => Some(diagram.table.clone()),
                Block::LinePlot(plot) => Some(plot.table()),
                Block::WidthBars(bars) => Some(bars.table()),
                Block::Paragraph(_) | Block::KeyValues(_) | Block::Note(_) | Block::Code(_) => None,
            })
            .collect()
    }
}

/// One large figure of the summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What is counted or measured.
    pub label: String,
    /// The figure itself.
    pub value: Value,
    /// What it compares with, such as "of 14 718 666"; may be empty.
    pub note: String,
}

/// A part of the document under one heading.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// One or two sentences that say what the section shows; may be empty.
    pub lead: String,
    /// The contents.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Running text.
    Paragraph(String),
    /// Rows and typed columns.
    Table(Table),
    /// Lines over a shared horizontal axis.
    LinePlot(LinePlot),
    /// A network's operators, joined by lines.
    Network(NetworkDiagram),
    /// The widths of a network's layers, before and after.
    WidthBars(WidthBars),
    /// Names and their values.
    KeyValues(KeyValues),
    /// A remark set apart from the text.
    Note(Note),
    /// Verbatim text.
    Code(Code),
}

/// Names and their values, such as the machine and the versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyValues {
    /// Heading of the list; may be empty.
    pub title: String,
    /// The pairs, in reading order.
    pub entries: Vec<Entry>,
}

/// One name and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The name.
    pub label: String,
    /// Its value.
    pub value: Value,
}

impl Entry {
    /// A name and its value; text converts by itself.
    pub fn new(label: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { label: label.into(), value: value.into() }
    }
}

/// A remark set apart from the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// How urgent it is.
    pub kind: NoteKind,
    /// The remark.
    pub text: String,
}

/// How urgent a [`Note`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Good to know.
    Information,
    /// The reader should not trust the page without having read this.
    Warning,
}

/// Verbatim text, such as a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Code {
    /// What it is, such as a file's name; may be empty.
    pub title: String,
    /// The text, its line breaks kept.
    pub text: String,
}
