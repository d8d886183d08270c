//! Losses in lane layout against their definitions and finite differences, whole and in chunks, on every instruction
//! set.

use crate::support::{
    GARBAGE, Noise, assert_close, bits, central_differences, everywhere, lane_bits, packed, padding_lanes,
    unpacked,
};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Distillation, Lanes, LossSummary, Regression, RegressionLoss, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    Workspace,
};

/// Images, channels and pixels of a batch's maps.
#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    channels: usize,
    pixels: usize,
}

impl Shape {
    fn elements(self) -> usize {
        self.batch * self.channels * self.pixels
    }

    /// Lane layout with NaN in the lanes past the last image.
    fn packed(self, nhwc: &[f32]) -> Vec<Lanes> {
        let mut packed = packed(nhwc, self.batch, self.pixels, self.channels);
        let last = packed.len() - self.channels * self.pixels;
        for value in &mut packed[last..] {
            value.0[(self.batch - 1) % LANES + 1..].fill(f32::NAN);
        }
        packed
    }
}

fn any_shape() -> impl Strategy<Value = Shape> {
    (1usize..20, 1usize..6, 1usize..12).prop_map(|(batch, channels, pixels)| Shape {
        batch,
        channels,
        pixels,
    })
}

/// A loss of predictions `[blocks][channels][pixels]` over the images that a range names.
trait Loss: Sync {
    /// Loss and gradient of some images, as parts of those of the whole batch.
    fn run(
        &self,
        isa: Isa,
        images: std::ops::Range<usize>,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
    ) -> LossSummary;

    /// The mean loss of predictions `[N][pixels][channels]` by its definition.
    fn definition(&self, predictions: &[f32]) -> f64;
}

/// Checks a loss against its definition and the differences of that, and that its chunks add up.
fn check(loss: &impl Loss, shape: Shape, predictions: &[f32]) -> LossSummary {
    let Shape { batch, channels, pixels } = shape;
    let input = shape.packed(predictions);
    let (summary, gradient) = {
        let (loss_bits, correct, counted, gradient) = everywhere(|isa| {
            let mut gradient = vec![GARBAGE; input.len()];
            let summary = loss.run(isa, 0..batch, &input, Some(&mut gradient));
            assert_eq!(loss.run(isa, 0..batch, &input, None), summary, "without a gradient");
            (summary.loss.to_bits(), summary.correct, summary.counted, lane_bits(&gradient))
        });
        let lanes = gradient.chunks_exact(LANES);
        let gradient: Vec<Lanes> =
            lanes.map(|lanes| Lanes(std::array::from_fn(|lane| f32::from_bits(lanes[lane])))).collect();
        (LossSummary { loss: f64::from_bits(loss_bits), correct, counted }, gradient)
    };
    assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0), "gradient of padding lanes");
    let expect = loss.definition(predictions);
    assert!((summary.loss - expect).abs() <= 1e-9 * expect.abs().max(1.0), "{summary:?} instead of {expect}");
    let differences = central_differences(predictions, 1.0 / 1024.0, |moved| loss.definition(moved));
    assert_close(&unpacked(&gradient, batch, pixels, channels), &differences, 1e-5, "gradient");

    let image = channels * pixels;
    let (mut sum, mut in_chunks) = (LossSummary::default(), vec![GARBAGE; input.len()]);
    for (block, gradient) in in_chunks.chunks_exact_mut(image).enumerate() {
        let images = block * LANES..batch.min((block + 1) * LANES);
        sum += loss.run(Isa::best(), images, &input[block * image..][..image], Some(gradient));
    }
    assert_eq!(lane_bits(&in_chunks), lane_bits(&gradient), "gradient in chunks");
    assert!((sum.loss - summary.loss).abs() <= 1e-12 * summary.loss.abs().max(1.0), "loss in chunks");
    assert_eq!([sum.correct, sum.counted], [summary.correct, summary.counted]);
    summary
}

/// `ln softmax(logits / temperature)`.
fn log_softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &logit| largest.max(logit));
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - sum.ln()).collect()
}

struct CrossEntropy<'a> {
    loss: SoftmaxCrossEntropy<'a>,
    labels: &'a [u32],
}

