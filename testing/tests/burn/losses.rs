//! Losses, against their definitions written in burn.

use crate::oracle::{Function, Oracle, Results};
use crate::support::{Array, any_batch, cases, device, garbage, unpacked};
use burn_tensor::{Int, Tensor, TensorData, activation};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Distillation, Lanes, LossSummary, Regression, RegressionLoss, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    Workspace,
};
use taper_testing::Random;

/// Checks a loss of `x` and its gradient by it. The loss in burn is `[1, 1, 1, 1]`.
fn check(
    what: &dyn std::fmt::Debug,
    x: &Array,
    function: Function<'_, 1>,
    run: impl FnOnce(&[Lanes], Option<&mut [Lanes]>, &mut Workspace) -> LossSummary,
) {
    let oracle = Oracle::new([x], &Array::number(1.0), function, function);
    let lanes = x.lanes();
    let mut gradient = garbage(lanes.len());
    let summary = run(&lanes, Some(&mut gradient), &mut Workspace::new());
    oracle.check(what, &Results { y: vec![summary.loss as f32], gradients: [unpacked(x.shape, &gradient)] });
}

/// Labels of pixels, in both libraries, with what each counts.
struct Labels {
    plain: Vec<u32>,
    /// A class for each pixel, `[N, 1, H, W]`; where the label is ignored, any.
    classes: Tensor<4, Int>,
    /// 0 where the label is ignored, else 1, `[N, 1, H, W]`.
    counts: Tensor<4>,
}

impl Labels {
    /// A label that no class has stands for pixels to ignore.
    fn new([batch, classes, height, width]: [usize; 4], random: &mut Random) -> Self {
        let length = batch * height * width;
        let plain: Vec<u32> = (0..length).map(|_| random.between(0, classes) as u32).collect();
        let counts = |label: &u32| if *label as usize == classes { 0.0 } else { 1.0 };
        let shape = [batch, 1, height, width];
        let indices = plain.iter().map(|&label| i64::from(label) % classes as i64).collect();
        Self {
            counts: Array::new(shape, plain.iter().map(counts).collect()).tensor(),
            classes: Tensor::from_data(TensorData::new::<i64, _>(indices, shape), &device()),
            plain,
        }
    }
}

/// The loss of each pixel, `[N, 1, H, W]`, as PyTorch defines it, and the weights of their mean.
fn cross_entropy(logits: Tensor<4>, labels: &Labels, weights: Tensor<4>, smoothing: f64) -> [Tensor<4>; 2] {
    let shape = logits.dims();
    let logarithms = activation::log_softmax(logits, 1);
    let weights = weights.expand(shape);
    let of_label = weights.clone().gather(1, labels.classes.clone()) * labels.counts.clone();
    let hard = -logarithms.clone().gather(1, labels.classes.clone()) * of_label.clone();
    let soft = -(logarithms * weights).mean_dim(1) * labels.counts.clone();
    [hard * (1.0 - smoothing) + soft * smoothing, of_label]
}

/// `Σ losses / Σ weights`.
fn mean([losses, weights]: [Tensor<4>; 2]) -> Tensor<4> {
    (losses.sum() / weights.sum()).reshape([1; 4])
}

fn any_logits() -> impl Strategy<Value = [usize; 4]> {
    (any_batch(), 2usize..7, [1usize..6, 1usize..6])
        .prop_map(|(batch, classes, [height, width])| [batch, classes, height, width])
}

/// Numbers in -6..6.
fn wide(shape: [usize; 4], random: &mut Random) -> Array {
    Array::noise(shape, random).map(|x| 6.0 * x)
}

