//! TFLite files of other tools: all of them are read, and what is written again computes the same, bit for bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use taper_formats::edgetpu::Package;
use taper_formats::tflite;
use taper_graph::{DType, Graph, Node, Op, Tensor, TensorData, TensorId};
use taper_run::{Cpu, Session, View};
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

/// LiteRT's reference kernel of SOFTMAX aborts on the nearly equal logits that random images give of this file's 1000 classes:
/// its default kernels judge it.
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

/// The files whose networks hold an operator in their midst that Taper does not understand, and that operator.
const NOT_UNDERSTOOD: [(&str, &str); 1] =
    [("test_data__keras_lstm_mnist_ptq.tflite", "UNIDIRECTIONAL_SEQUENCE_LSTM")];

/// The network up to the custom operators at its end, which decode what it gives: what they read becomes an output.
/// `None` where nothing is left, or the network goes on behind them: that was compiled for the Edge TPU.
fn without_decoders(graph: &Graph) -> Option<Graph> {
    let mut graph = graph.clone();
    let decodes = |op: &Op| matches!(op, Op::Opaque(opaque) if opaque.code.contains(char::is_lowercase));
    let (decoders, nodes): (Vec<Node>, Vec<Node>) =
        graph.nodes.into_iter().partition(|node| decodes(&node.op));
    graph.nodes = nodes;
    let written: Vec<TensorId> = decoders.iter().flat_map(|node| &node.outputs).copied().collect();
    if graph.nodes.is_empty()
        || graph.nodes.iter().flat_map(|node| &node.inputs).any(|id| written.contains(id))
    {
        return None;
    }
    graph.outputs.retain(|id| !written.contains(id));
    for &id in decoders.iter().flat_map(|node| &node.inputs) {
        if graph.tensors[id.0].data.is_none() && !graph.outputs.contains(&id) && !graph.inputs.contains(&id) {
            graph.outputs.push(id);
        }
    }
    graph.remove_unused_tensors();
    Some(graph)
}

/// Taper's outputs for one sample; or the words with which it refuses the network.
fn run_here(graph: &Graph, inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
    let mut session = Cpu::default().session(graph, 1).map_err(|error| error.to_string())?;
    for (position, bytes) in inputs.iter().enumerate() {
        let values =
            TensorData::from_le_bytes(session.inputs()[position].dtype, bytes).expect("whole elements");
        let view = match &values {
            TensorData::F32(values) => View::F32(values),
            TensorData::I8(values) => View::I8(values),
            TensorData::U8(values) => View::U8(values),
            TensorData::I16(_) | TensorData::I32(_) | TensorData::I64(_) => panic!("no file has such inputs"),
        };
        session.set_input(position, view).map_err(|error| error.to_string())?;
    }
    session.run().map_err(|error| error.to_string())?;
    Ok((0..graph.outputs.len())
        .map(|index| session.output(index).expect("there").to_data().to_le_bytes())
        .collect())
}

/// Integers must be the same; floats may differ by rounding.
fn agree(dtype: DType, expected: &[u8], found: &[u8]) -> bool {
    let floats =
        |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect() };
    match dtype {
        DType::F32 => {
            let (expected, found) = (floats(expected), floats(found));
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
        }
        DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => expected == found,
    }
}

#[test]
fn taper_computes_what_litert_does() {
    let Some(litert) = Litert::set_up() else { return };
    let cases = cases();
    if cases.is_empty() {
        eprintln!("{SKIPPED}");
    }
    let mut failures = Vec::new();
    let mut runs: Vec<(&str, Graph, Vec<u8>)> = Vec::new();
    for case in &cases {
        let Some(graph) = without_decoders(&case.graph) else { continue };
        let opaque = graph.nodes.iter().find_map(|node| match &node.op {
            Op::Opaque(opaque) => Some(opaque.code.as_str()),
            _ => None,
        });
        let known = NOT_UNDERSTOOD.iter().find(|(name, _)| *name == case.name).map(|(_, operator)| *operator);
        if opaque != known {
            failures
                .push(format!("{}: expected {known:?} not to be understood, found {opaque:?}", case.name));
        }
        if opaque.is_none() {
            let file = tflite::write(&graph).expect("writes");
            runs.push((&case.name, graph, file));
        }
    }
    for resolver in [Resolver::Reference, Resolver::Default] {
        let runs = runs
            .iter()
            .filter(|(name, _, _)| (*name == ABORTS_IN_REFERENCE) == (resolver == Resolver::Default));
        let runs: Vec<_> = runs.collect();
        let jobs: Vec<_> = runs.iter().map(|(_, graph, file)| job(graph, file, 1)).collect();
        let outcomes = litert.run_all(&jobs, resolver).expect("LiteRT runs them");
        for (((name, graph, _), job), outcome) in runs.iter().zip(&jobs).zip(outcomes) {
            match run_here(graph, &job.inputs) {
                Err(refusal) => failures.push(format!("{name}: {refusal}")),
                Ok(outputs) => {
                    for ((id, expected), found) in graph.outputs.iter().zip(&outcome.outputs).zip(&outputs) {
                        let tensor = graph.tensor(*id);
                        if !agree(tensor.dtype, expected, found) {
                            failures.push(format!("{name}: `{}` differs", tensor.name));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