impl CrossEntropy<'_> {
    /// Each pixel's label and weight; none if it is ignored.
    fn targets(&self) -> impl Iterator<Item = Option<(usize, f64)>> {
        self.labels.iter().map(|&label| {
            let weight = |class: usize| self.loss.class_weights.map_or(1.0, |all| f64::from(all[class]));
            (self.loss.ignored_label != Some(label)).then(|| (label as usize, weight(label as usize)))
        })
    }
}

impl Loss for CrossEntropy<'_> {
    fn run(
        &self,
        isa: Isa,
        images: std::ops::Range<usize>,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
    ) -> LossSummary {
        let loss = SoftmaxCrossEntropy { isa, ..self.loss };
        let labels = &self.labels[images.start * loss.pixels..images.end * loss.pixels];
        let total = loss.total_weight(self.labels);
        loss.run(predictions, labels, total, gradient, &mut Workspace::new())
    }

    fn definition(&self, predictions: &[f32]) -> f64 {
        let classes = self.loss.classes;
        let smoothing = f64::from(self.loss.label_smoothing);
        let (mut loss, mut total) = (0.0, 0.0);
        for (logits, target) in predictions.chunks_exact(classes).zip(self.targets()) {
            let Some((label, weight)) = target else { continue };
            let logs = log_softmax(logits, 1.0);
            let spread: f64 = (0..classes)
                .map(|c| self.loss.class_weights.map_or(1.0, |all| f64::from(all[c])) * logs[c])
                .sum();
            loss -= (1.0 - smoothing) * weight * logs[label] + smoothing / classes as f64 * spread;
            total += weight;
        }
        if total == 0.0 { 0.0 } else { loss / total }
    }
}

struct Distilled<'a> {
    hard: CrossEntropy<'a>,
    teacher: &'a [f32],
    temperature: f32,
    soft_weight: f32,
}

impl Loss for Distilled<'_> {
    fn run(
        &self,
        isa: Isa,
        images: std::ops::Range<usize>,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
    ) -> LossSummary {
        let hard = SoftmaxCrossEntropy { isa, ..self.hard.loss };
        let (labels, pixels) = (self.hard.labels, hard.pixels);
        let total = hard.total_weight(labels);
        let image = hard.classes * pixels;
        let shape = Shape { batch: images.len(), channels: hard.classes, pixels };
        let teacher = shape.packed(&self.teacher[images.start * image..images.end * image]);
        let loss = Distillation { hard, temperature: self.temperature, soft_weight: self.soft_weight };
        let labels = &labels[images.start * pixels..images.end * pixels];
        loss.run(predictions, &teacher, labels, total, gradient, &mut Workspace::new())
    }

    fn definition(&self, predictions: &[f32]) -> f64 {
        let classes = self.hard.loss.classes;
        let (temperature, soft) = (f64::from(self.temperature), f64::from(self.soft_weight));
        let pixels = predictions.chunks_exact(classes).zip(self.teacher.chunks_exact(classes));
        let (mut divergence, mut total) = (0.0, 0.0);
        for ((student, teacher), target) in pixels.zip(self.hard.targets()) {
            let Some((_, weight)) = target else { continue };
            let (student, teacher) = (log_softmax(student, temperature), log_softmax(teacher, temperature));
            divergence += weight * teacher.iter().zip(&student).map(|(t, s)| t.exp() * (t - s)).sum::<f64>();
            total += weight;
        }
        let divergence = if total == 0.0 { 0.0 } else { divergence / total };
        (1.0 - soft) * self.hard.definition(predictions) + soft * temperature * temperature * divergence
    }
}

/// A loss per element with the targets and weights of a batch.
struct Elements<'a, L> {
    loss: L,
    image: usize,
    targets: &'a [f32],
    weights: Option<&'a [f32]>,
}

impl<L> Elements<'_, L> {
    fn of(&self, images: &std::ops::Range<usize>) -> (&[f32], Option<&[f32]>) {
        let part = images.start * self.image..images.end * self.image;
        (&self.targets[part.clone()], self.weights.map(|weights| &weights[part]))
    }

    fn mean(&self, predictions: &[f32], of_element: impl Fn(usize, f64, f64) -> f64) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (at, (&prediction, &target)) in predictions.iter().zip(self.targets).enumerate() {
            let weight = self.weights.map_or(1.0, |weights| f64::from(weights[at]));
            if weight != 0.0 {
                sum += weight * of_element(at, f64::from(prediction), f64::from(target));
                total += weight;
            }
        }
        if total == 0.0 { 0.0 } else { sum / total }
    }
}

