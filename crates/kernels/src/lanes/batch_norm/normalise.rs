//! The two passes forward: moments of each piece, then the line, the residual and the rectifier.

#![allow(unsafe_code, reason = "tasks write disjoint pieces of the output")]

use std::ops::Range;

use super::super::parallel::DisjointMut;
use super::super::reduce::{fold, sum_valid};
use super::super::{Activation, Lanes};
use super::ChannelStatistics;
use super::pieces::{ByChannel, Pieces};
use crate::cpu::{Simd, WithSimd};

/// Mean and sum of squared deviations of consecutive pieces. Deviations are taken from the piece's own mean, so a mean
/// far from zero costs no digits.
pub(super) struct Moments<'a> {
    pub(super) pieces: Pieces,
    /// Number of the first piece.
    pub(super) first: usize,
    pub(super) x: &'a [Lanes],
    pub(super) moments: &'a mut [[f32; 2]],
}

impl WithSimd for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (piece, moments) in self.pieces.iter_from(self.first).zip(self.moments) {
            let x = &self.x[piece.range];
            let sum = fold(simd, x, |sum, x| simd.add(sum, x));
            let mean = sum_valid(simd, sum, piece.lanes) / (piece.lanes * x.len()) as f32;
            let center = simd.splat(mean);
            let squares = fold(
                simd,
                x,
                #[inline(always)]
                |sum, x| {
                    let deviation = simd.sub(x, center);
                    simd.mul_add(deviation, deviation, sum)
                },
            );
            *moments = [mean, sum_valid(simd, squares, piece.lanes)];
        }
    }
}

/// `y = activation(scale · x + offset + residual)` of consecutive pieces, which no other task may hold.
pub(super) struct Normalise<'a> {
    pub(super) pieces: Pieces,
    pub(super) range: Range<usize>,
    pub(super) lines: ByChannel<'a, ChannelStatistics>,
    pub(super) activation: Activation,
    pub(super) x: &'a [Lanes],
    pub(super) residual: Option<&'a [Lanes]>,
    pub(super) y: DisjointMut<'a, Lanes>,
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.activation.specialise(
            #[inline(always)]
            |activation| {
                for piece in self.pieces.iter_from(self.range.start).take(self.range.len()) {
                    let line = self.lines.get(piece.channel);
                    let (scale, offset) = (simd.splat(line.scale), simd.splat(line.offset));
                    let x = &self.x[piece.range.clone()];
                    // SAFETY: each piece belongs to one task.
                    let y = unsafe { self.y.slice(piece.range.start, x.len()) };
                    match self.residual {
                        None => {
                            for (x, y) in x.iter().zip(y) {
                                let normal = simd.mul_add(scale, simd.load(&x.0), offset);
                                simd.store(activation.apply(simd, normal), &mut y.0);
                            }
                        }
                        Some(residual) => {
                            for ((x, residual), y) in x.iter().zip(&residual[piece.range]).zip(y) {
                                let normal = simd.mul_add(scale, simd.load(&x.0), offset);
                                let sum = simd.add(normal, simd.load(&residual.0));
                                simd.store(activation.apply(simd, sum), &mut y.0);
                            }
                        }
                    }
                }
            },
        );
    }
}
