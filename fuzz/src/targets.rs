//! What each fuzz target does with its bytes. A plain test (`testing/tests/hostile.rs`) does the same on damaged seeds.

use super::seeds;
use std::fs;
use taper_data::{DataConfig, Splits};
use taper_formats::edgetpu::Package;
use taper_formats::{Checkpoint, tflite as format};

/// A reader under test.
pub struct Target {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Reads the bytes; panics only where a promise is broken.
    pub run: fn(&[u8]),
    /// Sound files to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All readers of foreign bytes.
pub const ALL: [Target; 7] = [
    Target { name: "tflite", run: tflite, seeds: seeds::tflite },
    Target { name: "onnx", run: onnx, seeds: seeds::onnx },
    Target { name: "checkpoint", run: checkpoint, seeds: seeds::checkpoint },
    Target { name: "package", run: package, seeds: seeds::package },
    Target { name: "keras", run: keras, seeds: seeds::keras },
    Target { name: "weights", run: weights, seeds: seeds::weights },
    Target { name: "idx", run: idx, seeds: seeds::idx },
];

/// What reads is sound, and what can be written reads back to the same bytes.
pub fn tflite(bytes: &[u8]) {
    let Ok(graph) = format::read(bytes) else { return };
    graph.verify().expect("what is read is sound");
    if let Ok(written) = format::write(&graph) {
        let again = format::read(&written).expect("what is written reads");
        assert!(format::write(&again).expect("what was written is written again") == written);
    }
}

/// What reads is sound, and what can be written reads.
pub fn onnx(bytes: &[u8]) {
    let Ok(graph) = taper_formats::onnx::read(bytes.to_vec()) else { return };
    graph.verify().expect("what is read is sound");
    if let Ok(written) = taper_formats::onnx::write(&graph) {
        taper_formats::onnx::read(written).expect("what is written reads");
    }
}

/// What reads is sound, and is written to bytes that read back and are written the same again.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        checkpoint.graph.verify().expect("what is read is sound");
        let written = checkpoint.to_bytes().expect("what is read can be written");
        let again = Checkpoint::from_bytes(&written).expect("what is written reads");
        assert!(again.to_bytes().expect("what was written is written again") == written);
    }
}

/// A package is read or refused.
pub fn package(bytes: &[u8]) {
    let _ = Package::parse(bytes);
}

/// A model of Keras is sound or refused.
pub fn keras(bytes: &[u8]) {
    if let Ok(graph) = taper_formats::keras::read(bytes.to_vec()) {
        graph.verify().expect("what is read is sound");
    }
}

/// Weights have as many values as their sizes say, or are refused.
pub fn weights(bytes: &[u8]) {
    let Ok(weights) = taper_formats::weights::read(bytes.to_vec()) else { return };
    for (name, array) in weights.iter() {
        assert_eq!(array.sizes.iter().product::<usize>(), array.values.len(), "{name}");
    }
}

/// A file of images is read or refused; that of its labels is sound.
pub fn idx(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let images = folder.path().join("seed-images-idx3-ubyte");
    fs::write(&images, bytes).expect("writes");
    fs::write(folder.path().join("seed-labels-idx1-ubyte"), seeds::idx_labels()).expect("writes");
    let source = images.to_str().expect("temporary folders have plain names").to_owned();
    let _ = Splits::load(&DataConfig { source, ..DataConfig::default() }, None);
}
