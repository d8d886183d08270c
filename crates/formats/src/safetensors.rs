//! The safetensors container: a JSON header that names tensors and free metadata, then the tensors' bytes.
//!
//! Layout (huggingface/safetensors): the header's length in 8 bytes, the header padded with spaces to a multiple of 8, the
//! data little-endian and without gaps. The crate of that name parses headers through `serde`'s buffering, which takes many
//! times their size, and writes metadata in hash order; this module bounds the one and sorts the other.

use crate::error::{FormatError, Result};
use crate::weights::Element;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use taper_graph::TensorData;

const METADATA: &str = "__metadata__";
/// Bytes of the header's length.
const PREFIX: usize = 8;
/// Alignment of the data.
const ALIGNMENT: usize = 8;
/// The largest header of a file without data. Parsed, a header takes up to about 25 times its size.
const FREE_HEADER: usize = 2 << 20;
/// A file's data admits one byte of header in so many.
const DATA_PER_HEADER: usize = 8;

/// A tensor: sizes of its dimensions, and its elements.
pub(crate) type Array<'a> = (&'a [usize], &'a TensorData);

/// A parsed header with the data behind it.
pub(crate) struct Container<'a> {
    pub(crate) metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Info>,
    data: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Info {
    dtype: Element,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The bytes of a container. Wider elements come first, so that every tensor is aligned; then names decide.
pub(crate) fn write(
    metadata: &BTreeMap<String, String>,
    tensors: &BTreeMap<&str, Array<'_>>,
) -> Result<Vec<u8>> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(name, (_, data))| (std::cmp::Reverse(data.dtype().bytes()), **name));
    let mut entries = BTreeMap::new();
    let mut end = 0;
    for (name, (sizes, data)) in &order {
        let start = end;
        end += data.len() * data.dtype().bytes();
        let info =
            Info { dtype: Element::of(data.dtype()), shape: sizes.to_vec(), data_offsets: [start, end] };
        entries.insert(**name, info);
    }
    let header = Header { metadata, entries };
    let mut json = serde_json::to_vec(&header)
        .map_err(|error| FormatError::unsupported("header", format!("cannot be written as JSON: {error}")))?;
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    check_header_length(json.len(), end)?;

    let mut bytes = Vec::with_capacity(PREFIX + json.len() + end);
    let length = u64::try_from(json.len()).map_err(|_| FormatError::unsupported("header", "too long"))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.append(&mut json);
    for (_, (_, data)) in order {
        bytes.append(&mut data.to_le_bytes());
    }
    Ok(bytes)
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    entries: BTreeMap<&'a str, Info>,
}

fn check_header_length(header: usize, data: usize) -> Result<()> {
    let most = FREE_HEADER + data / DATA_PER_HEADER;
    if header <= most {
        return Ok(());
    }
    Err(FormatError::unsupported("header", format!("expected at most {most} bytes, found {header}")))
}

impl<'a> Container<'a> {
    /// Parses the header and checks that the tensors fill the data without gaps.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self> {
        let invalid = |message: String| FormatError::invalid("header", message);
        let (prefix, rest) = bytes
            .split_first_chunk::<PREFIX>()
            .ok_or_else(|| invalid(format!("expected a length of 8 bytes, found {} bytes", bytes.len())))?;
        let length = usize::try_from(u64::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        let (json, data) = rest
            .split_at_checked(length)
            .ok_or_else(|| invalid(format!("expected {length} bytes, found the end of the file")))?;
        check_header_length(length, data.len())?;
        let Parsed { metadata, tensors } =
            serde_json::from_slice(json).map_err(|error| invalid(format!("is not valid JSON: {error}")))?;
        let container = Self { metadata, tensors, data };
        container.check_layout()?;
        Ok(container)
    }

    fn check_layout(&self) -> Result<()> {
        let mut spans: Vec<_> = self.tensors.iter().map(|(name, info)| (info.data_offsets, name)).collect();
        spans.sort_unstable();
        let mut position = 0;
        for ([start, end], name) in spans {
            if start != position || end < start || end > self.data.len() {
                return Err(FormatError::invalid(
                    format!("tensor `{name}`"),
                    format!(
                        "expected its data from byte {position} of {}, found offsets {start} to {end}",
                        self.data.len()
                    ),
                ));
            }
            position = end;
        }
        if position != self.data.len() {
            return Err(FormatError::invalid(
                "data",
                format!("expected {position} bytes as the header says, found {}", self.data.len()),
            ));
        }
        Ok(())
    }

    /// Takes a tensor out, or `None` if there is none of this name.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<(Vec<usize>, TensorData)>> {
        self.tensors.remove(name).map(|info| self.decode(name, info)).transpose()
    }

    /// Takes the first of the tensors that are still there.
    pub(crate) fn take_first(&mut self) -> Option<Result<(String, Vec<usize>, TensorData)>> {
        let (name, info) = self.tensors.pop_first()?;
        Some(self.decode(&name, info).map(|(sizes, data)| (name, sizes, data)))
    }

    /// Names, types, sizes and bytes of all tensors, in the order in which they lie in the file.
    pub(crate) fn raw(&self) -> Vec<(&str, Element, &[usize], &'a [u8])> {
        let mut infos: Vec<_> = self.tensors.iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets);
        let raw = infos.into_iter().map(|(name, info)| {
            let [start, end] = info.data_offsets;
            let data = self.data.get(start..end).unwrap_or_default();
            (name.as_str(), info.dtype, info.shape.as_slice(), data)
        });
        raw.collect()
    }

    fn decode(&self, name: &str, info: Info) -> Result<(Vec<usize>, TensorData)> {
        let [start, end] = info.data_offsets;
        let dtype = info.dtype.dtype().ok_or_else(|| {
            FormatError::unsupported(
                format!("tensor `{name}`"),
                format!("expected a type that graphs have, found {}", info.dtype),
            )
        })?;
        let expected = info.shape.iter().try_fold(dtype.bytes(), |product, &size| product.checked_mul(size));
        let data = self.data.get(start..end).filter(|bytes| expected == Some(bytes.len()));
        match data.and_then(|bytes| TensorData::from_le_bytes(dtype, bytes)) {
            Some(data) => Ok((info.shape, data)),
            None => Err(FormatError::invalid(
                format!("tensor `{name}`"),
                format!("expected data for {dtype} {:?}, found {} bytes", info.shape, end - start),
            )),
        }
    }
}

struct Parsed {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Info>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parsed;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a header of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Parsed, A::Error> {
                let mut parsed = Parsed { metadata: BTreeMap::new(), tensors: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        parsed.metadata = map.next_value()?;
                        continue;
                    }
                    match parsed.tensors.entry(name) {
                        Entry::Vacant(vacant) => {
                            vacant.insert(map.next_value()?);
                        }
                        Entry::Occupied(occupied) => {
                            return Err(A::Error::custom(format!(
                                "tensor `{}` stands twice",
                                occupied.key()
                            )));
                        }
                    }
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
