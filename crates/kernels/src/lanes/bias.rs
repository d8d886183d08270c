//! The gradient of a bias, and that of an activation after it, in one pass.

#![allow(unsafe_code, reason = "each task owns the planes of one channel, which lie apart")]

use rayon::prelude::*;

use super::parallel::{DisjointMut, grain};
use super::{Activation, Lanes};
use crate::cpu::{Isa, Simd, WithSimd};

/// Overwrites `dbias`, of C channels, with the sums over images and pixels of the gradient `dy`,
/// `[blocks][C][plane]`, which must be zero in padding lanes.
///
/// If `output` names an activation after the bias and what came out of it, `dy` is the gradient of that output, and is
/// first turned into that of the activation's input, in place, as by [`activation_backward`](super::activation_backward).
///
/// # Panics
///
/// Panics if `dy` does not have `plane` pixels for each channel of some blocks, or the output differs from it in length.
pub fn bias_backward(
    isa: Isa,
    plane: usize,
    output: Option<(Activation, &[Lanes])>,
    dy: &mut [Lanes],
    dbias: &mut [f32],
) {
    let channels = dbias.len();
    let block = channels * plane;
    if block == 0 {
        return dbias.fill(0.0);
    }
    assert!(dy.len().is_multiple_of(block), "{} vectors of {channels} planes of {plane}", dy.len());
    if let Some((_, y)) = output {
        assert_eq!(y.len(), dy.len(), "output and gradient of an activation differ in length");
    }
    let starts = 0..dy.len() / block;
    let dy = DisjointMut::new(dy);
    dbias.par_iter_mut().with_min_len(grain()).enumerate().for_each(|(channel, dbias)| {
        let planes = starts.clone().map(|n| {
            let start = n * block + channel * plane;
            // SAFETY: each plane is taken once.
            let dy = unsafe { dy.slice(start, plane) };
            let sum = match output {
                Some((activation, y)) => {
                    isa.dispatch(SumPlane { dy, activated: Activated(activation, &y[start..start + plane]) })
                }
                None => isa.dispatch(SumPlane { dy, activated: Bare }),
            };
            f64::from(sum)
        });
        *dbias = planes.sum::<f64>() as f32;
    });
}

/// What is done to a gradient before it is added.
trait Before: Copy {
    /// The gradient at a pixel that has `dy` now.
    fn turn<S: Simd>(self, simd: S, pixel: usize, dy: &mut Lanes) -> S::Vector;
}

/// Nothing.
#[derive(Clone, Copy)]
struct Bare;

/// It is turned into that of an activation's input, given the output.
#[derive(Clone, Copy)]
struct Activated<'a>(Activation, &'a [Lanes]);

impl Before for Bare {
    #[inline(always)]
    fn turn<S: Simd>(self, simd: S, _: usize, dy: &mut Lanes) -> S::Vector {
        simd.load(&dy.0)
    }
}

impl Before for Activated<'_> {
    #[inline(always)]
    fn turn<S: Simd>(self, simd: S, pixel: usize, dy: &mut Lanes) -> S::Vector {
        let Self(activation, y) = self;
        let gradient = activation.gradient(simd, simd.load(&y[pixel].0), simd.load(&dy.0));
        simd.store(gradient, &mut dy.0);
        gradient
    }
}

struct SumPlane<'a, B> {
    dy: &'a mut [Lanes],
    activated: B,
}

impl<B: Before> WithSimd for SumPlane<'_, B> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        // Sums in turns, so that none has to wait for the one before it.
        let mut sums = [simd.zero(); 4];
        for (n, dy) in self.dy.chunks_mut(4).enumerate() {
            for (at, (sum, dy)) in sums.iter_mut().zip(dy).enumerate() {
                *sum = simd.add(*sum, self.activated.turn(simd, 4 * n + at, dy));
            }
        }
        let [a, b, c, d] = sums;
        simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
    }
}
