//! What element-wise losses share: predictions `[blocks][channels][pixels]` against targets `[N][pixels][channels]`.

use super::maps::{Maps, Part, Row, Tile};
use super::{LossSummary, scale_of};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::lanes::{Lanes, Workspace};

/// What the elements of one channel lose.
pub(super) trait ElementLoss: Copy {
    /// The loss of a prediction against its target.
    fn loss(self, prediction: f64, target: f64) -> f64;

    /// The loss' slope by the prediction.
    fn slope(self, prediction: f64, target: f64) -> f64;

    /// Whether a prediction is right.
    fn is_right(self, prediction: f32, target: f32) -> bool;
}

/// Targets and their weights, both `[N][pixels][channels]`.
#[derive(Clone, Copy)]
pub(super) struct Targets<'a> {
    pub(super) values: &'a [f32],
    pub(super) weights: Option<&'a [f32]>,
}

/// The sum of the weights of `elements` elements; each weighs 1 if there are none.
pub(super) fn total_weight(elements: usize, weights: Option<&[f32]>) -> f64 {
    weights.map_or(elements as f64, |weights| {
        assert_eq!(weights.len(), elements, "weights of elements");
        weights.iter().map(|&weight| f64::from(weight)).sum()
    })
}

/// Computes a loss over all elements, given that of a channel.
#[expect(clippy::too_many_arguments, reason = "each is one operand of the formula")]
pub(super) fn run<L: ElementLoss>(
    loss_of: impl Fn(usize) -> L + Copy + Sync,
    isa: Isa,
    [channels, pixels]: [usize; 2],
    predictions: &[Lanes],
    targets: Targets,
    total_weight: f64,
    gradient: Option<&mut [Lanes]>,
    workspace: &mut Workspace,
) -> LossSummary {
    if let Some(weights) = targets.weights {
        assert_eq!(weights.len(), targets.values.len(), "weights of elements");
    }
    let maps = Maps::new(channels, pixels, targets.values.len(), channels * pixels);
    maps.sum(predictions, gradient, workspace, |part| {
        isa.dispatch(Task { loss_of, maps, predictions, targets, scale: scale_of(total_weight), part })
    })
}

struct Task<'a, F> {
    loss_of: F,
    maps: Maps,
    predictions: &'a [Lanes],
    targets: Targets<'a>,
    scale: f64,
    part: Part<'a>,
}

impl<L: ElementLoss, F: Fn(usize) -> L> WithSimd for Task<'_, F> {
    type Output = LossSummary;

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) -> LossSummary {
        let mut summary = LossSummary::default();
        let mut losses = [0.0; LANES];
        for tile in self.part.tiles() {
            for channel in 0..self.maps.channels {
                let loss = (self.loss_of)(channel);
                self.add_row(loss, &tile, channel, &mut losses, &mut summary);
            }
        }
        for loss in losses {
            summary.loss += loss;
        }
        summary
    }
}

impl<F> Task<'_, F> {
    /// Adds a tile's values of one channel to the losses of each lane and to the counts.
    #[inline(always)]
    fn add_row<L: ElementLoss>(
        &mut self,
        loss: L,
        tile: &Tile,
        channel: usize,
        losses: &mut Row,
        summary: &mut LossSummary,
    ) {
        let row = &self.predictions[self.maps.row(tile, channel)];
        let mut gradient = self.part.gradient(tile, channel);
        for (pixel, predictions) in row.iter().enumerate() {
            let (mut targets, mut weights) = ([0.0f32; LANES], [0.0f32; LANES]);
            for lane in 0..LANES {
                let Some(place) = self.maps.pixel(tile, pixel, lane) else { continue };
                let place = place * self.maps.channels + channel;
                targets[lane] = self.targets.values[place];
                weights[lane] = self.targets.weights.map_or(1.0, |weights| weights[place]);
            }
            // Whatever stands where nothing counts must not reach the result, not even as NaN.
            for lane in 0..LANES {
                let term = loss.loss(f64::from(predictions.0[lane]), f64::from(targets[lane]));
                let factor = f64::from(weights[lane]) * self.scale;
                losses[lane] += if weights[lane] == 0.0 { 0.0 } else { term * factor };
                let right = loss.is_right(predictions.0[lane], targets[lane]);
                summary.correct += usize::from((weights[lane] != 0.0) & right);
                summary.counted += usize::from(weights[lane] != 0.0);
            }
            let Some(gradient) = &mut gradient else { continue };
            for (lane, gradient) in gradient[pixel].0.iter_mut().enumerate() {
                let slope = loss.slope(f64::from(predictions.0[lane]), f64::from(targets[lane]));
                let factor = f64::from(weights[lane]) * self.scale;
                *gradient = if weights[lane] == 0.0 { 0.0 } else { (slope * factor) as f32 };
            }
        }
    }
}
