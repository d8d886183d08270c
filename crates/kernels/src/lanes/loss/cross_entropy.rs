//! Softmax cross-entropy per pixel, with labels to ignore, class weights and label smoothing.

use super::elementary::{exp, ln};
use super::maps::{Maps, Part, Row, TILE, Tile};
use super::{LossSummary, scale_of};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::{Lanes, Workspace};

/// Softmax cross-entropy of logits `[blocks][classes][pixels]` against labels `[N][pixels]`; an image classifier has
/// one pixel.
///
/// A pixel of label y with the weight w of its class loses `-Σ q_c ln softmax(z)_c`, where
/// `q_c = (1 - ε) w_y [c = y] + ε w_c / C` and ε is the label smoothing, as in PyTorch. The mean divides by the sum of
/// the w_y.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropy<'a> {
    /// Number of classes C.
    pub classes: usize,
    /// Pixels per image.
    pub pixels: usize,
    /// Pixels of this label do not count. It need not be below `classes`.
    pub ignored_label: Option<u32>,
    /// A weight per class; without them each class weighs 1.
    pub class_weights: Option<&'a [f32]>,
    /// The share ε of the target that is spread evenly over the classes (Szegedy et al., 2016); 0 for plain labels.
    pub label_smoothing: f32,
    /// The instruction set to use.
    pub isa: Isa,
}

impl<'a> SoftmaxCrossEntropy<'a> {
    /// Every label counts, with the same weight.
    pub fn new(classes: usize, pixels: usize, isa: Isa) -> Self {
        Self { classes, pixels, ignored_label: None, class_weights: None, label_smoothing: 0.0, isa }
    }

    /// The sum of the weights of all labels `[N][pixels]` that count: the divisor of the mean.
    ///
    /// # Panics
    ///
    /// Panics if a label is neither the ignored one nor below `classes`, or if the class weights are not one per class.
    pub fn total_weight(&self, labels: &[u32]) -> f64 {
        self.check();
        labels.iter().filter_map(|&label| self.class(label)).map(|class| self.weight(class)).sum()
    }

    /// The loss of whole blocks of images. Overwrites `gradient`, if given, with the gradient by the logits, which is 0
    /// in lanes past the last image.
    ///
    /// `labels` are `[N][pixels]`; `total_weight` is [`SoftmaxCrossEntropy::total_weight`] of the whole batch, of which
    /// these images may be a chunk.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, and where
    /// [`SoftmaxCrossEntropy::total_weight`] does.
    pub fn run(
        &self,
        logits: &[Lanes],
        labels: &[u32],
        total_weight: f64,
        gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        self.run_scaled(logits, labels, scale_of(total_weight), gradient, workspace)
    }

    /// As [`SoftmaxCrossEntropy::run`], with the factor of each term.
    pub(super) fn run_scaled(
        &self,
        logits: &[Lanes],
        labels: &[u32],
        scale: f64,
        gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        self.check();
        let maps = self.maps(labels);
        let weight_sum = (0..self.classes).map(|class| self.weight(class)).sum();
        maps.sum(logits, gradient, workspace, |part| {
            self.isa.dispatch(Task { loss: self, maps, logits, labels, scale, weight_sum, part })
        })
    }

    pub(super) fn maps(&self, labels: &[u32]) -> Maps {
        Maps::new(self.classes, self.pixels, labels.len(), self.pixels)
    }

    fn check(&self) {
        if let Some(weights) = self.class_weights {
            assert_eq!(weights.len(), self.classes, "class weights");
        }
    }

    /// The class of a label that counts.
    #[inline(always)]
    fn class(&self, label: u32) -> Option<usize> {
        if self.ignored_label == Some(label) {
            return None;
        }
        let class = label as usize;
        assert!(class < self.classes, "label {label} is not below the {} classes", self.classes);
        Some(class)
    }

    fn weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| f64::from(weights[class]))
    }
}

/// The label of a lane that does not count.
const NONE: u32 = u32::MAX;

/// The labels of a tile's pixels and their weights, which are 0 where they do not count.
pub(super) struct Targets {
    label: [[u32; LANES]; TILE],
    pub(super) weight: [Row; TILE],
}

impl Targets {
    #[inline(always)]
    pub(super) fn read(loss: &SoftmaxCrossEntropy, maps: &Maps, tile: &Tile, labels: &[u32]) -> Self {
        let mut targets = Self { label: [[NONE; LANES]; TILE], weight: [[0.0; LANES]; TILE] };
        for lane in 0..LANES {
            for pixel in 0..tile.count {
                let Some(place) = maps.pixel(tile, pixel, lane) else { continue };
                let Some(class) = loss.class(labels[place]) else { continue };
                targets.label[pixel][lane] = labels[place];
                targets.weight[pixel][lane] = loss.weight(class);
            }
        }
        targets
    }
}

