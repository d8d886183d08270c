//! Files that Taper writes, in LiteRT: they load, keep their names, and survive read → write.

use taper_formats::tflite;
use taper_graph::{DType, Graph, TensorId};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};
use taper_testing::litert::{Job, Litert, Outcome, Resolver};
use taper_zoo::{Normalisation, Task, Vgg};

/// Random samples for every input of `graph`.
fn job<'a>(graph: &Graph, model: &'a [u8], samples: usize) -> Job<'a> {
    let mut random = Random::new(7);
    let mut input = |id: &TensorId| {
        let tensor = graph.tensor(*id);
        let count = samples * tensor.shape.elements(1).expect("small");
        match tensor.dtype {
            DType::F32 => random.normals(count, 1.0).iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => {
                random.bytes(count * tensor.dtype.bytes())
            }
        }
    };
    Job { model, inputs: graph.inputs.iter().map(&mut input).collect(), samples }
}

/// Writes each graph, reads and writes it again, and lets LiteRT run both files.
fn check(litert: &Litert, graphs: &[Graph]) -> Vec<Outcome> {
    let files: Vec<Vec<u8>> = graphs.iter().map(|graph| tflite::write(graph).expect("writes")).collect();
    let again: Vec<Vec<u8>> = files
        .iter()
        .map(|file| tflite::write(&tflite::read(file).expect("reads")).expect("writes"))
        .collect();
    let run = |files: &[Vec<u8>]| {
        let jobs: Vec<_> = graphs.iter().zip(files).map(|(graph, file)| job(graph, file, 2)).collect();
        litert.run_all(&jobs, Resolver::Reference).expect("LiteRT runs the files")
    };
    let (first, second) = (run(&files), run(&again));
    assert_eq!(first, second);
    for (graph, outcome) in graphs.iter().zip(&first) {
        for tensor in &graph.tensors {
            assert!(outcome.tensor_names.contains(&tensor.name), "{} is lost", tensor.name);
        }
        for (output, id) in outcome.outputs.iter().zip(&graph.outputs) {
            let tensor = graph.tensor(*id);
            let bytes = 2 * tensor.shape.elements(1).expect("small") * tensor.dtype.bytes();
            assert_eq!(output.len(), bytes, "{} has {}", tensor.name, tensor.shape);
        }
    }
    first
}

#[test]
fn a_float_vgg_loads_and_keeps_its_names() {
    let Some(litert) = Litert::set_up() else { return };
    let vgg = Vgg {
        name: "small-vgg".to_owned(),
        blocks: vec![vec![4, 4], vec![6]],
        normalisation: Normalisation::None,
    };
    let mut graph = vgg.build(Task { input: [28, 28, 1], classes: 10 }).expect("builds");
    graphs::randomize(&mut graph, 1);
    let outcomes = check(&litert, &[graph]);
    let probabilities: Vec<f32> =
        outcomes[0].outputs[0].as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
    for sample in probabilities.chunks(10) {
        let sum: f32 = sample.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "probabilities add up to {sum}");
    }
}

#[test]
fn random_networks_load_in_every_arithmetic() {
    let Some(litert) = Litert::set_up() else { return };
    let graphs: Vec<Graph> =
        (0..60).flat_map(|seed| Numbers::ALL.map(|numbers| graphs::random(seed, numbers))).collect();
    let outcomes = check(&litert, &graphs);
    let lively = outcomes
        .iter()
        .filter(|outcome| outcome.outputs[0].iter().any(|&byte| byte != outcome.outputs[0][0]));
    assert!(lively.count() * 2 > outcomes.len(), "most networks answer with more than one number");
}

#[test]
fn networks_with_branches_load() {
    let Some(litert) = Litert::set_up() else { return };
    let graphs: Vec<Graph> = (0..60).map(|seed| branches::random(seed, &Block::OF_TFLITE)).collect();
    check(&litert, &graphs);
}
