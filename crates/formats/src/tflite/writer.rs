//! A graph becomes a TFLite file.

use super::build::{Builder, Offset, Value};
use super::ops::{Code, Emitter, Operator, Options, Runtime, to_i32};
use super::reader::parse_runtime;
use super::schema::{self, builtin};
use super::tensor;
use crate::error::{FormatError, Result};
use flatbuffers::WIPOffset;
use std::borrow::Cow;
use taper_graph::{Graph, Op, Tensor, TensorId};

/// The key under which runtimes look for a model's function.
const SIGNATURE_KEY: &str = "serving_default";
/// Bytes of the metadata entry that holds the oldest runtime's version.
const RUNTIME_VERSION_BYTES: usize = 16;
/// Room for a tensor's or operator's tables beside its data and names; only a hint.
const TABLE_BYTES: usize = 160;

/// Writes `graph` as TFLite: the bytes depend on the graph alone.
///
/// An open batch becomes a batch of 1 with −1 in the shape signature, operators get the lowest version that expresses
/// them, padding that is neither SAME nor VALID becomes a PAD, dropout is left out, tensor data lies at multiples of 16
/// bytes. Nodes are known by the tensors they write, as TFLite does not name operators.
///
/// # Errors
/// If the graph is inconsistent, or TFLite has no such operator, type or size; the error names the node or tensor.
pub fn write(graph: &Graph) -> Result<Vec<u8>> {
    graph.verify()?;
    let graph = &*without_dropout(graph);
    let mut emitter = Emitter::new(graph);
    for node in &graph.nodes {
        emitter.node(node)?;
    }
    let own = graph.tensors.iter().enumerate();
    let laid_out = own.map(|(id, tensor)| emitter.laid_out.get(&TensorId(id)).unwrap_or(tensor));
    let tensors: Vec<&Tensor> = laid_out.chain(&emitter.added).collect();
    let mut buffers = Buffers::default();
    let mut builder =
        Builder::with_capacity(estimate(&tensors, &emitter), &format!("graph `{}`", graph.name))?;

    let tensor_buffers = tensors
        .iter()
        .map(|tensor| match &tensor.data {
            Some(data) if data.is_empty() => Err(FormatError::unsupported(
                format!("tensor `{}`", tensor.name),
                "TFLite cannot tell a constant without elements from an activation",
            )),
            Some(data) => buffers.push(&mut builder, &data.to_le_bytes()),
            None => Ok(0),
        })
        .collect::<Result<Vec<u32>>>()?;
    let metadata = write_metadata(&mut builder, &mut buffers, graph, &emitter)?;
    let buffers = buffers.write(&mut builder);

    let (codes, operators) = write_operators(&mut builder, &emitter.operators)?;
    let tensors = tensors
        .iter()
        .zip(tensor_buffers)
        .map(|(tensor, buffer)| tensor::write(&mut builder, tensor, buffer))
        .collect::<Result<Vec<_>>>()?;
    let subgraph = [
        (schema::subgraph::TENSORS, builder.vector(&tensors)),
        (schema::subgraph::INPUTS, builder.vector(&positions(&graph.inputs)?)),
        (schema::subgraph::OUTPUTS, builder.vector(&positions(&graph.outputs)?)),
        (schema::subgraph::OPERATORS, operators),
        (schema::subgraph::NAME, builder.string(&graph.name)),
    ];
    let subgraph = builder.table(subgraph);
    let signature = write_signature(&mut builder, graph)?;
    let model = [
        (schema::model::VERSION, Value::U32(schema::VERSION)),
        (schema::model::OPERATOR_CODES, codes),
        (schema::model::SUBGRAPHS, builder.vector(&[subgraph])),
        (schema::model::DESCRIPTION, builder.string("written by Taper")),
        (schema::model::BUFFERS, buffers),
        (schema::model::METADATA, metadata),
        (schema::model::SIGNATURE_DEFS, builder.vector(&[signature])),
    ];
    let model = builder.table(model);
    Ok(builder.finish(model, schema::IDENTIFIER))
}

/// The graph without dropout, which TFLite has no operator for.
fn without_dropout(graph: &Graph) -> Cow<'_, Graph> {
    if graph.nodes.iter().any(|node| matches!(node.op, Op::Dropout(_))) {
        let mut graph = graph.clone();
        graph.remove_dropout();
        Cow::Owned(graph)
    } else {
        Cow::Borrowed(graph)
    }
}

fn positions(ids: &[TensorId]) -> Result<Vec<i32>> {
    ids.iter().map(|id| to_i32(id.0, "tensor position")).collect()
}

fn estimate(tensors: &[&Tensor], emitter: &Emitter<'_>) -> usize {
    let tensor_bytes = |tensor: &&Tensor| {
        let data = tensor.data.as_ref().map_or(0, |data| data.len() * data.dtype().bytes());
        data + 2 * tensor.name.len() + TABLE_BYTES
    };
    let operator_bytes =
        |operator: &Operator<'_>| operator.custom_options.map_or(0, <[u8]>::len) + TABLE_BYTES;
    tensors.iter().map(tensor_bytes).sum::<usize>()
        + emitter.operators.iter().map(operator_bytes).sum::<usize>()
}

/// The table of buffers; the first one is empty and stands for "no data".
#[derive(Default)]
struct Buffers(Vec<Value>);

impl Buffers {
    /// Writes the bytes of a buffer and returns its position.
    fn push(&mut self, builder: &mut Builder, bytes: &[u8]) -> Result<u32> {
        self.0.push(builder.aligned_bytes(bytes));
        u32::try_from(self.0.len()).map_err(|_| {
            FormatError::unsupported("buffers", format!("expected fewer, found {}", self.0.len()))
        })
    }

