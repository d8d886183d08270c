//! Results for a reader of the terminal.

use std::fmt::Write;
use taper_toolkit::run::Summary;
use taper_toolkit::{Accuracy, Inspection, TensorInfo};

/// What a run came to.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<24}{value}");
    };
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let factor = summary.parameters_before as f64 / summary.parameters_after.max(1) as f64;
    line(
        "parameters",
        format!("{} → {} ({factor:.0} times fewer)", summary.parameters_before, summary.parameters_after),
    );
    line("multiply–accumulates", format!("{} → {}", summary.macs_before, summary.macs_after));
    line(
        "test accuracy, float",
        format!("{} → {}", percent(summary.accuracy_before), percent(summary.accuracy_after)),
    );
    if let Some(accuracy) = summary.accuracy_int8 {
        line("test accuracy, INT8", percent(accuracy));
    }
    line(
        "time per image",
        format!(
            "{} → {} ({:.1} times faster; float, batch 1, one thread)",
            seconds(summary.seconds_per_image_before),
            seconds(summary.seconds_per_image_after),
            summary.speedup
        ),
    );
    if let Some(time) = summary.seconds_per_image_int8 {
        line("time per image, INT8", seconds(time));
    }
    line("model", summary.model.display().to_string());
    line("report", summary.report.display().to_string());
    text
}

/// How a network does on a data set.
pub(crate) fn accuracy(accuracy: &Accuracy) -> String {
    format!(
        "accuracy        {:.2} %\nimages          {}\ntime per image  {} (median; batch 1, one thread)\n",
        100.0 * accuracy.accuracy,
        accuracy.images,
        seconds(accuracy.seconds_per_image)
    )
}

/// What a network is, as a table.
pub(crate) fn inspection(inspection: &Inspection) -> String {
    let heads = ["layer", "operator", "output", "type", "parameters", "MACs", "prunable"];
    let mut rows = vec![heads.map(str::to_owned)];
    for operator in &inspection.operators {
        let prunable = match (operator.prunable_channels, &operator.kept) {
            (_, Some(reason)) => format!("no: {reason}"),
            (Some(channels), None) => format!("{channels} channels"),
            (None, None) => String::new(),
        };
        let output = operator.outputs.first();
        rows.push([
            operator.name.clone(),
            operator.op.clone(),
            output.map_or_else(String::new, |output| output.shape.clone()),
            output.map_or_else(String::new, |output| output.dtype.clone()),
            operator.parameters.to_string(),
            operator.macs.to_string(),
            prunable,
        ]);
    }
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("network  {}\n", inspection.name);
    for (role, tensors) in [("input", &inspection.inputs), ("output", &inspection.outputs)] {
        for TensorInfo { name, shape, dtype, .. } in tensors {
            let _ = writeln!(text, "{role:<9}{name} {dtype} {shape}");
        }
    }
    text.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            // Numbers stand at the right of their column.
            match column {
                4 | 5 => line += &format!("{padding}{cell}  "),
                _ => line += &format!("{cell}{padding}  "),
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\n{} parameters, {} MACs for one image, {} bytes of activations, {} operators on the longest path",
        inspection.parameters, inspection.macs, inspection.activation_bytes, inspection.levels
    );
    text
}

/// A time with the unit that suits it.
fn seconds(value: f64) -> String {
    match value {
        value if value >= 1.0 => format!("{value:.2} s"),
        value if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
        value => format!("{:.1} µs", value * 1e6),
    }
}
