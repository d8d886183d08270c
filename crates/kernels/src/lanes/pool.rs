//! Max and average pooling.

use std::ops::Range;

use rayon::prelude::*;

use super::parallel::grain_of;
use super::reduce::fold;
use super::{Lanes, Padding, blocks};
use crate::cpu::{Isa, Simd, WithSimd};

/// The shape of a pooling.
///
/// Windows hold only pixels of the input: padding is neither a candidate for the maximum nor counted in the
/// average. A pooling that rounds up is one whose padding below and to the right lets the last windows hang over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows of the input.
    pub in_height: usize,
    /// Columns of the input.
    pub in_width: usize,
    /// Rows and columns of a window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// How far windows may hang over the input; less than a window on each side.
    pub padding: Padding,
}

impl PoolGeometry {
    /// One window over the whole map.
    pub fn global(batch: usize, channels: usize, in_height: usize, in_width: usize) -> Self {
        let window = [in_height, in_width];
        Self { batch, channels, in_height, in_width, window, stride: [1, 1], padding: Padding::default() }
    }

    /// Rows of the output; 0 where the window is larger than the padded input.
    pub fn out_height(&self) -> usize {
        let padded = self.in_height + self.padding.top + self.padding.bottom;
        (padded + self.stride[0]).saturating_sub(self.window[0]) / self.stride[0]
    }

    /// Columns of the output; 0 where the window is larger than the padded input.
    pub fn out_width(&self) -> usize {
        let padded = self.in_width + self.padding.left + self.padding.right;
        (padded + self.stride[1]).saturating_sub(self.window[1]) / self.stride[1]
    }

    /// Lanes of the input: `[blocks][C][H_in][W_in]`.
    pub fn input_len(&self) -> usize {
        blocks(self.batch) * self.channels * self.input_plane()
    }

    /// Lanes of the output: `[blocks][C][H_out][W_out]`.
    pub fn output_len(&self) -> usize {
        blocks(self.batch) * self.channels * self.output_plane()
    }

    fn input_plane(&self) -> usize {
        self.in_height * self.in_width
    }

    fn output_plane(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Whether one window covers the whole map and nothing else.
    fn is_global(&self) -> bool {
        self.output_plane() == 1
            && self.rows(0).len() == self.in_height
            && self.columns(0).len() == self.in_width
    }

    /// Whether each pixel lies in one window.
    fn is_partition(&self) -> bool {
        self.window == self.stride
            && self.padding == Padding::default()
            && [self.out_height() * self.stride[0], self.out_width() * self.stride[1]]
                == [self.in_height, self.in_width]
    }

    fn check(&self) {
        let Self { window, stride, padding, .. } = *self;
        assert!(
            window.iter().chain(&stride).all(|&size| size > 0),
            "window and stride must not be 0: {self:?}"
        );
        let hangs =
            padding.top.max(padding.bottom) >= window[0] || padding.left.max(padding.right) >= window[1];
        assert!(!hangs, "padding must be less than the window: {self:?}");
    }

    fn rows(&self, output: usize) -> Range<usize> {
        covered(output, self.window[0], self.stride[0], self.padding.top, self.in_height)
    }

    fn columns(&self, output: usize) -> Range<usize> {
        covered(output, self.window[1], self.stride[1], self.padding.left, self.in_width)
    }
}

/// The input coordinates that window `output` covers.
fn covered(output: usize, window: usize, stride: usize, before: usize, input: usize) -> Range<usize> {
    let start = output * stride;
    start.saturating_sub(before)..(start + window).saturating_sub(before).min(input)
}

/// Max pooling.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    geometry: PoolGeometry,
    isa: Isa,
}

impl MaxPool2d {
    /// Plans a pooling.
    ///
    /// # Panics
    ///
    /// Panics if window or stride is 0 or if padding is not less than the window.
    pub fn new(geometry: PoolGeometry, isa: Isa) -> Self {
        geometry.check();
        Self { geometry, isa }
    }

    /// `y` becomes the maximum of each window.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for, as does the gradient below.
    pub fn forward(&self, x: &[Lanes], y: &mut [Lanes]) {
        let geometry = &self.geometry;
        for_each_plane(geometry, x, y, |x, y| self.isa.dispatch(MaxForward { geometry, x, y }));
    }

    /// Overwrites `dx`: each window's gradient goes to its first pixel that equals the maximum `y`.
    pub fn backward(&self, x: &[Lanes], y: &[Lanes], dy: &[Lanes], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!([x.len(), dx.len()], [geometry.input_len(); 2], "lengths of the input and its gradient");
        assert_eq!([y.len(), dy.len()], [geometry.output_len(); 2], "lengths of the output and its gradient");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        dx.par_chunks_mut(input.max(1)).with_min_len(grain_of(input)).enumerate().for_each(|(plane, dx)| {
            let x = &x[plane * input..][..input];
            let [y, dy] = [y, dy].map(|slice| &slice[plane * output..][..output]);
            self.isa.dispatch(MaxBackward { geometry, x, y, dy, dx });
        });
    }
}

