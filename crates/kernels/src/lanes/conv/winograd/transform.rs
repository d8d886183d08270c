//! The transforms of Winograd's minimal filtering along one axis, and their use along both.
//!
//! `y = Aᵀ [(G g) ⊙ (Bᵀ d)]` gives M outputs of a correlation with three taps `g` from T = M + 2 inputs `d` by T
//! products (Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2015, sections 4.1 and 4.3). The
//! matrices are written out with what their rows share computed once.

use crate::cpu::Simd;

/// A linear map of I values to O values, lane by lane.
pub(super) trait Linear<const I: usize, const O: usize> {
    /// Applies the map.
    fn apply<S: Simd>(simd: S, x: [S::Vector; I]) -> [S::Vector; O];
}

/// The five maps that belong to one choice of M and T = M + 2.
pub(super) trait Transform<const M: usize, const T: usize>: Sync {
    /// `Bᵀ`, of inputs.
    type Input: Linear<T, T>;
    /// `G`, of taps.
    type Taps: Linear<3, T>;
    /// `Aᵀ`, of sums of products.
    type Output: Linear<T, M>;
    /// `A`, of gradients of outputs.
    type OutputGradient: Linear<M, T>;
    /// `Gᵀ`, of gradients of transformed taps.
    type TapsGradient: Linear<T, 3>;
}

/// F(2, 3), on the points 0, 1, -1 and infinity.
pub(super) struct F2;

/// F(4, 3), on the points 0, 1, -1, 2, -2 and infinity.
pub(super) struct F4;

/// `Bᵀ`.
pub(super) struct Input<F>(F);
/// `G`.
pub(super) struct Taps<F>(F);
/// `Aᵀ`.
pub(super) struct Output<F>(F);
/// `A`.
pub(super) struct OutputGradient<F>(F);
/// `Gᵀ`.
pub(super) struct TapsGradient<F>(F);

impl Transform<2, 4> for F2 {
    type Input = Input<F2>;
    type Taps = Taps<F2>;
    type Output = Output<F2>;
    type OutputGradient = OutputGradient<F2>;
    type TapsGradient = TapsGradient<F2>;
}

impl Transform<4, 6> for F4 {
    type Input = Input<F4>;
    type Taps = Taps<F4>;
    type Output = Output<F4>;
    type OutputGradient = OutputGradient<F4>;
    type TapsGradient = TapsGradient<F4>;
}

impl Linear<4, 4> for Input<F2> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d]: [S::Vector; 4]) -> [S::Vector; 4] {
        [simd.sub(a, c), simd.add(b, c), simd.sub(c, b), simd.sub(b, d)]
    }
}

impl Linear<3, 4> for Taps<F2> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c]: [S::Vector; 3]) -> [S::Vector; 4] {
        let half = simd.splat(0.5);
        let (even, odd) = (simd.mul(half, simd.add(a, c)), simd.mul(half, b));
        [a, simd.add(even, odd), simd.sub(even, odd), c]
    }
}

impl Linear<4, 2> for Output<F2> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d]: [S::Vector; 4]) -> [S::Vector; 2] {
        [simd.add(a, simd.add(b, c)), simd.sub(simd.sub(b, c), d)]
    }
}

impl Linear<2, 4> for OutputGradient<F2> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b]: [S::Vector; 2]) -> [S::Vector; 4] {
        [a, simd.add(a, b), simd.sub(a, b), simd.sub(simd.zero(), b)]
    }
}

impl Linear<4, 3> for TapsGradient<F2> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d]: [S::Vector; 4]) -> [S::Vector; 3] {
        let half = simd.splat(0.5);
        let (even, odd) = (simd.add(b, c), simd.sub(b, c));
        [simd.mul_add(half, even, a), simd.mul(half, odd), simd.mul_add(half, even, d)]
    }
}

impl Linear<6, 6> for Input<F4> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::Vector; 6]) -> [S::Vector; 6] {
        let (four, minus_five) = (simd.splat(4.0), simd.splat(-5.0));
        let (two, minus_two, minus_four) = (simd.splat(2.0), simd.splat(-2.0), simd.splat(-4.0));
        let (even, odd) = (simd.mul_add(minus_four, c, e), simd.mul_add(minus_four, b, d));
        let (even_of_two, odd_of_two) = (simd.sub(e, c), simd.sub(d, b));
        [
            simd.mul_add(four, a, simd.mul_add(minus_five, c, e)),
            simd.add(even, odd),
            simd.sub(even, odd),
            simd.mul_add(two, odd_of_two, even_of_two),
            simd.mul_add(minus_two, odd_of_two, even_of_two),
            simd.mul_add(four, b, simd.mul_add(minus_five, d, f)),
        ]
    }
}

