//! A graph becomes an ONNX file.

use super::emitter::Emitter;
use super::{ops, schema};
use crate::error::{FormatError, Result};
use prost::Message;
use taper_graph::{DType, Graph, Tensor};

/// The greatest length of a protocol buffer.
const GREATEST_LENGTH: usize = i32::MAX as usize;
/// The version of the format that has operators of versions 13 and 14, and that of newer ones.
const IR_VERSIONS: [i64; 2] = [7, 8];

/// Writes `graph` as ONNX: the bytes depend on the graph alone.
///
/// Inputs and outputs have the graph's names and shapes, images as `[N,H,W,C]` and an open batch as `batch`, so that a
/// program feeds the file what it feeds the graph; inside, images are `[N,C,H,W]`, and one transposition stands at each
/// image that goes in or comes out. The set of operators is the lowest, from 13 on, that expresses the graph. A
/// nonlinearity that is fused behind an operator becomes a node of its own.
///
/// # Errors
/// If the graph is inconsistent, holds integers or an operator that ONNX does not have, or takes more than 2 GiB; the
/// error names the node or tensor.
pub fn write(graph: &Graph) -> Result<Vec<u8>> {
    graph.verify()?;
    // Integers of other types are indices.
    let scaled = |tensor: &&Tensor| matches!(tensor.dtype, DType::I8 | DType::U8 | DType::I16);
    if let Some(tensor) = graph.tensors.iter().find(scaled) {
        return Err(FormatError::unsupported(
            format!("tensor `{}`", tensor.name),
            format!("expected a network of floats, found {}", tensor.dtype),
        ));
    }
    let mut emitter = Emitter::new(graph);
    emitter.inputs()?;
    for node in &graph.nodes {
        ops::write(&mut emitter, node)?;
    }
    emitter.outputs()?;
    let entry = |(key, value): (&String, &String)| schema::Entry { key: key.clone(), value: value.clone() };
    let model = schema::Model {
        ir_version: Some(IR_VERSIONS[usize::from(emitter.opset > 14)]),
        producer_name: "Taper".to_owned(),
        graph: Some(emitter.model),
        opset_import: vec![schema::OperatorSet { domain: String::new(), version: Some(emitter.opset) }],
        metadata_props: graph.metadata.iter().map(entry).collect(),
    };
    let length = model.encoded_len();
    if length > GREATEST_LENGTH {
        return Err(FormatError::unsupported(
            format!("graph `{}`", graph.name),
            format!("expected at most {GREATEST_LENGTH} bytes, found {length}"),
        ));
    }
    Ok(model.encode_to_vec())
}
