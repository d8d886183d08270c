//! 3 × 3 convolutions with fewer multiplications, by Winograd's minimal filtering.
//!
//! Maps are cut into tiles of M × M outputs. Inputs and weights of a tile are transformed to T × T values, where the
//! convolution is a product of matrices over channels at each of the T² positions, and the products are transformed
//! back (Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2015): T² products instead of 9 M². The
//! gradient of the weights is the transpose of the same algorithm.
//!
//! One tile of 16 images is a column of these matrices. Columns are worked on in chunks, and rows in bands, so that
//! the transformed operands are small next to activations and stay in a last-level cache. Where channels are few,
//! [`narrow`] takes one tile after the other instead.

mod choice;
mod gradient;
mod input;
mod map;
mod narrow;
mod output;
mod product;
mod share;
mod taps;
mod tiles;
mod tiling;
mod transform;

pub(super) use choice::{gradient_algorithm, map_algorithm};
pub(super) use gradient::WinogradGradient;
pub(super) use map::WinogradMap;
pub(super) use narrow::{InputGradient, NarrowGradient, NarrowMap};

use super::geometry::Conv2dGeometry;

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

/// The vectors from one position to the next of transformed operands that have `length` at each: an odd number, so
/// that the positions of a tile lie in different sets of a cache.
fn position_step(length: usize) -> usize {
    length | 1
}
