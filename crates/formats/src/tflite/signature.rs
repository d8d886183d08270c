//! Signatures: the names under which applications know a network's inputs and outputs.
//!
//! The writer's own signature names each input and output as its tensor. A file whose signatures say something else
//! leaves them in the graph's metadata as JSON, by the names of tensors, so that they survive a change of positions.

use super::build::{Builder, Offset, Value};
use super::flat::{Field, Table};
use super::schema::{self, signature_def as fields, tensor_map};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use taper_graph::{Graph, TensorId};

/// The metadata that holds signatures other than the writer's own.
pub(super) const METADATA: &str = "tflite.signatures";
/// The key under which runtimes look for a model's function.
const KEY: &str = "serving_default";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Signature {
    key: String,
    inputs: Vec<Entry>,
    outputs: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    tensor: String,
}

impl Signature {
    /// What the writer makes of a graph that brings no signatures.
    fn of(graph: &Graph) -> Self {
        let entries = |ids: &[TensorId]| {
            let name = |id: &TensorId| graph.tensor(*id).name.clone();
            ids.iter().map(|id| Entry { name: name(id), tensor: name(id) }).collect()
        };
        Self { key: KEY.to_owned(), inputs: entries(&graph.inputs), outputs: entries(&graph.outputs) }
    }

    /// `None` if a tensor is no longer there.
    fn resolve(&self, positions: &HashMap<&str, u32>) -> Option<Resolved<'_>> {
        let resolve = |entry: &Entry| Some(*positions.get(entry.tensor.as_str())?);
        let inputs = self.inputs.iter().map(|entry| Some((entry.name.as_str(), resolve(entry)?)));
        let outputs = self.outputs.iter().map(|entry| Some((entry.name.as_str(), resolve(entry)?)));
        Some(Resolved {
            key: &self.key,
            inputs: inputs.collect::<Option<_>>()?,
            outputs: outputs.collect::<Option<_>>()?,
        })
    }
}

/// Reads the signatures into the metadata of `graph`, unless they are what the writer makes of it anyway.
pub(super) fn read(model: &Table<'_>, graph: &mut Graph, budget: &mut Budget) -> Result<()> {
    let mut signatures = Vec::new();
    for table in model.tables(schema::model::SIGNATURE_DEFS)?.iter() {
        let table = table?;
        let subgraph = table.scalar::<u32>(fields::SUBGRAPH_INDEX, 0)?;
        if subgraph != 0 {
            return Err(FormatError::invalid(
                fields::SUBGRAPH_INDEX.name,
                format!("expected the only subgraph, 0, found {subgraph}"),
            ));
        }
        let key = table.string(fields::SIGNATURE_KEY)?.unwrap_or_default();
        spend(budget, key)?;
        signatures.push(Signature {
            key: key.to_owned(),
            inputs: read_entries(&table, fields::INPUTS, graph, budget)?,
            outputs: read_entries(&table, fields::OUTPUTS, graph, budget)?,
        });
    }
    if !signatures.is_empty() && signatures != [Signature::of(graph)] {
        graph.metadata.insert(METADATA.to_owned(), json(&signatures));
    }
    Ok(())
}

fn json(signatures: &[Signature]) -> String {
    serde_json::to_string(signatures).expect("text in lists is always JSON")
}

fn read_entries(table: &Table<'_>, field: Field, graph: &Graph, budget: &mut Budget) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for table in table.tables(field)?.iter() {
        let table = table?;
        let index = table.scalar::<u32>(tensor_map::TENSOR_INDEX, 0)?;
        let tensor = usize::try_from(index).ok().and_then(|index| graph.tensors.get(index));
        let tensor = tensor.ok_or_else(|| {
            FormatError::invalid(
                tensor_map::TENSOR_INDEX.name,
                format!("expected a tensor position below {}, found {index}", graph.tensors.len()),
            )
        })?;
        let name = table.string(tensor_map::NAME)?.unwrap_or_default();
        spend(budget, name)?;
        spend(budget, &tensor.name)?;
        entries.push(Entry { name: name.to_owned(), tensor: tensor.name.clone() });
    }
    Ok(entries)
}

/// Accounts for a name, and for its JSON, where a control character takes six bytes.
fn spend(budget: &mut Budget, name: &str) -> Result<()> {
    budget.spend(size_of::<Signature>() + 7 * name.len(), "signatures")
}

/// Writes the signatures that the graph brings and whose tensors it still has; without any, one that names the inputs and
/// outputs by their tensors.
pub(super) fn write(builder: &mut Builder, graph: &Graph) -> Result<Value> {
    let brought: Vec<Signature> = match graph.metadata.get(METADATA) {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            FormatError::invalid(
                format!("metadata `{METADATA}`"),
                format!("expected signatures, found {error}"),
            )
        })?,
        None => Vec::new(),
    };
    let mut positions = HashMap::new();
    for (position, tensor) in (0u32..).zip(&graph.tensors) {
        positions.insert(tensor.name.as_str(), position);
    }
    // All is resolved before anything is written: a builder cannot take back what it holds.
    let mut resolved: Vec<Resolved<'_>> =
        brought.iter().filter_map(|signature| signature.resolve(&positions)).collect();
    let own = Signature::of(graph);
    if resolved.is_empty() {
        resolved.extend(own.resolve(&positions));
    }
    let tables: Vec<Offset> = resolved.iter().map(|signature| write_signature(builder, signature)).collect();
    Ok(builder.vector(&tables))
}

/// A signature with the positions of its tensors.
struct Resolved<'a> {
    key: &'a str,
    inputs: Vec<(&'a str, u32)>,
    outputs: Vec<(&'a str, u32)>,
}

fn write_signature(builder: &mut Builder, signature: &Resolved<'_>) -> Offset {
    let mut maps = |entries: &[(&str, u32)]| -> Value {
        let mut tables = Vec::with_capacity(entries.len());
        for &(name, position) in entries {
            let row =
                [(tensor_map::NAME, builder.string(name)), (tensor_map::TENSOR_INDEX, Value::U32(position))];
            tables.push(builder.table(row));
        }
        builder.vector(&tables)
    };
    let (inputs, outputs) = (maps(&signature.inputs), maps(&signature.outputs));
    let row = [
        (fields::INPUTS, inputs),
        (fields::OUTPUTS, outputs),
        (fields::SIGNATURE_KEY, builder.string(signature.key)),
    ];
    builder.table(row)
}
