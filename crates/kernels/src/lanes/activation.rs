//! Rectifiers, alone or fused into a kernel's last step: their gradient follows from the output in one pass.

use rayon::prelude::*;

use super::Lanes;
use super::parallel::grain;
use crate::cpu::{Isa, Simd, WithSimd};

/// How many lanes of vectors one task of an element-wise kernel takes.
pub(super) const ELEMENTS_PER_TASK: usize = 2048;

/// An element-wise nonlinearity. NaN passes through, so that a diverged network shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The identity.
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(6, max(0, x))`.
    Relu6,
}

impl Activation {
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        match self {
            Activation::None => x,
            Activation::Relu => simd.max(simd.zero(), x),
            Activation::Relu6 => simd.min(simd.splat(6.0), simd.max(simd.zero(), x)),
        }
    }

    /// Runs `body` compiled for this activation alone, so that no loop in it asks which it is.
    #[inline(always)]
    pub(super) fn specialise<R>(self, body: impl FnOnce(Activation) -> R) -> R {
        match self {
            Activation::None => body(Activation::None),
            Activation::Relu => body(Activation::Relu),
            Activation::Relu6 => body(Activation::Relu6),
        }
    }

    /// The gradient of the input, given that of the output and the output itself (or the input, which says
    /// the same).
    #[inline(always)]
    pub(super) fn gradient<S: Simd>(self, simd: S, y: S::Vector, dy: S::Vector) -> S::Vector {
        let above_zero = |dy| simd.select_gt(y, simd.zero(), dy, simd.zero());
        match self {
            Activation::None => dy,
            Activation::Relu => above_zero(dy),
            Activation::Relu6 => above_zero(simd.select_gt(simd.splat(6.0), y, dy, simd.zero())),
        }
    }
}

/// `y = activation(x)`.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn activation_forward(isa: Isa, activation: Activation, x: &[Lanes], y: &mut [Lanes]) {
    assert_eq!(x.len(), y.len(), "input and output of an activation differ in length");
    let tasks =
        y.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).zip(x.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(y, x)| isa.dispatch(Forward { activation, x, y }));
}

/// Turns the gradient of an activation's output into that of its input, in place, from the output `y`: at a kink
/// the gradient is 0.
///
/// # Panics
///
/// Panics if the slices differ in length; for [`Activation::None`], `y` is not looked at.
pub fn activation_backward(isa: Isa, activation: Activation, y: &[Lanes], gradient: &mut [Lanes]) {
    if activation == Activation::None {
        return;
    }
    assert_eq!(y.len(), gradient.len(), "output and gradient of an activation differ in length");
    let tasks =
        gradient.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).zip(y.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(gradient, y)| isa.dispatch(Backward { activation, y, gradient }));
}

struct Forward<'a> {
    activation: Activation,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (x, y) in self.x.iter().zip(self.y) {
            simd.store(self.activation.apply(simd, simd.load(&x.0)), &mut y.0);
        }
    }
}

struct Backward<'a> {
    activation: Activation,
    y: &'a [Lanes],
    gradient: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (y, gradient) in self.y.iter().zip(self.gradient) {
            let dx = self.activation.gradient(simd, simd.load(&y.0), simd.load(&gradient.0));
            simd.store(dx, &mut gradient.0);
        }
    }
}
