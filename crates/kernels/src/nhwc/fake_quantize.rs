//! What quantization to integers would leave of floats.

/// Fake quantization as TFLite's `FAKE_QUANT` and TensorFlow's `FakeQuantWithMinMaxArgs` compute it: the range is nudged
/// so that 0 is one of the steps, and values are rounded to the nearest step, halves away from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FakeQuantize {
    min: f32,
    max: f32,
    scale: f32,
}

impl FakeQuantize {
    /// With the steps of `bits`-wide integers (2 to 16) over `min..=max`. `None` unless both are finite, `min` is
    /// below `max`, and a step is a normal number.
    #[must_use]
    pub fn new(min: f32, max: f32, bits: u8) -> Option<Self> {
        let greatest = ((1u32 << bits.min(16)) - 1) as f32;
        let scale = (max - min) / greatest;
        if !min.is_finite() || !scale.is_normal() || scale < 0.0 {
            return None;
        }
        let zero = (-min / scale).clamp(0.0, greatest).round();
        Some(Self { min: -zero * scale, max: (greatest - zero) * scale, scale })
    }

    /// The step nearest to one value. NaN stays NaN.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        let inverse = 1.0 / self.scale;
        ((x.clamp(self.min, self.max) - self.min) * inverse).round() * self.scale + self.min
    }

    /// The step nearest to each value.
    pub fn run(self, x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = self.apply(x);
        }
    }
}
