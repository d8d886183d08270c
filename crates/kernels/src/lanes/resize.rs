//! Resizing maps by nearest neighbours or bilinear interpolation, as TFLite's reference kernels do.

use rayon::prelude::*;

use super::{Lanes, blocks, parallel::grain};
use crate::cpu::{Isa, Simd, WithSimd};

/// How a resize finds values between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMethod {
    /// The pixel at the coordinate rounded down, or rounded to nearest with [`ResizeCoordinates::AlignCorners`]; with
    /// [`ResizeCoordinates::HalfPixel`] the half is not taken off before rounding down.
    Nearest,
    /// Linear in both directions between the four pixels around the coordinate.
    Bilinear,
}

/// Which coordinate of the input output pixel `i` of an axis stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeCoordinates {
    /// `i · input / output`.
    Asymmetric,
    /// `i · (input - 1) / (output - 1)`, or 0 where the output has one pixel.
    AlignCorners,
    /// `(i + ½) · input / output - ½`.
    HalfPixel,
}

/// The shape of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResizeGeometry {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows of the input.
    pub in_height: usize,
    /// Columns of the input.
    pub in_width: usize,
    /// Rows of the output.
    pub out_height: usize,
    /// Columns of the output.
    pub out_width: usize,
    /// How values between pixels are found.
    pub method: ResizeMethod,
    /// Which point of the input an output pixel stands for.
    pub coordinates: ResizeCoordinates,
}

impl ResizeGeometry {
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
        self.out_height * self.out_width
    }

    /// The sources of each row and of each column of the output.
    fn axes<T>(&self, source: impl Fn(ResizeCoordinates, usize, usize, usize) -> T) -> [Vec<T>; 2] {
        let axes = [(self.in_height, self.out_height), (self.in_width, self.out_width)];
        axes.map(|(input, output)| (0..output).map(|i| source(self.coordinates, i, input, output)).collect())
    }
}

/// A resize of one shape.
#[derive(Clone, Debug)]
pub struct Resize2d {
    geometry: ResizeGeometry,
    isa: Isa,
    sources: Sources,
}

/// Where the rows and the columns of the output come from.
#[derive(Clone, Debug)]
enum Sources {
    Nearest([Vec<usize>; 2]),
    Bilinear([Vec<Pair>; 2]),
}

/// Two neighbours along one axis, and the weights of their mean.
#[derive(Clone, Copy, Debug)]
struct Pair {
    sources: [usize; 2],
    weights: [f32; 2],
}

impl Resize2d {
    /// Plans a resize.
    ///
    /// # Panics
    ///
    /// Panics if a side of the input or of the output is 0.
    pub fn new(geometry: ResizeGeometry, isa: Isa) -> Self {
        let ResizeGeometry { in_height, in_width, out_height, out_width, method, .. } = geometry;
        let sides = [in_height, in_width, out_height, out_width];
        assert!(sides.iter().all(|&side| side > 0), "maps must not be empty: {geometry:?}");
        let sources = match method {
            ResizeMethod::Nearest => Sources::Nearest(geometry.axes(nearest)),
            ResizeMethod::Bilinear => Sources::Bilinear(geometry.axes(pair)),
        };
        Self { geometry, isa, sources }
    }

    /// The shape it was planned for.
    pub fn geometry(&self) -> &ResizeGeometry {
        &self.geometry
    }

    /// `y` becomes `x` on the output's grid.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for, as does the gradient below.
    pub fn forward(&self, x: &[Lanes], y: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!(x.len(), geometry.input_len(), "length of the input");
        assert_eq!(y.len(), geometry.output_len(), "length of the output");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        let planes = y.par_chunks_mut(output).with_min_len(grain()).zip(x.par_chunks(input));
        planes.for_each(|(y, x)| self.isa.dispatch(Forward { resize: self, x, y }));
    }

    /// Overwrites `dx` with the gradient of the input: each pixel of the output gives its gradient, weighted, to the
    /// pixels that it was made of.
    pub fn backward(&self, dy: &[Lanes], dx: &mut [Lanes]) {
        let geometry = &self.geometry;
        assert_eq!(dx.len(), geometry.input_len(), "length of the input's gradient");
        assert_eq!(dy.len(), geometry.output_len(), "length of the output's gradient");
        let (input, output) = (geometry.input_plane(), geometry.output_plane());
        let planes = dx.par_chunks_mut(input).with_min_len(grain()).zip(dy.par_chunks(output));
        planes.for_each(|(dx, dy)| self.isa.dispatch(Backward { resize: self, dy, dx }));
    }
}

