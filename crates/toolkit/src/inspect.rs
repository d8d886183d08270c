//! What a network is: its operators with shapes and cost, and what of it can be pruned; as data and as a picture.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use taper_formats::write_file_atomic;
use taper_graph::{ChannelGroup, ChannelGroups, Graph, NodeCost, Quantization, TensorId, cost};
use taper_report::{
    Block, Cell, Column, Document, Figure, Format, NetworkDiagram, Row, Section, Table, Value, html,
};
use taper_zoo::Task;

/// A network, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Name of the network.
    pub name: String,
    /// Tensors that a caller provides.
    pub inputs: Vec<TensorInfo>,
    /// Tensors that a caller receives.
    pub outputs: Vec<TensorInfo>,
    /// Operators in order.
    pub operators: Vec<OperatorInfo>,
    /// Parameters in all.
    pub parameters: u64,
    /// Multiply–accumulates for one image: the work.
    pub macs: u64,
    /// Bytes of all activations for one image.
    pub activation_bytes: u64,
    /// Multiply–accumulates along the heaviest path.
    pub depth: u64,
    /// Operators along the longest path.
    pub levels: u64,
}

/// A tensor, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape; `N` is the batch.
    pub shape: String,
    /// Type of its elements.
    pub dtype: String,
    /// What its integers mean.
    pub quantization: Option<Quantization>,
}

/// An operator, told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorInfo {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub op: String,
    /// Names of the tensors that it reads.
    pub inputs: Vec<String>,
    /// Tensors that it writes.
    pub outputs: Vec<TensorInfo>,
    /// Elements of its constants.
    pub parameters: u64,
    /// Multiply–accumulates for one image.
    pub macs: u64,
    /// Channels that it makes and that can be removed; `null` if it makes none.
    pub prunable_channels: Option<usize>,
    /// Why the channels that it makes cannot be removed.
    pub kept: Option<String>,
}

impl OperatorInfo {
    /// What of it can be pruned, in words; empty if it makes no channels.
    #[must_use]
    pub fn prunable(&self) -> String {
        match (self.prunable_channels, &self.kept) {
            (_, Some(reason)) => format!("no: {reason}"),
            (Some(channels), None) => format!("{channels} channels"),
            (None, None) => String::new(),
        }
    }
}

/// Tells what the network `source` is: a file, or `zoo:NAME`, which is built for images of `image` (height, width,
/// channels) and for `classes`.
///
/// # Errors
/// If there is no such network or the file cannot be read.
pub fn inspect(source: &str, image: [usize; 3], classes: usize) -> Result<Inspection> {
    let graph = match source.strip_prefix("zoo:") {
        Some(name) => taper_zoo::by_name(name, Task { input: image, classes })?,
        None => taper_formats::load(Path::new(source))?,
    };
    Ok(of_graph(&graph))
}

/// Writes a page to `path` that draws the network.
///
/// # Errors
/// If the file cannot be written.
pub fn write_page(path: &Path, inspection: &Inspection) -> Result<()> {
    Ok(write_file_atomic(path, page(inspection).as_bytes())?)
}

/// A page that draws the network: its operators in order, joined by lines.
fn page(inspection: &Inspection) -> String {
    let format = |value: u64, format: Format| Value::new(value, format);
    let figure = |label: &str, value: Value, note: String| Figure { label: label.to_owned(), value, note };
    let summary = vec![
        figure("Parameters", format(inspection.parameters, Format::Integer), String::new()),
        figure("MACs", format(inspection.macs, Format::Si(3)), "for one image".to_owned()),
        figure(
            "Activations",
            format(inspection.activation_bytes, Format::Si(3)).unit("B"),
            "for one image".to_owned(),
        ),
        figure(
            "Longest path",
            format(inspection.levels, Format::Integer),
            format!("of {} operators", inspection.operators.len()),
        ),
    ];
    let section = Section {
        title: "Operators".to_owned(),
        lead: "Lines run from an operator to those that read what it writes. Filled circles have parameters."
            .to_owned(),
        blocks: vec![Block::Network(diagram(inspection))],
    };
    html(&Document {
        title: inspection.name.clone(),
        subtitle: "What the network is".to_owned(),
        summary,
        sections: vec![section],
        footer: format!("Taper {}", env!("CARGO_PKG_VERSION")),
    })
}

