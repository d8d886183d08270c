//! Nonlinearities other than rectifiers: each a pass of its own over an activation.

use rayon::prelude::*;

use super::activation::ELEMENTS_PER_TASK;
use super::exp::exp;
use super::{Lanes, parallel::grain};
use crate::cpu::{Isa, Simd, WithSimd};

/// An element-wise nonlinearity that no other kernel fuses. NaN passes through, so that a diverged network shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// `x` where `x > 0`, else `slope · x`; the gradient at 0 is `slope`.
    LeakyRelu {
        /// The factor of values that are not positive.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`.
    Tanh,
    /// `x · min(6, max(0, x + 3)) / 6` (Howard et al., 2019); the gradient is 0 at -3 and 1 at 3.
    HardSwish,
    /// `min(6, max(0, x + 3)) / 6` (Howard et al., 2019); the gradient is 0 at -3 and at 3.
    HardSigmoid,
    /// `x` where `x > 0`, else `alpha · (exp(x) - 1)`; the gradient at 0 is `alpha`.
    Elu {
        /// The factor of values that are not positive.
        alpha: f32,
    },
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `min(1, max(-1, x))`; the gradient is 0 at -1 and at 1.
    ReluN1To1,
}

/// What the gradient of a nonlinearity is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GradientFrom {
    /// Its input.
    Input,
    /// Its output, so that the input need not be kept.
    Output,
}

impl Nonlinearity {
    /// Which activation [`Nonlinearity::backward`] reads.
    pub fn gradient_from(self) -> GradientFrom {
        match self {
            Nonlinearity::LeakyRelu { slope: factor } | Nonlinearity::Elu { alpha: factor }
                if factor >= 0.0 =>
            {
                GradientFrom::Output
            }
            Nonlinearity::LeakyRelu { .. } | Nonlinearity::Elu { .. } => GradientFrom::Input,
            Nonlinearity::Sigmoid
            | Nonlinearity::Tanh
            | Nonlinearity::HardSigmoid
            | Nonlinearity::ReluN1To1 => GradientFrom::Output,
            Nonlinearity::HardSwish | Nonlinearity::Silu => GradientFrom::Input,
        }
    }

    /// `y = nonlinearity(x)`.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length.
    pub fn forward(self, isa: Isa, x: &[Lanes], y: &mut [Lanes]) {
        assert_eq!(x.len(), y.len(), "input and output of a nonlinearity differ in length");
        let tasks =
            y.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).zip(x.par_chunks(ELEMENTS_PER_TASK));
        tasks.for_each(|(y, x)| isa.dispatch(Forward { nonlinearity: self, x, y }));
    }

    /// Turns the gradient of the output into that of the input, in place. `kept` is the input or the output, as
    /// [`Nonlinearity::gradient_from`] tells.
    ///
    /// # Panics
    ///
    /// Panics if the slices differ in length.
    pub fn backward(self, isa: Isa, kept: &[Lanes], gradient: &mut [Lanes]) {
        assert_eq!(kept.len(), gradient.len(), "activation and gradient of a nonlinearity differ in length");
        let tasks = gradient
            .par_chunks_mut(ELEMENTS_PER_TASK)
            .with_min_len(grain())
            .zip(kept.par_chunks(ELEMENTS_PER_TASK));
        tasks.for_each(|(gradient, kept)| isa.dispatch(Backward { nonlinearity: self, kept, gradient }));
    }

    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        match self {
            Nonlinearity::LeakyRelu { slope } => {
                simd.select_gt(x, simd.zero(), x, simd.mul(simd.splat(slope), x))
            }
            Nonlinearity::Sigmoid => sigmoid(simd, x),
            Nonlinearity::Tanh => tanh(simd, x),
            Nonlinearity::HardSwish => {
                let shifted = simd.max(simd.zero(), simd.add(x, simd.splat(3.0)));
                simd.div(simd.mul(x, simd.min(simd.splat(6.0), shifted)), simd.splat(6.0))
            }
            Nonlinearity::HardSigmoid => {
                let shifted = simd.max(simd.zero(), simd.add(x, simd.splat(3.0)));
                simd.div(simd.min(simd.splat(6.0), shifted), simd.splat(6.0))
            }
            Nonlinearity::Elu { alpha } => {
                let below = simd.mul(simd.splat(alpha), exp_less_one(simd, x));
                simd.select_gt(x, simd.zero(), x, below)
            }
            Nonlinearity::Silu => simd.mul(x, sigmoid(simd, x)),
            Nonlinearity::ReluN1To1 => simd.min(simd.splat(1.0), simd.max(simd.splat(-1.0), x)),
        }
    }

    #[inline(always)]
    fn gradient<S: Simd>(self, simd: S, kept: S::Vector, dy: S::Vector) -> S::Vector {
        let one = simd.splat(1.0);
        match self {
            // Where the slope is not negative, the output is positive just where the input is.
            Nonlinearity::LeakyRelu { slope } => {
                simd.select_gt(kept, simd.zero(), dy, simd.mul(simd.splat(slope), dy))
            }
            Nonlinearity::Sigmoid => simd.mul(dy, simd.mul(kept, simd.sub(one, kept))),
            Nonlinearity::Tanh => simd.mul(dy, simd.mul(simd.add(one, kept), simd.sub(one, kept))),
            Nonlinearity::HardSwish => {
                let [low, high] = [-3.0, 3.0].map(|kink| simd.splat(kink));
                let between = simd.mul_add(kept, simd.splat(1.0 / 3.0), simd.splat(0.5));
                let slope = simd.select_gt(high, kept, between, one);
                simd.mul(dy, simd.select_gt(kept, low, slope, simd.zero()))
            }
            Nonlinearity::HardSigmoid => inside(simd, kept, [0.0, 1.0], simd.mul(dy, simd.splat(1.0 / 6.0))),
            Nonlinearity::Elu { alpha } => {
                // The derivative below 0 is `alpha · exp(x)`: `alpha` more than the output, if that is kept.
                let below = match self.gradient_from() {
                    GradientFrom::Output => simd.add(kept, simd.splat(alpha)),
                    GradientFrom::Input => simd.mul(simd.splat(alpha), exp(simd, kept)),
                };
                simd.mul(dy, simd.select_gt(kept, simd.zero(), one, below))
            }
            Nonlinearity::Silu => {
                let share = sigmoid(simd, kept);
                let rise = simd.mul_add(kept, simd.sub(one, share), one);
                simd.mul(dy, simd.mul(share, rise))
            }
            Nonlinearity::ReluN1To1 => inside(simd, kept, [-1.0, 1.0], dy),
        }
    }
}

