//! Calibration and quantization: close to the floats, sound at the extremes, and clear about what is missing.

use crate::data::{PREPROCESS, floats, image, noise, output, shape, tensor};
use taper_adapt::AdaptError;
use taper_adapt::quantize::{
    Calibration, CalibrationMethod, IoType, QuantizeConfig, Range, Ranges, WeightScales, calibrate, fold,
    quantize,
};
use taper_data::Dataset;
use taper_graph::{Activation, DType, Graph, PoolKind, Quantization, TensorData};
use taper_testing::chain::{Chain, same};
use taper_testing::graphs::{self, Numbers};

fn ranges(graph: &Graph, dataset: &Dataset, calibration: &Calibration) -> Ranges {
    let samples: Vec<usize> = (0..dataset.len()).collect();
    calibrate(graph, dataset, &samples, PREPROCESS, calibration).expect("the network runs on the images")
}

fn calibration(percentile: f64) -> Calibration {
    Calibration { method: CalibrationMethod::Percentile, percentile, ..Calibration::default() }
}

fn images_for(graph: &Graph, count: usize) -> Dataset {
    noise(5, graph.tensor(graph.inputs[0]).shape.image().expect("an image"), 2, count)
}

/// Root of the mean squared difference of the dequantized outputs and the float ones, over that of the float ones and
/// their mean.
fn error(graph: &Graph, config: &QuantizeConfig) -> f32 {
    let graph = fold(graph).expect("every normalisation can be folded");
    let dataset = images_for(&graph, 40);
    let integers = quantize(&graph, &ranges(&graph, &dataset, &config.calibration), config).expect("sound");
    let ends = match config.io {
        IoType::Int8 => DType::I8,
        IoType::Uint8 => DType::U8,
    };
    for (before, after) in [(graph.inputs[0], integers.inputs[0]), (graph.outputs[0], integers.outputs[0])] {
        assert_eq!(integers.tensor(after).dtype, ends);
        assert_eq!(integers.tensor(after).name, graph.tensor(before).name);
    }
    let outputs = |graph: &Graph| -> Vec<f32> {
        (0..dataset.len()).flat_map(|sample| output(graph, &image(&dataset, sample))).collect()
    };
    let (expected, found) = (outputs(&graph), outputs(&integers));
    let mean_square = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| value * value).sum::<f32>() / expected.len() as f32
    };
    let difference = mean_square(&mut expected.iter().zip(&found).map(|(expected, found)| expected - found));
    let size = mean_square(&mut expected.iter().copied());
    (difference / size.max(f32::MIN_POSITIVE)).sqrt()
}

#[test]
fn random_networks_keep_their_outputs() {
    let mut worst = Vec::new();
    for seed in 0..60 {
        let graph = graphs::random(seed, Numbers::Float);
        for io in [IoType::Int8, IoType::Uint8] {
            for weights in [WeightScales::PerChannel, WeightScales::PerTensor] {
                let config = QuantizeConfig { io, weights, ..QuantizeConfig::default() };
                let error = error(&graph, &config);
                worst.push((error, seed, io, weights));
            }
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    panic!("{:?}", &worst[..12]);
}
