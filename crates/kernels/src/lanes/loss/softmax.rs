//! Softmax and its cross-entropy on logits `[blocks][classes]`, image by image.

use super::LossSummary;
use crate::lanes::{LANES, Lanes, blocks};

/// Mean cross-entropy of `softmax(logits)` against `labels`, one per image. Overwrites `gradient`, if given, with
/// the gradient of the mean by the logits, which is 0 in lanes past the last image.
///
/// # Panics
///
/// Panics if a slice does not have the length that the shape asks for, or if a label is not below `classes`.
pub fn softmax_cross_entropy(
    logits: &[Lanes],
    labels: &[u32],
    classes: usize,
    mut gradient: Option<&mut [Lanes]>,
) -> LossSummary {
    assert_eq!(logits.len(), blocks(labels.len()) * classes, "length of the logits");
    if let Some(gradient) = gradient.as_deref_mut() {
        assert_eq!(gradient.len(), logits.len(), "length of the logits' gradient");
        gradient.fill(Lanes::ZERO);
    }
    let scale = 1.0 / labels.len() as f64;
    let mut summary = LossSummary { counted: labels.len(), ..LossSummary::default() };
    for (n, &label) in labels.iter().enumerate() {
        let label = label as usize;
        assert!(label < classes, "label {label} of image {n} is not below the {classes} classes");
        let (lane, part) = (n % LANES, n / LANES * classes..(n / LANES + 1) * classes);
        let logits = &logits[part.clone()];
        let Exponentials { largest, sum } = exponentials(logits, lane);
        let shifted = |class: usize| f64::from(logits[class].0[lane] - logits[largest].0[lane]);
        summary.loss += (sum.ln() - shifted(label)) * scale;
        summary.correct += usize::from(largest == label);
        if let Some(gradient) = gradient.as_deref_mut() {
            for (class, gradient) in gradient[part].iter_mut().enumerate() {
                let expected = if class == label { 1.0 } else { 0.0 };
                gradient.0[lane] = ((shifted(class).exp() / sum - expected) * scale) as f32;
            }
        }
    }
    summary
}

/// `softmax(logits)` over the classes of each image.
///
/// # Panics
///
/// Panics if the slices differ in length or do not hold whole blocks.
pub fn softmax(logits: &[Lanes], classes: usize, probabilities: &mut [Lanes]) {
    assert_eq!(logits.len(), probabilities.len(), "logits and probabilities differ in length");
    assert_eq!(logits.len() % classes, 0, "a length of whole blocks of {classes} classes");
    for (logits, probabilities) in logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes)) {
        for lane in 0..LANES {
            let Exponentials { largest, sum } = exponentials(logits, lane);
            for (logit, probability) in logits.iter().zip(probabilities.iter_mut()) {
                let shifted = f64::from(logit.0[lane] - logits[largest].0[lane]);
                probability.0[lane] = (shifted.exp() / sum) as f32;
            }
        }
    }
}

/// The class of the largest logit, and the sum of `exp(logit - largest logit)`.
struct Exponentials {
    largest: usize,
    sum: f64,
}

fn exponentials(logits: &[Lanes], lane: usize) -> Exponentials {
    let mut largest = 0;
    for (class, logit) in logits.iter().enumerate() {
        if logit.0[lane] > logits[largest].0[lane] {
            largest = class;
        }
    }
    let sum = logits.iter().map(|logit| f64::from(logit.0[lane] - logits[largest].0[lane]).exp()).sum();
    Exponentials { largest, sum }
}
