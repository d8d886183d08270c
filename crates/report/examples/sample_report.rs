//! Writes a page of invented figures, to look at the page: `cargo run -p taper-report --example sample_report -- PATH`.

use std::process::ExitCode;

use taper_report::{
    Axis, Block, Cell, Code, Column, Document, Entry, Figure, Format, Guide, KeyValues, LayerWidth, LinePlot,
    Marks, Note, NoteKind, Panel, Point, Row, Section, Series, Status, Table, Value, WidthBars, html,
};

const PARAMETERS: u64 = 14_718_666;
const MACS: u64 = 281_447_424;
const SECONDS_PER_IMAGE: f64 = 2.671e-3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        return fail("usage: sample_report PATH");
    };
    match std::fs::write(path, html(&document())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{path}: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "an example is a program, and its errors go to its user")]
fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

fn document() -> Document {
    let figure =
        |label: &str, value: Value, note: &str| Figure { label: label.into(), value, note: note.into() };
    Document {
        title: "VGG-16 on MNIST, adapted".into(),
        subtitle: "Sample data, for looking at the page: no network was trained to make it".into(),
        summary: vec![
            figure(
                "Parameters",
                Value::new(4826u32, Format::Integer),
                "of 14\u{202f}718\u{202f}666, 1/3\u{202f}050",
            ),
            figure(
                "Speed-up, CPU, batch 1",
                Value::new(32.2, Format::Factor(1)),
                "2.67 ms → 83.0 µs per image",
            ),
            figure(
                "Accuracy, INT8",
                Value::new(0.9812, Format::Percent(2)),
                "float 98.20\u{202f}%, at the start 98.70\u{202f}%",
            ),
            figure("INT8 file", Value::new(18_944.0, Format::Si(3)).unit("B"), "vgg16-int8.tflite"),
            figure("Run time", Value::new(734.0, Format::Duration), "2 cores, 135 epochs"),
        ],
        sections: vec![iterations(), widths(), training(), integers(), provenance()],
        footer: "Taper 0.1.0 · sample data".into(),
    }
}

/// Iteration, batch, epochs, cut, parameters, MACs, seconds per image, accuracy before and after, loss, standing.
type Iteration = (u32, u32, u32, f64, u64, u64, f64, f64, f64, f64, Status);

const ITERATIONS: [Iteration; 8] = [
    (1, 256, 1, 0.20, 6_912_404, 141_020_160, 1.402e-3, 0.9710, 0.9861, 0.0461, Status::Plain),
    (2, 512, 2, 0.20, 2_310_882, 55_803_904, 6.10e-4, 0.9533, 0.9868, 0.0444, Status::Plain),
    (3, 1024, 4, 0.25, 702_118, 19_406_848, 2.87e-4, 0.8802, 0.9859, 0.0470, Status::Plain),
    (4, 2048, 8, 0.25, 151_903, 6_802_432, 1.76e-4, 0.6120, 0.9846, 0.0513, Status::Plain),
    (5, 4096, 16, 0.30, 31_277, 2_406_400, 1.21e-4, 0.3415, 0.9835, 0.0562, Status::Plain),
    (6, 4096, 32, 0.20, 3_104, 702_208, 7.5e-5, 0.1135, 0.9542, 0.1490, Status::RolledBack),
    (6, 4096, 32, 0.40, 9_640, 1_312_768, 9.6e-5, 0.2080, 0.9829, 0.0588, Status::Plain),
    (7, 4096, 40, 0.40, 4_826, 904_960, 8.30e-5, 0.1742, 0.9820, 0.0631, Status::Chosen),
];

fn iterations() -> Section {
    Section {
        title: "Iterations".into(),
        lead: "Each iteration cuts the channels that are most often zero and retrains what is left. One that misses \
               the accuracy budget is rolled back and tried again more gently."
            .into(),
        blocks: vec![
            Block::Note(Note {
                kind: NoteKind::Warning,
                text: "All figures on this page are invented.".into(),
            }),
            Block::Table(iteration_table()),
            Block::LinePlot(accuracy_and_size()),
        ],
    }
}

