//! Where the tiles of a map lie, and which of their pixels lie on the map.

use std::ops::Range;

/// Square tiles at equal distances on every map of an activation. With the tiles of all blocks they are numbered
/// block by block and row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    /// Rows and columns of the map.
    pub(super) map: [usize; 2],
    /// How far the first tile begins above and left of the map.
    pub(super) before: [usize; 2],
    /// Tiles along both axes.
    pub(super) counts: [usize; 2],
    /// Rows from one tile to the next.
    pub(super) step: usize,
    /// Rows of a tile.
    pub(super) size: usize,
}

/// One tile of each of the 16 images of a block.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) block: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
    /// The index of the tile's first pixel in its plane, modulo 2^64: it may lie off the map.
    origin: usize,
}

impl Tiles {
    /// Pixels of a map.
    pub(super) fn plane(&self) -> usize {
        self.map[0] * self.map[1]
    }

    /// Tile `n` of all.
    pub(super) fn window(&self, n: usize) -> Window {
        let per_block = self.counts[0] * self.counts[1];
        let (block, tile) = (n / per_block, n % per_block);
        let at = [tile / self.counts[1] * self.step, tile % self.counts[1] * self.step];
        let on_map = |axis: usize| {
            let start = self.before[axis].saturating_sub(at[axis]).min(self.size);
            let end = (self.map[axis] + self.before[axis]).saturating_sub(at[axis]).min(self.size);
            start..end.max(start)
        };
        let first = |axis: usize| at[axis].wrapping_sub(self.before[axis]);
        let width = self.map[1];
        let origin = first(0).wrapping_mul(width).wrapping_add(first(1));
        Window { block, rows: on_map(0), columns: on_map(1), width, origin }
    }
}

impl Window {
    /// The index in its plane of the pixel at a row and column of the tile, if it lies on the map.
    #[inline(always)]
    pub(super) fn pixel(&self, row: usize, column: usize) -> Option<usize> {
        let on_map = self.rows.contains(&row) & self.columns.contains(&column);
        on_map.then(|| self.origin.wrapping_add(row * self.width + column))
    }
}
