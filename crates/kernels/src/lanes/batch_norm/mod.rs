//! Batch normalisation (Ioffe and Szegedy, 2015), per channel over images and pixels, fused with what follows it: the
//! sum with a residual and a rectifier.

mod gradient;
mod normalise;
mod pieces;

use self::gradient::{GradientSums, InputGradients, InputLine, Origin, Slope};
use self::normalise::{Moments, Normalise};
use self::pieces::{ByChannel, Group, Pieces};
use super::parallel::DisjointMut;
use super::{Activation, Lanes, Workspace, blocks};
use crate::cpu::Isa;

/// Batch normalisation of one shape:
/// `y = activation(gamma · (x - mean) / sqrt(variance + epsilon) + beta + residual)`.
///
/// Activations are `[blocks][channels][pixels]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels per channel, `H · W`.
    pub pixels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Applied last.
    pub activation: Activation,
    /// The instruction set to use.
    pub isa: Isa,
}

/// What normalisation learns, per channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Scale.
    pub gamma: &'a [f32],
    /// Offset.
    pub beta: &'a [f32],
}

/// Running statistics, per channel.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Means.
    pub mean: &'a [f32],
    /// Population variances.
    pub variance: &'a [f32],
}

/// Gradients of an [`Affine`], per channel; they are overwritten.
#[derive(Debug)]
pub struct AffineGradient<'a> {
    /// Of the scale.
    pub gamma: &'a mut [f32],
    /// Of the offset.
    pub beta: &'a mut [f32],
}

/// The statistics that a forward pass used, and what it made of them; the gradient needs both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStatistics {
    channels: Vec<ChannelStatistics>,
}

/// Statistics of one channel, and the line `scale · x + offset` that normalises it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelStatistics {
    /// Mean.
    pub mean: f32,
    /// Population variance (divided by the count).
    pub variance: f32,
    /// `1 / sqrt(variance + epsilon)`.
    pub inverse_deviation: f32,
    /// `gamma · inverse_deviation`.
    pub scale: f32,
    /// `beta - mean · scale`.
    pub offset: f32,
}

impl BatchStatistics {
    /// The statistics of each channel.
    pub fn channels(&self) -> &[ChannelStatistics] {
        &self.channels
    }

    /// Moves running statistics towards these: `running = momentum · running + (1 - momentum) · batch`. The
    /// variance is the population's, as in Keras.
    pub fn update_running(&self, momentum: f32, running_mean: &mut [f32], running_variance: &mut [f32]) {
        let running = running_mean.iter_mut().zip(running_variance);
        for (channel, (mean, variance)) in self.channels.iter().zip(running) {
            *mean = momentum * *mean + (1.0 - momentum) * channel.mean;
            *variance = momentum * *variance + (1.0 - momentum) * channel.variance;
        }
    }
}

impl ChannelStatistics {
    fn new(mean: f64, variance: f64, epsilon: f32, gamma: f32, beta: f32) -> Self {
        let inverse_deviation = (variance + f64::from(epsilon)).sqrt().recip() as f32;
        let (mean, variance, scale) = (mean as f32, variance as f32, gamma * inverse_deviation);
        Self { mean, variance, inverse_deviation, scale, offset: beta - mean * scale }
    }
}

/// The activations of a backward pass.
#[derive(Debug)]
pub struct BatchNormGradient<'a> {
    /// The input.
    pub x: &'a [Lanes],
    /// The gradient of the output, 0 in lanes past the last image.
    pub dy: &'a mut [Lanes],
    /// The output, if a residual was added: then `dy` becomes the gradient of the residual, in place. Without it `dy`
    /// stays as it is, and the activation's slope follows from the input.
    pub y_with_residual: Option<&'a [Lanes]>,
    /// Becomes the gradient of the input, 0 in lanes past the last image; `None` where nobody needs it.
    pub dx: Option<&'a mut [Lanes]>,
}

