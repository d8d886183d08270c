//! A graph becomes a TFLite file.

use super::build::{Builder, Offset, Value};
use super::ops::{Carried, Code, Emitter, Operator, Options, to_i32};
use super::schema::{self, builtin};
use super::tensor::{self, Role};
use super::{archive, metadata, signature};
use crate::error::{FormatError, Result};
use std::borrow::Cow;
use taper_graph::{Graph, Op, Tensor, TensorId};

/// Room for a tensor's or operator's tables beside its data and names; only a hint.
const TABLE_BYTES: usize = 160;

/// Writes `graph` as TFLite: the bytes depend on the graph alone.
///
/// An open batch becomes a batch of 1 with −1 in the shape signature, operators get the lowest version that expresses
/// them, padding that is neither SAME nor VALID becomes a PAD, dropout is left out, tensor data lies at multiples of 16
/// bytes. Nodes are known by the tensors they write, as TFLite does not name operators. Signatures, metadata and the archive
/// that [`read`](super::read) found are written again.
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
    let since = metadata::oldest_runtime(graph, emitter.operators.iter().map(|operator| operator.since));
    let metadata = metadata::write(&mut builder, &mut buffers, graph, since)?;
    let buffers = buffers.write(&mut builder);

    let (codes, operators) = write_operators(&mut builder, &emitter.operators)?;
    let tensors = (0..)
        .zip(tensors)
        .zip(tensor_buffers)
        .map(|((position, tensor), buffer)| {
            let role = if emitter.variables.contains(&position) { Role::Variable } else { Role::Plain };
            tensor::write(&mut builder, tensor, buffer, role)
        })
        .collect::<Result<Vec<_>>>()?;
    let subgraph = [
        (schema::subgraph::TENSORS, builder.vector(&tensors)),
        (schema::subgraph::INPUTS, builder.vector(&positions(&graph.inputs)?)),
        (schema::subgraph::OUTPUTS, builder.vector(&positions(&graph.outputs)?)),
        (schema::subgraph::OPERATORS, operators),
        (schema::subgraph::NAME, builder.string(&graph.name)),
    ];
    let subgraph = builder.table(subgraph);
    let signatures = signature::write(&mut builder, graph)?;
    let model = [
        (schema::model::VERSION, Value::U32(schema::VERSION)),
        (schema::model::OPERATOR_CODES, codes),
        (schema::model::SUBGRAPHS, builder.vector(&[subgraph])),
        (schema::model::DESCRIPTION, builder.string("written by Taper")),
        (schema::model::BUFFERS, buffers),
        (schema::model::METADATA, metadata),
        (schema::model::SIGNATURE_DEFS, signatures),
    ];
    let model = builder.table(model);
    let mut bytes = builder.finish(model, schema::IDENTIFIER);
    if let Some(archive) = graph.metadata.get(archive::METADATA) {
        archive::append(&mut bytes, archive)?;
    }
    Ok(bytes)
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
        |operator: &Operator<'_>| operator.carried.custom_options.map_or(0, <[u8]>::len) + TABLE_BYTES;
    tensors.iter().map(tensor_bytes).sum::<usize>()
        + emitter.operators.iter().map(operator_bytes).sum::<usize>()
}

/// The table of buffers; the first one is empty and stands for "no data".
#[derive(Default)]
pub(super) struct Buffers(Vec<Value>);

impl Buffers {
    /// Writes the bytes of a buffer and returns its position.
    pub(super) fn push(&mut self, builder: &mut Builder, bytes: &[u8]) -> Result<u32> {
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
    let Carried { custom_options, intermediates, mutating_inputs } = &operator.carried;
    if let Some(bytes) = custom_options {
        row.push((schema::operator::CUSTOM_OPTIONS, builder.aligned_bytes(bytes)));
    }
    if !mutating_inputs.is_empty() {
        row.push((schema::operator::MUTATING_VARIABLE_INPUTS, builder.vector(mutating_inputs)));
    }
    if !intermediates.is_empty() {
        row.push((schema::operator::INTERMEDIATES, builder.vector(intermediates)));
    }
    Ok(builder.table(row))
}