impl Loss for Elements<'_, SigmoidCrossEntropy<'_>> {
    fn run(
        &self,
        isa: Isa,
        images: std::ops::Range<usize>,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
    ) -> LossSummary {
        let loss = SigmoidCrossEntropy { isa, ..self.loss };
        let total = loss.total_weight(self.targets.len() / self.image, self.weights);
        let (targets, weights) = self.of(&images);
        loss.run(predictions, targets, weights, total, gradient, &mut Workspace::new())
    }

    fn definition(&self, predictions: &[f32]) -> f64 {
        self.mean(predictions, |at, z, t| {
            let positive =
                self.loss.positive_weights.map_or(1.0, |all| f64::from(all[at % self.loss.channels]));
            positive * t * (-z).exp().ln_1p() + (1.0 - t) * z.exp().ln_1p()
        })
    }
}

impl Loss for Elements<'_, Regression> {
    fn run(
        &self,
        isa: Isa,
        images: std::ops::Range<usize>,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
    ) -> LossSummary {
        let loss = Regression { isa, ..self.loss };
        let total = loss.total_weight(self.targets.len() / self.image, self.weights);
        let (targets, weights) = self.of(&images);
        loss.run(predictions, targets, weights, total, gradient, &mut Workspace::new())
    }

    fn definition(&self, predictions: &[f32]) -> f64 {
        self.mean(predictions, |_, prediction, target| {
            let size = (prediction - target).abs();
            match self.loss.loss {
                RegressionLoss::SquaredError => size * size,
                RegressionLoss::Huber { delta } if size > f64::from(delta) => {
                    f64::from(delta) * (size - f64::from(delta) / 2.0)
                }
                RegressionLoss::Huber { .. } => size * size / 2.0,
            }
        })
    }
}

/// Positive numbers below 2.
fn positives(noise: &mut Noise, length: usize) -> Vec<f32> {
    noise.reals(length).iter().map(|value| value + 1.0).collect()
}

