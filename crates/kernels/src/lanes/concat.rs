//! Concatenation along channels, rows or columns.

use rayon::prelude::*;

use super::activation::ELEMENTS_PER_TASK;
use super::{Lanes, blocks, parallel::grain};

/// An axis of an activation other than the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Channels, or the features of vectors.
    Channels,
    /// Rows.
    Height,
    /// Columns.
    Width,
}

/// Activations side by side along one axis.
///
/// An input has the output's size along the other axes. Both directions take one call per input, with the input's
/// first coordinate along the axis; how many it has follows from its length.
#[derive(Clone, Copy, Debug)]
pub struct Concat {
    /// How many lanes lie between neighbours along the axis.
    inner: usize,
    /// How many lanes of the output share their coordinates along the axes outside.
    slab: usize,
    /// How many slabs there are.
    outer: usize,
}

impl Concat {
    /// Plans a concatenation along `axis` to an output of `batch` images of shape `[C, H, W]`; of vectors,
    /// `[features, 1, 1]`.
    pub fn new(batch: usize, shape: [usize; 3], axis: Axis) -> Self {
        let [channels, height, width] = shape;
        let (outer, size, inner) = match axis {
            Axis::Channels => (1, channels, height * width),
            Axis::Height => (channels, height, width),
            Axis::Width => (channels * height, width, 1),
        };
        Self { inner, slab: size * inner, outer: blocks(batch) * outer }
    }

    /// Copies `x` to its place from coordinate `offset` on in `y`.
    ///
    /// # Panics
    ///
    /// Panics if `y` does not have the length that the shape asks for, or if `x` is not whole or reaches over the
    /// output's end, as does the gradient below.
    pub fn forward(&self, offset: usize, x: &[Lanes], y: &mut [Lanes]) {
        let (start, length) = self.place(offset, x.len(), y.len());
        let per_task = slabs_per_task(self.slab);
        let tasks = y.par_chunks_mut((self.slab * per_task).max(1)).with_min_len(grain());
        tasks.zip(x.par_chunks((length * per_task).max(1))).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(self.slab).zip(x.chunks_exact(length)) {
                y[start..start + length].copy_from_slice(x);
            }
        });
    }

    /// Overwrites `dx` with the gradient of the input that lies from coordinate `offset` on.
    pub fn backward(&self, offset: usize, dy: &[Lanes], dx: &mut [Lanes]) {
        let (start, length) = self.place(offset, dx.len(), dy.len());
        let per_task = slabs_per_task(self.slab);
        let tasks = dx.par_chunks_mut((length * per_task).max(1)).with_min_len(grain());
        tasks.zip(dy.par_chunks((self.slab * per_task).max(1))).for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_exact_mut(length).zip(dy.chunks_exact(self.slab)) {
                dx.copy_from_slice(&dy[start..start + length]);
            }
        });
    }

    /// Where the part of an input of `input` lanes starts in each slab, and its length.
    fn place(&self, offset: usize, input: usize, output: usize) -> (usize, usize) {
        assert_eq!(output, self.outer * self.slab, "length of a concatenation");
        let (start, unit) = (offset * self.inner, (self.outer * self.inner).max(1));
        assert_eq!(input % unit, 0, "length of an input of a concatenation, modulo one coordinate");
        let length = input / unit * self.inner;
        assert!(
            start + length <= self.slab,
            "an input at {offset} of {length} lanes reaches over the {} of its concatenation",
            self.slab
        );
        (start, length)
    }
}

fn slabs_per_task(slab: usize) -> usize {
    (ELEMENTS_PER_TASK / slab.max(1)).max(1)
}
