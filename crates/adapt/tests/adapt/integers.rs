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
    for seed in 0..60 {
        let graph = graphs::random(seed, Numbers::Float);
        for io in [IoType::Int8, IoType::Uint8] {
            for weights in [WeightScales::PerChannel, WeightScales::PerTensor] {
                let config = QuantizeConfig { io, weights, ..QuantizeConfig::default() };
                let error = error(&graph, &config);
                assert!(error < 0.06, "seed {seed}, {config:?}: off by {error}");
            }
        }
    }
}

#[test]
fn networks_with_normalisation_keep_their_outputs() {
    for seed in 0..10 {
        let graph = Chain::new(seed, &[8, 7, 2])
            .unbiased()
            .conv(6, [3, 3], same(3))
            .batch_norm()
            .activation(Activation::Relu)
            .pool(PoolKind::Max, 2)
            .conv(8, [3, 3], same(3))
            .batch_norm()
            .activation(Activation::Relu6)
            .pool(PoolKind::Average, 2)
            .flatten()
            .dense(3, None)
            .finish();
        for calibration in [Calibration::default(), calibration(99.9)] {
            let config = QuantizeConfig { calibration, ..QuantizeConfig::default() };
            let error = error(&graph, &config);
            assert!(error < 0.06, "seed {seed}, {config:?}: off by {error}");
        }
    }
}

#[test]
fn channels_without_weights_and_with_huge_biases_survive() {
    for weights in [WeightScales::PerChannel, WeightScales::PerTensor] {
        let mut graph = Chain::new(1, &[6, 6, 2]).conv(4, [3, 3], same(3)).flatten().dense(3, None).finish();
        for channel in 0..2 {
            floats(&mut graph, "conv0/weights")[channel * 18..][..18].fill(0.0);
        }
        floats(&mut graph, "conv0/bias")[..3].copy_from_slice(&[0.0, 1e6, -1e6]);
        // A layer of zeros, behind which every activation is 0.
        floats(&mut graph, "dense2/weights").fill(0.0);
        floats(&mut graph, "dense2/bias").fill(0.0);
        let config = QuantizeConfig { weights, ..QuantizeConfig::default() };
        let dataset = images_for(&graph, 10);
        let ranges = ranges(&graph, &dataset, &config.calibration);
        let integers = quantize(&graph, &ranges, &config).expect("sound");
        for sample in 0..10 {
            assert_eq!(output(&integers, &image(&dataset, sample)), [0.0; 3]);
        }
        let conv = |mut graph: Graph| {
            graph.outputs = vec![tensor(&graph, "conv0")];
            graph.nodes.truncate(1);
            graph.remove_unused_tensors();
            output(&graph, &image(&dataset, 0))
        };
        // One step of the output is its range over 255.
        let step = 2e6 / 255.0;
        for (expected, found) in conv(graph).iter().zip(conv(integers)) {
            assert!((expected - found).abs() < 1.1 * step, "{weights:?}: expected {expected}, found {found}");
        }
    }
}

#[test]
fn what_is_missing_or_no_number_is_named() {
    let graph = Chain::new(1, &[4, 4, 2]).conv_relu(3).flatten().dense(2, None).finish();
    let dataset = images_for(&graph, 10);
    let config = QuantizeConfig::default();
    let ranges = ranges(&graph, &dataset, &config.calibration);
    let refuses = |result: Result<Graph, AdaptError>, message: &str| {
        assert_eq!(result.expect_err(message).to_string(), format!("cannot quantize `chain`: {message}"));
    };
    for name in ["image", "conv0", "dense2"] {
        let mut unfinished = ranges.clone();
        unfinished.remove(&tensor(&graph, name));
        refuses(quantize(&graph, &unfinished, &config), &format!("`{name}` was not calibrated"));
    }
    refuses(quantize(&graph, &Ranges::new(), &config), "`image` was not calibrated");
    for (name, layer) in
        [("conv0/weights", "`conv0` (convolution)"), ("dense2/bias", "`dense2` (fully connected)")]
    {
        for value in [f32::NAN, f32::INFINITY] {
            let mut broken = graph.clone();
            floats(&mut broken, name)[1] = value;
            let message = format!("{layer} expected `{name}` to be constant finite floats");
            refuses(quantize(&broken, &ranges, &config), &message);
        }
    }
    let mut broken = graph.clone();
    floats(&mut broken, "conv0/bias")[0] = f32::INFINITY;
    let error = calibrate(&broken, &dataset, &[0], PREPROCESS, &config.calibration).expect_err("infinite");
    assert_eq!(error.to_string(), "cannot calibrate `chain`: expected finite values in `conv0`, found inf");
    let whole = quantize(&graph, &ranges, &config).expect("sound");
    refuses(
        quantize(&whole, &ranges, &config),
        "`conv0` (convolution) expected `conv0/weights` to be constant finite floats",
    );
}

