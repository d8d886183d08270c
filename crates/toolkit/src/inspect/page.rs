//! A network drawn as a page: its operators joined by lines, and what compiled ones hold.

use super::{EdgeTpuExecutable, EdgeTpuLayer, EdgeTpuOperator, EdgeTpuPackage, Inspection};
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;
use taper_formats::write_file_atomic;
use taper_report::{
    Block, Cell, Column, Document, Figure, Format, NetworkDiagram, Note, NoteKind, Row, Section, Table,
    Value, html,
};

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
    let operators = Section {
        title: "Operators".to_owned(),
        lead: "Lines run from an operator to those that read what it writes. Filled circles have parameters."
            .to_owned(),
        blocks: vec![Block::Network(diagram(inspection))],
    };
    let mut sections = vec![operators];
    sections.extend(inspection.edgetpu.iter().map(compiled));
    html(&Document {
        title: inspection.name.clone(),
        subtitle: "What the network is".to_owned(),
        summary,
        sections,
        footer: format!("Taper {}", env!("CARGO_PKG_VERSION")),
    })
}

/// What an operator of the Edge TPU holds: its executables, and what passes between them and the host.
fn compiled(operator: &EdgeTpuOperator) -> Section {
    let title = format!("Edge TPU: {}", operator.name);
    let package = match (&operator.package, &operator.unreadable) {
        (Some(package), _) => package,
        (None, reason) => {
            let text = format!("Its package cannot be read: {}.", reason.as_deref().unwrap_or_default());
            let note = Note { kind: NoteKind::Warning, text };
            return Section { title, lead: String::new(), blocks: vec![Block::Note(note)] };
        }
    };
    let lead = format!(
        "The Edge TPU's compiler made this operator of all that runs on the device. It needs a runtime of version {} \
         or newer. {} bytes of parameters are cached on the device, {} travel to it in every inference.",
        package.min_runtime_version,
        Value::new(package.cached_parameter_bytes, Format::Integer).text(),
        Value::new(package.streamed_parameter_bytes, Format::Integer).text(),
    );
    let blocks = vec![Block::Table(executables(package)), Block::Table(layers(package))];
    Section { title, lead, blocks }
}

fn executables(package: &EdgeTpuPackage) -> Table {
    let bytes = |key: &str, title: &str| Column::number(key, title, Format::Integer).unit("bytes");
    let row = |part: &EdgeTpuExecutable| {
        Row::from([
            part.kind.as_str().into(),
            part.parameter_bytes.into(),
            part.instruction_bytes.into(),
            part.scratch_bytes.into(),
            part.narrow_memory_bytes_per_tile.into(),
            part.batch_size.into(),
            part.chip.as_str().into(),
        ])
    };
    Table {
        name: "edgetpu-executables".to_owned(),
        caption: "Executables".to_owned(),
        columns: vec![
            Column::text("kind", "Executable"),
            bytes("parameter_bytes", "Parameters"),
            bytes("instruction_bytes", "Instructions"),
            bytes("scratch_bytes", "Scratch memory"),
            bytes("narrow_memory_bytes_per_tile", "Narrow memory per tile"),
            Column::number("batch_size", "Batch", Format::Integer),
            Column::text("chip", "Chip"),
        ],
        rows: package.executables.iter().map(row).collect(),
    }
}

fn layers(package: &EdgeTpuPackage) -> Table {
    let row = |(part, role, layer): (&EdgeTpuExecutable, &str, &EdgeTpuLayer)| {
        Row::from([
            part.kind.as_str().into(),
            role.into(),
            layer.name.as_str().into(),
            layer.shape().into(),
            layer.dtype.as_str().into(),
            f64::from(layer.scale).into(),
            f64::from(layer.zero_point).into(),
            layer.bytes.into(),
            layer.executions.into(),
        ])
    };
    Table {
        name: "edgetpu-layers".to_owned(),
        caption: "What the device receives and sends back".to_owned(),
        columns: vec![
            Column::text("executable", "Executable"),
            Column::text("role", "Role"),
            Column::text("tensor", "Tensor"),
            Column::text("shape", "Shape"),
            Column::text("type", "Type"),
            Column::number("scale", "Scale", Format::Significant(6)),
            Column::number("zero_point", "Zero point", Format::Integer),
            Column::number("bytes", "Size", Format::Integer).unit("bytes"),
            Column::number("executions", "Per inference", Format::Integer),
        ],
        rows: package.layers().map(row).collect(),
    }
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