    fn write(self, builder: &mut Builder) -> Value {
        let empty = builder.table([]);
        let full = self.0.into_iter().map(|data| builder.table([(schema::buffer::DATA, data)]));
        let tables: Vec<Offset> = std::iter::once(empty).chain(full).collect();
        builder.vector(&tables)
    }
}

fn write_metadata(
    builder: &mut Builder,
    buffers: &mut Buffers,
    graph: &Graph,
    emitter: &Emitter<'_>,
) -> Result<Value> {
    let version = oldest_runtime(graph, &emitter.operators).map(|since| {
        let mut text = since.map(|part| part.to_string()).join(".").into_bytes();
        text.resize(RUNTIME_VERSION_BYTES, 0);
        text
    });
    let own = version.iter().map(|version| (schema::MIN_RUNTIME_VERSION, version.as_slice()));
    let free = graph.metadata.iter().map(|(name, text)| (name.as_str(), text.as_bytes()));
    let mut entries = Vec::new();
    for (name, bytes) in own.chain(free.filter(|(name, _)| *name != schema::MIN_RUNTIME_VERSION)) {
        let buffer = buffers.push(builder, bytes)?;
        let row =
            [(schema::metadata::NAME, builder.string(name)), (schema::metadata::BUFFER, Value::U32(buffer))];
        entries.push(builder.table(row));
    }
    Ok(builder.vector(&entries))
}

/// The oldest runtime that runs the operators. What opaque ones need is known only if the file they came from says it.
fn oldest_runtime(graph: &Graph, operators: &[Operator<'_>]) -> Option<Runtime> {
    let known = operators.iter().filter_map(|operator| operator.since).max();
    if operators.iter().all(|operator| operator.since.is_some()) {
        return known;
    }
    let carried = parse_runtime(graph.metadata.get(schema::MIN_RUNTIME_VERSION)?)?;
    Some(known.map_or(carried, |known| known.max(carried)))
}

/// The operator codes in the order of their first use, and the operators.
fn write_operators(builder: &mut Builder, operators: &[Operator<'_>]) -> Result<(Value, Value)> {
    let mut codes: Vec<Code<'_>> = Vec::new();
    let mut tables = Vec::with_capacity(operators.len());
    for operator in operators {
        let index = codes.iter().position(|code| *code == operator.code).unwrap_or_else(|| {
            codes.push(operator.code);
            codes.len() - 1
        });
        let index = u32::try_from(index)
            .map_err(|_| FormatError::unsupported("operator codes", "expected fewer different ones"))?;
        tables.push(self::operator(builder, index, operator)?);
    }
    let codes: Vec<Offset> = codes.iter().map(|code| operator_code(builder, code)).collect();
    Ok((builder.vector(&codes), builder.vector(&tables)))
}

/// Writes an entry of the table of operator codes, for old and new runtimes alike.
pub(super) fn operator_code(builder: &mut Builder, code: &Code<'_>) -> Offset {
    let custom = code.custom.map(|custom| (schema::operator_code::CUSTOM_CODE, builder.string(custom)));
    let old = i8::try_from(code.builtin).unwrap_or(builtin::PLACEHOLDER);
    let row = [
        (schema::operator_code::DEPRECATED_BUILTIN_CODE, Value::I8(old)),
        (schema::operator_code::VERSION, Value::I32(code.version)),
        (schema::operator_code::BUILTIN_CODE, Value::I32(code.builtin)),
    ];
    builder.table(row.into_iter().chain(custom))
}

/// Writes an operator.
pub(super) fn operator(builder: &mut Builder, code: u32, operator: &Operator<'_>) -> Result<Offset> {
    let options = match &operator.options {
        Options::None => None,
        Options::Fields { options_type, fields } => {
            Some((*options_type, builder.table(fields.iter().copied())))
        }
        Options::Verbatim { options_type, table } => {
            Some((*options_type, builder.copy(table, *options_type)?))
        }
    };
    let mut row = vec![
        (schema::operator::OPCODE_INDEX, Value::U32(code)),
        (schema::operator::INPUTS, builder.vector(&operator.inputs)),
        (schema::operator::OUTPUTS, builder.vector(&operator.outputs)),
    ];
    if let Some((options_type, table)) = options {
        row.push((schema::operator::OPTIONS_TYPE, Value::U8(options_type)));
        row.push((schema::operator::OPTIONS, Value::Offset(table)));
    }
    if let Some(bytes) = operator.custom_options {
        row.push((schema::operator::CUSTOM_OPTIONS, builder.aligned_bytes(bytes)));
    }
    Ok(builder.table(row))
}

/// Names the inputs and outputs by their tensors.
fn write_signature(builder: &mut Builder, graph: &Graph) -> Result<Offset> {
    let mut maps = |ids: &[TensorId]| -> Result<Value> {
        let mut tables: Vec<WIPOffset<_>> = Vec::with_capacity(ids.len());
        for &id in ids {
            let index = u32::try_from(id.0)
                .map_err(|_| FormatError::unsupported("tensors", format!("expected fewer than {}", id.0)))?;
            let row = [
                (schema::tensor_map::NAME, builder.string(&graph.tensor(id).name)),
                (schema::tensor_map::TENSOR_INDEX, Value::U32(index)),
            ];
            tables.push(builder.table(row));
        }
        Ok(builder.vector(&tables))
    };
    let (inputs, outputs) = (maps(&graph.inputs)?, maps(&graph.outputs)?);
    let row = [
        (schema::signature_def::INPUTS, inputs),
        (schema::signature_def::OUTPUTS, outputs),
        (schema::signature_def::SIGNATURE_KEY, builder.string(SIGNATURE_KEY)),
    ];
    Ok(builder.table(row))
}
