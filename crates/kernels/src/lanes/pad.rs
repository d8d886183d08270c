//! A border of a constant around activations.

use rayon::prelude::*;

use super::{Lanes, Padding, blocks, parallel::grain};
use crate::cpu::LANES;

/// The shape of a border around maps. Unlike the padding of a convolution or pooling, it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad2d {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows of the input.
    pub in_height: usize,
    /// Columns of the input.
    pub in_width: usize,
    /// How wide the border is.
    pub padding: Padding,
    /// What it holds.
    pub value: f32,
}

impl Pad2d {
    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        self.padding.top + self.in_height + self.padding.bottom
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        self.padding.left + self.in_width + self.padding.right
    }

    /// Lanes of the input: `[blocks][C][H_in][W_in]`.
    pub fn input_len(&self) -> usize {
        blocks(self.batch) * self.channels * self.in_height * self.in_width
    }

    /// Lanes of the output: `[blocks][C][H_out][W_out]`.
    pub fn output_len(&self) -> usize {
        blocks(self.batch) * self.channels * self.out_height() * self.out_width()
    }

    /// `y` becomes `x` within the border.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, as does the gradient below.
    pub fn forward(&self, x: &[Lanes], y: &mut [Lanes]) {
        assert_eq!([x.len(), y.len()], [self.input_len(), self.output_len()], "lengths of input and output");
        let [input, output] = self.planes();
        let planes = y.par_chunks_mut(output).with_min_len(grain()).zip(x.par_chunks(input));
        planes.for_each(|(y, x)| {
            y.fill(Lanes([self.value; LANES]));
            let rows = y.chunks_exact_mut(self.out_width()).skip(self.padding.top);
            for (y, x) in rows.zip(x.chunks_exact(self.in_width)) {
                y[self.padding.left..][..self.in_width].copy_from_slice(x);
            }
        });
    }

    /// Overwrites `dx` with the gradient of the input: that of the output without its border.
    pub fn backward(&self, dy: &[Lanes], dx: &mut [Lanes]) {
        assert_eq!(
            [dx.len(), dy.len()],
            [self.input_len(), self.output_len()],
            "lengths of the gradients of input and output"
        );
        let [input, output] = self.planes();
        let planes = dx.par_chunks_mut(input).with_min_len(grain()).zip(dy.par_chunks(output));
        planes.for_each(|(dx, dy)| {
            let rows = dy.chunks_exact(self.out_width()).skip(self.padding.top);
            for (dx, dy) in dx.chunks_exact_mut(self.in_width).zip(rows) {
                dx.copy_from_slice(&dy[self.padding.left..][..self.in_width]);
            }
        });
    }

    /// Lanes of a plane of the input and of the output; at least 1, since iterators over chunks ask for it.
    fn planes(&self) -> [usize; 2] {
        let planes = [self.in_height * self.in_width, self.out_height() * self.out_width()];
        planes.map(|plane| plane.max(1))
    }
}