/// Weights of elements, a third of them 0, whose targets become NaN.
fn mask(noise: &mut Noise, targets: &mut [f32]) -> Vec<f32> {
    let mut weights = positives(noise, targets.len());
    for (at, weight) in weights.iter_mut().enumerate().filter(|(at, _)| at % 3 == 1) {
        *weight = 0.0;
        targets[at] = f32::NAN;
    }
    weights
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cross_entropy_and_distillation_equal_their_definitions(
        shape in any_shape(), ignoring: bool, weighing: bool,
        smoothing in prop_oneof![Just(0.0f32), Just(0.125f32)], seed: u64,
    ) {
        let Shape { batch, channels: classes, pixels } = shape;
        let mut noise = Noise::new(seed);
        let scaled = |values: Vec<f32>| values.iter().map(|value| value * 4.0).collect::<Vec<_>>();
        let (logits, teacher) = (scaled(noise.reals(shape.elements())), scaled(noise.reals(shape.elements())));
        let mut labels = noise.labels(batch * pixels, classes);
        if ignoring {
            labels.iter_mut().step_by(3).for_each(|label| *label = 255);
        }
        let weights = positives(&mut noise, classes);
        let loss = SoftmaxCrossEntropy {
            ignored_label: ignoring.then_some(255),
            class_weights: weighing.then_some(&weights),
            label_smoothing: smoothing,
            ..SoftmaxCrossEntropy::new(classes, pixels, Isa::best())
        };
        let summary = check(&CrossEntropy { loss, labels: &labels }, shape, &logits);
        let expect: Vec<bool> = logits
            .chunks_exact(classes)
            .zip(&labels)
            .filter(|(_, label)| **label != 255)
            .map(|(logits, label)| logits.iter().all(|&logit| logit <= logits[*label as usize]))
            .collect();
        prop_assert_eq!(summary.counted, expect.len());
        prop_assert_eq!(summary.correct, expect.iter().filter(|right| **right).count());

        let hard = CrossEntropy { loss, labels: &labels };
        let distilled = Distilled { hard, teacher: &teacher, temperature: 2.5, soft_weight: 0.75 };
        let of_both = check(&distilled, shape, &logits);
        prop_assert_eq!([of_both.correct, of_both.counted], [summary.correct, summary.counted]);
    }

    #[test]
    fn losses_of_elements_equal_their_definitions(
        shape in any_shape(), masking: bool, weighing: bool, huber: bool, seed: u64,
    ) {
        let mut noise = Noise::new(seed);
        let predictions: Vec<f32> = noise.reals(shape.elements()).iter().map(|value| value * 4.0).collect();
        let mut targets: Vec<f32> =
            positives(&mut noise, shape.elements()).iter().map(|value| value / 2.0).collect();
        let weights = if masking { Some(mask(&mut noise, &mut targets)) } else { None };
        let (weights, image) = (weights.as_deref(), shape.channels * shape.pixels);
        let (channels, pixels, isa) = (shape.channels, shape.pixels, Isa::best());

        let positive_weights = positives(&mut noise, channels);
        let positive_weights = weighing.then_some(&positive_weights[..]);
        let loss = SigmoidCrossEntropy { positive_weights, ..SigmoidCrossEntropy::new(channels, pixels, isa) };
        let summary = check(&Elements { loss, image, targets: &targets, weights }, shape, &predictions);
        let counted = targets.iter().filter(|target| !target.is_nan()).count();
        prop_assert_eq!(summary.counted, counted);
        let right = predictions.iter().zip(&targets).filter(|(z, t)| !t.is_nan() && (**z > 0.0) == (**t > 0.5));
        prop_assert_eq!(summary.correct, right.count());

        let loss = if huber { RegressionLoss::Huber { delta: 0.75 } } else { RegressionLoss::SquaredError };
        let loss = Regression { channels, pixels, loss, isa };
        let summary = check(&Elements { loss, image, targets: &targets, weights }, shape, &predictions);
        prop_assert_eq!([summary.correct, summary.counted], [0, counted]);
    }
}

#[test]
fn large_maps_give_the_same_bytes_everywhere() {
    let shape = Shape { batch: 18, channels: 3, pixels: 2100 };
    let mut noise = Noise::new(4);
    let (logits, teacher) = (noise.reals(shape.elements()), noise.reals(shape.elements()));
    let labels = noise.labels(shape.batch * shape.pixels, shape.channels);
    let loss = SoftmaxCrossEntropy::new(shape.channels, shape.pixels, Isa::best());
    let hard = CrossEntropy { loss, labels: &labels };
    let distilled = Distilled { hard, teacher: &teacher, temperature: 2.0, soft_weight: 0.5 };
    let input = shape.packed(&logits);
    let (loss, gradient) = everywhere(|isa| {
        let mut gradient = vec![GARBAGE; input.len()];
        let summary = distilled.run(isa, 0..shape.batch, &input, Some(&mut gradient));
        (summary.loss.to_bits(), lane_bits(&gradient))
    });
    let expect = distilled.definition(&logits);
    assert!((f64::from_bits(loss) - expect).abs() < 1e-9);
    assert!(gradient.iter().all(|&value| f32::from_bits(value).is_finite()));
}

#[test]
fn losses_have_known_values() {
    let (zeros, isa) = ([Lanes::ZERO; 4], Isa::best());
    let mut workspace = Workspace::new();
    let check = |loss: LossSummary, expect: f64| assert!((loss.loss - expect).abs() < 1e-12, "{loss:?}");
    let softmax = SoftmaxCrossEntropy::new(4, 1, isa);
    check(softmax.run(&zeros, &[3, 0], 2.0, None, &mut workspace), 4f64.ln());
    let distillation = Distillation { hard: softmax, temperature: 3.0, soft_weight: 1.0 };
    check(distillation.run(&zeros, &zeros, &[3, 0], 2.0, None, &mut workspace), 0.0);
    let sigmoid = SigmoidCrossEntropy::new(4, 1, isa);
    check(sigmoid.run(&zeros, &[0.0, 0.25, 0.5, 1.0], None, 4.0, None, &mut workspace), 2f64.ln());
    let targets = [0.0, 1.0, -2.0, 4.0];
    let regression = |loss| Regression { channels: 4, pixels: 1, loss, isa };
    let squared = regression(RegressionLoss::SquaredError);
    check(squared.run(&zeros, &targets, None, 4.0, None, &mut workspace), 21.0 / 4.0);
    let huber = regression(RegressionLoss::Huber { delta: 1.0 });
    check(huber.run(&zeros, &targets, None, 4.0, None, &mut workspace), (0.5 + 1.5 + 3.5) / 4.0);
}

