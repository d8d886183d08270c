//! Tables for other programs: CSV and JSON records, numbers raw and in full.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::{Cell, Status, Table};

/// The heading under which a row's [`Status`] stands, if any row of the table has one.
const STATUS: &str = "status";

/// The table by RFC 4180: a heading of column keys, then the rows, lines ended by CR LF.
///
/// Numbers are the shortest decimals that read back to the same bits. A missing cell is an empty field; an empty text
/// is quoted, and so is a missing cell that is alone in its line, since many readers skip empty lines. If any row has
/// a standing, a last column `status` holds it.
pub fn csv(table: &Table) -> String {
    let mut out = String::new();
    let mut heading: Vec<String> = (0..table.width()).map(|index| quoted(key(table, index))).collect();
    heading.extend(table.has_status().then(|| STATUS.to_owned()));
    write_line(&mut out, &heading);
    for row in &table.rows {
        let cells = (0..table.width()).map(|index| row.cells.get(index).map_or(String::new(), field));
        let mut line: Vec<String> = cells.collect();
        line.extend(table.has_status().then(|| row.status.label().to_owned()));
        write_line(&mut out, &line);
    }
    out
}

/// A table as a JSON array with one object per row, keyed by the columns in their order.
///
/// If any row has a standing, the last key `status` holds it. Cells beyond the columns are left out, for they have no key.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a>(pub &'a Table);

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut records = serializer.serialize_seq(Some(self.0.rows.len()))?;
        for row in &self.0.rows {
            let status = self.0.has_status().then_some(row.status);
            records.serialize_element(&Record { table: self.0, cells: &row.cells, status })?;
        }
        records.end()
    }
}

struct Record<'a> {
    table: &'a Table,
    cells: &'a [Cell],
    status: Option<Status>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_map(None)?;
        for (index, column) in self.table.columns.iter().enumerate() {
            record.serialize_entry(&column.key, self.cells.get(index).unwrap_or(&Cell::Missing))?;
        }
        if let Some(status) = self.status {
            record.serialize_entry(STATUS, &status)?;
        }
        record.end()
    }
}

fn key(table: &Table, index: usize) -> &str {
    table.columns.get(index).map_or("", |column| &column.key)
}

fn write_line(out: &mut String, fields: &[String]) {
    if fields.len() == 1 && fields.iter().all(String::is_empty) {
        out.push_str("\"\"");
    }
    out.push_str(&fields.join(","));
    out.push_str("\r\n");
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => quoted(text),
        Cell::Integer(integer) => integer.to_string(),
        Cell::Number(number) if !number.is_finite() => String::new(),
        Cell::Number(number) if *number == 0.0 || (1e-5..1e15).contains(&number.abs()) => number.to_string(),
        Cell::Number(number) => format!("{number:e}"),
        Cell::Missing => String::new(),
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains(['"', ',', '\r', '\n']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
