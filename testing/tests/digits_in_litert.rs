//! The golden INT8 network on real digits: Taper and LiteRT's reference resolver give the same bytes.

use taper_data::{Batches, DataConfig, Dataset, Preprocess};
use taper_formats::tflite;
use taper_run::{Cpu, Session, View};
use taper_testing::litert::{Job, Litert, Resolver};

const GOLDEN: &[u8] = include_bytes!("../../golden/vgg16-mnist-int8.tflite");
const DIGITS: usize = 1000;
/// What the default recipe is held to.
const LEAST_ACCURACY: f64 = 0.975;

/// Embedded test digits, which no choice of the golden network was made on.
fn digits() -> Dataset {
    let config = DataConfig { test_limit: Some(DIGITS), ..DataConfig::default() };
    Dataset::for_evaluation(&config, None).expect("the embedded digits load")
}

/// Share of the images whose greatest output is at their label.
fn accuracy(outputs: &[i8], labels: &[u32]) -> f64 {
    let scores = outputs.chunks_exact(outputs.len() / labels.len());
    let right = scores.zip(labels).filter(|(scores, label)| {
        // The first of equals wins, as in Taper's own measure.
        let greatest = scores.iter().max();
        scores.iter().position(|score| Some(score) == greatest) == Some(**label as usize)
    });
    right.count() as f64 / labels.len() as f64
}

#[test]
fn the_golden_network_reads_digits_as_litert_does() {
    let digits = digits();
    assert_eq!(digits.len(), DIGITS);
    let mut reals = vec![0.0; DIGITS * digits.shape().elements()];
    Batches::in_order(&digits, Preprocess::default()).fill(&mut reals, &mut [0; DIGITS]).expect("digits");

    let graph = tflite::read(GOLDEN).expect("the golden network is sound");
    let mut session = Cpu::default().session(&graph, DIGITS).expect("the CPU runs it");
    let affine = session.inputs()[0].affine().expect("integers come in");
    let integers: Vec<i8> = reals.iter().map(|&real| affine.quantize(real)).collect();
    session.set_input(0, View::I8(&integers)).expect("fits");
    session.run().expect("runs");
    let View::I8(outputs) = session.output(0).expect("has an output") else { panic!("int8 comes out") };
    let accuracy = accuracy(outputs, digits.labels());
    assert!(accuracy >= LEAST_ACCURACY, "expected an accuracy of {LEAST_ACCURACY}, found {accuracy}");

    let Some(litert) = Litert::set_up() else { return };
    let bytes = |values: &[i8]| values.iter().map(|value| value.cast_unsigned()).collect::<Vec<u8>>();
    let job = Job { model: GOLDEN, inputs: vec![bytes(&integers)], samples: DIGITS };
    let outcome = litert.run(job, Resolver::Reference).expect("LiteRT runs it");
    assert!(outcome.outputs == [bytes(outputs)], "LiteRT answers otherwise");
}
