//! What training minimises: a loss of the network's output against the targets of a batch.

use super::layer::{Map, Mode};
use crate::config::{Bounds, ConfigError};
use std::ops::Range;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, Lanes, LossSummary, RegressionLoss, Workspace, blocks, pack};

/// What training minimises. Every loss is a weighted mean over the images of a batch, or over their pixels or values.
///
/// The output is an image or a vector; a vector is an image of one pixel. Its channels are the classes, or the values
/// that are to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy of each pixel against its label. A softmax at the network's end is part of it.
    SoftmaxCrossEntropy(SoftmaxCrossEntropy),
    /// Cross-entropy of each value z, `-p t ln σ(z) - (1 - t) ln(1 - σ(z))` for a target t in 0..=1: classes that do not
    /// exclude each other. A sigmoid at the network's end is part of it.
    SigmoidCrossEntropy {
        /// The weight p of the positive class, per channel; without them each is 1.
        positive_weights: Option<Vec<f32>>,
    },
    /// Squared error or Huber's loss of each value of the output as it stands.
    Regression(RegressionLoss),
    /// `(1 - α) · cross-entropy + α · T² · KL(softmax(teacher / T) ‖ softmax(student / T))` of each pixel (Hinton,
    /// Vinyals and Dean, 2015). A softmax at the network's end is part of it.
    Distillation {
        /// The cross-entropy against the labels. Its ignored label and its class weights hold for both parts.
        hard: SoftmaxCrossEntropy,
        /// The temperature T, above 0.
        temperature: f32,
        /// The teacher's share α, in 0..=1.
        soft_weight: f32,
    },
}

/// Softmax cross-entropy: a pixel of label y loses `-Σ q_c ln softmax(z)_c`, where
/// `q_c = (1 - ε) w_y [c = y] + ε w_c / C` with the class weights w and the label smoothing ε, as in PyTorch. The mean
/// divides by the sum of the w_y.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// Pixels of this label do not count. It need not be below the number of classes.
    pub ignored_label: Option<u32>,
    /// A weight per class; without them each class weighs 1.
    pub class_weights: Option<Vec<f32>>,
    /// The share ε of the target that is spread evenly over the classes (Szegedy et al., 2016), in 0..=1.
    pub label_smoothing: f32,
}

/// What the output of a network is compared with, for N images whose outputs are `[N][H][W][C]`; of vectors, H = W = 1.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// A class for each pixel, `[N][H][W]`. For [`Loss::SoftmaxCrossEntropy`]; and for the evaluation of
    /// [`Loss::Distillation`] without a teacher, which is its hard part alone.
    Labels(&'a [u32]),
    /// The values that the output should have, for [`Loss::SigmoidCrossEntropy`] and [`Loss::Regression`].
    Values {
        /// `[N][H][W][C]`.
        values: &'a [f32],
        /// What each of them weighs, of at least 0; without them each weighs 1.
        weights: Option<&'a [f32]>,
    },
    /// Classes and a teacher, for [`Loss::Distillation`].
    Taught {
        /// `[N][H][W]`.
        labels: &'a [u32],
        /// What the teacher's output was before its softmax, `[N][H][W][C]`.
        logits: &'a [f32],
    },
}

/// Labels, be they a slice, a vector or an array.
impl<'a, L: AsRef<[u32]> + ?Sized> From<&'a L> for Targets<'a> {
    fn from(labels: &'a L) -> Self {
        Self::Labels(labels.as_ref())
    }
}

impl Targets<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Labels(_) => "labels",
            Self::Values { .. } => "values",
            Self::Taught { .. } => "labels with a teacher's logits",
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default())
    }
}

/// What a loss makes of a nonlinearity at the network's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// A softmax is part of the loss.
    Softmax,
    /// A sigmoid is part of the loss.
    Sigmoid,
    /// The output is compared as it stands.
    Identity,
}