/// NHWC order, which targets have.
fn nhwc(array: &Array) -> Vec<f32> {
    let [batch, channels, height, width] = array.shape;
    let pixels = height * width;
    let places = (0..batch * pixels).flat_map(|at| (0..channels).map(move |channel| (at, channel)));
    places.map(|(at, c)| array.values[(at / pixels * channels + c) * pixels + at % pixels]).collect()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_softmax_cross_entropy_agrees(shape in any_logits(), smoothing in 0f32..0.5, seed: u64) {
        let [_, classes, height, width] = shape;
        let mut random = Random::new(seed);
        let (logits, labels) = (wide(shape, &mut random), Labels::new(shape, &mut random));
        let weights = Array::drawn([1, classes, 1, 1], || 0.1 + random.unit());
        let plain = SoftmaxCrossEntropy {
            ignored_label: Some(classes as u32),
            ..SoftmaxCrossEntropy::new(classes, height * width, Isa::best())
        };
        let weighted = SoftmaxCrossEntropy {
            class_weights: Some(&weights.values),
            label_smoothing: smoothing,
            ..plain
        };
        for (loss, weights) in [(plain, weights.map(|_| 1.0)), (weighted, weights.clone())] {
            let total = loss.total_weight(&labels.plain);
            prop_assume!(total > 0.0);
            let smoothing = f64::from(loss.label_smoothing);
            check(
                &loss,
                &logits,
                &|[logits]| mean(cross_entropy(logits, &labels, weights.tensor(), smoothing)),
                |logits, gradient, workspace| loss.run(logits, &labels.plain, total, gradient, workspace),
            );
        }
    }

    #[test]
    fn any_distillation_agrees(
        shape in any_logits(), temperature in 0.5f32..5.0, soft_weight in 0f32..1.0, seed: u64,
    ) {
        let [_, classes, height, width] = shape;
        let mut random = Random::new(seed);
        let [student, teacher] = [(); 2].map(|()| wide(shape, &mut random));
        let labels = Labels::new(shape, &mut random);
        let weights = Array::drawn([1, classes, 1, 1], || 0.1 + random.unit());
        let hard = SoftmaxCrossEntropy {
            ignored_label: Some(classes as u32),
            class_weights: Some(&weights.values),
            ..SoftmaxCrossEntropy::new(classes, height * width, Isa::best())
        };
        let total = hard.total_weight(&labels.plain);
        prop_assume!(total > 0.0);
        let loss = Distillation { hard, temperature, soft_weight };
        let (t, share) = (f64::from(temperature), f64::from(soft_weight));
        let function = |[student]: [Tensor<4>; 1]| {
            let [hard, of_label] = cross_entropy(student.clone(), &labels, weights.tensor(), 0.0);
            let [student, teacher] = [student, teacher.tensor()].map(|x| activation::log_softmax(x / t, 1));
            let divergence = (teacher.clone().exp() * (teacher - student)).sum_dim(1);
            let soft = divergence * of_label.clone() * (t * t);
            mean([hard * (1.0 - share) + soft * share, of_label])
        };
        check(&loss, &student, &function, |student, gradient, workspace| {
            loss.run(student, &teacher.lanes(), &labels.plain, total, gradient, workspace)
        });
    }

    #[test]
    fn any_sigmoid_cross_entropy_agrees(shape in any_logits(), seed: u64) {
        let [batch, channels, height, width] = shape;
        let mut random = Random::new(seed);
        let logits = wide(shape, &mut random);
        let targets = Array::drawn(shape, || random.unit());
        let positives = Array::drawn([1, channels, 1, 1], || 0.5 + random.unit());
        // Some elements are to be ignored.
        let weights = Array::drawn(shape, || (2.0 * random.unit() - 0.5).max(0.0));
        let loss = SigmoidCrossEntropy {
            positive_weights: Some(&positives.values),
            ..SigmoidCrossEntropy::new(channels, height * width, Isa::best())
        };
        let [plain_targets, plain_weights] = [&targets, &weights].map(nhwc);
        let total = loss.total_weight(batch, Some(&plain_weights));
        prop_assume!(total > 0.0);
        let function = |[logits]: [Tensor<4>; 1]| {
            let (t, weights) = (targets.tensor(), weights.tensor());
            let positive = activation::log_sigmoid(logits.clone()) * t.clone() * positives.tensor();
            let negative = activation::log_sigmoid(-logits) * (-t + 1.0);
            mean([-(positive + negative) * weights.clone(), weights])
        };
        check(&loss, &logits, &function, |logits, gradient, workspace| {
            loss.run(logits, &plain_targets, Some(&plain_weights), total, gradient, workspace)
        });
    }

    #[test]
    fn any_regression_agrees(shape in any_logits(), delta in 0.2f32..2.0, seed: u64) {
        let [batch, channels, height, width] = shape;
        let mut random = Random::new(seed);
        let [predictions, targets] = [(); 2].map(|()| Array::noise(shape, &mut random).map(|x| 2.0 * x));
        let weights = Array::drawn(shape, || (2.0 * random.unit() - 0.5).max(0.0));
        let [plain_targets, plain_weights] = [&targets, &weights].map(nhwc);
        for of_element in [RegressionLoss::SquaredError, RegressionLoss::Huber { delta }] {
            let loss = Regression { channels, pixels: height * width, loss: of_element, isa: Isa::best() };
            let total = loss.total_weight(batch, Some(&plain_weights));
            prop_assume!(total > 0.0);
            let function = |[predictions]: [Tensor<4>; 1]| {
                let (difference, weights) = (predictions - targets.tensor(), weights.tensor());
                let losses = match of_element {
                    RegressionLoss::SquaredError => difference.square(),
                    RegressionLoss::Huber { delta } => {
                        let (size, delta) = (difference.clone().abs(), f64::from(delta));
                        let line = (size.clone() - 0.5 * delta) * delta;
                        (difference.square() * 0.5).mask_where(size.greater_elem(delta), line)
                    }
                };
                mean([losses * weights.clone(), weights])
            };
            check(&loss, &predictions, &function, |predictions, gradient, workspace| {
                loss.run(predictions, &plain_targets, Some(&plain_weights), total, gradient, workspace)
            });
        }
    }
}
