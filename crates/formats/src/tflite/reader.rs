//! A TFLite file becomes a graph.

use super::flat::{Table, Tables};
use super::ops::{self, Code, Runtime, Source, padding};
use super::schema::{self, builtin};
use super::tensor;
use crate::error::{FormatError, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use taper_graph::{Graph, Node, Op, Tensor, TensorId, infer_output};

/// Memory that a graph may take beyond three times its file.
const FREE_BYTES: usize = 32 << 20;

/// Reads a network from the bytes of a `.tflite` file.
///
/// Operators that the graph does not know, or not in the form that the file has, become [`Op::Opaque`]. A node gets the
/// name of the tensor it writes; names that stand twice get a number. Constants that only described an operator (axes,
/// target shapes, paddings) go with it. Text in the metadata is kept, other metadata is not.
///
/// # Errors
/// If the bytes break the format's rules, or hold what a graph cannot (several subgraphs, other element types, sparse or
/// variable tensors); the error names the field, tensor or operator.
pub fn read(bytes: &[u8]) -> Result<Graph> {
    if bytes.get(4..8) != Some(schema::IDENTIFIER.as_bytes()) {
        return Err(FormatError::invalid("file identifier", "expected TFL3 at byte 4, found other bytes"));
    }
    let mut budget = Budget(bytes.len().saturating_mul(3).saturating_add(FREE_BYTES));
    let model = Table::root(bytes, "Model")?;
    let version = model.scalar::<u32>(schema::model::VERSION, 0)?;
    if version != schema::VERSION {
        return Err(FormatError::unsupported("Model.version", format!("expected 3, found {version}")));
    }
    let subgraphs = model.tables(schema::model::SUBGRAPHS)?;
    let (1, Some(subgraph)) = (subgraphs.len(), subgraphs.get(0)) else {
        return Err(FormatError::unsupported(
            "Model.subgraphs",
            format!("expected one, found {}", subgraphs.len()),
        ));
    };
    let subgraph = subgraph?;

    let mut graph = Graph::new(
        subgraph.string(schema::subgraph::NAME)?.filter(|name| !name.is_empty()).unwrap_or("main"),
    );
    graph.tensors = read_tensors(&model, &subgraph, &mut budget)?;
    graph.inputs = read_ids(&subgraph, schema::subgraph::INPUTS, graph.tensors.len(), &mut budget)?;
    graph.outputs = read_ids(&subgraph, schema::subgraph::OUTPUTS, graph.tensors.len(), &mut budget)?;
    read_operators(&model, &subgraph, &mut graph, &mut budget)?;
    graph.metadata = read_metadata(&model, &mut budget)?;
    padding::fuse(&mut graph);
    if graph.nodes.iter().all(|node| !matches!(node.op, Op::Opaque(_))) {
        // The writer knows what understood operators need; only for opaque ones the file's word is needed.
        graph.metadata.remove(schema::MIN_RUNTIME_VERSION);
    }
    drop_unused_tensors(&mut graph);
    graph.verify()?;
    Ok(graph)
}

/// The memory that reading may still take. Tables can share their parts, so a file's size alone bounds nothing.
pub(super) struct Budget(usize);

impl Budget {
    /// Takes `bytes` for `subject`.
    pub(super) fn spend(&mut self, bytes: usize, subject: &str) -> Result<()> {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(FormatError::invalid(
                subject,
                "expected a network not much larger than its file, found parts used again and again",
            )),
        }
    }
}

/// A release such as `2.3.0`; zero bytes may follow.
pub(super) fn parse_runtime(text: &str) -> Option<Runtime> {
    let parts: Option<Vec<u32>> =
        text.trim_end_matches('\0').split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Data of the buffer at `position`; empty if it has none.
fn buffer<'a>(buffers: Tables<'a>, position: u32) -> Result<&'a [u8]> {
    let table =
        usize::try_from(position).ok().and_then(|position| buffers.get(position)).ok_or_else(|| {
            FormatError::invalid(
                "buffer",
                format!("expected a position below {}, found {position}", buffers.len()),
            )
        })??;
    if table.scalar::<u64>(schema::buffer::OFFSET, 0)? > 1 {
        return Err(FormatError::unsupported(
            "Buffer.offset",
            "data outside the flatbuffer is not supported",
        ));
    }
    Ok(table.byte_vector(schema::buffer::DATA)?.unwrap_or_default())
}