#[test]
fn extreme_logits_stay_finite() {
    let (isa, mut workspace) = (Isa::best(), Workspace::new());
    let logits = [1e4, -1e4, 0.0].map(|logit| Lanes([logit; LANES]));
    let teacher = [-1e4, 1e4, 0.0].map(|logit| Lanes([logit; LANES]));
    let mut gradient = [GARBAGE; 3];
    let check = |summary: LossSummary, gradient: &[Lanes], loss: f64, expect: [f32; 3]| {
        assert!((summary.loss - loss).abs() <= 1e-9 * loss.max(1.0), "{summary:?} instead of {loss}");
        assert_eq!([0, 1, 2].map(|at| gradient[at].0[0]), expect);
    };
    let softmax = SoftmaxCrossEntropy::new(3, 1, isa);
    let summary = softmax.run(&logits, &[1], 1.0, Some(&mut gradient), &mut workspace);
    check(summary, &gradient, 2e4, [1.0, -1.0, 0.0]);
    let summary = softmax.run(&logits, &[0], 1.0, Some(&mut gradient), &mut workspace);
    check(summary, &gradient, 0.0, [0.0; 3]);
    let distillation = Distillation { hard: softmax, temperature: 1.0, soft_weight: 1.0 };
    let summary = distillation.run(&logits, &teacher, &[1], 1.0, Some(&mut gradient), &mut workspace);
    check(summary, &gradient, 2e4, [1.0, -1.0, 0.0]);
    let sigmoid = SigmoidCrossEntropy::new(3, 1, isa);
    let summary = sigmoid.run(&logits, &[0.0, 1.0, 0.5], None, 1.0, Some(&mut gradient), &mut workspace);
    check(summary, &gradient, 2e4 + 2f64.ln(), [1.0, -1.0, 0.0]);
}

#[test]
fn a_batch_in_which_nothing_counts_loses_nothing() {
    let (isa, mut workspace) = (Isa::best(), Workspace::new());
    let logits = [Lanes([3.0; LANES]), GARBAGE];
    let mut check = |run: &dyn Fn(&mut [Lanes], &mut Workspace) -> LossSummary| {
        let mut gradient = [GARBAGE; 2];
        assert_eq!(run(&mut gradient, &mut workspace), LossSummary::default());
        assert!(bits(&gradient[0].0).iter().chain(&bits(&gradient[1].0)).all(|&bits| bits == 0));
    };
    let ignored_label = Some(9);
    let hard = SoftmaxCrossEntropy { ignored_label, ..SoftmaxCrossEntropy::new(2, 1, isa) };
    let labels = [9; 5];
    assert_eq!(hard.total_weight(&labels), 0.0);
    check(&|gradient, workspace| hard.run(&logits, &labels, 0.0, Some(gradient), workspace));
    let distillation = Distillation { hard, temperature: 2.0, soft_weight: 0.5 };
    check(&|gradient, workspace| distillation.run(&logits, &logits, &labels, 0.0, Some(gradient), workspace));
    let (targets, weights) = ([f32::NAN; 10], Some(&[0.0; 10][..]));
    let sigmoid = SigmoidCrossEntropy::new(2, 1, isa);
    check(&|gradient, workspace| sigmoid.run(&logits, &targets, weights, 0.0, Some(gradient), workspace));
    let squared = Regression { channels: 2, pixels: 1, loss: RegressionLoss::SquaredError, isa };
    check(&|gradient, workspace| squared.run(&logits, &targets, weights, 0.0, Some(gradient), workspace));
}

#[test]
#[should_panic(expected = "label 3 is not below the 3 classes")]
fn a_label_past_the_classes_is_refused() {
    SoftmaxCrossEntropy::new(3, 2, Isa::best()).total_weight(&[0, 3]);
}
