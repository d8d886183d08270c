//! Operators that keep pixels apart: nonlinearities, batch normalisation, softmax.

use super::Fused;

/// The nonlinearity of each element.
pub fn activate(fused: Fused, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fused.apply(x);
    }
}

/// Softmax over the innermost axis: `exp(beta · x) / Σ exp(beta · x)`, shifted by the maximum so that it cannot
/// overflow.
pub fn softmax(channels: usize, beta: f32, x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = ((x - most) * beta).exp();
            sum += *y;
        }
        for y in y {
            *y /= sum;
        }
    }
}

/// Batch normalisation as it stands in inference: a factor and an addend for each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    factors: Vec<f32>,
    addends: Vec<f32>,
}

impl BatchNorm {
    /// The factors and addends of `gamma · (x − mean) / sqrt(variance + epsilon) + beta`, computed in f64.
    #[must_use]
    pub fn new(gamma: &[f32], beta: &[f32], mean: &[f32], variance: &[f32], epsilon: f32) -> Self {
        let factor = |channel: usize| {
            f64::from(gamma[channel]) / (f64::from(variance[channel]) + f64::from(epsilon)).sqrt()
        };
        Self {
            factors: (0..gamma.len()).map(|channel| factor(channel) as f32).collect(),
            addends: (0..gamma.len())
                .map(|channel| (f64::from(beta[channel]) - f64::from(mean[channel]) * factor(channel)) as f32)
                .collect(),
        }
    }

    /// Applies them to each pixel of `x`.
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        let channels = self.factors.len();
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for (((y, x), factor), addend) in y.iter_mut().zip(x).zip(&self.factors).zip(&self.addends) {
                *y = x * factor + addend;
            }
        }
    }

    /// Bytes of the factors and addends.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&self.factors[..]) + size_of_val(&self.addends[..])
    }
}