/// The softmax of a tile's pixels.
pub(super) struct Softmax {
    /// The largest logit.
    pub(super) largest: [Row; TILE],
    /// Its class, the first among equals.
    class: [[u32; LANES]; TILE],
    /// The logarithm of the sum of `exp((logit - largest) / temperature)`.
    pub(super) log_sum: [Row; TILE],
}

impl Softmax {
    #[inline(always)]
    pub(super) fn of(maps: &Maps, tile: &Tile, logits: &[Lanes], inverse_temperature: f64) -> Self {
        let mut largest = [[f32::NEG_INFINITY; LANES]; TILE];
        let mut class = [[0; LANES]; TILE];
        for channel in 0..maps.channels {
            let row = &logits[maps.row(tile, channel)];
            for ((logits, largest), class) in row.iter().zip(&mut largest).zip(&mut class) {
                for lane in 0..LANES {
                    let above = logits.0[lane] > largest[lane];
                    class[lane] = if above { channel as u32 } else { class[lane] };
                    largest[lane] = if above { logits.0[lane] } else { largest[lane] };
                }
            }
        }
        let mut softmax = Self { largest: [[0.0; LANES]; TILE], class, log_sum: [[0.0; LANES]; TILE] };
        for (wide, largest) in softmax.largest.iter_mut().zip(&largest) {
            for lane in 0..LANES {
                wide[lane] = f64::from(largest[lane]);
            }
        }
        for channel in 0..maps.channels {
            let row = &logits[maps.row(tile, channel)];
            for ((logits, largest), sum) in row.iter().zip(&softmax.largest).zip(&mut softmax.log_sum) {
                for lane in 0..LANES {
                    sum[lane] += exp((f64::from(logits.0[lane]) - largest[lane]) * inverse_temperature);
                }
            }
        }
        for sum in &mut softmax.log_sum[..tile.count] {
            for sum in sum {
                *sum = ln(*sum);
            }
        }
        softmax
    }
}

struct Task<'a> {
    loss: &'a SoftmaxCrossEntropy<'a>,
    maps: Maps,
    logits: &'a [Lanes],
    labels: &'a [u32],
    scale: f64,
    weight_sum: f64,
    part: Part<'a>,
}

impl WithSimd for Task<'_> {
    type Output = LossSummary;

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) -> LossSummary {
        let mut summary = LossSummary::default();
        for tile in self.part.tiles() {
            self.add_tile(&tile, &mut summary);
        }
        summary
    }
}

impl Task<'_> {
    #[inline(always)]
    fn add_tile(&mut self, tile: &Tile, summary: &mut LossSummary) {
        let targets = Targets::read(self.loss, &self.maps, tile, self.labels);
        let softmax = Softmax::of(&self.maps, tile, self.logits, 1.0);
        let smoothing = f64::from(self.loss.label_smoothing);
        let spread = smoothing / self.maps.channels as f64;

        // The sum of a pixel's target q, and Σ q · ln softmax.
        let mut sum = [[0.0; LANES]; TILE];
        for (sum, weight) in sum.iter_mut().zip(&targets.weight) {
            for lane in 0..LANES {
                sum[lane] = (1.0 - smoothing) * weight[lane] + spread * self.weight_sum;
            }
        }
        let mut likelihood = [[0.0; LANES]; TILE];
        for channel in 0..self.maps.channels {
            let row = &self.logits[self.maps.row(tile, channel)];
            let spread = spread * self.loss.weight(channel);
            let mut gradient = self.part.gradient(tile, channel);
            for (pixel, logits) in row.iter().enumerate() {
                let (label, weight) = (&targets.label[pixel], &targets.weight[pixel]);
                let (largest, log_sum) = (&softmax.largest[pixel], &softmax.log_sum[pixel]);
                let mut terms = Lanes::ZERO;
                for lane in 0..LANES {
                    let log = f64::from(logits.0[lane]) - largest[lane] - log_sum[lane];
                    let at_label = if label[lane] == channel as u32 { weight[lane] } else { 0.0 };
                    let target = (1.0 - smoothing) * at_label + spread;
                    likelihood[pixel][lane] += if target == 0.0 { 0.0 } else { target * log };
                    let slope = (sum[pixel][lane] * exp(log) - target) * self.scale;
                    terms.0[lane] = if label[lane] == NONE { 0.0 } else { slope as f32 };
                }
                if let Some(gradient) = &mut gradient {
                    gradient[pixel] = terms;
                }
            }
        }
        let pixels = likelihood.iter().zip(&targets.label).zip(&softmax.class).take(tile.count);
        for ((likelihoods, labels), classes) in pixels {
            for ((likelihood, label), class) in likelihoods.iter().zip(labels).zip(classes) {
                if *label != NONE {
                    summary.loss -= likelihood * self.scale;
                    summary.correct += usize::from(class == label);
                    summary.counted += 1;
                }
            }
        }
    }
}