/// `gradient` where `y` lies between the limits, else 0.
#[inline(always)]
fn inside<S: Simd>(simd: S, y: S::Vector, limits: [f32; 2], gradient: S::Vector) -> S::Vector {
    let [low, high] = limits.map(|limit| simd.splat(limit));
    simd.select_gt(y, low, simd.select_gt(high, y, gradient, simd.zero()), simd.zero())
}

/// `exp(x) - 1` for `x` that is not positive: `2 t / (1 - t)` with `t = tanh(x / 2)`, which does not cancel near 0.
#[inline(always)]
fn exp_less_one<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let half = tanh(simd, simd.mul(simd.splat(0.5), x));
    simd.div(simd.add(half, half), simd.sub(simd.splat(1.0), half))
}

#[inline(always)]
fn magnitude<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    simd.max(simd.sub(simd.zero(), x), x)
}

/// `exp(min(x, 0)) / (1 + exp(-|x|))`, which neither overflows nor cancels.
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    let decay = exp(simd, simd.sub(simd.zero(), magnitude(simd, x)));
    simd.div(simd.select_gt(simd.zero(), x, decay, one), simd.add(one, decay))
}

/// A polynomial near 0, where the quotient of exponentials would cancel (`tanhf` of Cephes, Moshier).
#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const COEFFICIENTS: [f32; 5] =
        [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1];
    const NEAR: f32 = 0.625;
    let magnitude = magnitude(simd, x);
    let square = simd.mul(x, x);
    let mut polynomial = simd.zero();
    for coefficient in COEFFICIENTS {
        polynomial = simd.mul_add(polynomial, square, simd.splat(coefficient));
    }
    let near = simd.mul_add(simd.mul(x, square), polynomial, x);
    // tanh(|x|) = 1 - 2 exp(-2|x|) / (1 + exp(-2|x|)).
    let decay = exp(simd, simd.mul(simd.splat(-2.0), magnitude));
    let one = simd.splat(1.0);
    let far = simd.sub(one, simd.div(simd.add(decay, decay), simd.add(one, decay)));
    let far = simd.select_gt(simd.zero(), x, simd.sub(simd.zero(), far), far);
    simd.select_gt(simd.splat(NEAR), magnitude, near, far)
}

struct Forward<'a> {
    nonlinearity: Nonlinearity,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, y) in self.x.iter().zip(self.y) {
            simd.store(self.nonlinearity.apply(simd, simd.load(&x.0)), &mut y.0);
        }
    }
}

struct Backward<'a> {
    nonlinearity: Nonlinearity,
    kept: &'a [Lanes],
    gradient: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (kept, gradient) in self.kept.iter().zip(self.gradient) {
            let dx = self.nonlinearity.gradient(simd, simd.load(&kept.0), simd.load(&gradient.0));
            simd.store(dx, &mut gradient.0);
        }
    }
}
