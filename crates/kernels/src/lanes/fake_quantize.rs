//! Fake quantization: what quantization to integers would leave of an activation (Jacob et al., 2018).

use rayon::prelude::*;

use super::activation::ELEMENTS_PER_TASK;
use super::{Lanes, Workspace, parallel::grain};
use crate::cpu::{Isa, Simd, WithSimd};

/// Fake quantization of a whole tensor, as TensorFlow's `FakeQuantWithMinMaxVars` computes it.
///
/// The range is first widened to hold 0, then nudged so that 0 is one of the `2^bits` values that remain. An empty
/// range leaves only 0, and lets gradients through.
#[derive(Clone, Copy, Debug)]
pub struct FakeQuantize {
    isa: Isa,
    /// The distance between neighbouring values.
    scale: f32,
    /// How many values lie below 0.
    zero_point: f32,
    /// The least and the greatest value.
    range: [f32; 2],
}

impl FakeQuantize {
    /// Quantization of `min..=max` to `bits` bits.
    ///
    /// # Panics
    ///
    /// Panics if `bits` is not in 2..=16.
    pub fn new(bits: u32, min: f32, max: f32, isa: Isa) -> Self {
        assert!((2..=16).contains(&bits), "fake quantization takes 2 to 16 bits, not {bits}");
        let levels = ((1u32 << bits) - 1) as f32;
        // Written so that a NaN stays one and shows.
        let (min, max) = (if min > 0.0 { 0.0 } else { min }, if max < 0.0 { 0.0 } else { max });
        let scale = (max - min) / levels;
        let zero_point = if scale == 0.0 { 0.0 } else { (-min / scale).round().clamp(0.0, levels) };
        let range = [0.0, levels].map(|level| (level - zero_point) * scale);
        Self { isa, scale, zero_point, range }
    }

    /// The least and the greatest value that remain.
    pub fn range(&self) -> [f32; 2] {
        self.range
    }

    /// `y` becomes the value nearest to `x`.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length.
    pub fn forward(&self, x: &[Lanes], y: &mut [Lanes]) {
        assert_eq!(x.len(), y.len(), "input and output of a fake quantization differ in length");
        let tasks =
            y.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).zip(x.par_chunks(ELEMENTS_PER_TASK));
        tasks.for_each(|(y, x)| self.isa.dispatch(Forward { quantize: self, x, y }));
    }

    /// Turns the gradient of the output into that of the input, in place: it passes straight through rounding, and is
    /// 0 where `x` lies outside the range. Returns the gradients of `min` and of `max`: the sums of the output's
    /// gradient where `x` lies below and above the range. The output's gradient must be zero in lanes past the last
    /// image.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length.
    pub fn backward(&self, x: &[Lanes], gradient: &mut [Lanes], workspace: &mut Workspace) -> [f32; 2] {
        assert_eq!(x.len(), gradient.len(), "input and gradient of a fake quantization differ in length");
        if self.scale == 0.0 {
            return [0.0; 2];
        }
        let (_, sums) = workspace.buffers(0, 2 * x.len().div_ceil(ELEMENTS_PER_TASK));
        let (sums, _) = sums.as_chunks_mut::<2>();
        let tasks = gradient.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain());
        tasks.zip(x.par_chunks(ELEMENTS_PER_TASK)).zip(&mut *sums).for_each(|((gradient, x), sums)| {
            *sums = self.isa.dispatch(Backward { range: self.range, x, gradient });
        });
        [0, 1].map(|end| sums.iter().map(|sums| f64::from(sums[end])).sum::<f64>() as f32)
    }
}

struct Forward<'a> {
    quantize: &'a FakeQuantize,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let FakeQuantize { scale, zero_point, range, .. } = *self.quantize;
        if scale == 0.0 {
            self.y.fill(Lanes::ZERO);
            return;
        }
        let [low, high] = range.map(|end| simd.splat(end));
        let [scale, zero_point, half] = [scale, zero_point, 0.5].map(|value| simd.splat(value));
        for (x, y) in self.x.iter().zip(self.y) {
            let clamped = simd.max(low, simd.min(high, simd.load(&x.0)));
            let level = simd.div(simd.sub(clamped, low), scale);
            let level = simd.floor(simd.add(simd.sub(level, zero_point), half));
            simd.store(simd.mul(level, scale), &mut y.0);
        }
    }
}

/// The gradient of a part in place; returns the sums of what lies below and above the range.
struct Backward<'a> {
    range: [f32; 2],
    x: &'a [Lanes],
    gradient: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; 2] {
        let [low, high] = self.range.map(|end| simd.splat(end));
        let (zero, mut sums) = (simd.zero(), [simd.zero(); 2]);
        for (x, gradient) in self.x.iter().zip(self.gradient) {
            let (x, dy) = (simd.load(&x.0), simd.load(&gradient.0));
            let [below, above] = [simd.select_gt(low, x, dy, zero), simd.select_gt(x, high, dy, zero)];
            sums = [simd.add(sums[0], below), simd.add(sums[1], above)];
            let inside = simd.select_gt(x, high, zero, simd.select_gt(low, x, zero, dy));
            simd.store(inside, &mut gradient.0);
        }
        sums.map(|sum| simd.sum(sum))
    }
}
