//! Nonlinearities that no other kernel fuses.

/// A nonlinearity of one value. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// `x` where it is positive, `slope · x` elsewhere.
    LeakyRelu {
        /// Factor on negative values.
        slope: f32,
    },
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`.
    HardSigmoid,
    /// `x` where it is positive, `alpha · (exp(x) − 1)` elsewhere.
    Elu {
        /// Factor on negative values.
        alpha: f32,
    },
    /// `x / (1 + exp(−x))`.
    Silu,
    /// `min(max(x, −1), 1)`.
    ReluN1To1,
}

impl Curve {
    /// The function of one value.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::LeakyRelu { slope } => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::Elu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::ReluN1To1 => x.clamp(-1.0, 1.0),
        }
    }

    /// The function of each element of `x`.
    pub fn run(self, x: &[f32], y: &mut [f32]) {
        y.copy_from_slice(x);
        self.run_in_place(y);
    }

    /// Replaces each element by its function.
    pub fn run_in_place(self, values: &mut [f32]) {
        match self {
            Self::LeakyRelu { .. } | Self::Elu { .. } => each(values, |x| self.apply(x)),
            Self::Sigmoid => each(values, |x| Self::Sigmoid.apply(x)),
            Self::Tanh => each(values, |x| Self::Tanh.apply(x)),
            Self::HardSwish => each(values, |x| Self::HardSwish.apply(x)),
            Self::HardSigmoid => each(values, |x| Self::HardSigmoid.apply(x)),
            Self::Silu => each(values, |x| Self::Silu.apply(x)),
            Self::ReluN1To1 => each(values, |x| Self::ReluN1To1.apply(x)),
        }
    }
}

/// Keeps the choice of the function out of the loop.
#[inline(always)]
fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

/// `x` where it is positive, and `slopes [C]` times `x` elsewhere.
pub fn prelu(slopes: &[f32], x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(slopes.len()).zip(y.chunks_exact_mut(slopes.len())) {
        for ((y, &x), &slope) in y.iter_mut().zip(x).zip(slopes) {
            *y = if x > 0.0 { x } else { slope * x };
        }
    }
}
