//! The loss of the first training steps of a small network, from the same weights and batches.

use crate::support::{device, numbers, tensor};
use burn_tensor::ops::{ConvOptions, MaxPoolOptions};
use burn_tensor::{Int, Tensor, TensorData, activation, module};
use taper_adapt::train::{Cpu, Fit, FitSettings, OptimizerKind, Schedule, TrainConfig};
use taper_data::{AugmentConfig, Batches, Dataset, ImageShape, Preprocess};
use taper_graph::{Activation, Graph, PoolKind};
use taper_testing::Random;
use taper_testing::chain::{Chain, same};

const SIDE: usize = 9;
const CLASSES: usize = 4;
const BATCH: usize = 19;
/// Of the last batch, which is smaller.
const REST: usize = 13;
const STEPS: usize = 5;
/// Of batch normalisation, as `Chain` makes it.
const EPSILON: f64 = 1e-3;

/// Noise, brighter where the label says.
fn images() -> Dataset {
    let mut random = Random::new(7);
    let count = (STEPS - 1) * BATCH + REST;
    let labels: Vec<u32> = (0..count).map(|_| random.between(0, CLASSES - 1) as u32).collect();
    let pixel =
        |label: u32, at: usize, noise: u8| noise / 2 + if at % CLASSES == label as usize { 90 } else { 0 };
    let images = labels.iter().flat_map(|&label| {
        let noise = random.bytes(SIDE * SIDE);
        noise.into_iter().enumerate().map(move |(at, noise)| pixel(label, at, noise)).collect::<Vec<u8>>()
    });
    let shape = ImageShape { height: SIDE, width: SIDE, channels: 1 };
    let images = images.collect();
    Dataset::new(shape, (0..CLASSES).map(|class| class.to_string()).collect(), images, labels)
}

fn network() -> Graph {
    Chain::new(5, &[SIDE, SIDE, 1])
        .unbiased()
        .conv(6, [3, 3], same(3))
        .batch_norm()
        .activation(Activation::Relu)
        .pool(PoolKind::Max, 3)
        .flatten()
        .dense(CLASSES, None)
        .softmax()
        .finish()
}

/// The loss of each step in Taper.
fn in_taper(graph: &Graph, data: &Dataset, settings: &FitSettings) -> Vec<f64> {
    let mut fit = Fit::new(&Cpu, graph, data, data, settings.clone()).expect("the network fits the data");
    let (mut losses, mut before, mut sum) = (Vec::new(), 0, 0.0);
    fit.epoch(&mut |progress| {
        // What is told is the mean over the samples so far.
        let total = progress.loss * progress.samples as f64;
        losses.push((total - sum) / (progress.samples - before) as f64);
        (before, sum) = (progress.samples, total);
    })
    .expect("training goes well");
    losses
}

/// A parameter in burn, with its moments.
struct Parameter {
    value: Tensor<4>,
    moments: [Tensor<4>; 2],
    weight_decay: f64,
}

impl Parameter {
    /// The constant `name`, padded with sizes of 1 to four.
    fn new(graph: &Graph, name: &str, weight_decay: f64) -> Self {
        let constant =
            graph.tensors.iter().find(|tensor| tensor.name == name).expect("the constant is there");
        let values = constant.f32_data().expect("floats");
        let mut shape = [1; 4];
        let sizes = constant.shape.sizes().expect("a fixed shape");
        shape[..sizes.len()].copy_from_slice(&sizes);
        let value = tensor(shape, values.iter().map(|&value| f64::from(value)).collect());
        let zeros = value.clone().zeros_like();
        Self { value, moments: [zeros.clone(), zeros], weight_decay }
    }
}

/// How parameters change by their gradients.
#[derive(Clone, Copy)]
enum Rule {
    /// Adam (Kingma and Ba, 2015) with the paper's constants; weight decay is decoupled.
    Adam,
    /// Momentum; weight decay is part of the gradient.
    Sgd { momentum: f64 },
}

impl Rule {
    fn change(self, parameter: &mut Parameter, g: Tensor<4>, step: i32, rate: f64) {
        let w = parameter.value.clone();
        let decay = w.clone() * parameter.weight_decay;
        let [m, v] = &mut parameter.moments;
        let direction = match self {
            Rule::Adam => {
                let (beta1, beta2) = (0.9, 0.999);
                *m = m.clone() * beta1 + g.clone() * (1.0 - beta1);
                *v = v.clone() * beta2 + g.square() * (1.0 - beta2);
                let mean = m.clone() / (1.0 - f64::powi(beta1, step));
                let square = v.clone() / (1.0 - f64::powi(beta2, step));
                mean / (square.sqrt() + 1e-8) + decay
            }
            Rule::Sgd { momentum } => {
                *v = v.clone() * momentum + g + decay;
                v.clone()
            }
        };
        parameter.value = w - direction * rate;
    }
}