impl BatchNorm {
    /// Normalises with the batch's own statistics, which it stores into `statistics`. Lanes past the last image do
    /// not count.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, as do the functions below.
    pub fn forward(
        &self,
        x: &[Lanes],
        affine: Affine<'_>,
        residual: Option<&[Lanes]>,
        y: &mut [Lanes],
        statistics: &mut BatchStatistics,
        workspace: &mut Workspace,
    ) {
        self.check_activations([Some(x), residual, Some(&*y)]);
        self.check_channels([affine.gamma, affine.beta]);
        statistics.channels.resize(self.channels, ChannelStatistics::default());
        let pieces = Pieces::of(self);
        let (_, partials) = workspace.buffers(0, 2 * pieces.count());
        let y = DisjointMut::new(y);
        let tensors = 2 + usize::from(residual.is_some());
        pieces.for_each_group(tensors, &mut statistics.channels, partials, |group| {
            let Group { first_channel, channels: statistics, partials } = group;
            pieces.for_each_partial(first_channel, partials, |first, moments| {
                self.isa.dispatch(Moments { pieces, first, x, moments });
            });
            for (n, (statistics, moments)) in pieces.by_channel(statistics, partials).enumerate() {
                let channel = first_channel + n;
                let (mean, variance) = merge(pieces, channel, moments);
                let (gamma, beta) = (affine.gamma[channel], affine.beta[channel]);
                *statistics = ChannelStatistics::new(mean, variance, self.epsilon, gamma, beta);
            }
            self.normalise(pieces, first_channel, statistics, x, residual, y);
        });
    }

    /// Normalises with given statistics, for evaluation or a frozen layer, and stores them into `statistics`.
    pub fn forward_frozen(
        &self,
        x: &[Lanes],
        affine: Affine<'_>,
        running: Running<'_>,
        residual: Option<&[Lanes]>,
        y: &mut [Lanes],
        statistics: &mut BatchStatistics,
    ) {
        self.check_activations([Some(x), residual, Some(&*y)]);
        self.check_channels([affine.gamma, affine.beta, running.mean, running.variance]);
        statistics.channels.resize(self.channels, ChannelStatistics::default());
        for (channel, statistics) in statistics.channels.iter_mut().enumerate() {
            let [mean, variance] = [running.mean, running.variance].map(|of| f64::from(of[channel]));
            let (gamma, beta) = (affine.gamma[channel], affine.beta[channel]);
            *statistics = ChannelStatistics::new(mean, variance, self.epsilon, gamma, beta);
        }
        self.normalise(Pieces::of(self), 0, &statistics.channels, x, residual, DisjointMut::new(y));
    }

    /// The gradient of [`BatchNorm::forward`], given the statistics that it stored.
    pub fn backward(
        &self,
        activations: BatchNormGradient<'_>,
        statistics: &BatchStatistics,
        gradient: AffineGradient<'_>,
        workspace: &mut Workspace,
    ) {
        self.propagate(Origin::Batch, activations, statistics, Some(gradient), workspace);
    }

    /// The gradient of [`BatchNorm::forward_frozen`], given the statistics that it stored: none flows through them.
    pub fn backward_frozen(
        &self,
        activations: BatchNormGradient<'_>,
        statistics: &BatchStatistics,
        gradient: Option<AffineGradient<'_>>,
        workspace: &mut Workspace,
    ) {
        self.propagate(Origin::Running, activations, statistics, gradient, workspace);
    }