/// Average pooling over the pixels of the input that each window covers.
#[derive(Clone, Copy, Debug)]
pub struct AveragePool2d {
    geometry: PoolGeometry,
    isa: Isa,
}

impl AveragePool2d {
    /// Plans a pooling.
    ///
    /// # Panics
    ///
    /// Panics if window or stride is 0 or if padding is not less than the window.
    pub fn new(geometry: PoolGeometry, isa: Isa) -> Self {
        geometry.check();
        Self { geometry, isa }
    }

    /// `y` becomes the average of each window.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for, as does the gradient below.
    pub fn forward(&self, x: &[Lanes], y: &mut [Lanes]) {
        let geometry = &self.geometry;
        for_each_plane(geometry, x, y, |x, y| self.isa.dispatch(AverageForward { geometry, x, y }));
    }

    /// Overwrites `dx`: each window's gradient is shared equally among its pixels.
    pub fn backward(&self, dy: &[Lanes], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!(dx.len(), geometry.input_len(), "length of the input's gradient");
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        dx.par_chunks_mut(input.max(1)).with_min_len(grain_of(input)).enumerate().for_each(|(plane, dx)| {
            self.isa.dispatch(AverageBackward { geometry, dy: &dy[plane * output..][..output], dx });
        });
    }
}

/// Calls `pool` with each map of the input and its output.
fn for_each_plane(
    geometry: &PoolGeometry,
    x: &[Lanes],
    y: &mut [Lanes],
    pool: impl Fn(&[Lanes], &mut [Lanes]) + Sync,
) {
    assert_eq!(x.len(), geometry.input_len(), "length of the input");
    assert_eq!(y.len(), geometry.output_len(), "length of the output");
    let (input, output) = (geometry.input_plane(), geometry.output_plane());
    y.par_chunks_mut(output.max(1))
        .with_min_len(grain_of(input))
        .enumerate()
        .for_each(|(plane, y)| pool(&x[plane * input..][..input], y));
}

/// The pixels of the input that a window covers.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    in_width: usize,
}

impl Window {
    /// The windows of one row of the output.
    #[inline(always)]
    fn of_row(geometry: &PoolGeometry, output: usize) -> impl Iterator<Item = Window> {
        let (rows, in_width) = (geometry.rows(output), geometry.in_width);
        let columns = (0..geometry.out_width()).map(|output| geometry.columns(output));
        columns.map(move |columns| Window { rows: rows.clone(), columns, in_width })
    }

    /// How many pixels it covers.
    fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Calls `visit` with the places of each row's pixels, from top to bottom. A whole window of `HEIGHT` × `WIDTH` is
    /// unrolled.
    #[inline(always)]
    fn for_each_row<const HEIGHT: usize, const WIDTH: usize>(&self, mut visit: impl FnMut(Range<usize>)) {
        let first = self.rows.start * self.in_width + self.columns.start;
        if self.rows.len() == HEIGHT && self.columns.len() == WIDTH {
            for row in 0..HEIGHT {
                let start = first + row * self.in_width;
                visit(start..start + WIDTH);
            }
        } else {
            for row in 0..self.rows.len() {
                let start = first + row * self.in_width;
                visit(start..start + self.columns.len());
            }
        }
    }
}

/// Calls a function that is generic over height and width of a window for the common ones, else for 0 × 0, which no
/// window is.
macro_rules! with_common_window {
    ($geometry:expr, $function:ident($($argument:expr),*)) => {
        match $geometry.window {
            [2, 2] => $function::<S, 2, 2>($($argument),*),
            [3, 3] => $function::<S, 3, 3>($($argument),*),
            _ => $function::<S, 0, 0>($($argument),*),
        }
    };
}

struct MaxForward<'a> {
    geometry: &'a PoolGeometry,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for MaxForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        with_common_window!(self.geometry, max_forward(simd, self));
    }
}

#[inline(always)]
fn max_forward<S: Simd, const HEIGHT: usize, const WIDTH: usize>(simd: S, pool: MaxForward<'_>) {
    let MaxForward { geometry, x, y } = pool;
    for (output, y) in y.chunks_exact_mut(geometry.out_width().max(1)).enumerate() {
        for (window, y) in Window::of_row(geometry, output).zip(y) {
            let mut value = simd.splat(f32::NEG_INFINITY);
            window.for_each_row::<HEIGHT, WIDTH>(
                #[inline(always)]
                |row| {
                    for x in &x[row] {
                        value = simd.max(value, simd.load(&x.0));
                    }
                },
            );
            simd.store(value, &mut y.0);
        }
    }
}

struct AverageForward<'a> {
    geometry: &'a PoolGeometry,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for AverageForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.geometry.is_global() {
            let sum = fold(simd, self.x, |sum, x| simd.add(sum, x));
            let average = simd.mul(sum, simd.splat(1.0 / self.x.len() as f32));
            self.y.iter_mut().for_each(|y| simd.store(average, &mut y.0));
        } else {
            with_common_window!(self.geometry, average_forward(simd, self));
        }
    }
}

