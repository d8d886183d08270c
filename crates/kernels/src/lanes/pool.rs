//! Max and average pooling.

use std::ops::Range;

use rayon::prelude::*;

use super::parallel::grain;
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
        forward(self.isa, &self.geometry, Rule::Max, x, y);
    }

    /// Overwrites `dx`: each window's gradient goes to its first pixel that equals the maximum `y`.
    pub fn backward(&self, x: &[Lanes], y: &[Lanes], dy: &[Lanes], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!([x.len(), dx.len()], [geometry.input_len(); 2], "lengths of the input and its gradient");
        assert_eq!([y.len(), dy.len()], [geometry.output_len(); 2], "lengths of the output and its gradient");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        dx.par_chunks_mut(input.max(1)).with_min_len(grain()).enumerate().for_each(|(plane, dx)| {
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
        forward(self.isa, &self.geometry, Rule::Average, x, y);
    }

    /// Overwrites `dx`: each window's gradient is shared equally among its pixels.
    pub fn backward(&self, dy: &[Lanes], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!(dx.len(), geometry.input_len(), "length of the input's gradient");
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        dx.par_chunks_mut(input.max(1)).with_min_len(grain()).enumerate().for_each(|(plane, dx)| {
            self.isa.dispatch(AverageBackward { geometry, dy: &dy[plane * output..][..output], dx });
        });
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Max,
    Average,
}

fn forward(isa: Isa, geometry: &PoolGeometry, rule: Rule, x: &[Lanes], y: &mut [Lanes]) {
    assert_eq!(x.len(), geometry.input_len(), "length of the input");
    assert_eq!(y.len(), geometry.output_len(), "length of the output");
    let (input, output) = (geometry.input_plane(), geometry.output_plane());
    y.par_chunks_mut(output.max(1)).with_min_len(grain()).enumerate().for_each(|(plane, y)| {
        isa.dispatch(Forward { geometry, rule, x: &x[plane * input..][..input], y });
    });
}

struct Forward<'a> {
    geometry: &'a PoolGeometry,
    rule: Rule,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (geometry, out_width) = (self.geometry, self.geometry.out_width());
        for (output, y) in self.y.iter_mut().enumerate() {
            let (rows, columns) = (geometry.rows(output / out_width), geometry.columns(output % out_width));
            let mut value = match self.rule {
                Rule::Max => simd.splat(f32::NEG_INFINITY),
                Rule::Average => simd.zero(),
            };
            for row in rows.clone() {
                for x in &self.x[row * geometry.in_width..][columns.clone()] {
                    let x = simd.load(&x.0);
                    value = match self.rule {
                        Rule::Max => simd.max(value, x),
                        Rule::Average => simd.add(value, x),
                    };
                }
            }
            let value = match self.rule {
                Rule::Max => value,
                Rule::Average => simd.mul(value, simd.splat(1.0 / (rows.len() * columns.len()) as f32)),
            };
            simd.store(value, &mut y.0);
        }
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
        let (geometry, out_width) = (self.geometry, self.geometry.out_width());
        self.dx.fill(Lanes::ZERO);
        for (output, (y, dy)) in self.y.iter().zip(self.dy).enumerate() {
            let (y, mut left) = (simd.load(&y.0), simd.load(&dy.0));
            for row in geometry.rows(output / out_width) {
                for column in geometry.columns(output % out_width) {
                    let pixel = row * geometry.in_width + column;
                    let x = simd.load(&self.x[pixel].0);
                    let taken = simd.select_eq(x, y, left, simd.zero());
                    left = simd.select_eq(x, y, simd.zero(), left);
                    let dx = &mut self.dx[pixel].0;
                    simd.store(simd.add(simd.load(dx), taken), dx);
                }
            }
        }
    }
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
        let (geometry, out_width) = (self.geometry, self.geometry.out_width());
        self.dx.fill(Lanes::ZERO);
        for (output, dy) in self.dy.iter().enumerate() {
            let (rows, columns) = (geometry.rows(output / out_width), geometry.columns(output % out_width));
            let share = simd.splat(1.0 / (rows.len() * columns.len()) as f32);
            let share = simd.mul(simd.load(&dy.0), share);
            for row in rows {
                for dx in &mut self.dx[row * geometry.in_width..][columns.clone()] {
                    simd.store(simd.add(simd.load(&dx.0), share), &mut dx.0);
                }
            }
        }
    }
}