fn iteration_table() -> Table {
    let start: Row = [
        0u32.into(),
        256u32.into(),
        2u32.into(),
        Cell::Missing,
        PARAMETERS.into(),
        0.0.into(),
        MACS.into(),
        SECONDS_PER_IMAGE.into(),
        1.0.into(),
        Cell::Missing,
        0.9870.into(),
        0.0432.into(),
    ]
    .into();
    let row = |&(i, batch, epochs, cut, n, macs, seconds, before, after, loss, status): &Iteration| {
        let cells: [Cell; 12] = [
            i.into(),
            batch.into(),
            epochs.into(),
            cut.into(),
            n.into(),
            (1.0 - n as f64 / PARAMETERS as f64).into(),
            macs.into(),
            seconds.into(),
            (SECONDS_PER_IMAGE / seconds).into(),
            before.into(),
            after.into(),
            loss.into(),
        ];
        Row::from(cells).status(status)
    };
    Table {
        name: "iterations".into(),
        caption: "Adaptive iterative pruning, iteration by iteration".into(),
        columns: vec![
            Column::number("i", "i", Format::Integer),
            Column::number("batch", "Batch", Format::Integer).group("Set by the laws"),
            Column::number("epochs", "Epochs", Format::Integer).group("Set by the laws"),
            Column::number("cut", "Cut", Format::Fixed(2)).unit("σ").group("Set by the laws"),
            Column::number("parameters", "N", Format::Integer).group("Size"),
            Column::number("removed", "Z", Format::Percent(2)).group("Size"),
            Column::number("macs", "MACs", Format::Si(3)).group("Size"),
            Column::number("seconds_per_image", "t", Format::Seconds(3)).unit("per image").group("Speed"),
            Column::number("speedup", "S", Format::Factor(1)).group("Speed"),
            Column::number("accuracy_before", "Before", Format::Percent(2))
                .unit("retraining")
                .group("Accuracy"),
            Column::number("accuracy_after", "After", Format::Percent(2))
                .unit("retraining")
                .group("Accuracy"),
            Column::number("loss", "Loss", Format::Fixed(4)).group("Accuracy"),
        ],
        rows: std::iter::once(start).chain(ITERATIONS.iter().map(row)).collect(),
    }
}

fn accuracy_and_size() -> LinePlot {
    let kept = || ITERATIONS.iter().filter(|iteration| iteration.10 != Status::RolledBack);
    let series = |name: &str, start: Option<f64>, value: fn(&Iteration) -> f64| Series {
        name: name.into(),
        marks: Marks::LineAndMarkers,
        points: start
            .map(|start| Point { x: 0.0, y: start })
            .into_iter()
            .chain(kept().map(|iteration| Point { x: iteration.0.into(), y: value(iteration) }))
            .collect(),
    };
    LinePlot {
        name: "accuracy_and_size".into(),
        title: "Accuracy holds while the network shrinks".into(),
        caption: "Validation accuracy after retraining, and the size and the time that it costs.".into(),
        x: Axis::linear("Iteration", Format::Integer),
        guides: vec![Guide::new(7.0, "chosen")],
        panels: vec![
            Panel {
                y: Axis::linear("Accuracy after retraining", Format::Percent(1)),
                guides: vec![Guide::new(0.977, "budget")],
                series: vec![series("accuracy", Some(0.9870), |it| it.8)],
            },
            Panel {
                y: Axis::log("Share of the first network", Format::Percent(2)),
                guides: vec![],
                series: vec![
                    series("parameters", Some(1.0), |it| it.4 as f64 / PARAMETERS as f64),
                    series("multiply–accumulates", Some(1.0), |it| it.5 as f64 / MACS as f64),
                    series("time per image", Some(1.0), |it| it.6 / SECONDS_PER_IMAGE),
                ],
            },
        ],
    }
}

fn widths() -> Section {
    let layers = [
        ("conv1_1", 64, 6),
        ("conv1_2", 64, 8),
        ("conv2_1", 128, 12),
        ("conv2_2", 128, 16),
        ("conv3_1", 256, 15),
        ("conv3_2", 256, 12),
        ("conv3_3", 256, 10),
        ("conv4_1", 512, 9),
        ("conv4_2", 512, 7),
        ("conv4_3", 512, 6),
        ("conv5_1", 512, 5),
        ("conv5_2", 512, 5),
        ("conv5_3", 512, 5),
        ("classifier", 10, 10),
    ];
    let layer = |(name, before, after): (&str, u64, u64)| LayerWidth { name: name.into(), before, after };
    Section {
        title: "Layer widths".into(),
        lead: "The channels that each layer keeps; the fewest allowed are five.".into(),
        blocks: vec![Block::WidthBars(WidthBars {
            name: "widths".into(),
            title: "From 64…512 channels to 5–16".into(),
            caption: String::new(),
            unit: "channels".into(),
            layers: layers.into_iter().map(layer).collect(),
        })],
    }
}

/// A curve that falls towards `floor` and jumps up at the start of each iteration.
fn curve(starts: &[(u32, f64)], end: u32, floor: f64, rate: f64, ripple: f64) -> Vec<Point> {
    (1..=end)
        .map(|epoch| {
            let (start, jump) =
                starts.iter().rev().find(|(start, _)| *start <= epoch).copied().unwrap_or((1, 1.0));
            let since = f64::from(epoch - start);
            let wave = ripple * (f64::from(epoch) * 2.4).sin();
            Point { x: epoch.into(), y: (floor + jump * (-rate * since).exp()) * (1.0 + wave) }
        })
        .collect()
}

