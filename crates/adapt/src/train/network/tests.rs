//! Gradients of whole networks against finite differences of the loss.

mod losses;
mod sharing;

use super::super::loss::SoftmaxCrossEntropy;
use super::super::parameter::Role;
use super::*;
use taper_graph::{Activation, Conv2d, Padding, PoolKind};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
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

/// A network in training with a batch of random images and targets.
struct Subject {
    network: Network,
    loss: Loss,
    images: Vec<f32>,
    targets: Owned,
}

/// Targets of every kind, of which a loss takes its own.
#[derive(Clone)]
struct Owned {
    labels: Vec<u32>,
    /// From 0 to 1.
    values: Vec<f32>,
    /// Of the values; some are 0.
    weights: Vec<f32>,
    teacher: Vec<f32>,
}

impl Owned {
    fn random(network: &Network, batch: usize, loss: &Loss, random: &mut Random) -> Self {
        let values = batch * network.program.values[network.program.logits].features;
        let ignored = match loss {
            Loss::SoftmaxCrossEntropy(hard) | Loss::Distillation { hard, .. } => hard.ignored_label,
            Loss::SigmoidCrossEntropy { .. } | Loss::Regression(_) => None,
        };
        let mut label = || {
            let class = random.between(0, network.classes() - 1) as u32;
            ignored.filter(|_| random.one_in(3)).unwrap_or(class)
        };
        Self {
            labels: (0..values / network.classes()).map(|_| label()).collect(),
            values: (0..values).map(|_| random.unit()).collect(),
            weights: (0..values).map(|_| random.pick(&[0.0, 0.5, 1.0])).collect(),
            teacher: random.normals(values, 1.0),
        }
    }

    fn of(&self, loss: &Loss) -> Targets<'_> {
        let Self { labels, values, weights, teacher: logits } = self;
        match loss {
            Loss::SoftmaxCrossEntropy(_) => Targets::Labels(labels),
            Loss::SigmoidCrossEntropy { .. } | Loss::Regression(_) => {
                Targets::Values { values, weights: Some(weights) }
            }
            Loss::Distillation { .. } => Targets::Taught { labels, logits },
        }
    }
}

impl Subject {
    fn new(graph: &Graph, batch: usize) -> Self {
        Self::with_settings(graph, &NetworkSettings::default(), batch)
    }

    fn with_settings(graph: &Graph, settings: &NetworkSettings, batch: usize) -> Self {
        let network = Network::with_settings(graph.clone(), settings).expect("the network can be trained");
        let mut random = Random::new(batch as u64);
        let images = random.normals(batch * network.program.values[0].features, 1.0);
        let targets = Owned::random(&network, batch, &settings.loss, &mut random);
        Self { network, loss: settings.loss.clone(), images, targets }
    }

    fn learn(&mut self) -> LossSummary {
        self.network.learn(&self.images, self.targets.of(&self.loss)).expect("the batch fits")
    }

    fn loss(&mut self) -> f64 {
        self.learn().loss
    }

    /// What is wrong with the claim that the slope of the loss along `direction`, over the values of the parameter at
    /// `position`, is `expected`, give or take `tolerance`.
    fn fault(&mut self, position: usize, direction: &[f32], expected: f64, tolerance: f64) -> Option<String> {
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
        let right = found.iter().any(|found| (found - expected).abs() <= tolerance + NOISE);
        let name = &parameter.name;
        (!right).then(|| {
            format!(
                "`{name}` in a batch of {}: expected a slope of {expected}, found {found:?} at steps {STEPS:?}",
                self.images.len() / self.network.program.values[0].features
            )
        })
    }
}

/// Checks every gradient along itself, along a random direction, and at three single values.
fn check(graph: &Graph) {
    check_with(graph, &NetworkSettings::default());
}

fn check_with(graph: &Graph, settings: &NetworkSettings) {
    let (_, faults) = faults(graph, settings);
    assert!(faults.is_empty(), "{settings:?}: {faults:#?}");
}

/// As [`check`], but for one slope in twelve: a network of many rectifiers may stand so near a kink that no step is short
/// enough.
fn check_between_kinks(graph: &Graph) {
    let (checks, faults) = faults(graph, &NetworkSettings::default());
    assert!(12 * faults.len() <= checks, "{} of {checks} slopes: {faults:#?}", faults.len());
}

