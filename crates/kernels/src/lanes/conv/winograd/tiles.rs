//! Where the tiles of a map lie, and which of their pixels lie on the map.

use std::ops::Range;

/// Square tiles at equal distances on every map of an activation, numbered block by block and row by row.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    /// Rows and columns of the map.
    map: [usize; 2],
    /// The tiles of one map.
    windows: Vec<Window>,
}

/// One tile of each of the 16 images of a block.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Which of its rows and columns lie on the map.
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
    /// The index of the tile's first pixel in its plane, modulo the size of an address: it may lie off the map.
    origin: usize,
}

/// Length, distance and number of tiles along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileAxis {
    pub(super) map: usize,
    /// How far the first tile begins before the map.
    pub(super) before: usize,
    pub(super) count: usize,
    pub(super) step: usize,
    pub(super) size: usize,
}

impl TileAxis {
    /// Where each tile begins, modulo the size of an address, and which part of it lies on the map.
    fn tiles(self) -> impl Iterator<Item = (usize, Range<usize>)> {
        (0..self.count).map(move |n| {
            let at = n * self.step;
            let start = self.before.saturating_sub(at).min(self.size);
            let end = (self.map + self.before).saturating_sub(at).min(self.size);
            (at.wrapping_sub(self.before), start..end.max(start))
        })
    }
}

impl Tiles {
    pub(super) fn new([vertical, horizontal]: [TileAxis; 2]) -> Self {
        let width = horizontal.map;
        let mut windows = Vec::with_capacity(vertical.count * horizontal.count);
        for (top, rows) in vertical.tiles() {
            for (left, columns) in horizontal.tiles() {
                let origin = top.wrapping_mul(width).wrapping_add(left);
                windows.push(Window { rows: rows.clone(), columns, width, origin });
            }
        }
        Self { map: [vertical.map, width], windows }
    }

    /// Tiles of one map.
    pub(super) fn per_map(&self) -> usize {
        self.windows.len()
    }

    /// Pixels of a map.
    pub(super) fn plane(&self) -> usize {
        self.map[0] * self.map[1]
    }

    /// The block of tile `n` of all, and where it lies on its maps.
    #[inline(always)]
    pub(super) fn window(&self, n: usize) -> (usize, &Window) {
        (n / self.windows.len(), &self.windows[n % self.windows.len()])
    }
}

impl Window {
    /// The index in its plane of the pixel at a row and column of the tile, if it lies on the map.
    #[inline(always)]
    pub(super) fn pixel(&self, row: usize, column: usize) -> Option<usize> {
        let on_map = self.rows.contains(&row) & self.columns.contains(&column);
        on_map.then(|| self.origin.wrapping_add(row * self.width + column))
    }

    /// The rows of the tile that lie on the map.
    #[inline(always)]
    pub(super) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the tile that lie on the map.
    #[inline(always)]
    pub(super) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The indices in its plane of the pixels of a row of the tile that lie on the map, if the row does.
    #[inline(always)]
    pub(super) fn line(&self, row: usize) -> Range<usize> {
        let start = self.origin.wrapping_add(row * self.width + self.columns.start);
        start..start + self.columns.len()
    }

    /// The index in its plane of the first pixel of a tile of `size` rows and columns that all lie on the map, and the
    /// distance between rows.
    #[inline(always)]
    pub(super) fn whole(&self, size: usize) -> Option<(usize, usize)> {
        (self.rows.len() == size && self.columns.len() == size).then_some((self.origin, self.width))
    }
}
