//! Gradients of whole networks against finite differences of the loss.

use super::super::parameter::Role;
use super::*;
use taper_graph::{Activation, Conv2d, Padding, PoolKind};
use taper_testing::Random;
use taper_testing::chain::{Chain, same};

/// Batches that leave lanes empty, fill them exactly, and reach into a second and third block of 16.
const BATCHES: [usize; 5] = [1, 5, 16, 17, 33];

/// Central differences at these steps: a long one drowns rounding, a short one seldom crosses a kink.
const STEPS: [f32; 4] = [1e-2, 3e-3, 1e-3, 3e-4];

/// What a difference of two losses is off by, beside what the step does.
const NOISE: f64 = 3e-5;

fn conv(stride: [usize; 2], dilation: [usize; 2], activation: Option<Activation>) -> Conv2d {
    let padding = Padding { top: 1, bottom: 2, left: 0, right: 1 };
    Conv2d { stride, dilation, padding, groups: 1, activation }
}

/// A network in training with a batch of random images and labels.
struct Subject {
    network: Network,
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Subject {
    fn new(graph: &Graph, batch: usize) -> Self {
        let network = Network::new(graph).expect("the network can be trained");
        let mut random = Random::new(batch as u64);
        let images = random.normals(batch * network.features(0), 1.0);
        let labels = (0..batch).map(|_| random.between(0, network.classes() - 1) as u32).collect();
        Self { network, images, labels }
    }

    fn loss(&mut self) -> f64 {
        self.network.learn(&self.images, &self.labels).expect("the batch fits").loss
    }

    /// Checks that the slope of the loss along `direction`, over the values of the parameter at `position`, is
    /// `expected`, give or take `tolerance`.
    fn check(&mut self, position: usize, direction: &[f32], expected: f64, tolerance: f64) {
        let start = self.network.parameters.iter().nth(position).expect("in range").value.clone();
        let mut found = Vec::new();
        for step in STEPS {
            let [above, below] = [step, -step].map(|step| {
                let parameter = self.network.parameters.iter_mut().nth(position).expect("in range");
                for (value, (start, direction)) in parameter.value.iter_mut().zip(start.iter().zip(direction))
                {
                    *value = start + step * direction;
                }
                self.loss()
            });
            found.push((above - below) / (2.0 * f64::from(step)));
        }
        let parameter = self.network.parameters.iter_mut().nth(position).expect("in range");
        parameter.value = start;
        assert!(
            found.iter().any(|found| (found - expected).abs() <= tolerance + NOISE),
            "`{}` in a batch of {}: expected a slope of {expected}, found {found:?} at steps {STEPS:?}",
            parameter.name,
            self.labels.len()
        );
    }
}

/// Checks every gradient along itself, along a random direction, and at three single values.
fn check(graph: &Graph) {
    for batch in BATCHES {
        let mut subject = Subject::new(graph, batch);
        let mut random = Random::new(7);
        subject.loss();
        let gradients: Vec<_> = subject.network.parameters.iter().map(|p| p.gradient.clone()).collect();
        for (position, gradient) in gradients.iter().enumerate().filter(|(_, gradient)| !gradient.is_empty())
        {
            let along = |direction: &[f32]| -> f64 {
                gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum()
            };
            let norm = along(gradient).sqrt();
            if norm > 0.0 {
                let unit: Vec<f32> = gradient.iter().map(|g| (f64::from(*g) / norm) as f32).collect();
                subject.check(position, &unit, norm, 0.01 * norm);
            }
            let count = gradient.len();
            let direction = random.normals(count, 1.0 / (count as f32).sqrt());
            let typical = norm / (count as f64).sqrt();
            subject.check(position, &direction, along(&direction), 0.02 * typical);
            for index in [0, random.between(0, count - 1), count - 1] {
                let mut direction = vec![0.0; count];
                direction[index] = 1.0;
                subject.check(position, &direction, along(&direction), 0.02 * typical);
            }
        }
    }
}

#[test]
fn convolutions_with_stride_dilation_and_padding() {
    for activation in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
        check(
            &Chain::new(1, &[9, 8, 2])
                .conv(3, [3, 2], conv([2, 1], [1, 2], activation))
                .conv(4, [2, 3], conv([1, 2], [2, 1], activation))
                .flatten()
                .dense(3, None)
                .softmax()
                .finish(),
        );
    }
}

