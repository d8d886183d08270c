//! A TFLite file becomes a graph.

use super::flat::{Field, Table, Tables};
use super::ops::{self, Code, Source, Uses, padding, transposed};
use super::schema::{self, builtin};
use super::{archive, metadata, signature, tensor};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::collections::{HashMap, HashSet};
use taper_graph::{Graph, Node, Op, Tensor, TensorId, infer_output};

/// Reads a network from the bytes of a `.tflite` file.
///
/// Operators that the graph does not know, or not in the form that the file has, become [`Op::Opaque`]; the state and
/// the intermediate tensors of such an operator go into its attributes. A node gets the name of the tensor it writes. A
/// tensor without a name becomes `tensor_7`, by its position; of equal names, the second gets `_1` behind it, and so on.
/// Operators that the graph has as several become several nodes: a SPLIT a slice for each output, a MEAN without the axes that
/// it takes a pooling and a reshape. Constants that only described an operator (axes, target shapes, paddings) go with it. Metadata is kept, what is not
/// text as hexadecimal digits under `hex:NAME`; signatures that differ from what [`write`](super::write) makes stand
/// under `tflite.signatures`, and an archive of files behind the model under `tflite.archive`.
///
/// # Errors
/// If the bytes break the format's rules, or hold what a graph cannot (several subgraphs, other element types, sparse
/// tensors, state that several operators share); the error names the field, tensor or operator.
pub fn read(bytes: &[u8]) -> Result<Graph> {
    if bytes.get(4..8) != Some(schema::IDENTIFIER.as_bytes()) {
        return Err(FormatError::invalid("file identifier", "expected TFL3 at byte 4, found other bytes"));
    }
    let mut budget = Budget::of(bytes.len());
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
    let buffers = model.tables(schema::model::BUFFERS)?;
    let variables;
    (graph.tensors, variables) = read_tensors(buffers, &subgraph, &mut budget)?;
    graph.inputs = read_ids(&subgraph, schema::subgraph::INPUTS, graph.tensors.len(), &mut budget)?;
    graph.outputs = read_ids(&subgraph, schema::subgraph::OUTPUTS, graph.tensors.len(), &mut budget)?;
    read_operators(&model, &subgraph, &variables, &mut graph, &mut budget)?;
    graph.metadata = metadata::read(&model, |position| buffer(buffers, position), &mut budget)?;
    signature::read(&model, &mut graph, &mut budget)?;
    if let Some(archive) = archive::read(bytes, &mut budget)? {
        graph.metadata.insert(archive::METADATA.to_owned(), archive);
    }
    padding::fuse(&mut graph);
    transposed::fuse(&mut graph);
    if graph.nodes.iter().all(|node| !matches!(node.op, Op::Opaque(_))) {
        // The writer knows what understood operators need; only for opaque ones the file's word is needed.
        graph.metadata.remove(schema::MIN_RUNTIME_VERSION);
    }
    graph.remove_unused_tensors();
    graph.verify()?;
    Ok(graph)
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

/// The tensors, and for each whether it is variable: the state of an operator.
fn read_tensors(
    buffers: Tables<'_>,
    subgraph: &Table<'_>,
    budget: &mut Budget,
) -> Result<(Vec<Tensor>, Vec<bool>)> {
    let (mut tensors, mut variables) = (Vec::new(), Vec::new());
    for (position, table) in subgraph.tables(schema::subgraph::TENSORS)?.iter().enumerate() {
        let table = table?;
        tensors.push(tensor::read(&table, position, |position| buffer(buffers, position), budget)?);
        variables.push(table.flag(schema::tensor::IS_VARIABLE)?);
    }
    make_unique(tensors.iter_mut().map(|tensor| &mut tensor.name));
    Ok((tensors, variables))
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
    field: Field,
    tensors: usize,
    budget: &mut Budget,
) -> Result<Vec<Option<TensorId>>> {
    let Some(positions) = table.scalars::<i32>(field)? else {
        return Ok(Vec::new());
    };
    budget.spend(positions.len() * size_of::<[TensorId; 2]>(), field.name)?;
    positions.map(|position| tensor_id(position, tensors, field.name)).collect()
}

fn read_ids(table: &Table<'_>, field: Field, tensors: usize, budget: &mut Budget) -> Result<Vec<TensorId>> {
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

/// An operator's table and the tensors that it touches.
struct Touched<'a> {
    table: Table<'a>,
    inputs: Vec<Option<TensorId>>,
    outputs: Vec<TensorId>,
    intermediates: Vec<TensorId>,
}

fn touched<'a>(table: Table<'a>, tensors: usize, budget: &mut Budget) -> Result<Touched<'a>> {
    use schema::operator as fields;
    budget.spend(size_of::<Touched<'_>>(), "operators")?;
    Ok(Touched {
        table,
        inputs: read_optional_ids(&table, fields::INPUTS, tensors, budget)?,
        outputs: read_ids(&table, fields::OUTPUTS, tensors, budget)?,
        intermediates: read_ids(&table, fields::INTERMEDIATES, tensors, budget)?,
    })
}