    fn propagate(
        &self,
        origin: Origin,
        activations: BatchNormGradient<'_>,
        statistics: &BatchStatistics,
        gradient: Option<AffineGradient<'_>>,
        workspace: &mut Workspace,
    ) {
        let BatchNormGradient { x, dy, y_with_residual, dx } = activations;
        self.check_activations([Some(x), Some(&*dy), y_with_residual, dx.as_deref()]);
        assert_eq!(statistics.channels.len(), self.channels, "channels of the statistics");
        if let Some(gradient) = &gradient {
            self.check_channels([gradient.gamma, gradient.beta]);
        }
        let statistics = &statistics.channels[..];
        let pieces = Pieces::of(self);
        let (_, scalars) = workspace.buffers(0, 2 * (self.channels + pieces.count()));
        let (sums, partials) = scalars.split_at_mut(2 * self.channels);
        let (sums, _) = sums.as_chunks_mut::<2>();
        sums.fill([0.0; 2]);
        let dy = DisjointMut::new(dy);
        let dx = dx.map(DisjointMut::new);
        let slope = match (self.activation, y_with_residual) {
            (activation @ Activation::None, _) | (activation, None) => Slope::OfInput(activation),
            (activation, Some(y)) => Slope::OfOutput(activation, y),
        };
        // Running statistics need no sums of their own; the slope of an output is multiplied on the way.
        let sums_wanted = match (origin, slope) {
            (Origin::Batch, _) | (Origin::Running, Slope::OfOutput(..)) => true,
            (Origin::Running, Slope::OfInput(_)) => gradient.is_some(),
        };
        let inverse_count = ((self.batch * self.pixels) as f32).recip();
        let tensors = 2 + usize::from(dx.is_some()) + usize::from(y_with_residual.is_some());
        pieces.for_each_group(tensors, sums, partials, |group| {
            let Group { first_channel, channels: sums, partials } = group;
            let statistics = &statistics[first_channel..][..sums.len()];
            if sums_wanted {
                pieces.for_each_partial(first_channel, partials, |first, sums| {
                    let lines = ByChannel { first_channel, channels: statistics };
                    self.isa.dispatch(GradientSums { pieces, first, x, dy, slope, lines, sums });
                });
                for (sums, partials) in pieces.by_channel(sums, partials) {
                    *sums =
                        [0, 1].map(|n| partials.iter().map(|sums| f64::from(sums[n])).sum::<f64>() as f32);
                }
            }
            let Some(dx) = dx else { return };
            pieces.for_each(first_channel, sums.len(), |range| {
                let lines = |channel: usize| {
                    let (statistics, sums) =
                        (statistics[channel - first_channel], sums[channel - first_channel]);
                    (statistics, InputLine::new(origin, &statistics, sums, inverse_count))
                };
                let activation = slope.left_after_sums();
                self.isa.dispatch(InputGradients { pieces, range, x, dy, activation, lines, dx });
            });
        });
        if let Some(gradient) = gradient {
            gradient.set(statistics, sums);
        }
    }

    fn normalise(
        &self,
        pieces: Pieces,
        first_channel: usize,
        statistics: &[ChannelStatistics],
        x: &[Lanes],
        residual: Option<&[Lanes]>,
        y: DisjointMut<'_, Lanes>,
    ) {
        let lines = ByChannel { first_channel, channels: statistics };
        pieces.for_each(first_channel, statistics.len(), |range| {
            let activation = self.activation;
            self.isa.dispatch(Normalise { pieces, range, lines, activation, x, residual, y });
        });
    }

    fn check_activations<const N: usize>(&self, activations: [Option<&[Lanes]>; N]) {
        let expect = blocks(self.batch) * self.channels * self.pixels;
        for activation in activations.into_iter().flatten() {
            assert_eq!(activation.len(), expect, "length of an activation of a batch normalisation");
        }
    }

    fn check_channels<const N: usize>(&self, vectors: [&[f32]; N]) {
        for vector in vectors {
            assert_eq!(vector.len(), self.channels, "length of a vector of a batch normalisation");
        }
    }
}

impl AffineGradient<'_> {
    /// From each channel's sums of `dy` and of `dy · (x - mean)`.
    fn set(self, statistics: &[ChannelStatistics], sums: &[[f32; 2]]) {
        let gradients = self.gamma.iter_mut().zip(self.beta);
        for ((dgamma, dbeta), (statistics, sums)) in gradients.zip(statistics.iter().zip(sums)) {
            *dgamma = sums[1] * statistics.inverse_deviation;
            *dbeta = sums[0];
        }
    }
}

/// Mean and population variance of a channel from those of its pieces (Chan, Golub and LeVeque, 1979).
fn merge(pieces: Pieces, channel: usize, moments: &[[f32; 2]]) -> (f64, f64) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for (piece, moments) in pieces.iter_from(channel * pieces.per_channel()).zip(moments) {
        let added = (piece.lanes * piece.range.len()) as f64;
        let total: f64 = count + added;
        let (difference, share) = (f64::from(moments[0]) - mean, added / total);
        mean += difference * share;
        squares += f64::from(moments[1]) + difference * difference * count * share;
        count = total;
    }
    (mean, squares / count)
}