/// The mean cross-entropy of a batch, from its parameters in the order of the layers.
fn loss([conv, gamma, beta, dense]: [Tensor<4>; 4], images: &[f32], labels: &[u32]) -> Tensor<1> {
    let batch = labels.len();
    let x = tensor([batch, 1, SIDE, SIDE], images.iter().map(|&pixel| f64::from(pixel)).collect());
    let weights = conv.permute([0, 3, 1, 2]);
    let x = module::conv2d(x, weights, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
    let [_, channels, ..] = x.dims();
    let [gamma, beta] = [gamma, beta].map(|vector| vector.reshape([channels]));
    let x = activation::relu(module::batch_norm_train(x, gamma, beta, EPSILON).output);
    let x = module::max_pool2d(x, MaxPoolOptions::new([3, 3]));
    // Taper flattens pixels of channels.
    let features: Tensor<2> = x.permute([0, 2, 3, 1]).reshape([batch as i64, -1]);
    let dense: Tensor<2> = dense.reshape([CLASSES as i64, -1]);
    let logarithms = activation::log_softmax(features.matmul(dense.transpose()), 1);
    let labels = labels.iter().map(|&label| i64::from(label)).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new::<i64, _>(labels, [batch, 1]), &device());
    -logarithms.gather(1, labels).mean()
}

/// The loss of each step in burn.
fn in_burn(graph: &Graph, data: &Dataset, settings: &FitSettings, rule: Rule) -> Vec<f64> {
    let TrainConfig { learning_rate, weight_decay, clip_norm, .. } = settings.train;
    let parameter = |name, decay| Parameter::new(graph, name, decay);
    let mut parameters = [
        parameter("conv0/weights", weight_decay),
        parameter("norm1/gamma", 0.0),
        parameter("norm1/beta", 0.0),
        parameter("dense5/weights", weight_decay),
    ];
    let mut batches = Batches::shuffled(data, settings.preprocess, settings.augment, settings.seed, 1);
    let (mut images, mut labels) = (vec![0.0; BATCH * SIDE * SIDE], vec![0; BATCH]);
    let mut losses = Vec::new();
    while let Some(count) = batches.fill(&mut images, &mut labels).expect("images in memory") {
        let leaves = parameters.each_ref().map(|parameter| parameter.value.clone().require_grad());
        let loss = loss(leaves.clone(), &images[..count * SIDE * SIDE], &labels[..count]);
        let gradients = loss.backward();
        losses.extend(numbers(loss));
        let gradients = leaves.map(|leaf| leaf.grad(&gradients).expect("every parameter learns"));
        let squares = gradients.iter().flat_map(|gradient| numbers(gradient.clone()));
        let norm = squares.map(|value| value * value).sum::<f64>().sqrt();
        let factor = clip_norm.map_or(1.0, |limit| (limit / norm).min(1.0));
        for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
            rule.change(parameter, gradient.autodiff() * factor, losses.len() as i32, learning_rate);
            parameter.value = parameter.value.clone().detach();
        }
    }
    losses
}

fn check(train: TrainConfig, rule: Rule) {
    let (graph, data) = (network(), images());
    let settings = FitSettings {
        train: TrainConfig {
            epochs: 1,
            batch: BATCH,
            schedule: Schedule::Constant,
            warm_up_steps: 0,
            ..train
        },
        preprocess: Preprocess::default(),
        augment: AugmentConfig::NONE,
        seed: 11,
    };
    let (actual, expect) = (in_taper(&graph, &data, &settings), in_burn(&graph, &data, &settings, rule));
    assert_eq!([actual.len(), expect.len()], [STEPS; 2]);
    assert!(expect[STEPS - 1] < expect[0], "expected to learn something, found losses {expect:?}");
    for (actual, expect) in actual.iter().zip(&expect) {
        assert!((actual - expect).abs() <= 1e-4 * expect, "losses {actual} and {expect}");
    }
}

#[test]
fn five_steps_of_adam_agree() {
    let train = TrainConfig {
        optimizer: OptimizerKind::Adam,
        learning_rate: 0.01,
        weight_decay: 0.05,
        clip_norm: None,
        ..TrainConfig::default()
    };
    check(train, Rule::Adam);
}

#[test]
fn five_steps_of_clipped_gradient_descent_agree() {
    let train = TrainConfig {
        optimizer: OptimizerKind::Sgd,
        momentum: 0.8,
        learning_rate: 0.05,
        weight_decay: 0.01,
        clip_norm: Some(0.5),
        ..TrainConfig::default()
    };
    check(train, Rule::Sgd { momentum: 0.8 });
}