/// Pixels of the input per pixel of the output, in f32 as in TFLite.
fn scale(coordinates: ResizeCoordinates, input: usize, output: usize) -> f32 {
    match coordinates {
        ResizeCoordinates::AlignCorners if output > 1 => (input - 1) as f32 / (output - 1) as f32,
        ResizeCoordinates::Asymmetric | ResizeCoordinates::AlignCorners | ResizeCoordinates::HalfPixel => {
            input as f32 / output as f32
        }
    }
}

/// `GetNearestNeighbor` of TFLite's `resize_nearest_neighbor.h`.
fn nearest(coordinates: ResizeCoordinates, i: usize, input: usize, output: usize) -> usize {
    let (i, scale) = (i as f32, scale(coordinates, input, output));
    let source = match coordinates {
        ResizeCoordinates::Asymmetric => (i * scale).floor(),
        ResizeCoordinates::AlignCorners => (i * scale).round(),
        ResizeCoordinates::HalfPixel => ((i + 0.5) * scale).floor(),
    };
    (source as usize).min(input - 1)
}

/// `ComputeInterpolationValues` of TFLite's `resize_bilinear.h`. Where the coordinate lies beyond the border, both
/// neighbours are the pixel on it, and one weight may be negative.
fn pair(coordinates: ResizeCoordinates, i: usize, input: usize, output: usize) -> Pair {
    let (i, scale) = (i as f32, scale(coordinates, input, output));
    let coordinate = match coordinates {
        ResizeCoordinates::Asymmetric | ResizeCoordinates::AlignCorners => i * scale,
        ResizeCoordinates::HalfPixel => (i + 0.5) * scale - 0.5,
    };
    // Casts of negative numbers give 0.
    let sources = [coordinate.floor(), coordinate.ceil()].map(|source| (source as usize).min(input - 1));
    let upper = coordinate - sources[0] as f32;
    Pair { sources, weights: [1.0 - upper, upper] }
}

struct Forward<'a> {
    resize: &'a Resize2d,
    x: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ResizeGeometry { in_width, out_width, .. } = self.resize.geometry;
        let out_rows = self.y.chunks_exact_mut(out_width);
        match &self.resize.sources {
            Sources::Nearest([rows, columns]) => {
                for (y, row) in out_rows.zip(rows) {
                    let x = &self.x[row * in_width..][..in_width];
                    for (y, &column) in y.iter_mut().zip(columns) {
                        *y = x[column];
                    }
                }
            }
            Sources::Bilinear([rows, columns]) => {
                for (y, row) in out_rows.zip(rows) {
                    let x = row.sources.map(|row| &self.x[row * in_width..][..in_width]);
                    let vertical = row.weights.map(|weight| simd.splat(weight));
                    for (y, column) in y.iter_mut().zip(columns) {
                        let horizontal = column.weights.map(|weight| simd.splat(weight));
                        let term = |m: usize, n: usize| {
                            let x = simd.load(&x[m][column.sources[n]].0);
                            simd.mul(simd.mul(x, vertical[m]), horizontal[n])
                        };
                        // Products and sums are rounded in TFLite's order, so that the result is the same to the bit.
                        let left = simd.add(term(0, 0), term(1, 0));
                        simd.store(simd.add(simd.add(left, term(0, 1)), term(1, 1)), &mut y.0);
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    resize: &'a Resize2d,
    dy: &'a [Lanes],
    dx: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ResizeGeometry { in_width, out_width, .. } = self.resize.geometry;
        self.dx.fill(Lanes::ZERO);
        let out_rows = self.dy.chunks_exact(out_width);
        match &self.resize.sources {
            Sources::Nearest([rows, columns]) => {
                for (dy, row) in out_rows.zip(rows) {
                    let dx = &mut self.dx[row * in_width..][..in_width];
                    for (dy, &column) in dy.iter().zip(columns) {
                        let dx = &mut dx[column].0;
                        simd.store(simd.add(simd.load(dx), simd.load(&dy.0)), dx);
                    }
                }
            }
            Sources::Bilinear([rows, columns]) => {
                for (dy, row) in out_rows.zip(rows) {
                    for (row, weight) in row.sources.into_iter().zip(row.weights) {
                        let dx = &mut self.dx[row * in_width..][..in_width];
                        let vertical = simd.splat(weight);
                        for (dy, column) in dy.iter().zip(columns) {
                            let dy = simd.mul(simd.load(&dy.0), vertical);
                            for (column, weight) in column.sources.into_iter().zip(column.weights) {
                                let dx = &mut dx[column].0;
                                simd.store(simd.mul_add(dy, simd.splat(weight), simd.load(dx)), dx);
                            }
                        }
                    }
                }
            }
        }
    }
}