#[inline(always)]
fn average_forward<S: Simd, const HEIGHT: usize, const WIDTH: usize>(simd: S, pool: AverageForward<'_>) {
    let AverageForward { geometry, x, y } = pool;
    for (output, y) in y.chunks_exact_mut(geometry.out_width().max(1)).enumerate() {
        for (window, y) in Window::of_row(geometry, output).zip(y) {
            let mut sum = simd.zero();
            window.for_each_row::<HEIGHT, WIDTH>(
                #[inline(always)]
                |row| {
                    for x in &x[row] {
                        sum = simd.add(sum, simd.load(&x.0));
                    }
                },
            );
            simd.store(simd.mul(sum, simd.splat(1.0 / window.len() as f32)), &mut y.0);
        }
    }
}

/// A map's gradient whose rows are cleared just before the first window reaches them, when they are about to be in
/// cache anyway.
struct Accumulator<'a> {
    dx: &'a mut [Lanes],
    cleared: usize,
}

impl<'a> Accumulator<'a> {
    fn new(dx: &'a mut [Lanes]) -> Self {
        Self { dx, cleared: 0 }
    }

    /// A map whose every pixel will be overwritten.
    fn overwritten(dx: &'a mut [Lanes]) -> Self {
        Self { cleared: dx.len(), dx }
    }

    /// The map, with the pixels before `end` ready for sums.
    fn until(&mut self, end: usize) -> &mut [Lanes] {
        if end > self.cleared {
            self.dx[self.cleared..end].fill(Lanes::ZERO);
            self.cleared = end;
        }
        self.dx
    }
}

struct MaxBackward<'a> {
    geometry: &'a PoolGeometry,
    x: &'a [Lanes],
    y: &'a [Lanes],
    dy: &'a [Lanes],
    dx: &'a mut [Lanes],
}

impl WithSimd for MaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        with_common_window!(self.geometry, max_backward(simd, self));
    }
}

#[inline(always)]
fn max_backward<S: Simd, const HEIGHT: usize, const WIDTH: usize>(simd: S, pool: MaxBackward<'_>) {
    let MaxBackward { geometry, x, y, dy, dx } = pool;
    let (pixels, out_width) = (dx.len(), geometry.out_width().max(1));
    let alone = geometry.is_partition();
    let mut dx = if alone { Accumulator::overwritten(dx) } else { Accumulator::new(dx) };
    for (output, (y, dy)) in y.chunks_exact(out_width).zip(dy.chunks_exact(out_width)).enumerate() {
        let dx = dx.until(geometry.rows(output).end * geometry.in_width);
        for (window, (y, dy)) in Window::of_row(geometry, output).zip(y.iter().zip(dy)) {
            let (y, mut left) = (simd.load(&y.0), simd.load(&dy.0));
            window.for_each_row::<HEIGHT, WIDTH>(
                #[inline(always)]
                |row| {
                    for (x, dx) in x[row.clone()].iter().zip(&mut dx[row]) {
                        let x = simd.load(&x.0);
                        let taken = simd.select_eq(x, y, left, simd.zero());
                        left = simd.select_eq(x, y, simd.zero(), left);
                        let sum = if alone { taken } else { simd.add(simd.load(&dx.0), taken) };
                        simd.store(sum, &mut dx.0);
                    }
                },
            );
        }
    }
    dx.until(pixels);
}

struct AverageBackward<'a> {
    geometry: &'a PoolGeometry,
    dy: &'a [Lanes],
    dx: &'a mut [Lanes],
}

impl WithSimd for AverageBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.geometry.is_global() {
            let share = simd.splat(1.0 / self.dx.len() as f32);
            for dy in self.dy {
                let share = simd.mul(simd.load(&dy.0), share);
                self.dx.iter_mut().for_each(|dx| simd.store(share, &mut dx.0));
            }
        } else {
            with_common_window!(self.geometry, average_backward(simd, self));
        }
    }
}

#[inline(always)]
fn average_backward<S: Simd, const HEIGHT: usize, const WIDTH: usize>(simd: S, pool: AverageBackward<'_>) {
    let AverageBackward { geometry, dy, dx } = pool;
    let pixels = dx.len();
    let mut dx = Accumulator::new(dx);
    for (output, dy) in dy.chunks_exact(geometry.out_width().max(1)).enumerate() {
        let dx = dx.until(geometry.rows(output).end * geometry.in_width);
        for (window, dy) in Window::of_row(geometry, output).zip(dy) {
            let share = simd.mul(simd.load(&dy.0), simd.splat(1.0 / window.len() as f32));
            window.for_each_row::<HEIGHT, WIDTH>(
                #[inline(always)]
                |row| {
                    for dx in &mut dx[row] {
                        simd.store(simd.add(simd.load(&dx.0), share), &mut dx.0);
                    }
                },
            );
        }
    }
    dx.until(pixels);
}