fn read_tensors(model: &Table<'_>, subgraph: &Table<'_>, budget: &mut Budget) -> Result<Vec<Tensor>> {
    let buffers = model.tables(schema::model::BUFFERS)?;
    let tables = subgraph.tables(schema::subgraph::TENSORS)?;
    let mut tensors = Vec::new();
    for (position, table) in tables.iter().enumerate() {
        tensors.push(tensor::read(&table?, position, |position| buffer(buffers, position), budget)?);
    }
    make_unique(tensors.iter_mut().map(|tensor| &mut tensor.name));
    Ok(tensors)
}

/// Gives names that stand twice a number.
fn make_unique<'n>(names: impl Iterator<Item = &'n mut String>) {
    let mut taken: HashSet<String> = HashSet::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in names {
        if taken.contains(name.as_str()) {
            let count = counts.entry(name.clone()).or_insert(0);
            *name = loop {
                *count += 1;
                let candidate = format!("{name}_{count}");
                if !taken.contains(&candidate) {
                    break candidate;
                }
            };
        }
        taken.insert(name.clone());
    }
}

/// The position of a tensor, or `None` for −1.
fn tensor_id(position: i32, tensors: usize, subject: &str) -> Result<Option<TensorId>> {
    if position == -1 {
        return Ok(None);
    }
    usize::try_from(position)
        .ok()
        .filter(|&position| position < tensors)
        .map(|position| Some(TensorId(position)))
        .ok_or_else(|| {
            FormatError::invalid(
                subject,
                format!("expected a tensor position below {tensors}, found {position}"),
            )
        })
}

fn read_optional_ids(
    table: &Table<'_>,
    field: super::flat::Field,
    tensors: usize,
    budget: &mut Budget,
) -> Result<Vec<Option<TensorId>>> {
    let Some(positions) = table.scalars::<i32>(field)? else {
        return Ok(Vec::new());
    };
    budget.spend(positions.len() * size_of::<[TensorId; 2]>(), field.name)?;
    positions.map(|position| tensor_id(position, tensors, field.name)).collect()
}

fn read_ids(
    table: &Table<'_>,
    field: super::flat::Field,
    tensors: usize,
    budget: &mut Budget,
) -> Result<Vec<TensorId>> {
    read_optional_ids(table, field, tensors, budget)?
        .into_iter()
        .map(|id| id.ok_or_else(|| FormatError::invalid(field.name, "expected a tensor, found none (-1)")))
        .collect()
}

/// Reads an entry of the table of operator codes, of an old or a new file.
pub(super) fn operator_code<'a>(table: &Table<'a>) -> Result<Code<'a>> {
    use schema::operator_code as fields;
    let old = i32::from(table.scalar::<i8>(fields::DEPRECATED_BUILTIN_CODE, 0)?);
    let new = table.scalar::<i32>(fields::BUILTIN_CODE, 0)?;
    let builtin = old.max(new);
    let custom = match builtin {
        builtin::CUSTOM => Some(table.string(fields::CUSTOM_CODE)?.unwrap_or_default()),
        _ => None,
    };
    Ok(Code { builtin, custom, version: table.scalar(fields::VERSION, 1)? })
}