impl Loss {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::SoftmaxCrossEntropy(_) => "softmax cross-entropy",
            Self::SigmoidCrossEntropy { .. } => "sigmoid cross-entropy",
            Self::Regression(_) => "regression",
            Self::Distillation { .. } => "distillation",
        }
    }

    pub(super) fn link(&self) -> Link {
        match self {
            Self::SoftmaxCrossEntropy(_) | Self::Distillation { .. } => Link::Softmax,
            Self::SigmoidCrossEntropy { .. } => Link::Sigmoid,
            Self::Regression(_) => Link::Identity,
        }
    }

    /// Refuses senseless settings for an output of `channels` channels.
    fn validate(&self, channels: usize) -> Result<(), ConfigError> {
        match self {
            Self::SoftmaxCrossEntropy(hard) => hard.validate(channels),
            Self::SigmoidCrossEntropy { positive_weights } => {
                check_weights("loss.positive_weights", positive_weights.as_deref(), channels)
            }
            Self::Regression(RegressionLoss::SquaredError) => Ok(()),
            Self::Regression(RegressionLoss::Huber { delta }) => {
                Bounds::POSITIVE.check("loss.delta", f64::from(*delta))
            }
            Self::Distillation { hard, temperature, soft_weight } => {
                hard.validate(channels)?;
                Bounds::POSITIVE.check("loss.temperature", f64::from(*temperature))?;
                Bounds::SHARE.check("loss.soft_weight", f64::from(*soft_weight))
            }
        }
    }
}

impl SoftmaxCrossEntropy {
    fn validate(&self, classes: usize) -> Result<(), ConfigError> {
        check_weights("loss.class_weights", self.class_weights.as_deref(), classes)?;
        Bounds::SHARE.check("loss.label_smoothing", f64::from(self.label_smoothing))
    }

    fn kernel(&self, map: Map, isa: Isa) -> lanes::SoftmaxCrossEntropy<'_> {
        lanes::SoftmaxCrossEntropy {
            ignored_label: self.ignored_label,
            class_weights: self.class_weights.as_deref(),
            label_smoothing: self.label_smoothing,
            ..lanes::SoftmaxCrossEntropy::new(map.channels, map.pixels(), isa)
        }
    }
}

fn check_weights(key: &str, weights: Option<&[f32]>, channels: usize) -> Result<(), ConfigError> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != channels {
        let (expected, found) = (format!("a weight for each of {channels} channels"), weights.len());
        return Err(ConfigError { key: key.to_owned(), expected, found: found.to_string() });
    }
    let mut weights = weights.iter().enumerate();
    weights.try_for_each(|(channel, weight)| {
        Bounds::NOT_NEGATIVE.check(format!("{key}[{channel}]"), f64::from(*weight))
    })
}

/// The loss of a network whose output has a known shape.
#[derive(Debug)]
pub(super) struct Objective {
    loss: Loss,
    output: Map,
    isa: Isa,
}

impl Objective {
    /// # Errors
    /// If the loss has senseless settings for such an output.
    pub(super) fn new(loss: Loss, output: Map, isa: Isa) -> Result<Self, ConfigError> {
        loss.validate(output.channels)?;
        Ok(Self { loss, output, isa })
    }

    /// Channels of the output.
    pub(super) fn channels(&self) -> usize {
        self.output.channels
    }

