//! What is known of a model before its nodes are read.

use super::operation::Operation;
use super::schema::{self, data_type};
use std::collections::{HashMap, HashSet};

/// What is known of a model before its nodes are read.
pub(super) struct Facts<'m> {
    reads: HashMap<&'m str, Reads>,
    /// Whether 8-bit integers become signed ones: some are, and a graph's operators compute with one kind.
    pub(super) signed: bool,
    /// The size of the batch that the model fixes and the graph leaves open.
    pub(super) batch: Option<usize>,
}

/// How often a name is read.
#[derive(Default)]
struct Reads {
    /// By nodes or as an output of the network.
    all: usize,
    /// By QuantizeLinear.
    quantizing: usize,
}

impl<'m> Facts<'m> {
    /// The facts of a model whose batch is left open if it has the size `batch`.
    pub(super) fn of(source: &'m schema::Graph, signed: bool, batch: Option<usize>) -> Self {
        let mut reads: HashMap<&str, Reads> = HashMap::new();
        for node in &source.node {
            for name in &node.input {
                let reads = reads.entry(name).or_default();
                reads.all += 1;
                reads.quantizing += usize::from(node.op_type == "QuantizeLinear");
            }
        }
        for output in &source.output {
            reads.entry(&output.name).or_default().all += 1;
        }
        Self { reads, signed, batch }
    }

    /// How often `name` is read, by nodes or as an output of the network.
    pub(super) fn reads(&self, name: &str) -> usize {
        self.reads.get(name).map_or(0, |reads| reads.all)
    }

    /// Whether nothing but QuantizeLinear reads `name`.
    pub(super) fn only_quantized(&self, name: &str) -> bool {
        self.reads.get(name).is_some_and(|reads| reads.all == reads.quantizing)
    }

    /// Whether a size is that of the batch, which the graph leaves open.
    pub(super) fn is_batch(&self, size: i64) -> bool {
        self.batch.is_some() && usize::try_from(size).ok() == self.batch
    }
}

/// The size that all inputs have along their first axis, if that may be a batch.
pub(super) fn fixed_batch(source: &schema::Graph) -> Option<usize> {
    let constants: HashSet<&str> = source.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = source.input.iter().filter(|input| !constants.contains(input.name.as_str()));
    let mut sizes = inputs.map(|input| {
        let shape = input.of_type.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
        let [first, _, ..] = &shape.dim[..] else { return None };
        first.dim_value.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0)
    });
    let first = sizes.next()??;
    sizes.all(|size| size == Some(first)).then_some(first)
}

/// Whether signed 8-bit integers are quantized, dequantized or computed with.
pub(super) fn has_signed_integers(source: &schema::Graph) -> bool {
    let mut signed: HashSet<&str> = HashSet::new();
    let constants = source.initializer.iter().filter(|tensor| tensor.data_type == data_type::INT8);
    signed.extend(constants.map(|tensor| tensor.name.as_str()));
    let is_signed = |input: &&schema::ValueInfo| {
        let tensor = input.of_type.as_ref().and_then(|of| of.tensor.as_ref());
        tensor.is_some_and(|tensor| tensor.elem_type == data_type::INT8)
    };
    signed.extend(source.input.iter().filter(is_signed).map(|input| input.name.as_str()));
    for node in &source.node {
        let value = Operation(node).attribute("value").and_then(|attribute| attribute.t.as_ref());
        if value.is_some_and(|tensor| tensor.data_type == data_type::INT8) {
            signed.extend(node.output.first().map(String::as_str));
        }
    }
    let quantizing =
        |node: &&schema::Node| node.op_type.ends_with("Linear") || node.op_type.starts_with("QLinear");
    let mut read = source.node.iter().filter(quantizing).flat_map(|node| &node.input);
    read.any(|name| signed.contains(name.as_str()))
}
