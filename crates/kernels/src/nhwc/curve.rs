//! Nonlinearities that are more than a limit of the range: leaky, sigmoid, hyperbolic tangent, hard swish, learned slopes.

/// A nonlinearity that bends. NaN stays NaN.
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
            Self::LeakyRelu { .. } => each(values, |x| self.apply(x)),
            Self::Sigmoid => each(values, |x| Self::Sigmoid.apply(x)),
            Self::Tanh => each(values, |x| Self::Tanh.apply(x)),
            Self::HardSwish => each(values, |x| Self::HardSwish.apply(x)),
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
