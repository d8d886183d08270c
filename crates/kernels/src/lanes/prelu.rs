//! Parametric ReLU (He et al., 2015): a learned slope per channel.

use rayon::prelude::*;

use super::{Lanes, Workspace, blocks, parallel::grain};
use crate::cpu::{Isa, Simd, WithSimd};

/// A parametric ReLU of one shape: `y = x` where `x > 0`, else `slope · x`. The gradient at 0 is the slope.
#[derive(Clone, Copy, Debug)]
pub struct Prelu {
    /// Images in the batch.
    pub batch: usize,
    /// Channels; the features of vectors.
    pub channels: usize,
    /// Pixels per channel, `H · W`; 1 for vectors.
    pub pixels: usize,
    /// The instruction set to use.
    pub isa: Isa,
}

impl Prelu {
    /// `y = prelu(x)` with a slope per channel.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, as does the gradient below.
    pub fn forward(&self, x: &[Lanes], slopes: &[f32], y: &mut [Lanes]) {
        self.check([x.len(), y.len()], slopes.len());
        let size = self.pixels.max(1);
        let planes = y.par_chunks_mut(size).with_min_len(grain()).zip(x.par_chunks(size)).enumerate();
        planes.for_each(|(plane, (y, x))| {
            self.isa.dispatch(Forward { slope: slopes[plane % self.channels], x, y });
        });
    }

    /// Turns the gradient of the output into that of the input, in place, and overwrites `dslopes`, if given, with
    /// that of the slopes. The gradient of the output must be zero in lanes past the last image.
    pub fn backward(
        &self,
        x: &[Lanes],
        slopes: &[f32],
        gradient: &mut [Lanes],
        dslopes: Option<&mut [f32]>,
        workspace: &mut Workspace,
    ) {
        self.check([x.len(), gradient.len()], slopes.len());
        let (_, sums) = workspace.buffers(0, blocks(self.batch) * self.channels);
        let size = self.pixels.max(1);
        let planes = gradient.par_chunks_mut(size).with_min_len(grain()).zip(x.par_chunks(size));
        planes.zip(&mut *sums).enumerate().for_each(|(plane, ((gradient, x), sum))| {
            *sum = self.isa.dispatch(Backward { slope: slopes[plane % self.channels], x, gradient });
        });
        if let Some(dslopes) = dslopes {
            assert_eq!(dslopes.len(), self.channels, "the gradient of the slopes needs a value per channel");
            for (channel, dslope) in dslopes.iter_mut().enumerate() {
                let of_channel = sums.iter().skip(channel).step_by(self.channels);
                *dslope = of_channel.map(|&sum| f64::from(sum)).sum::<f64>() as f32;
            }
        }
    }

    fn check(&self, activations: [usize; 2], slopes: usize) {
        let expect = blocks(self.batch) * self.channels * self.pixels;
        assert_eq!(activations, [expect; 2], "lengths of the activations of a parametric ReLU");
        assert_eq!(slopes, self.channels, "a parametric ReLU needs a slope per channel");
    }
}

struct Forward<'a> {
    slope: f32,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let slope = simd.splat(self.slope);
        for (x, y) in self.x.iter().zip(self.y) {
            let x = simd.load(&x.0);
            simd.store(simd.select_gt(x, simd.zero(), x, simd.mul(slope, x)), &mut y.0);
        }
    }
}

/// The gradient of a plane in place; returns the plane's part of the slope's, `Σ dy · min(x, 0)`.
struct Backward<'a> {
    slope: f32,
    x: &'a [Lanes],
    gradient: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (slope, mut sum) = (simd.splat(self.slope), simd.zero());
        for (x, gradient) in self.x.iter().zip(self.gradient) {
            let (x, dy) = (simd.load(&x.0), simd.load(&gradient.0));
            sum = simd.mul_add(dy, simd.min(x, simd.zero()), sum);
            simd.store(simd.select_gt(x, simd.zero(), dy, simd.mul(slope, dy)), &mut gradient.0);
        }
        simd.sum(sum)
    }
}