    /// What is to be computed for a batch of `images` images with these targets.
    ///
    /// # Errors
    /// What was expected and what was found, if the targets are not those of the loss or of the output.
    pub(super) fn of_batch<'a>(
        &'a self,
        images: usize,
        targets: Targets<'a>,
        mode: Mode,
    ) -> Result<BatchLoss<'a>, String> {
        let (map, isa) = (self.output, self.isa);
        let term = match (&self.loss, targets, mode) {
            (Loss::SoftmaxCrossEntropy(hard), Targets::Labels(labels), _)
            | (Loss::Distillation { hard, .. }, Targets::Labels(labels), Mode::Evaluate) => {
                self.check_labels(hard, images, labels)?;
                Term::Softmax { kernel: hard.kernel(map, isa), labels }
            }
            (Loss::SigmoidCrossEntropy { positive_weights }, Targets::Values { values, weights }, _) => {
                self.check_values(images, values, weights)?;
                let counts = |place: usize| weights.is_none_or(|weights| weights[place] != 0.0);
                let outside =
                    |(place, value): &(usize, &f32)| !(0.0..=1.0).contains(*value) && counts(*place);
                if let Some((_, value)) = values.iter().enumerate().find(outside) {
                    return Err(format!("expected values from 0 to 1, found {value}"));
                }
                let positive_weights = positive_weights.as_deref();
                let (channels, pixels) = (map.channels, map.pixels());
                let kernel = lanes::SigmoidCrossEntropy { channels, pixels, positive_weights, isa };
                Term::Sigmoid { kernel, values, weights }
            }
            (Loss::Regression(loss), Targets::Values { values, weights }, _) => {
                self.check_values(images, values, weights)?;
                let (channels, pixels) = (map.channels, map.pixels());
                let kernel = lanes::Regression { channels, pixels, loss: *loss, isa };
                Term::Regression { kernel, values, weights }
            }
            (
                Loss::Distillation { hard, temperature, soft_weight },
                Targets::Taught { labels, logits },
                _,
            ) => {
                self.check_labels(hard, images, labels)?;
                self.check_count("teacher's logits", images, map.channels, logits.len())?;
                let (hard, temperature, soft_weight) = (hard.kernel(map, isa), *temperature, *soft_weight);
                let kernel = lanes::Distillation { hard, temperature, soft_weight };
                Term::Distillation { kernel, labels, teacher: logits }
            }
            (loss, targets, _) => {
                let expected = match loss {
                    Loss::SoftmaxCrossEntropy(_) => "labels",
                    Loss::SigmoidCrossEntropy { .. } | Loss::Regression(_) => "values",
                    Loss::Distillation { .. } => "labels with a teacher's logits",
                };
                return Err(format!("expected {expected} for {}, found {}", loss.name(), targets.name()));
            }
        };
        Ok(BatchLoss { images, total_weight: term.total_weight(images), term, output: map })
    }

    fn check_count(&self, what: &str, images: usize, per_pixel: usize, found: usize) -> Result<(), String> {
        let Map { height, width, .. } = self.output;
        let expected = images * height * width * per_pixel;
        if found == expected {
            return Ok(());
        }
        let size = if self.output.pixels() == 1 { String::new() } else { format!(" of {height}×{width}") };
        Err(format!("expected {expected} {what} for {images} images{size}, found {found}"))
    }

    fn check_labels(&self, hard: &SoftmaxCrossEntropy, images: usize, labels: &[u32]) -> Result<(), String> {
        self.check_count("labels", images, 1, labels.len())?;
        let classes = self.output.channels;
        let counts = |label: u32| (label as usize) < classes || hard.ignored_label == Some(label);
        match (labels.iter().find(|label| !counts(**label)), hard.ignored_label) {
            (None, _) => Ok(()),
            (Some(label), None) => Err(format!("expected labels below {classes}, found {label}")),
            (Some(label), Some(ignored)) => {
                Err(format!("expected labels below {classes} or {ignored}, which is ignored, found {label}"))
            }
        }
    }

    fn check_values(&self, images: usize, values: &[f32], weights: Option<&[f32]>) -> Result<(), String> {
        self.check_count("values", images, self.output.channels, values.len())?;
        let Some(weights) = weights else { return Ok(()) };
        self.check_count("weights of values", images, self.output.channels, weights.len())?;
        match weights.iter().find(|weight| !(0.0..f32::INFINITY).contains(*weight)) {
            None => Ok(()),
            Some(weight) => Err(format!("expected finite weights of values of at least 0, found {weight}")),
        }
    }
}

