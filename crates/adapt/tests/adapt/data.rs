//! What the tests share: small sets, small networks, and runs of them.

use taper_data::{Dataset, ImageShape, Preprocess};
use taper_graph::{Graph, TensorId};
use taper_run::{Cpu, Session};
use taper_testing::Random;
use taper_zoo::{Normalisation, Task, Vgg};

/// Bytes become values from −1 to 1.
pub(crate) const PREPROCESS: Preprocess = Preprocess { mean: 127.5, scale: 1.0 / 127.5 };

pub(crate) fn shape([height, width, channels]: [usize; 3]) -> ImageShape {
    ImageShape { height, width, channels }
}

/// Random images with labels in turn.
pub(crate) fn noise(seed: u64, sizes: [usize; 3], classes: usize, count: usize) -> Dataset {
    let images = Random::new(seed).bytes(count * sizes.iter().product::<usize>());
    let labels = (0..count).map(|sample| (sample % classes) as u32).collect();
    Dataset::new(shape(sizes), (0..classes).map(|class| class.to_string()).collect(), images, labels)
}

/// Random images of 8×8×1 in which the upper half is brighter in one class, the lower half in the other.
pub(crate) fn halves(seed: u64, count: usize) -> Dataset {
    let mut images = Random::new(seed).bytes(count * 64);
    for (sample, image) in images.chunks_mut(64).enumerate() {
        let bright = if sample % 2 == 0 { 0..32 } else { 32..64 };
        for (pixel, value) in image.iter_mut().enumerate() {
            *value = *value / 2 + if bright.contains(&pixel) { 127 } else { 0 };
        }
    }
    let labels = (0..count).map(|sample| (sample % 2) as u32).collect();
    Dataset::new(shape([8, 8, 1]), vec!["upper".to_owned(), "lower".to_owned()], images, labels)
}

/// An untrained VGG for [`halves`], with three convolutions, the last with `width` channels, the others with half as many.
pub(crate) fn vgg(width: usize, normalisation: Normalisation) -> Graph {
    let blocks = vec![vec![width / 2; 2], vec![width]];
    let vgg = Vgg { name: "vgg".to_owned(), blocks, normalisation };
    let mut graph = vgg.build(Task { input: [8, 8, 1], classes: 2 }).expect("the images are not empty");
    taper_adapt::train::initialize(&mut graph, 1);
    graph
}

/// The real values of the output for one image of real values.
pub(crate) fn output(graph: &Graph, image: &[f32]) -> Vec<f32> {
    let mut session = Cpu::default().session(graph, 1).expect("the network runs");
    session.set_real_input(0, image).expect("the image fits");
    session.run().expect("the CPU never fails");
    let mut values = vec![0.0; session.outputs()[0].len()];
    session.real_output(0, &mut values).expect("there is one output");
    values
}

/// The real values of an image.
pub(crate) fn image(dataset: &Dataset, sample: usize) -> Vec<f32> {
    let mut values = vec![0.0; dataset.shape().elements()];
    PREPROCESS.fill(&dataset.image(sample).expect("the image is in memory"), &mut values);
    values
}

/// Checks that two outputs agree to float precision.
pub(crate) fn assert_close(expected: &[f32], found: &[f32], tolerance: f32, what: &str) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let size = expected.iter().fold(1.0_f32, |size, value| size.max(value.abs()));
    for (expected, found) in expected.iter().zip(found) {
        let off = (expected - found).abs();
        assert!(off <= tolerance * size, "{what}: expected {expected}, found {found}");
    }
}

/// The tensor named `name`.
pub(crate) fn tensor(graph: &Graph, name: &str) -> TensorId {
    TensorId(graph.tensors.iter().position(|tensor| tensor.name == name).expect(name))
}

/// The floats of the constant named `name`, to be changed.
pub(crate) fn floats<'a>(graph: &'a mut Graph, name: &str) -> &'a mut Vec<f32> {
    let id = tensor(graph, name);
    match &mut graph.tensor_mut(id).data {
        Some(taper_graph::TensorData::F32(values)) => values,
        other => panic!("`{name}` holds {other:?}"),
    }
}
