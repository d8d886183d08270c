//! Metadata: the file's named buffers as the graph's free text, and back.
//!
//! Text stands as it is. What is not text, such as the flatbuffer `TFLITE_METADATA`, stands in hexadecimal digits under
//! its name with [`BINARY`] in front.

use super::archive;
use super::build::{Builder, Value};
use super::flat::Table;
use super::ops::Runtime;
use super::schema::{self, MIN_RUNTIME_VERSION};
use super::signature;
use super::writer::Buffers;
use crate::budget::Budget;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;
use taper_graph::Graph;

/// Stands in front of the names of entries that are not text.
const BINARY: &str = "hex:";
/// Bytes of the entry that holds the oldest runtime's version.
const RUNTIME_VERSION_BYTES: usize = 16;

/// Reads all entries; `data` gives the bytes of a buffer.
pub(super) fn read<'a>(
    model: &Table<'a>,
    data: impl Fn(u32) -> Result<&'a [u8]>,
    budget: &mut Budget,
) -> Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    for table in model.tables(schema::model::METADATA)?.iter() {
        let table = table?;
        let name = table.string(schema::metadata::NAME)?.unwrap_or_default();
        let content = data(table.scalar(schema::metadata::BUFFER, 0)?)?;
        budget.spend(name.len() + BINARY.len() + 2 * content.len() + 2 * size_of::<String>(), "metadata")?;
        let (name, text) = match text(name, content) {
            Some(text) => (name.to_owned(), text.to_owned()),
            None => (format!("{BINARY}{name}"), to_hex(content)),
        };
        metadata.insert(name, text);
    }
    Ok(metadata)
}

/// The content of an entry, if it is text that [`write`] would write as it was.
fn text<'a>(name: &str, content: &'a [u8]) -> Option<&'a str> {
    let text = std::str::from_utf8(content).ok()?;
    let text = if name == MIN_RUNTIME_VERSION { text.trim_end_matches('\0') } else { text };
    (!text.contains('\0') && !name.starts_with(BINARY)).then_some(text)
}

/// Writes the graph's metadata and the oldest runtime that runs the model, if it is known.
pub(super) fn write(
    builder: &mut Builder,
    buffers: &mut Buffers,
    graph: &Graph,
    oldest_runtime: Option<Runtime>,
) -> Result<Value> {
    let version = oldest_runtime.map(|since| {
        let mut text = since.map(|part| part.to_string()).join(".").into_bytes();
        text.resize(RUNTIME_VERSION_BYTES, 0);
        text
    });
    let own = version.iter().map(|version| (MIN_RUNTIME_VERSION, Cow::Borrowed(version.as_slice())));
    let elsewhere = [MIN_RUNTIME_VERSION, signature::METADATA, archive::METADATA];
    let free = graph.metadata.iter().filter(|(name, _)| !elsewhere.contains(&name.as_str()));
    let free = free.map(|(name, text)| {
        let binary = name.strip_prefix(BINARY).and_then(|name| Some((name, Cow::Owned(from_hex(text)?))));
        binary.unwrap_or((name, Cow::Borrowed(text.as_bytes())))
    });
    let mut entries = Vec::new();
    for (name, bytes) in own.chain(free) {
        let buffer = buffers.push(builder, &bytes)?;
        let row =
            [(schema::metadata::NAME, builder.string(name)), (schema::metadata::BUFFER, Value::U32(buffer))];
        entries.push(builder.table(row));
    }
    Ok(builder.vector(&entries))
}

/// The oldest runtime that runs operators of these releases. What opaque ones need is known only if the file they came
/// from says it.
pub(super) fn oldest_runtime(
    graph: &Graph,
    operators: impl Iterator<Item = Option<Runtime>> + Clone,
) -> Option<Runtime> {
    let known = operators.clone().flatten().max();
    if operators.clone().all(|since| since.is_some()) {
        return known;
    }
    let carried = parse_runtime(graph.metadata.get(MIN_RUNTIME_VERSION)?)?;
    Some(known.map_or(carried, |known| known.max(carried)))
}

/// A release such as `2.3.0`.
fn parse_runtime(text: &str) -> Option<Runtime> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Lower-case hexadecimal digits, two for each byte.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 });
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that lower-case hexadecimal digits stand for.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect::<Option<_>>();
    bytes.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_stand_for_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        for wrong in ["0", "0g", "0A", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
