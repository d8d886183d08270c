//! The two passes backward: sums of the gradient over each piece, then the gradient of the input.

#![allow(unsafe_code, reason = "tasks write disjoint pieces of gradients")]

use std::ops::Range;

use super::super::parallel::DisjointMut;
use super::super::reduce::{keep_valid, sum_valid, valid};
use super::super::{Activation, Lanes};
use super::ChannelStatistics;
use super::pieces::{ByChannel, Pieces};
use crate::cpu::{Simd, WithSimd};

/// The activation's slope, by which the gradient is multiplied first.
#[derive(Clone, Copy)]
pub(super) enum Slope<'a> {
    /// It follows from the normalised input. [`Activation::None`] passes everything.
    OfInput(Activation),
    /// It follows from this output. The pass that sums gradients leaves the product in `dy`.
    OfOutput(Activation, &'a [Lanes]),
}

impl Slope<'_> {
    /// The activation whose slope `dy` still lacks after the pass that sums gradients.
    pub(super) fn left_after_sums(self) -> Activation {
        match self {
            Slope::OfInput(activation) => activation,
            Slope::OfOutput(..) => Activation::None,
        }
    }
}

/// Whose statistics normalise.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// Those of the batch, through which gradient flows.
    Batch,
    /// Running ones, which are constants.
    Running,
}

/// `dx = scale · dy + slope · x + offset`, without the last two terms where statistics are constants.
#[derive(Clone, Copy)]
pub(super) struct InputLine {
    scale: f32,
    through_statistics: Option<[f32; 2]>,
}

impl InputLine {
    /// From a channel's sums of `dy` and of `dy · (x - mean)` and from 1 over the number of its values:
    ///
    /// ```text
    /// dx = scale · (dy - Σ dy / count - (x - mean) · inverse_deviation² · Σ dy (x - mean) / count)
    /// ```
    pub(super) fn new(
        origin: Origin,
        statistics: &ChannelStatistics,
        sums: [f32; 2],
        inverse_count: f32,
    ) -> Self {
        let ChannelStatistics { mean, inverse_deviation, scale, .. } = *statistics;
        let through_statistics = match origin {
            Origin::Running => None,
            Origin::Batch => {
                let slope = -scale * inverse_deviation * inverse_deviation * sums[1] * inverse_count;
                Some([slope, -scale * sums[0] * inverse_count - slope * mean])
            }
        };
        Self { scale, through_statistics }
    }
}

/// Sums of `dy`, after the activation's slope, and of its product with `x - mean` over consecutive pieces, which no
/// other task may hold.
pub(super) struct GradientSums<'a> {
    pub(super) pieces: Pieces,
    /// Number of the first piece.
    pub(super) first: usize,
    pub(super) x: &'a [Lanes],
    pub(super) dy: DisjointMut<'a, Lanes>,
    pub(super) slope: Slope<'a>,
    pub(super) lines: ByChannel<'a, ChannelStatistics>,
    pub(super) sums: &'a mut [[f32; 2]],
}

impl WithSimd for GradientSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { pieces, first, x, dy, slope, lines, sums } = self;
        let (Slope::OfInput(activation) | Slope::OfOutput(activation, _)) = slope;
        activation.specialise(
            #[inline(always)]
            |activation| {
                for (piece, sums) in pieces.iter_from(first).zip(sums) {
                    let line = lines.get(piece.channel);
                    let mean = simd.splat(line.mean);
                    let (scale, offset) = (simd.splat(line.scale), simd.splat(line.offset));
                    let x = &x[piece.range.clone()];
                    // SAFETY: each piece belongs to one task.
                    let dy = unsafe { dy.slice(piece.range.start, x.len()) };
                    let (mut sum, mut product) = (simd.zero(), simd.zero());
                    match slope {
                        Slope::OfInput(_) => {
                            for (x, dy) in x.iter().zip(dy) {
                                let (x, dy) = (simd.load(&x.0), simd.load(&dy.0));
                                let dy = activation.gradient(simd, simd.mul_add(scale, x, offset), dy);
                                sum = simd.add(sum, dy);
                                product = simd.mul_add(dy, simd.sub(x, mean), product);
                            }
                        }
                        Slope::OfOutput(_, y) => {
                            for ((x, y), to) in x.iter().zip(&y[piece.range]).zip(dy) {
                                let (x, dy) = (simd.load(&x.0), simd.load(&to.0));
                                let dy = activation.gradient(simd, simd.load(&y.0), dy);
                                simd.store(dy, &mut to.0);
                                sum = simd.add(sum, dy);
                                product = simd.mul_add(dy, simd.sub(x, mean), product);
                            }
                        }
                    }
                    *sums = [sum_valid(simd, sum, piece.lanes), sum_valid(simd, product, piece.lanes)];
                }
            },
        );
    }
}

/// The input's gradient on consecutive pieces, which no other task may hold; 0 in lanes past the last image.
pub(super) struct InputGradients<'a, L> {
    pub(super) pieces: Pieces,
    pub(super) range: Range<usize>,
    pub(super) x: &'a [Lanes],
    pub(super) dy: DisjointMut<'a, Lanes>,
    pub(super) activation: Activation,
    /// The line that normalised a channel, and that of its input's gradient.
    pub(super) lines: L,
    pub(super) dx: DisjointMut<'a, Lanes>,
}

impl<L: Fn(usize) -> (ChannelStatistics, InputLine)> WithSimd for InputGradients<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { pieces, range, x, dy, activation, lines, dx } = self;
        activation.specialise(
            #[inline(always)]
            |activation| {
                for piece in pieces.iter_from(range.start).take(range.len()) {
                    let (statistics, line) = lines(piece.channel);
                    let (scale, offset) = (simd.splat(statistics.scale), simd.splat(statistics.offset));
                    let dx_scale = simd.splat(line.scale);
                    let valid = valid(simd, piece.lanes);
                    let x = &x[piece.range.clone()];
                    // SAFETY: each piece belongs to one task.
                    let [dy, dx] = [dy, dx].map(|all| unsafe { all.slice(piece.range.start, x.len()) });
                    match line.through_statistics {
                        None => {
                            for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
                                let normal = simd.mul_add(scale, simd.load(&x.0), offset);
                                let dy = activation.gradient(simd, normal, simd.load(&dy.0));
                                let gradient = simd.mul(dx_scale, dy);
                                simd.store(keep_valid(simd, valid, gradient), &mut dx.0);
                            }
                        }
                        Some([dx_slope, dx_offset]) => {
                            let (dx_slope, dx_offset) = (simd.splat(dx_slope), simd.splat(dx_offset));
                            for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
                                let x = simd.load(&x.0);
                                let normal = simd.mul_add(scale, x, offset);
                                let dy = activation.gradient(simd, normal, simd.load(&dy.0));
                                let gradient =
                                    simd.mul_add(dx_scale, dy, simd.mul_add(dx_slope, x, dx_offset));
                                simd.store(keep_valid(simd, valid, gradient), &mut dx.0);
                            }
                        }
                    }
                }
            },
        );
    }
}
