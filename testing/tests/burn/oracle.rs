//! What burn makes of an operator, and the comparison with what Taper made of it.

use crate::support::{Array, numbers, tensor};
use burn_tensor::Tensor;
use std::array::from_fn;
use std::fmt::Debug;
use taper_testing::Random;

/// How far a value may be off, relative to the largest of its tensor.
const TOLERANCE: f64 = 1e-4;

/// What rounding in f32 may add, relative to the largest sum of the magnitudes of the terms of a value: terms of both
/// signs may cancel almost wholly, and what is left then has few digits.
const ROUNDING: f64 = 1e-6;

/// How far inputs are moved for a difference in f64, in which neither rounding nor curvature then shows.
const STEP: f64 = 1e-6;

/// A function of N arrays in burn.
pub(crate) type Function<'a, const N: usize> = &'a dyn Fn([Tensor<4>; N]) -> Tensor<4>;

/// An operator's output, and the gradients of the sum of its products with `dy`, in burn's order.
#[derive(Debug)]
pub(crate) struct Results<const N: usize, T = f32> {
    pub(crate) y: Vec<T>,
    pub(crate) gradients: [Vec<T>; N],
}

/// What an operator with N inputs must come to.
pub(crate) struct Oracle<const N: usize> {
    expect: Results<N, f64>,
    /// The sums of the magnitudes of the terms of each value.
    terms: Results<N, f64>,
    difference: Option<Difference<N>>,
}

/// The slope along a direction, from values alone.
struct Difference<const N: usize> {
    directions: [Vec<f32>; N],
    slope: f64,
}

impl<const N: usize> Oracle<N> {
    /// The results of `function`, and its slope in a random direction from values alone.
    ///
    /// `terms` is a function whose values and gradients, at the magnitudes of inputs and `dy`, are as large as the sums of
    /// the magnitudes of the function's terms: a multilinear function is its own, and so is one that sums nothing.
    pub(crate) fn new(
        inputs: [&Array; N],
        dy: &Array,
        function: Function<'_, N>,
        terms: Function<'_, N>,
    ) -> Self {
        let mut random = Random::new(1);
        let directions = inputs.map(|input| Array::noise(input.shape, &mut random));
        let moved = |step: f64| {
            let inputs = from_fn(|n| inputs[n].tensor() + directions[n].tensor() * step);
            numbers(function(inputs))
        };
        let differences = moved(STEP).into_iter().zip(moved(-STEP)).zip(&dy.values);
        let slope = differences.map(|((above, below), dy)| (above - below) * f64::from(*dy)).sum::<f64>();
        let difference = Difference {
            directions: directions.map(|direction| direction.values),
            slope: slope / (2.0 * STEP),
        };
        Self { difference: Some(difference), ..Self::without_differences(inputs, dy, function, terms) }
    }

    /// As [`Oracle::new`], for a function whose gradient is another than that of its values.
    pub(crate) fn without_differences(
        inputs: [&Array; N],
        dy: &Array,
        function: Function<'_, N>,
        terms: Function<'_, N>,
    ) -> Self {
        let magnitudes = inputs.map(|input| input.map(f32::abs));
        Self {
            expect: results(inputs, dy, function),
            terms: results(magnitudes.each_ref(), &dy.map(f32::abs), terms),
            difference: None,
        }
    }

    /// Checks what Taper computed for `what`.
    pub(crate) fn check(&self, what: &dyn Debug, actual: &Results<N>) {
        let Self { expect, terms, difference } = self;
        compare(&format!("y of {what:?}"), &actual.y, &expect.y, &terms.y);
        for (n, gradient) in actual.gradients.iter().enumerate() {
            let name = format!("the gradient of input {n} of {what:?}");
            compare(&name, gradient, &expect.gradients[n], &terms.gradients[n]);
        }
        let Some(Difference { directions, slope }) = difference else { return };
        let directions = || directions.iter().flatten().map(|direction| f64::from(*direction));
        let gradients = actual.gradients.iter().flatten().map(|gradient| f64::from(*gradient));
        let actual: f64 = gradients.zip(directions()).map(|(gradient, direction)| gradient * direction).sum();
        let terms = terms.gradients.iter().flatten().zip(directions());
        let scale: f64 = terms.map(|(term, direction)| (term * direction).abs()).sum();
        let error = (actual - slope).abs();
        assert!(
            error <= TOLERANCE * slope.abs() + ROUNDING * scale,
            "{what:?} rises by {slope} along a direction, by its gradients {actual}"
        );
    }
}

/// The results of `function` by automatic differentiation.
fn results<const N: usize>(inputs: [&Array; N], dy: &Array, function: Function<'_, N>) -> Results<N, f64> {
    let leaves = inputs.map(|input| input.tensor().require_grad());
    let y = function(leaves.clone());
    assert_eq!(y.dims(), dy.shape, "the shape of the output");
    let gradients = (y.clone() * dy.tensor()).sum().backward();
    Results {
        y: numbers(y),
        gradients: leaves.map(|leaf| {
            let zeros = || tensor(leaf.dims(), vec![0.0; leaf.shape().num_elements()]);
            numbers(leaf.grad(&gradients).unwrap_or_else(zeros))
        }),
    }
}

fn compare(what: &str, actual: &[f32], expect: &[f64], terms: &[f64]) {
    assert_eq!(actual.len(), expect.len(), "{what}: length");
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let bound = TOLERANCE * largest(expect) + ROUNDING * largest(terms);
    for (at, (actual, expect)) in actual.iter().zip(expect).enumerate() {
        let error = (f64::from(*actual) - expect).abs();
        assert!(error <= bound, "{what}: {actual} instead of {expect} at {at}, not within {bound}");
    }
}
