//! Going over maps in tiles: `[blocks][channels][pixels]` cut into tasks, their sums added in order.

#![allow(unsafe_code, reason = "tasks write disjoint pixels of each channel's gradient")]

use std::ops::Range;

use rayon::prelude::*;

use super::LossSummary;
use crate::lanes::{LANES, Lanes, Workspace, blocks, parallel::DisjointMut, parallel::grain};

/// Pixels that are worked on together.
pub(super) const TILE: usize = 8;
/// How many values of lanes a task should hold to be worth starting.
const TASK_VECTORS: usize = 2048;

/// A number per lane.
pub(super) type Row = [f64; LANES];

/// The shape of a batch's maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) pixels: usize,
}

/// Up to [`TILE`] neighbouring pixels of one block, in all channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) block: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// The pixels of one block that a task goes over, and the task's share of the gradient.
pub(super) struct Part<'a> {
    maps: Maps,
    block: usize,
    pixels: Range<usize>,
    gradient: Option<DisjointMut<'a, Lanes>>,
}

impl Part<'_> {
    /// The tiles of the part, in order.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let (block, Range { start, end }) = (self.block, self.pixels.clone());
        (start..end).step_by(TILE).map(move |first| Tile { block, first, count: TILE.min(end - first) })
    }

    /// The gradient of a tile's values of one channel, if it is wanted.
    ///
    /// # Panics
    ///
    /// Panics if the tile is not one of the part's.
    #[inline(always)]
    pub(super) fn gradient(&mut self, tile: &Tile, channel: usize) -> Option<&mut [Lanes]> {
        let Range { start, end } = self.pixels;
        assert!(tile.block == self.block && start <= tile.first && tile.first + tile.count <= end);
        assert!(channel < self.maps.channels);
        let row = self.maps.row(tile, channel);
        // SAFETY: the row lies within this part, `Maps::sum` makes one part of each range of pixels, and the
        // reference borrows the part mutably.
        self.gradient.map(|gradient| unsafe { gradient.slice(row.start, row.len()) })
    }
}

impl Maps {
    /// The maps of a slice of numbers per image.
    ///
    /// # Panics
    ///
    /// Panics if `values` is not a length of whole images.
    pub(super) fn new(channels: usize, pixels: usize, values: usize, values_per_image: usize) -> Self {
        assert!(
            values.is_multiple_of(values_per_image.max(1)),
            "{values} labels or targets are no whole images of {values_per_image}"
        );
        Self { batch: values / values_per_image.max(1), channels, pixels }
    }

    /// Where a tile's values of one channel lie.
    #[inline(always)]
    pub(super) fn row(&self, tile: &Tile, channel: usize) -> Range<usize> {
        let start = (tile.block * self.channels + channel) * self.pixels + tile.first;
        start..start + tile.count
    }

    /// The place of an image's pixel in `[N][pixels]`; none in lanes past the last image.
    #[inline(always)]
    pub(super) fn pixel(&self, tile: &Tile, pixel: usize, lane: usize) -> Option<usize> {
        let image = tile.block * LANES + lane;
        (image < self.batch).then(|| image * self.pixels + tile.first + pixel)
    }

    /// The sum of `work` over all parts of the maps, which are worked on in parallel and added up in order.
    ///
    /// # Panics
    ///
    /// Panics if predictions or gradient do not have this shape.
    pub(super) fn sum(
        &self,
        predictions: &[Lanes],
        gradient: Option<&mut [Lanes]>,
        workspace: &mut Workspace,
        work: impl Fn(Part) -> LossSummary + Sync,
    ) -> LossSummary {
        let length = blocks(self.batch) * self.channels * self.pixels;
        assert_eq!(predictions.len(), length, "length of the predictions");
        if let Some(gradient) = &gradient {
            assert_eq!(gradient.len(), length, "length of the predictions' gradient");
        }
        let gradient = gradient.map(DisjointMut::new);
        let step = (TASK_VECTORS / self.channels.max(1)).next_multiple_of(TILE).max(TILE);
        let per_block = self.pixels.div_ceil(step);
        let sums = workspace.summaries(blocks(self.batch) * per_block);
        sums.par_iter_mut().with_min_len(grain()).enumerate().for_each(|(n, sum)| {
            let (block, start) = (n / per_block, n % per_block * step);
            let pixels = start..self.pixels.min(start + step);
            *sum = work(Part { maps: *self, block, pixels, gradient });
        });
        let mut total = LossSummary::default();
        for sum in sums {
            total += *sum;
        }
        total
    }
}