fn diagram(inspection: &Inspection) -> NetworkDiagram {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut rows, mut reads, mut filled) = (Vec::new(), Vec::new(), Vec::new());
    for input in &inspection.inputs {
        makers.insert(&input.name, rows.len());
        let blank = || Cell::Missing;
        rows.push(Row::from([
            input.name.as_str().into(),
            "input".into(),
            input.shape.as_str().into(),
            input.dtype.as_str().into(),
            blank(),
            blank(),
            blank(),
        ]));
        reads.push(Vec::new());
    }
    for operator in &inspection.operators {
        let output = operator.outputs.first();
        reads.push(operator.inputs.iter().filter_map(|input| makers.get(input.as_str()).copied()).collect());
        if operator.parameters > 0 {
            filled.push(rows.len());
        }
        for output in &operator.outputs {
            makers.insert(&output.name, rows.len());
        }
        rows.push(Row::from([
            operator.name.as_str().into(),
            operator.op.as_str().into(),
            output.map_or(Cell::Missing, |output| output.shape.as_str().into()),
            output.map_or(Cell::Missing, |output| output.dtype.as_str().into()),
            operator.parameters.into(),
            operator.macs.into(),
            operator.prunable().into(),
        ]));
    }
    let columns = vec![
        Column::text("layer", "Layer"),
        Column::text("operator", "Operator"),
        Column::text("output", "Output"),
        Column::text("type", "Type"),
        Column::number("parameters", "Parameters", Format::Integer),
        Column::number("macs", "MACs", Format::Si(3)),
        Column::text("prunable", "Prunable"),
    ];
    let table = Table { name: "operators".to_owned(), caption: String::new(), columns, rows };
    NetworkDiagram { table, reads, filled }
}

fn of_graph(graph: &Graph) -> Inspection {
    let total = cost(graph);
    let groups = ChannelGroups::of(graph);
    let tensors = |ids: &[TensorId]| ids.iter().map(|id| tensor(graph, *id)).collect();
    let operators =
        graph.nodes_with_ids().zip(&total.nodes).map(|((id, node), NodeCost { parameters, macs, .. })| {
            let own = |group: &&ChannelGroup| group.layers.contains(&id);
            let made = |group: &ChannelGroup| {
                let channels = group.units.iter().flat_map(|unit| &unit.channels);
                channels.filter(|channel| channel.layer == id).count()
            };
            let removable = groups.prunable().filter(own).map(made).sum();
            OperatorInfo {
                name: node.name.clone(),
                op: node.op.name().to_owned(),
                inputs: node.inputs.iter().map(|id| graph.tensor(*id).name.clone()).collect(),
                outputs: tensors(&node.outputs),
                parameters: *parameters,
                macs: *macs,
                prunable_channels: groups.0.iter().any(|group| own(&group)).then_some(removable),
                kept: groups.0.iter().filter(own).find_map(|group| group.kept.clone()),
            }
        });
    Inspection {
        name: graph.name.clone(),
        inputs: tensors(&graph.inputs),
        outputs: tensors(&graph.outputs),
        operators: operators.collect(),
        parameters: total.parameters,
        macs: total.macs,
        activation_bytes: total.activation_bytes,
        depth: total.depth,
        levels: total.levels,
    }
}

fn tensor(graph: &Graph, id: TensorId) -> TensorInfo {
    let tensor = graph.tensor(id);
    TensorInfo {
        name: tensor.name.clone(),
        shape: tensor.shape.to_string(),
        dtype: tensor.dtype.to_string(),
        quantization: tensor.quantization.clone(),
    }
}