fn read_operators(
    model: &Table<'_>,
    subgraph: &Table<'_>,
    graph: &mut Graph,
    budget: &mut Budget,
) -> Result<()> {
    let codes = model.tables(schema::model::OPERATOR_CODES)?;
    let reads = count_reads(subgraph, graph)?;
    for (position, table) in subgraph.tables(schema::subgraph::OPERATORS)?.iter().enumerate() {
        let table = table?;
        let index = table.scalar::<u32>(schema::operator::OPCODE_INDEX, 0)?;
        let code = usize::try_from(index).ok().and_then(|index| codes.get(index)).ok_or_else(|| {
            FormatError::invalid(
                schema::operator::OPCODE_INDEX.name,
                format!("expected a position below {}, found {index}", codes.len()),
            )
        })??;
        let inputs = read_optional_ids(&table, schema::operator::INPUTS, graph.tensors.len(), budget)?;
        let outputs = read_ids(&table, schema::operator::OUTPUTS, graph.tensors.len(), budget)?;
        let source = Source {
            code: operator_code(&code)?,
            table,
            inputs: &inputs,
            outputs: &outputs,
            tensors: &graph.tensors,
            reads: &reads,
        };
        let builtin = source.code.builtin;
        let (op, inputs) = source.read()?;
        ops::adopt(builtin, &op, &inputs, &mut graph.tensors);
        let name = match outputs.first() {
            Some(&output) => graph.tensor(output).name.clone(),
            None => format!("{}_{position}", op.name()),
        };
        let carried = match &op {
            Op::Opaque(opaque) => opaque.code.len() + opaque.attributes.len(),
            Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::Prelu
            | Op::Elementwise(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::Softmax(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Quantize { .. } => 0,
        };
        budget.spend(size_of::<Node>() + 3 * name.len() + carried, "operators")?;
        graph.nodes.push(Node { name, op, inputs, outputs });
        open_batch(graph);
    }
    make_unique(graph.nodes.iter_mut().map(|node| &mut node.name));
    Ok(())
}

/// How often each tensor is read, by operators or as an output of the network.
fn count_reads(subgraph: &Table<'_>, graph: &Graph) -> Result<Vec<usize>> {
    let mut reads = vec![0; graph.tensors.len()];
    for &output in &graph.outputs {
        reads[output.0] += 1;
    }
    for table in subgraph.tables(schema::subgraph::OPERATORS)?.iter() {
        for position in table?.scalars::<i32>(schema::operator::INPUTS)?.into_iter().flatten() {
            let count = usize::try_from(position).ok().and_then(|position| reads.get_mut(position));
            if let Some(count) = count {
                *count += 1;
            }
        }
    }
    Ok(reads)
}

/// Opens the batch of what the last node writes, if that of its input is open: not all files say so at every tensor.
fn open_batch(graph: &mut Graph) {
    let Some(node) = graph.nodes.last() else { return };
    let (Ok((shape, _)), [output]) = (infer_output(graph, node), &node.outputs[..]) else {
        return;
    };
    let output = *output;
    if graph.tensor(output).shape.with_batch(1) == shape.with_batch(1) {
        graph.tensor_mut(output).shape = shape;
    }
}

/// Entries whose content is text.
fn read_metadata(model: &Table<'_>, budget: &mut Budget) -> Result<BTreeMap<String, String>> {
    let buffers = model.tables(schema::model::BUFFERS)?;
    let mut metadata = BTreeMap::new();
    for table in model.tables(schema::model::METADATA)?.iter() {
        let table = table?;
        let name = table.string(schema::metadata::NAME)?.unwrap_or_default();
        let content = buffer(buffers, table.scalar(schema::metadata::BUFFER, 0)?)?;
        let Ok(text) = std::str::from_utf8(content) else {
            continue;
        };
        let text = if name == schema::MIN_RUNTIME_VERSION { text.trim_end_matches('\0') } else { text };
        if !text.contains('\0') {
            budget.spend(name.len() + text.len() + 2 * size_of::<String>(), "metadata")?;
            metadata.insert(name.to_owned(), text.to_owned());
        }
    }
    Ok(metadata)
}

/// Drops the tensors that no node, input or output refers to.
fn drop_unused_tensors(graph: &mut Graph) {
    let mut used = vec![false; graph.tensors.len()];
    let nodes = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
    for id in nodes.chain(&graph.inputs).chain(&graph.outputs) {
        used[id.0] = true;
    }
    let mut kept = 0;
    let moved: Vec<TensorId> = used
        .iter()
        .map(|&used| {
            let id = TensorId(kept);
            kept += usize::from(used);
            id
        })
        .collect();
    let mut used = used.into_iter();
    graph.tensors.retain(|_| used.next().unwrap_or(true));
    let nodes = graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs));
    for id in nodes.chain(&mut graph.inputs).chain(&mut graph.outputs) {
        *id = moved[id.0];
    }
}
