//! Results for a reader of the terminal.

use crate::text::{grouped, percent, seconds};
use std::fmt::Write;
use taper_toolkit::run::Summary;
use taper_toolkit::{
    Accuracy, Comparison, Difference, EdgeTpuExecutable, EdgeTpuLayer, EdgeTpuOperator, Inspection,
    TensorInfo, TrainBench, WrittenArray,
};

/// What a run came to.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<24}{value}");
    };
    let factor = summary.parameters_before as f64 / summary.parameters_after.max(1) as f64;
    line(
        "parameters",
        format!(
            "{} → {} ({factor:.0} times fewer)",
            grouped(summary.parameters_before),
            grouped(summary.parameters_after)
        ),
    );
    line(
        "multiply–accumulates",
        format!("{} → {}", grouped(summary.macs_before), grouped(summary.macs_after)),
    );
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
        "accuracy        {}\nimages          {}\ntime per image  {} (median; batch 1, one thread)\n",
        percent(accuracy.accuracy),
        grouped(accuracy.images as u64),
        seconds(accuracy.seconds_per_image)
    )
}

/// What a network is, as a table.
pub(crate) fn inspection(inspection: &Inspection) -> String {
    let heads = ["layer", "operator", "output", "type", "parameters", "MACs", "prunable"];
    let mut rows = vec![heads.map(str::to_owned)];
    for operator in &inspection.operators {
        let output = operator.outputs.first();
        rows.push([
            operator.name.clone(),
            operator.op.clone(),
            output.map_or_else(String::new, |output| output.shape.clone()),
            output.map_or_else(String::new, |output| output.dtype.clone()),
            grouped(operator.parameters),
            grouped(operator.macs),
            operator.prunable(),
        ]);
    }
    let mut text = format!("network  {}\n", inspection.name);
    for (role, tensors) in [("input", &inspection.inputs), ("output", &inspection.outputs)] {
        for TensorInfo { name, shape, dtype, .. } in tensors {
            let _ = writeln!(text, "{role:<9}{name} {dtype} {shape}");
        }
    }
    text.push('\n');
    text += &columns(&rows, &[4, 5]);
    let _ = writeln!(
        text,
        "\n{} parameters, {} MACs for one image, {} bytes of activations, {} operators on the longest path",
        grouped(inspection.parameters),
        grouped(inspection.macs),
        grouped(inspection.activation_bytes),
        inspection.levels
    );
    inspection.edgetpu.iter().for_each(|operator| text += &compiled(operator));
    text
}

/// What an operator of the Edge TPU holds.
fn compiled(operator: &EdgeTpuOperator) -> String {
    let head = format!("\nEdge TPU operator `{}`", operator.name);
    let Some(package) = &operator.package else {
        let reason = operator.unreadable.as_deref().unwrap_or_default();
        return format!("{head}: its package cannot be read: {reason}\n");
    };
    let compiler = match package.compiler_version.as_str() {
        "" => String::new(),
        version => format!(", compiler {version}"),
    };
    let heads =
        ["executable", "parameter bytes", "instruction bytes", "scratch bytes", "narrow memory", "chip"];
    let row = |part: &EdgeTpuExecutable| {
        [
            part.kind.clone(),
            grouped(part.parameter_bytes as u64),
            grouped(part.instruction_bytes as u64),
            grouped(part.scratch_bytes.into()),
            grouped(part.narrow_memory_bytes_per_tile.into()),
            part.chip.clone(),
        ]
    };
    let rows = [heads.map(str::to_owned)].into_iter().chain(package.executables.iter().map(row));
    let executables = columns(&rows.collect::<Vec<_>>(), &[1, 2, 3, 4]);
    let heads = ["executable", "role", "tensor", "shape", "type", "scale", "zero point", "bytes", "times"];
    let row = |(part, role, layer): (&EdgeTpuExecutable, &str, &EdgeTpuLayer)| {
        [
            part.kind.clone(),
            role.to_owned(),
            layer.name.clone(),
            layer.shape(),
            layer.dtype.clone(),
            layer.scale.to_string(),
            layer.zero_point.to_string(),
            grouped(layer.bytes.into()),
            grouped(layer.executions.into()),
        ]
    };
    let rows = [heads.map(str::to_owned)].into_iter().chain(package.layers().map(row));
    let layers = columns(&rows.collect::<Vec<_>>(), &[5, 6, 7, 8]);
    format!(
        "{head}: runtime {} or newer{compiler}\n\n{executables}\n{layers}\n{} bytes of parameters are cached on the \
         device, {} travel to it in every inference\n",
        package.min_runtime_version,
        grouped(package.cached_parameter_bytes as u64),
        grouped(package.streamed_parameter_bytes as u64),
    )
}