impl Linear<3, 6> for Taps<F4> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c]: [S::Vector; 3]) -> [S::Vector; 6] {
        let minus_sixth = simd.splat(-1.0 / 6.0);
        let even = simd.add(a, c);
        let even_of_two = simd.mul(simd.splat(1.0 / 24.0), simd.mul_add(simd.splat(4.0), c, a));
        let odd_of_two = simd.mul(simd.splat(1.0 / 12.0), b);
        [
            simd.mul(simd.splat(0.25), a),
            simd.mul(minus_sixth, simd.add(even, b)),
            simd.mul(minus_sixth, simd.sub(even, b)),
            simd.add(even_of_two, odd_of_two),
            simd.sub(even_of_two, odd_of_two),
            c,
        ]
    }
}

impl Linear<6, 4> for Output<F4> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::Vector; 6]) -> [S::Vector; 4] {
        let (even, odd) = (simd.add(b, c), simd.sub(b, c));
        let (even_of_two, odd_of_two) = (simd.add(d, e), simd.sub(d, e));
        [
            simd.add(a, simd.add(even, even_of_two)),
            simd.mul_add(simd.splat(2.0), odd_of_two, odd),
            simd.mul_add(simd.splat(4.0), even_of_two, even),
            simd.add(f, simd.mul_add(simd.splat(8.0), odd_of_two, odd)),
        ]
    }
}

impl Linear<4, 6> for OutputGradient<F4> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d]: [S::Vector; 4]) -> [S::Vector; 6] {
        let four = simd.splat(4.0);
        let (even, odd) = (simd.add(a, c), simd.add(b, d));
        let (even_of_two, odd_of_two) = (simd.mul_add(four, c, a), simd.mul_add(four, d, b));
        [
            a,
            simd.add(even, odd),
            simd.sub(even, odd),
            simd.mul_add(simd.splat(2.0), odd_of_two, even_of_two),
            simd.mul_add(simd.splat(-2.0), odd_of_two, even_of_two),
            d,
        ]
    }
}

impl Linear<6, 3> for TapsGradient<F4> {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::Vector; 6]) -> [S::Vector; 3] {
        let (sixth, minus_sixth) = (simd.splat(1.0 / 6.0), simd.splat(-1.0 / 6.0));
        let (even, odd) = (simd.mul(minus_sixth, simd.add(b, c)), simd.sub(c, b));
        let (even_of_two, odd_of_two) = (simd.add(d, e), simd.sub(d, e));
        [
            simd.mul_add(simd.splat(0.25), a, simd.mul_add(simd.splat(1.0 / 24.0), even_of_two, even)),
            simd.mul_add(sixth, odd, simd.mul(simd.splat(1.0 / 12.0), odd_of_two)),
            simd.add(f, simd.mul_add(sixth, even_of_two, even)),
        ]
    }
}

/// Applies `L` along columns, then along rows: `L x Lᵀ`. Values are read column by column, and the results written
/// row by row with their number.
#[inline(always)]
pub(super) fn along_both<L: Linear<I, O>, S: Simd, const I: usize, const O: usize>(
    simd: S,
    read: impl Fn(usize, usize) -> S::Vector,
    mut write: impl FnMut(usize, S::Vector),
) {
    let mut half = [[simd.zero(); I]; O];
    for column in 0..I {
        let mut values = [simd.zero(); I];
        for (row, value) in values.iter_mut().enumerate() {
            *value = read(row, column);
        }
        for (half, value) in half.iter_mut().zip(L::apply(simd, values)) {
            half[column] = value;
        }
    }
    for (row, half) in half.into_iter().enumerate() {
        for (column, value) in L::apply(simd, half).into_iter().enumerate() {
            write(row * O + column, value);
        }
    }
}

/// As [`along_both`] to six values, two rows of results at a time: what lies between the two steps then fits into
/// registers, though values are read up to three times. Results come with their row and column.
#[inline(always)]
pub(super) fn along_both_in_pairs<L: Linear<I, 6>, S: Simd, const I: usize>(
    simd: S,
    read: impl Fn(usize, usize) -> S::Vector,
    mut write: impl FnMut(usize, usize, S::Vector),
) {
    // The rows of each pair have the most in common.
    rows_of_both::<L, S, I>(simd, [0, 5], &read, &mut write);
    rows_of_both::<L, S, I>(simd, [1, 2], &read, &mut write);
    rows_of_both::<L, S, I>(simd, [3, 4], &read, &mut write);
}

/// Two rows of `L x Lᵀ`.
#[inline(always)]
fn rows_of_both<L: Linear<I, 6>, S: Simd, const I: usize>(
    simd: S,
    rows: [usize; 2],
    read: &impl Fn(usize, usize) -> S::Vector,
    write: &mut impl FnMut(usize, usize, S::Vector),
) {
    let mut half = [[simd.zero(); I]; 2];
    for column in 0..I {
        let mut values = [simd.zero(); I];
        for (row, value) in values.iter_mut().enumerate() {
            *value = read(row, column);
        }
        let results = L::apply(simd, values);
        for (half, row) in half.iter_mut().zip(rows) {
            half[column] = results[row];
        }
    }
    for (row, half) in rows.into_iter().zip(half) {
        for (column, value) in L::apply(simd, half).into_iter().enumerate() {
            write(row, column, value);
        }
    }
}