#[test]
fn nonlinearities_that_stand_alone() {
    for function in [Activation::Relu, Activation::Relu6] {
        check(
            &Chain::new(2, &[5, 4, 3])
                .unbiased()
                .conv(4, [3, 3], same(3))
                .activation(function)
                .flatten()
                .dense(6, None)
                .activation(function)
                .dense(3, None)
                .finish(),
        );
    }
}

#[test]
fn batch_normalisation_with_the_statistics_of_the_batch() {
    check(
        &Chain::new(3, &[4, 5, 2])
            .conv(4, [3, 3], same(3))
            .batch_norm()
            .activation(Activation::Relu)
            .conv(3, [3, 3], same(3))
            .activation(Activation::Relu6)
            .batch_norm()
            .flatten()
            .dense(3, None)
            .finish(),
    );
}

#[test]
fn pooling_that_rounds_up() {
    for kind in [PoolKind::Max, PoolKind::Average] {
        check(
            &Chain::new(4, &[7, 5, 2])
                .conv_relu(3)
                .pool(kind, 2)
                .conv_relu(4)
                .pool(kind, 3)
                .flatten()
                .dense(3, None)
                .softmax()
                .finish(),
        );
    }
}

#[test]
fn global_pooling() {
    for kind in [PoolKind::Max, PoolKind::Average] {
        let convolutions = Chain::new(5, &[4, 5, 1]).conv_relu(3).conv(4, [3, 3], same(3)).global_pool(kind);
        check(&convolutions.clone().finish());
        check(&convolutions.flatten().dense(3, None).finish());
    }
}

#[test]
fn fully_connected_layers() {
    let dense = Chain::new(6, &[7]).dense(5, Some(Activation::Relu)).dense(4, Some(Activation::Relu6));
    check(&dense.dense(3, None).softmax().finish());
}

#[test]
fn networks_that_do_not_begin_with_weights() {
    let begin = || Chain::new(7, &[4, 3, 2]);
    let beginnings = [
        begin(),
        begin().activation(Activation::Relu),
        begin().pool(PoolKind::Max, 2),
        begin().pool(PoolKind::Average, 2),
        begin().batch_norm(),
        begin().pool(PoolKind::Max, 2).batch_norm(),
    ];
    for beginning in beginnings {
        check(&beginning.flatten().dense(3, None).finish());
    }
}

#[test]
fn what_ran_before_leaves_no_trace() {
    let graph = Chain::new(8, &[6, 5, 2])
        .conv_relu(3)
        .pool(PoolKind::Max, 2)
        .batch_norm()
        .flatten()
        .dense(3, None)
        .finish();
    let mut used = Subject::new(&graph, 33);
    for batch in BATCHES.into_iter().rev().chain(BATCHES) {
        let mut fresh = Subject::new(&graph, batch);
        let network = Network { parameters: Parameters::of(&graph).expect("floats"), ..used.network };
        used = Subject { network, images: fresh.images.clone(), labels: fresh.labels.clone() };
        assert_eq!(used.loss(), fresh.loss(), "batch of {batch}");
        for (used, fresh) in used.network.parameters.iter().zip(fresh.network.parameters.iter()) {
            assert_eq!(used.gradient, fresh.gradient, "`{}` in a batch of {batch}", used.name);
        }
    }
}

#[test]
fn learning_moves_running_statistics_and_evaluation_does_not() {
    let graph = Chain::new(9, &[3, 2, 1]).batch_norm().flatten().dense(2, None).finish();
    let mut subject = Subject::new(&graph, 20);
    let statistics = |subject: &Subject| -> Vec<f32> {
        let statistics = subject.network.parameters.iter().filter(|p| p.role == Role::Statistic);
        statistics.flat_map(|parameter| parameter.value.clone()).collect()
    };
    let before = statistics(&subject);
    subject.network.evaluate(&subject.images, &subject.labels).expect("the batch fits");
    assert_eq!(statistics(&subject), before);
    subject.loss();
    let count = subject.images.len() as f32;
    let mean = subject.images.iter().sum::<f32>() / count;
    let variance = subject.images.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count;
    for ((found, before), batch) in statistics(&subject).iter().zip(&before).zip([mean, variance]) {
        let expected = 0.9 * before + 0.1 * batch;
        assert!((found - expected).abs() < 1e-5, "expected {expected}, found {found}");
    }
}
