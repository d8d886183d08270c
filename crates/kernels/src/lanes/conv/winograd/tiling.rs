//! What a convolution, or its adjoint, maps from and to, cut into tiles.

use super::WinogradTile;
use super::taps::Direction;
use super::tiles::{TileAxis, Tiles};
use crate::lanes::conv::geometry::Conv2dGeometry;
use crate::lanes::{Lanes, blocks};

/// Channels and tiles on both sides.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    pub(super) direction: Direction,
    pub(super) blocks: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// What each tile reads.
    pub(super) source: Tiles,
    /// What each tile writes.
    pub(super) result: Tiles,
}

impl Tiling {
    /// `y = w * x`.
    pub(super) fn forward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        let [source, result] = tiles(
            tile,
            [geometry.in_height, geometry.in_width],
            [geometry.padding.top, geometry.padding.left],
            [geometry.out_height(), geometry.out_width()],
        );
        Self {
            direction: Direction::Forward,
            blocks: blocks(geometry.batch),
            inputs: geometry.in_channels,
            outputs: geometry.out_channels,
            source,
            result,
        }
    }

    /// `dx = wᵀ * dy`.
    pub(super) fn backward(geometry: &Conv2dGeometry, tile: WinogradTile) -> Self {
        let [source, result] = tiles(
            tile,
            [geometry.out_height(), geometry.out_width()],
            [2 - geometry.padding.top, 2 - geometry.padding.left],
            [geometry.in_height, geometry.in_width],
        );
        Self {
            direction: Direction::Backward,
            blocks: blocks(geometry.batch),
            inputs: geometry.out_channels,
            outputs: geometry.in_channels,
            source,
            result,
        }
    }

    /// Tiles of all blocks.
    pub(super) fn columns(&self) -> usize {
        self.blocks * self.source.per_map()
    }

    /// Checks the operands of a map.
    ///
    /// # Panics
    ///
    /// Panics if one does not have the length that the shape asks for.
    pub(super) fn check(&self, input: &[Lanes], weights: &[f32], bias: Option<&[f32]>, output: &[Lanes]) {
        let Self { blocks, inputs, outputs, source, result, .. } = self;
        assert_eq!(input.len(), blocks * inputs * source.plane(), "length of the convolved activation");
        assert_eq!(output.len(), blocks * outputs * result.plane(), "length of the result");
        assert_eq!(weights.len(), outputs * 9 * inputs, "length of the weights");
        assert!(bias.is_none_or(|bias| bias.len() == *outputs), "the bias needs a value per channel");
    }

    /// Checks the operands of a gradient of weights.
    ///
    /// # Panics
    ///
    /// As [`Tiling::check`].
    pub(super) fn check_gradient(&self, x: &[Lanes], dy: &[Lanes], dw: &[f32]) {
        let Self { blocks, inputs, outputs, source, result, .. } = self;
        assert_eq!(x.len(), blocks * inputs * source.plane(), "length of the input");
        assert_eq!(dy.len(), blocks * outputs * result.plane(), "length of the output's gradient");
        assert_eq!(dw.len(), outputs * 9 * inputs, "length of the weights' gradient");
    }
}

/// The inputs of tiles that give `results` from a map of `map` pixels, and the tiles' results.
fn tiles(tile: WinogradTile, map: [usize; 2], before: [usize; 2], results: [usize; 2]) -> [Tiles; 2] {
    let axes = |map: [usize; 2], before: [usize; 2], size: usize| {
        [0, 1].map(|axis| TileAxis {
            map: map[axis],
            before: before[axis],
            count: results[axis].div_ceil(tile.outputs()),
            step: tile.outputs(),
            size,
        })
    };
    [Tiles::new(axes(map, before, tile.inputs())), Tiles::new(axes(results, [0, 0], tile.outputs()))]
}
