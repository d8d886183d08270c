//! PyTorch's state dictionaries: the ZIP archive of version 1.6 and later, and the chain of pickles before it.
//!
//! Source: `torch/serialization.py`, `_load` and `_legacy_load`.

use super::array::{Array, View, Weights};
use super::assign::Layout;
use super::pickle::{self, Pickle, Tensor, Value};
use super::zip::Zip;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The magic number at the start of the older format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Version of the older format.
const PROTOCOL: i64 = 1001;
/// What the entries of a state dictionary's archive are called, behind a folder of any name.
const PICKLE: &str = "/data.pkl";

/// Whether these are the names of an archive that PyTorch wrote.
pub(super) fn is_archive(zip: &Zip<'_>) -> bool {
    zip.names().any(|name| name.ends_with(PICKLE))
}

/// Reads an archive.
pub(super) fn read_archive(zip: &Zip<'_>, budget: &mut Budget) -> Result<Weights> {
    let folder = zip.names().find_map(|name| name.strip_suffix(PICKLE));
    let folder = folder.ok_or_else(|| FormatError::invalid("zip archive", "expected an entry `data.pkl`"))?;
    let entry = |name: &str, budget: &mut Budget| {
        let name = format!("{folder}/{name}");
        let content = zip.read(&name, budget)?;
        content.ok_or_else(|| {
            FormatError::invalid("zip archive", format!("expected an entry `{name}`, found none"))
        })
    };
    if zip.names().any(|name| name.strip_prefix(folder) == Some("/constants.pkl")) {
        return Err(FormatError::unsupported(
            "zip archive",
            "expected a state dictionary, found a TorchScript program",
        ));
    }
    if let Some(order) = zip.read(&format!("{folder}/byteorder"), budget)?
        && *order != *b"little"
    {
        return Err(FormatError::unsupported(
            "zip entry `byteorder`",
            format!("expected little, found {}", String::from_utf8_lossy(&order)),
        ));
    }
    let bytes = entry("data.pkl", budget)?;
    let (pickle, _) = pickle::read(&bytes, budget)?;
    let mut storages: BTreeMap<&str, Cow<'_, [u8]>> = BTreeMap::new();
    for &key in pickle.storages.keys() {
        storages.insert(key, entry(&format!("data/{key}"), budget)?);
    }
    collect(&pickle, budget, |key| {
        let data = storages.get(key).map(|data| &**data);
        data.ok_or_else(|| FormatError::invalid(format!("pytorch storage `{key}`"), "is not in the file"))
    })
}

/// Reads the older format: the magic number, the protocol, facts about the system, the dictionary and the keys of its
/// storages, each a pickle; then each storage's count of elements in 8 bytes, and the elements.
pub(super) fn read_legacy(bytes: &[u8], budget: &mut Budget) -> Result<Weights> {
    let header = |message: &str| FormatError::invalid("pytorch header", message);
    let (magic, rest) = pickle::read(bytes, budget)?;
    if !matches!(magic.root, Value::Long(magic) if magic == MAGIC) {
        return Err(header("expected the magic number of a file that torch.save wrote"));
    }
    let (protocol, rest) = pickle::read(rest, budget)?;
    if !matches!(protocol.root, Value::Integer(PROTOCOL)) {
        return Err(header("expected protocol 1001"));
    }
    let (system, rest) = pickle::read(rest, budget)?;
    let mut facts = system.entries(&system.root).unwrap_or_default().iter();
    if !facts.any(|fact| matches!(fact, [Value::Text("little_endian"), Value::Bool(true)])) {
        return Err(FormatError::unsupported("pytorch header", "expected numbers in little-endian order"));
    }
    let (pickle, rest) = pickle::read(rest, budget)?;
    let (keys, mut rest) = pickle::read(rest, budget)?;
    let mut storages: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for key in keys.items(&keys.root).ok_or_else(|| header("expected a list of storages"))? {
        let Value::Text(key) = *key else { return Err(header("expected keys of storages as texts")) };
        let cut = || FormatError::invalid(format!("pytorch storage `{key}`"), "the file ends within it");
        let Some(storage) = pickle.storages.get(key) else {
            return Err(FormatError::invalid(format!("pytorch storage `{key}`"), "belongs to no tensor"));
        };
        let (count, data) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok();
        let length = length.and_then(|count| count.checked_mul(storage.element.bytes()));
        let (data, behind) = length.and_then(|length| data.split_at_checked(length)).ok_or_else(cut)?;
        storages.insert(key, data);
        rest = behind;
    }
    collect(&pickle, budget, |key| {
        let data = storages.get(key).copied();
        data.ok_or_else(|| FormatError::invalid(format!("pytorch storage `{key}`"), "is not in the file"))
    })
}

/// The tensors of a pickled state dictionary, their elements from the storages that `storage` gives by key.
fn collect<'s>(
    pickle: &Pickle<'_>,
    budget: &mut Budget,
    storage: impl Fn(&str) -> Result<&'s [u8]>,
) -> Result<Weights> {
    let mut weights = Weights::new(Layout::Torch);
    for entry in state(pickle)? {
        let [Value::Text(name), Value::Tensor(tensor)] = entry else { continue };
        let Tensor { storage: source, offset, sizes, strides } = &**tensor;
        let bytes = storage(source.key)?;
        let view = View { offset: *offset, sizes, strides };
        let array = Array::gather(name, source.element, bytes, &view, budget)?;
        weights.push((*name).to_owned(), array)?;
    }
    Ok(weights)
}

/// The dictionary that holds the tensors: the whole one, or in a training checkpoint the only one in it that does.
fn state<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<&'p [[Value<'a>; 2]]> {
    let holds_tensors = |entries: &[[Value<'_>; 2]]| {
        entries.iter().any(|entry| matches!(entry, [Value::Text(_), Value::Tensor(_)]))
    };
    let none = |found: String| {
        FormatError::unsupported("pickle", format!("expected a dictionary of named tensors, found {found}"))
    };
    let entries = pickle.entries(&pickle.root).ok_or_else(|| none("no dictionary".to_owned()))?;
    if holds_tensors(entries) {
        return Ok(entries);
    }
    let inner = entries.iter().filter_map(|[_, value]| pickle.entries(value));
    let inner: Vec<_> = inner.filter(|entries| holds_tensors(entries)).collect();
    match inner[..] {
        [state] => Ok(state),
        _ => Err(none(format!("{} within another", inner.len()))),
    }
}
