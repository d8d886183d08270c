//! 3 × 3 convolutions with fewer multiplications, by Winograd's minimal filtering.
//!
//! Maps are cut into tiles of M × M outputs. Inputs and weights of a tile are transformed to T × T values, where the
//! convolution is a product of matrices over channels at each of the T² positions, and the products are transformed
//! back (Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2015): T² products instead of 9 M². The
//! gradient of the weights is the transpose of the same algorithm.
//!
//! One tile of 16 images is a column of these matrices. Columns are worked on in chunks, and rows in bands, so that
//! the transformed operands are small next to activations and stay in a last-level cache.

mod gradient;
mod input;
mod map;
mod output;
mod product;
mod share;
mod taps;
mod tiles;
mod transform;

pub(super) use gradient::WinogradGradient;
pub(super) use map::WinogradMap;

use tiles::{TileAxis, Tiles};

use super::geometry::Conv2dGeometry;
use crate::lanes::blocks;

/// How large the tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WinogradTile {
    /// 2 × 2 outputs from 4 × 4 inputs: 2.25 times fewer multiplications. Errors are as small as those of plain sums.
    Two,
    /// 4 × 4 outputs from 6 × 6 inputs: 4 times fewer multiplications. Errors are some ten times those of plain sums.
    Four,
}

impl WinogradTile {
    /// M, the rows of a tile's output.
    fn outputs(self) -> usize {
        match self {
            WinogradTile::Two => 2,
            WinogradTile::Four => 4,
        }
    }

    /// T = M + 2, the rows of a tile's input.
    fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// T², the products per tile.
    fn positions(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// The inputs of tiles that give `results` from a map of `map` pixels, and the tiles' results.
    fn tiles(self, map: [usize; 2], before: [usize; 2], results: [usize; 2]) -> [Tiles; 2] {
        let axes = |map: [usize; 2], before: [usize; 2], size: usize| {
            [0, 1].map(|axis| TileAxis {
                map: map[axis],
                before: before[axis],
                count: results[axis].div_ceil(self.outputs()),
                step: self.outputs(),
                size,
            })
        };
        [Tiles::new(axes(map, before, self.inputs())), Tiles::new(axes(results, [0, 0], self.outputs()))]
    }
}

/// Whether Winograd's algorithm is for convolutions like this.
pub(super) fn supports(geometry: &Conv2dGeometry) -> bool {
    let Conv2dGeometry { kernel, stride, dilation, padding, groups, .. } = *geometry;
    kernel == [3, 3]
        && stride == [1, 1]
        && dilation == [1, 1]
        && groups == 1
        && padding.top.max(padding.left) <= 2
        && geometry.output_len() > 0
        && geometry.input_len() > 0
}

/// The tile with which maps from activation to activation are cheapest, if they are cheaper than direct ones.
///
/// The cost is that in multiply-adds of vectors: the direct ones, without taps on the padding; or the products, the
/// transforms of inputs and outputs at [`MAP_COST`] per value and those of weights at [`TAPS_COST`]. The constants are
/// such that estimate and measurement rank alike on Zen 4.
pub(super) fn map_tile(geometry: &Conv2dGeometry) -> Option<WinogradTile> {
    cheapest_tile(geometry, MAP_COST)
}

/// The same for the gradient of weights, with transforms at [`GRADIENT_COST`].
pub(super) fn gradient_tile(geometry: &Conv2dGeometry) -> Option<WinogradTile> {
    cheapest_tile(geometry, GRADIENT_COST)
}

/// What transforming a vector of inputs or outputs at one position costs, in multiply-adds.
const MAP_COST: usize = 24;
/// What it costs for the gradient of weights, with turning around.
const GRADIENT_COST: usize = 40;
/// What transforming a weight or its gradient at one position costs, in multiply-adds of vectors.
const TAPS_COST: usize = 1;

fn cheapest_tile(geometry: &Conv2dGeometry, transform_cost: usize) -> Option<WinogradTile> {
    if !supports(geometry) {
        return None;
    }
    let axes = [geometry.vertical(), geometry.horizontal()];
    let taps = axes.map(|axis| (0..3).map(|tap| axis.outputs_of_tap(tap).len()).sum::<usize>());
    let blocks = blocks(geometry.batch);
    let weights = geometry.in_channels * geometry.out_channels;
    let column = weights + transform_cost * (geometry.in_channels + geometry.out_channels);
    let cost = |tile: WinogradTile| {
        let [rows, columns] = axes.map(|axis| axis.output.div_ceil(tile.outputs()));
        tile.positions() * (blocks * rows * columns * column + TAPS_COST * weights)
    };
    let best = [WinogradTile::Two, WinogradTile::Four].into_iter().min_by_key(|&tile| cost(tile))?;
    (cost(best) < blocks * taps[0] * taps[1] * weights).then_some(best)
}

/// The vectors from one position to the next of transformed operands that have `length` at each: an odd number, so
/// that the positions of a tile lie in different sets of a cache.
fn position_step(length: usize) -> usize {
    length | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Padding;

    fn three_by_three(batch: usize, inputs: usize, outputs: usize, side: usize) -> Conv2dGeometry {
        Conv2dGeometry {
            batch,
            in_channels: inputs,
            in_height: side,
            in_width: side,
            out_channels: outputs,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding { top: 1, bottom: 1, left: 1, right: 1 },
            groups: 1,
        }
    }

    #[test]
    fn tiles_are_chosen_where_they_save_more_than_transforms_cost() {
        let base = three_by_three(64, 64, 64, 14);
        let valid = Padding::default();
        let cases = [
            (three_by_three(64, 64, 64, 28), Some(WinogradTile::Four)),
            (three_by_three(16, 512, 512, 4), Some(WinogradTile::Four)),
            (Conv2dGeometry { in_height: 4, in_width: 4, padding: valid, ..base }, Some(WinogradTile::Two)),
            (three_by_three(64, 512, 512, 2), None),
            (three_by_three(64, 1, 64, 28), None),
            (three_by_three(64, 13, 13, 14), None),
            (Conv2dGeometry { stride: [2, 2], ..base }, None),
            (Conv2dGeometry { dilation: [1, 2], ..base }, None),
            (Conv2dGeometry { kernel: [3, 1], ..base }, None),
            (Conv2dGeometry { groups: 2, ..base }, None),
            (Conv2dGeometry { batch: 0, ..base }, None),
        ];
        for (geometry, expect) in cases {
            assert_eq!(map_tile(&geometry), expect, "tile of maps of {geometry:?}");
        }
    }
}