/// Outputs that were written.
pub(crate) fn arrays(outputs: &[WrittenArray]) -> String {
    let row = |array: &WrittenArray| {
        [
            array.name.clone(),
            array.dtype.clone(),
            format!("{:?}", array.shape),
            array.file.display().to_string(),
        ]
    };
    let heads = ["output", "type", "shape", "file"].map(str::to_owned);
    columns(&[heads].into_iter().chain(outputs.iter().map(row)).collect::<Vec<_>>(), &[])
}

/// How far apart two networks are.
pub(crate) fn comparison(comparison: &Comparison) -> String {
    let row = |difference: &Difference| {
        let Difference { name, other, largest, sqnr_db, cosine } = difference;
        [
            if name == other { name.clone() } else { format!("{name} ~ {other}") },
            format!("{largest:.3e}"),
            sqnr_db.map_or_else(|| "equal".to_owned(), |sqnr| format!("{sqnr:.1}")),
            format!("{cosine:.6}"),
        ]
    };
    let table = |head: &str, differences: &[Difference]| {
        let heads = [head, "largest difference", "SQNR dB", "cosine"].map(str::to_owned);
        columns(&[heads].into_iter().chain(differences.iter().map(row)).collect::<Vec<_>>(), &[1, 2, 3])
    };
    let Comparison { runs, unmatched, parting_sqnr_db, parts_at, .. } = comparison;
    let verdict = match parts_at {
        Some(layer) => format!("they part at `{layer}`: its SQNR is the first below {parting_sqnr_db} dB"),
        None => format!("no SQNR is below {parting_sqnr_db} dB"),
    };
    let rest = match unmatched {
        0 => String::new(),
        count => format!("{count} activations of the first network have no counterpart in the second\n"),
    };
    format!(
        "{}\n{}\n{rest}on {} inputs, {verdict}\n",
        table("layer", &comparison.layers),
        table("output", &comparison.outputs),
        grouped(*runs as u64)
    )
}

/// How fast training steps are, in all and per layer.
pub(crate) fn train_bench(bench: &TrainBench) -> String {
    let speed = &bench.speed;
    let heads = ["layer", "weights", "forward", "GFLOP/s", "backward", "GFLOP/s"];
    let mut rows = vec![heads.map(str::to_owned)];
    for layer in &speed.layers {
        rows.push([
            layer.layer.clone(),
            layer.weights.clone(),
            seconds(layer.forward_s),
            format!("{:.0}", layer.forward_gflop_per_s),
            seconds(layer.backward_s),
            format!("{:.0}", layer.backward_gflop_per_s),
        ]);
    }
    let memory = bench
        .peak_memory_bytes
        .map_or_else(String::new, |bytes| format!(", peak memory {} MB", grouped(bytes / 1_000_000)));
    format!(
        "{}, batch {}, {} threads, median of {} steps\n\n{}\n{:.1} images/s, {:.0} GFLOP/s, {} of the peak of {:.0} \
         GFLOP/s{memory}\n",
        bench.network,
        bench.batch,
        bench.threads,
        speed.steps,
        columns(&rows, &[2, 3, 4, 5]),
        speed.images_per_s,
        speed.gflop_per_s,
        percent(speed.share_of_peak),
        speed.peak_gflop_per_s,
    )
}

/// Rows with their columns aligned: those in `numbers` at the right, the others at the left.
fn columns<const N: usize>(rows: &[[String; N]], numbers: &[usize]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            if numbers.contains(&column) {
                line += &format!("{padding}{cell}  ");
            } else {
                line += &format!("{cell}{padding}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