fn read_operators(
    model: &Table<'_>,
    subgraph: &Table<'_>,
    variables: &[bool],
    graph: &mut Graph,
    budget: &mut Budget,
) -> Result<()> {
    let codes = model.tables(schema::model::OPERATOR_CODES)?;
    let mut operators = Vec::new();
    for table in subgraph.tables(schema::subgraph::OPERATORS)?.iter() {
        operators.push(touched(table?, graph.tensors.len(), budget)?);
    }
    let uses = uses(&operators, graph);
    for (position, operator) in operators.into_iter().enumerate() {
        let Touched { table, inputs, outputs, intermediates } = operator;
        let index = table.scalar::<u32>(schema::operator::OPCODE_INDEX, 0)?;
        let code = usize::try_from(index).ok().and_then(|index| codes.get(index)).ok_or_else(|| {
            FormatError::invalid(
                schema::operator::OPCODE_INDEX.name,
                format!("expected a position below {}, found {index}", codes.len()),
            )
        })??;
        let source = Source {
            code: operator_code(&code)?,
            table,
            inputs: &inputs,
            outputs: &outputs,
            intermediates: &intermediates,
            tensors: &graph.tensors,
            variables,
            uses: &uses,
        };
        let builtin = source.code.builtin;
        let ops::Nodes { nodes, between } = source.read()?;
        for tensor in between {
            budget.spend(size_of::<Tensor>() + 3 * tensor.name.len(), "operators")?;
            graph.tensors.push(tensor);
        }
        for (op, inputs, outputs) in nodes {
            ops::adopt(builtin, &op, &inputs, &mut graph.tensors);
            let name = match outputs.first() {
                Some(&output) => graph.tensor(output).name.clone(),
                None => format!("{}_{position}", op.name()),
            };
            let carried =
                if let Op::Opaque(opaque) = &op { opaque.code.len() + opaque.attributes.len() } else { 0 };
            budget.spend(size_of::<Node>() + 3 * name.len() + carried, "operators")?;
            graph.nodes.push(Node { name, op, inputs, outputs });
            open_batch(graph);
        }
    }
    make_unique(graph.tensors.iter_mut().map(|tensor| &mut tensor.name));
    make_unique(graph.nodes.iter_mut().map(|node| &mut node.name));
    Ok(())
}

/// How often each tensor is used.
fn uses(operators: &[Touched<'_>], graph: &Graph) -> Vec<Uses> {
    let mut uses = vec![Uses::default(); graph.tensors.len()];
    let inputs = operators.iter().flat_map(|operator| operator.inputs.iter().flatten());
    for id in inputs.chain(&graph.outputs) {
        uses[id.0].reads += 1;
    }
    let others = operators.iter().flat_map(|operator| operator.outputs.iter().chain(&operator.intermediates));
    for id in others.chain(&graph.inputs) {
        uses[id.0].others += 1;
    }
    uses
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
