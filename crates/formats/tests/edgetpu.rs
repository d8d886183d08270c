//! Packages of compiled Edge TPU models: real ones against a table of what they hold, damaged ones against a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use taper_formats::ErrorKind;
use taper_formats::edgetpu::{CUSTOM_OPERATOR, DataType, ExecutableType, Package};
use taper_graph::{Op, Opaque};

const SKIPPED: &str = "skipped: no compiled models are here";

/// The folder of compiled models, if it is here.
fn pairs() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/coral/pairs");
    folder.is_dir().then_some(folder)
}

/// The only Edge TPU operator of a compiled file.
fn operator(path: &Path) -> Opaque {
    let graph = taper_formats::load(path).expect("reads");
    let mut found = graph.nodes.into_iter().filter_map(|node| match node.op {
        Op::Opaque(opaque) if opaque.code == CUSTOM_OPERATOR => Some(opaque),
        _ => None,
    });
    let operator = found.next().expect("an operator");
    assert_eq!(found.next(), None);
    operator
}

/// The rows of a table with a header; commas within quotes do not separate.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let split = |line: &str| -> Vec<String> {
        let mut quoted = false;
        let fields = line.split(|letter| {
            quoted ^= letter == '"';
            letter == ',' && !quoted
        });
        fields.map(|field| field.trim_matches('"').to_owned()).collect()
    };
    let mut lines = text.lines();
    let header = split(lines.next().expect("a header"));
    lines.map(|line| header.iter().cloned().zip(split(line)).collect()).collect()
}

#[test]
fn packages_hold_what_the_ground_truth_says() {
    let Some(folder) = pairs() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let rows = rows(&fs::read_to_string(folder.join("ground_truth.csv")).expect("reads"));
    assert_eq!(rows.len(), 32);
    for row in rows {
        let name = &row["name"];
        let package = Package::of(&operator(&folder.join(format!("{name}_edgetpu.tflite"))))
            .expect("parses")
            .expect("the Edge TPU's");
        let number = |column: &str| row[column].parse::<u64>().expect("a number");
        let mut kinds: Vec<&str> = package
            .executables
            .iter()
            .map(|part| match part.kind {
                ExecutableType::StandAlone => "STAND_ALONE",
                ExecutableType::ParameterCaching => "PARAMETER_CACHING",
                ExecutableType::ExecutionOnly => "EXECUTION_ONLY",
            })
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds.join("+"), row["exec_types"], "{name}");
        let layer_bytes = |inputs: bool| -> u64 {
            let layers = package.running().flat_map(|part| if inputs { &part.inputs } else { &part.outputs });
            layers.map(|layer| u64::from(layer.bytes) * u64::from(layer.executions)).sum()
        };
        let narrow = package.executables.iter().map(|part| part.narrow_memory_bytes_per_tile).max();
        let found = [
            ("min_runtime", package.min_runtime_version.into()),
            ("cached_param_bytes", package.cached_parameter_bytes() as u64),
            ("streamed_param_bytes", package.streamed_parameter_bytes() as u64),
            ("instr_bytes", package.instruction_bytes() as u64),
            ("narrow_bytes_per_tile", narrow.expect("an executable").into()),
            ("scratch_bytes", package.executables.iter().map(|part| u64::from(part.scratch_bytes)).sum()),
            ("tpu_input_bytes", layer_bytes(true)),
            ("tpu_output_bytes", layer_bytes(false)),
        ];
        for (column, value) in found {
            assert_eq!(value, number(column), "{column} of {name}");
        }
    }
}

#[test]
fn layers_bear_the_names_and_shapes_of_the_tensors() {
    let Some(folder) = pairs() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let path = folder.join("edgetpu__mobilenet_v2_1.0_224_quant_edgetpu.tflite");
    let package = Package::of(&operator(&path)).expect("parses").expect("the Edge TPU's");
    let running: Vec<_> = package.running().collect();
    let [part] = running[..] else { panic!("one executable runs") };
    let (input, output) = (&part.inputs[0], &part.outputs[0]);
    assert_eq!((part.inputs.len(), part.outputs.len(), part.batch_size), (1, 1, 1));
    assert_eq!((input.shape, input.bytes, input.data_type), ([224, 224, 3], 150_528, DataType::FixedPoint8));
    assert_eq!((output.shape, output.bytes, output.data_type), ([1, 1, 1001], 1008, DataType::FixedPoint8));
    assert_eq!((input.name.as_str(), output.name.as_str()), ("input", "MobilenetV2/Predictions/Softmax"));
}

#[test]
fn other_operators_hold_no_package() {
    let other = Opaque { code: "PosenetDecoderOp".to_owned(), attributes: Vec::new() };
    assert_eq!(Package::of(&other).expect("is no error"), None);
    let foreign = Opaque { code: CUSTOM_OPERATOR.to_owned(), attributes: b"not from TFLite".to_vec() };
    assert_eq!(Package::of(&foreign).expect_err("refuses").kind(), ErrorKind::Unsupported);
    for bytes in [&b""[..], b"\0", b"\0\x24\x01", b"\xff\x24\xff"] {
        assert_eq!(Package::parse(bytes).expect_err("refuses").kind(), ErrorKind::Invalid);
    }
}

#[test]
fn damaged_packages_never_panic() {
    let Some(folder) = pairs() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let path = folder.join("EdgeTPU_Analysis__model_padding_2x2x3_edgetpu.tflite");
    let attributes = operator(&path).attributes;
    let parse = |attributes: Vec<u8>| Package::of(&Opaque { code: CUSTOM_OPERATOR.to_owned(), attributes });
    for part in 0..64 {
        let cut = attributes[..attributes.len() * part / 64].to_vec();
        parse(cut).expect_err("a part is no package");
    }
    // The tables lie at the ends; parameters and instructions between them hold no offsets.
    let positions =
        (0..attributes.len()).filter(|at| !(4096..attributes.len() - 4096).contains(at) || at % 61 == 0);
    for position in positions {
        for bit in [0, 6, 7] {
            let mut damaged = attributes.clone();
            damaged[position] ^= 1 << bit;
            let _ = parse(damaged);
        }
    }
}
