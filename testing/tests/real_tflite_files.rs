//! TFLite files of other tools: all of them are read, and what is written again computes the same, bit for bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use taper_formats::edgetpu::Package;
use taper_formats::tflite;
use taper_graph::{DType, Graph, Op, Tensor, TensorId};
use taper_testing::Random;
use taper_testing::litert::{Job, Litert, Outcome, Resolver};

/// A file of another tool, and what Taper makes of it.
struct Case {
    name: String,
    original: Vec<u8>,
    graph: Graph,
    written: Vec<u8>,
}

const SKIPPED: &str = "skipped: no TFLite files from elsewhere are here";

/// Every `.tflite` file of the shared data, in the order of their names; none where that is not here.
fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let mut files: Vec<PathBuf> = ["coral/pairs", "mlperf-tiny"]
        .iter()
        .filter_map(|folder| fs::read_dir(data.join(folder)).ok())
        .flatten()
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tflite"))
        .collect();
    files.sort();
    files.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let original = fs::read(path).expect("reads");
    let graph = tflite::read(&original).unwrap_or_else(|error| panic!("{name}: {error}"));
    let written = tflite::write(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
    Case { name, original, graph, written }
}

/// The custom operators of a graph: LiteRT knows none of them.
fn custom_operators(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Opaque(opaque) if opaque.code.contains(|letter: char| letter.is_lowercase()) => {
            Some(opaque.code.as_str())
        }
        _ => None,
    })
}

#[test]
fn every_file_is_read_and_written_to_the_same_bytes_again() {
    let cases = cases();
    if cases.is_empty() {
        eprintln!("{SKIPPED}");
    }
    for Case { name, graph, written, .. } in cases {
        let again = tflite::read(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(tflite::write(&again).expect("writes") == written, "{name} changes when written again");
        let (mut graph, mut again) = (graph, again);
        for graph in [&mut graph, &mut again] {
            // Some files claim an older runtime than their operators need.
            graph.metadata.remove("min_runtime_version");
        }
        assert!(graph == again, "{name} reads as another network");
    }
}

/// The file from the package's identifier on.
fn from_package(file: &[u8]) -> &[u8] {
    let start = file.windows(4).position(|window| window == b"DWN1").expect("a package");
    &file[start..]
}

#[test]
fn compiled_files_keep_their_package_to_the_byte() {
    let cases = cases();
    if cases.is_empty() {
        eprintln!("{SKIPPED}");
    }
    for Case { name, graph, original, written } in cases {
        let packages: Vec<Package> = graph
            .nodes
            .iter()
            .filter_map(|node| match &node.op {
                Op::Opaque(opaque) => Package::of(opaque).expect("parses"),
                _ => None,
            })
            .collect();
        assert_eq!(packages.len(), usize::from(name.ends_with("_edgetpu.tflite")), "{name}");
        for package in packages {
            let same = from_package(&original).iter().zip(from_package(&written)).take_while(|(a, b)| a == b);
            let parts = package.executables.iter().map(|part| part.parameter_bytes + part.instruction_bytes);
            let least: usize = parts.sum();
            assert!(same.count() >= least, "{name}");
        }
    }
}

/// Random samples for every input of `graph`.
fn job<'a>(graph: &Graph, model: &'a [u8], samples: usize) -> Job<'a> {
    let mut random = Random::new(7);
    let mut input = |tensor: &Tensor| {
        let count = samples * tensor.shape.elements(1).expect("small");
        match tensor.dtype {
            DType::F32 => random.normals(count, 1.0).iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => {
                random.bytes(count * tensor.dtype.bytes())
            }
        }
    };
    let inputs = graph.inputs.iter().map(|&id: &TensorId| input(graph.tensor(id))).collect();
    Job { model, inputs, samples }
}

/// LiteRT's reference kernel of MEAN aborts on the bytes of this file: its default kernels judge it.
const ABORTS_IN_REFERENCE: &str = "EdgeTPU_Analysis__model_mobilenet_v2_w_fc_224x224x3.tflite";

/// What LiteRT makes of the models that `model` picks. Small ones run twice, so that state passes from one run to the next.
fn run(litert: &Litert, cases: &[&Case], resolver: Resolver, model: fn(&Case) -> &[u8]) -> Vec<Outcome> {
    let samples = |case: &Case| if case.original.len() < 100_000 { 2 } else { 1 };
    let jobs: Vec<_> = cases.iter().map(|case| job(&case.graph, model(case), samples(case))).collect();
    litert.run_all(&jobs, resolver).expect("LiteRT runs the files")
}

#[test]
fn what_is_written_computes_the_same_in_litert() {
    let Some(litert) = Litert::set_up() else { return };
    let cases = cases();
    if cases.is_empty() {
        eprintln!("{SKIPPED}");
    }
    let builtin = cases.iter().filter(|case| custom_operators(&case.graph).next().is_none());
    let (aborts, runs): (Vec<&Case>, Vec<&Case>) = builtin.partition(|case| case.name == ABORTS_IN_REFERENCE);
    for (resolver, cases) in [(Resolver::Reference, runs), (Resolver::Default, aborts)] {
        let (expected, found) = thread::scope(|scope| {
            let found = scope.spawn(|| run(&litert, &cases, resolver, |case| &case.written));
            let expected = run(&litert, &cases, resolver, |case| &case.original);
            (expected, found.join().expect("LiteRT runs the written files"))
        });
        for ((case, expected), found) in cases.iter().zip(expected).zip(found) {
            let Case { name, graph, .. } = case;
            assert!(expected.outputs == found.outputs, "{name} computes something else");
            for id in graph.inputs.iter().chain(&graph.outputs) {
                let tensor = &graph.tensor(*id).name;
                assert!(found.tensor_names.contains(tensor), "{name} loses `{tensor}`");
            }
        }
    }
}