/// One image whose bytes are all different, but for one far out.
fn outlier() -> (Graph, Dataset) {
    let graph = Chain::new(1, &[10, 10, 1]).activation(Activation::Relu).finish();
    let mut bytes: Vec<u8> = (0..100).map(|value| 100 + value / 2).collect();
    bytes[99] = 255;
    (graph, Dataset::new(shape([10, 10, 1]), vec!["all".to_owned()], bytes, vec![0]))
}

#[test]
fn calibration_finds_the_range_of_the_values() {
    let (graph, dataset) = outlier();
    let real = |byte: f32| (byte - 127.5) / 127.5;
    let check = |calibration: &Calibration, name: &str, min: f32, max: f32| {
        let Range { min: found_min, max: found_max } =
            ranges(&graph, &dataset, calibration)[&tensor(&graph, name)];
        let close = (found_min - min).abs() < 2e-3 && (found_max - max).abs() < 2e-3;
        assert!(close, "`{name}`: expected {min} to {max}, found {found_min} to {found_max}");
    };
    for all in [Calibration::default(), calibration(100.0)] {
        check(&all, "image", real(100.0), 1.0);
        check(&all, "relu0", 0.0, 1.0);
    }
    let inner = calibration(98.0);
    // Of the hundred values two are left out at either end: 100 twice, and 149 beside the outlier.
    check(&inner, "image", real(101.0), real(148.0));
    check(&inner, "relu0", 0.0, real(148.0));
}

#[test]
fn every_range_is_widened_to_hold_zero() {
    let graph = Chain::new(1, &[1, 2, 1]).activation(Activation::Relu).finish();
    let config = QuantizeConfig::default();
    let check = |min: f32, max: f32, scale: f32, zero_point: i32| {
        let ranges = ["image", "relu0"].map(|name| (tensor(&graph, name), Range { min, max })).into();
        let integers = quantize(&graph, &ranges, &config).expect("sound");
        let expected = Some(Quantization::PerTensor { scale, zero_point });
        assert_eq!(integers.tensor(integers.inputs[0]).quantization, expected, "{min} to {max}");
    };
    check(51.0, 255.0, 1.0, -128);
    check(-510.0, -51.0, 2.0, 127);
    check(-127.0, 128.0, 1.0, -1);
    check(0.0, 0.0, 1.0, -128);
}

#[test]
fn the_same_network_and_samples_give_the_same_bytes() {
    let graph = graphs::random(3, Numbers::Float);
    let dataset = images_for(&graph, 20);
    for calibration in [Calibration::default(), calibration(99.0)] {
        let config = QuantizeConfig { calibration, ..QuantizeConfig::default() };
        let run = || quantize(&graph, &ranges(&graph, &dataset, &calibration), &config).expect("sound");
        assert!(run() == run());
    }
}

#[test]
fn constants_follow_the_specification() {
    let graph = Chain::new(1, &[6, 6, 2]).conv_relu(4).flatten().dense(3, None).softmax().finish();
    let dataset = images_for(&graph, 20);
    let config = QuantizeConfig::default();
    let integers = quantize(&graph, &ranges(&graph, &dataset, &config.calibration), &config).expect("sound");
    let at = |name: &str| integers.tensor(tensor(&integers, name));
    let Some(Quantization::PerTensor { scale: input, .. }) = at("image").quantization else {
        panic!("image")
    };
    let scales_of = |name: &str| match &at(name).quantization {
        Some(Quantization::PerAxis { axis: 0, scales }) => scales.clone(),
        Some(Quantization::PerTensor { scale, zero_point: 0 }) => vec![*scale],
        other => panic!("`{name}`: {other:?}"),
    };
    let (weights, biases) = (scales_of("conv0/weights"), scales_of("conv0/bias"));
    assert_eq!((weights.len(), scales_of("dense2/weights").len()), (4, 1));
    let products: Vec<f32> = weights.iter().map(|scale| scale * input).collect();
    assert_eq!(biases, products);
    assert_eq!((at("conv0/bias").dtype, at("conv0").dtype), (DType::I32, DType::I8));
    for name in ["conv0/weights", "dense2/weights"] {
        let Some(TensorData::I8(values)) = &at(name).data else { panic!("`{name}`") };
        // Symmetric: the largest weight of each scale becomes ±127, and none −128.
        for values in values.chunks(values.len() / scales_of(name).len()) {
            assert_eq!(values.iter().map(|value| value.unsigned_abs()).max(), Some(127));
        }
    }
    let softmax = Quantization::PerTensor { scale: 1.0 / 256.0, zero_point: -128 };
    assert_eq!(at("softmax3").quantization, Some(softmax));
    assert_eq!(at("conv0").quantization, at("flatten1").quantization);
}