fn training() -> Section {
    let starts = [(1, 0.6), (3, 0.08), (4, 0.11), (6, 0.19), (10, 0.42), (18, 0.9), (34, 1.4), (66, 1.5)];
    let loss = |name: &str, floor, ripple| Series {
        name: name.into(),
        marks: Marks::Line,
        points: curve(&starts, 105, floor, 0.35, ripple),
    };
    let accuracy = |name: &str, floor, ripple| Series {
        name: name.into(),
        marks: Marks::Line,
        points: loss("", floor, ripple)
            .points
            .iter()
            .map(|it| Point { x: it.x, y: (-it.y / 3.0).exp() })
            .collect(),
    };
    let guide =
        |(index, (epoch, _)): (usize, &(u32, f64))| Guide::new(f64::from(*epoch), format!("i = {index}"));
    Section {
        title: "Training".into(),
        lead: "Every epoch of every iteration; dotted lines mark where an iteration begins.".into(),
        blocks: vec![Block::LinePlot(LinePlot {
            name: "training".into(),
            title: "Loss and accuracy by epoch".into(),
            caption: String::new(),
            x: Axis::linear("Epoch", Format::Integer),
            guides: starts.iter().enumerate().map(guide).collect(),
            panels: vec![
                Panel {
                    y: Axis::log("Loss", Format::Significant(2)),
                    guides: vec![],
                    series: vec![loss("training", 0.035, 0.05), loss("validation", 0.052, 0.12)],
                },
                Panel {
                    y: Axis::linear("Accuracy", Format::Percent(0)),
                    guides: vec![],
                    series: vec![accuracy("training", 0.035, 0.05), accuracy("validation", 0.052, 0.12)],
                },
            ],
        })],
    }
}

fn integers() -> Section {
    let row = |name: &str, bytes: u32, seconds: f64, accuracy: f64, agreement: Option<f64>| -> Row {
        [name.into(), bytes.into(), seconds.into(), accuracy.into(), agreement.into()].into()
    };
    Section {
        title: "INT8 against float".into(),
        lead: "The same network in both number formats, on the 1\u{202f}000 test images.".into(),
        blocks: vec![Block::Table(Table {
            name: "int8".into(),
            caption: "What quantization costs and wins".into(),
            columns: vec![
                Column::text("format", "Number format"),
                Column::number("bytes", "File", Format::Integer).unit("bytes"),
                Column::number("seconds_per_image", "Time", Format::Seconds(3)).unit("per image"),
                Column::number("accuracy", "Accuracy", Format::Percent(2)),
                Column::number("agreement", "Same class as float", Format::Percent(2)),
            ],
            rows: vec![
                row("float32, before", 58_903_112, SECONDS_PER_IMAGE, 0.9870, None),
                row("float32, pruned", 27_336, 8.30e-5, 0.9820, Some(1.0)),
                row("int8, pruned", 18_944, 7.15e-5, 0.9812, Some(0.9985)).status(Status::Chosen),
            ],
        })],
    }
}

fn provenance() -> Section {
    let entries = vec![
        Entry::new("Processor", "Sample CPU, 2 cores, AVX-512"),
        Entry::new("Threads", Value::new(2u32, Format::Integer)),
        Entry::new("Operating system", "Linux 6.1"),
        Entry::new("Taper", "0.1.0"),
        Entry::new("Seed", Value::new(20_220_301u32, Format::Plain)),
        Entry::new("Data", "MNIST, 10\u{202f}000 images, embedded"),
        Entry::new("Split", "8\u{202f}000 / 1\u{202f}000 / 1\u{202f}000"),
        Entry::new("Model, SHA-256", "5f1c…9a07"),
    ];
    let recipe = "[model]\nsource = \"zoo:vgg16\"\n\n[data]\nsource = \"mnist\"\n\n[prune]\ncriterion = \"apoz\"\n\
                  iterations = 10\n\n[prune.laws]\n\
                  batch  = { law = \"multiplicative\", start = 256, beta = 2, max = 4096 }\n\
                  epochs = { law = \"multiplicative\", start = 1, beta = 2, max = 40 }\n\
                  cut    = { law = \"context\", start = 0.2 }\n\n[goal]\nmax_accuracy_loss = 0.01\n\n\
                  [quantize]\ndtype = \"int8\"\nio = \"uint8\"\n";
    Section {
        title: "How to repeat it".into(),
        lead: "The same recipe and seed give the same bytes; times depend on the machine.".into(),
        blocks: vec![
            Block::KeyValues(KeyValues { title: "Machine and versions".into(), entries }),
            Block::Code(Code { title: "recipe.toml".into(), text: recipe.into() }),
        ],
    }
}