/// The loss of some images of a batch against their targets.
#[derive(Clone, Copy)]
pub(super) struct BatchLoss<'a> {
    images: usize,
    /// Of the whole batch: the losses of its parts then add up to its mean.
    total_weight: f64,
    term: Term<'a>,
    output: Map,
}

/// A kernel and its operands.
#[derive(Clone, Copy)]
enum Term<'a> {
    Softmax { kernel: lanes::SoftmaxCrossEntropy<'a>, labels: &'a [u32] },
    Sigmoid { kernel: lanes::SigmoidCrossEntropy<'a>, values: &'a [f32], weights: Option<&'a [f32]> },
    Regression { kernel: lanes::Regression, values: &'a [f32], weights: Option<&'a [f32]> },
    Distillation { kernel: lanes::Distillation<'a>, labels: &'a [u32], teacher: &'a [f32] },
}

impl<'a> BatchLoss<'a> {
    /// How many images there are.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// The part of these images in it.
    pub(super) fn part(&self, images: Range<usize>) -> Self {
        let pixels = images.start * self.output.pixels()..images.end * self.output.pixels();
        let values = pixels.start * self.output.channels..pixels.end * self.output.channels;
        let term = match self.term {
            Term::Softmax { kernel, labels } => Term::Softmax { kernel, labels: &labels[pixels] },
            Term::Sigmoid { kernel, values: all, weights } => {
                let weights = weights.map(|weights| &weights[values.clone()]);
                Term::Sigmoid { kernel, values: &all[values], weights }
            }
            Term::Regression { kernel, values: all, weights } => {
                let weights = weights.map(|weights| &weights[values.clone()]);
                Term::Regression { kernel, values: &all[values], weights }
            }
            Term::Distillation { kernel, labels, teacher } => {
                Term::Distillation { kernel, labels: &labels[pixels], teacher: &teacher[values] }
            }
        };
        Self { images: images.len(), term, ..*self }
    }

    /// The loss of logits in lane layout. Overwrites `gradient`, if given, with the gradient by them. `teacher` is grown
    /// to hold a teacher's logits.
    pub(super) fn run(
        &self,
        logits: &[Lanes],
        gradient: Option<&mut [Lanes]>,
        teacher: &mut Vec<Lanes>,
        workspace: &mut Workspace,
    ) -> LossSummary {
        let weight = self.total_weight;
        match self.term {
            Term::Softmax { kernel, labels } => kernel.run(logits, labels, weight, gradient, workspace),
            Term::Sigmoid { kernel, values, weights } => {
                kernel.run(logits, values, weights, weight, gradient, workspace)
            }
            Term::Regression { kernel, values, weights } => {
                kernel.run(logits, values, weights, weight, gradient, workspace)
            }
            Term::Distillation { kernel, labels, teacher: of_teacher } => {
                let (pixels, channels) = (self.output.pixels(), self.output.channels);
                let len = blocks(self.images) * pixels * channels;
                if teacher.len() < len {
                    teacher.resize(len, Lanes::ZERO);
                }
                let teacher = &mut teacher[..len];
                pack(of_teacher, self.images, pixels, channels, teacher);
                kernel.run(logits, teacher, labels, weight, gradient, workspace)
            }
        }
    }
}

impl Term<'_> {
    /// The divisor of a batch's mean.
    fn total_weight(&self, images: usize) -> f64 {
        match self {
            Self::Softmax { kernel, labels } => kernel.total_weight(labels),
            Self::Sigmoid { kernel, weights, .. } => kernel.total_weight(images, *weights),
            Self::Regression { kernel, weights, .. } => kernel.total_weight(images, *weights),
            Self::Distillation { kernel, labels, .. } => kernel.hard.total_weight(labels),
        }
    }
}