/// How many slopes were checked, and what was wrong with some.
fn faults(graph: &Graph, settings: &NetworkSettings) -> (usize, Vec<String>) {
    let (mut checks, mut faults) = (0, Vec::new());
    for batch in BATCHES {
        let mut subject = Subject::with_settings(graph, settings, batch);
        let mut random = Random::new(7);
        subject.loss();
        let all = &subject.network.gradients;
        let gradients: Vec<_> =
            subject.network.parameters.iter().map(|p| all[p.gradient.clone()].to_vec()).collect();
        for (position, gradient) in gradients.iter().enumerate().filter(|(_, gradient)| !gradient.is_empty())
        {
            let along = |direction: &[f32]| -> f64 {
                gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum()
            };
            let norm = along(gradient).sqrt();
            if norm > 0.0 {
                let unit: Vec<f32> = gradient.iter().map(|g| (f64::from(*g) / norm) as f32).collect();
                faults.extend(subject.fault(position, &unit, norm, 0.01 * norm));
                checks += 1;
            }
            let count = gradient.len();
            let direction = random.normals(count, 1.0 / (count as f32).sqrt());
            let typical = norm / (count as f64).sqrt();
            faults.extend(subject.fault(position, &direction, along(&direction), 0.02 * typical));
            checks += 1;
            for index in [0, random.between(0, count - 1), count - 1] {
                let mut direction = vec![0.0; count];
                direction[index] = 1.0;
                faults.extend(subject.fault(position, &direction, along(&direction), 0.02 * typical));
                checks += 1;
            }
        }
    }
    (checks, faults)
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
        let parameters = Parameters::take(&mut graph.clone(), |_| false).expect("floats");
        let network = Network { parameters, ..used.network };
        used = Subject { network, images: fresh.images.clone(), targets: fresh.targets.clone(), ..used };
        assert_eq!(used.loss(), fresh.loss(), "batch of {batch}");
        assert_eq!(used.network.gradients, fresh.network.gradients, "batch of {batch}");
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
    subject.network.evaluate(&subject.images, &subject.targets.labels).expect("the batch fits");
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

#[test]
fn networks_with_branches() {
    // Fake quantization is not differentiable: its gradient passes rounding by. Its kernel has tests of its own.
    let blocks: Vec<Block> = Block::ALL
        .into_iter()
        .filter(|block| !matches!(block, Block::FakeQuantize | Block::Fused(Activation::Tanh)))
        .collect();
    for (seed, block) in blocks.iter().enumerate() {
        check_between_kinks(&branches::random(seed as u64, &[*block]));
    }
    (0..20).for_each(|seed| check_between_kinks(&branches::random(100 + seed, &blocks)));
}

#[test]
fn chunks_add_up_to_the_batch() {
    check_chunks(
        &branches::random(3, &[Block::Residual, Block::Excitation, Block::Concat, Block::Depthwise]),
        &Loss::default(),
    );
}

/// Checks that blocks of a batch at once, and chunks of it in turns, come to what the whole does.
fn check_chunks(graph: &Graph, loss: &Loss) {
    let settings = NetworkSettings { loss: loss.clone(), ..NetworkSettings::default() };
    for batch in BATCHES {
        let mut at_once = Subject::with_settings(graph, &settings, batch);
        let mut whole = Subject::with_settings(graph, &settings, batch);
        whole.network.narrow = false;
        let budget = whole.network.prepare(1, Mode::Train).expect("it can be planned").bytes();
        let settings = NetworkSettings { memory_budget: Some(budget), ..settings.clone() };
        let mut in_turns = Subject::with_settings(graph, &settings, batch);
        in_turns.network.narrow = false;
        let expected = whole.learn();
        for other in [&mut at_once, &mut in_turns] {
            let found = other.learn();
            assert!((found.loss - expected.loss).abs() < 1e-6, "{found:?} is not {expected:?}");
            assert_eq!([found.correct, found.counted], [expected.correct, expected.counted]);
            for (found, expected) in other.network.gradients.iter().zip(&whole.network.gradients) {
                assert!(
                    (found - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                    "{found} is not {expected} with {loss:?}"
                );
            }
        }
    }
}

/// Checks that loss and gradients are the same bytes at any number of threads, in blocks at once and as a whole.
fn check_threads(graph: &Graph, settings: &NetworkSettings) {
    for narrow in [true, false] {
        let learn = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| {
                let mut subject = Subject::with_settings(graph, settings, 50);
                subject.network.narrow = narrow;
                (subject.learn(), subject.network.gradients)
            })
        };
        let expected = learn(1);
        assert!([2, 3].into_iter().all(|threads| learn(threads) == expected), "{settings:?}");
    }
}

#[test]
fn frozen_layers_have_no_gradients_and_nothing_below_them_is_computed() {
    let graph = Chain::new(3, &[4, 5, 2])
        .conv(4, [3, 3], same(3))
        .batch_norm()
        .activation(Activation::Relu)
        .flatten()
        .dense(3, None)
        .finish();
    let freeze = vec!["conv*".to_owned(), "norm1".to_owned()];
    let settings = NetworkSettings { freeze, ..NetworkSettings::default() };
    let mut subject = Subject::new(&graph, 17);
    subject.network = Network::with_settings(graph.clone(), &settings).expect("the classifier learns");
    subject.loss();
    let learned: Vec<_> = subject.network.parameters.iter().filter(|p| !p.gradient.is_empty()).collect();
    let names: Vec<&str> = learned.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["dense4/weights", "dense4/bias"]);
    assert!(subject.network.take_times()[..3].iter().all(|time| time.backward == 0.0));
    assert_eq!(subject.network.to_graph(), graph, "running statistics stay");
}

#[test]
fn a_budget_that_holds_no_block_is_refused() {
    let graph = Chain::new(4, &[8, 8, 2]).conv(4, [3, 3], same(3)).batch_norm().flatten().dense(3, None);
    let settings = NetworkSettings { memory_budget: Some(1000), ..NetworkSettings::default() };
    let mut network = Network::with_settings(graph.finish(), &settings).expect("it can be trained");
    let error = network.learn(&[0.0; 40 * 128], &[0; 40]).expect_err("it needs more").to_string();
    assert!(error.starts_with("`chain` exceeds its memory budget: 16 images take "), "{error}");
}

#[test]
fn the_budget_of_a_narrow_network_is_that_of_a_block() {
    let graph = Chain::new(5, &[8, 8, 2]).conv_relu(4).flatten().dense(3, None).finish();
    let settings = NetworkSettings { memory_budget: Some(1000), ..NetworkSettings::default() };
    let mut network = Network::with_settings(graph, &settings).expect("it can be trained");
    let error = network.learn(&[0.0; 40 * 128], &[0; 40]).expect_err("it needs more").to_string();
    assert!(error.contains("16 images take"), "{error}");
}
