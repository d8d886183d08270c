//! Which algorithm is cheapest for a convolution of one shape.
//!
//! The cost is that in multiply-adds of vectors: the direct ones, without taps on the padding; or products at the
//! positions of tiles, and the transforms. The constants are such that estimate and measurement rank alike on Zen 4.

use super::{WinogradTile, narrow, supports};
use crate::lanes::blocks;
use crate::lanes::conv::Algorithm;
use crate::lanes::conv::geometry::Conv2dGeometry;

/// What transforms cost at each position, in multiply-adds of vectors.
#[derive(Clone, Copy)]
struct Transforms {
    /// Those of a vector of inputs or of outputs.
    value: usize,
    /// Those of a weight or of its gradient.
    weight: usize,
}

/// The cheapest algorithm for maps from activation to activation.
pub(in crate::lanes::conv) fn map_algorithm(geometry: &Conv2dGeometry) -> Algorithm {
    let wide = Transforms { value: 24, weight: 1 };
    let narrow = Transforms { value: 6, weight: 1 };
    cheapest(geometry, wide, narrow::suits_maps(geometry).then_some(narrow))
}

/// The cheapest algorithm for the gradient of weights.
pub(in crate::lanes::conv) fn gradient_algorithm(geometry: &Conv2dGeometry) -> Algorithm {
    let wide = Transforms { value: 40, weight: 1 };
    // Lanes are added up for each part of the tiles, of which there are about as many as blocks. The transform of the
    // output's gradient is shared with the gradient of the input.
    let narrow = Transforms { value: 5, weight: 8 * blocks(geometry.batch) };
    cheapest(geometry, wide, narrow::suits_gradient(geometry).then_some(narrow))
}

fn cheapest(geometry: &Conv2dGeometry, wide: Transforms, narrow: Option<Transforms>) -> Algorithm {
    if !supports(geometry) {
        return Algorithm::Direct;
    }
    let axes = [geometry.vertical(), geometry.horizontal()];
    let blocks = blocks(geometry.batch);
    let weights = geometry.in_channels * geometry.out_channels;
    let winograd = |tile: WinogradTile, transforms: Transforms| {
        let [rows, columns] = axes.map(|axis| axis.output.div_ceil(tile.outputs()));
        let column = weights + transforms.value * (geometry.in_channels + geometry.out_channels);
        tile.positions() * (blocks * rows * columns * column + transforms.weight * weights)
    };
    let taps = axes.map(|axis| (0..3).map(|tap| axis.outputs_of_tap(tap).len()).sum::<usize>());
    let mut best = (blocks * taps[0] * taps[1] * weights, Algorithm::Direct);
    let mut consider = |cost, algorithm| {
        if cost < best.0 {
            best = (cost, algorithm);
        }
    };
    for tile in [WinogradTile::Two, WinogradTile::Four] {
        consider(winograd(tile, wide), Algorithm::Winograd(tile));
    }
    if let Some(transforms) = narrow {
        consider(winograd(WinogradTile::Four, transforms), Algorithm::WinogradNarrow);
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Padding;

    const TWO: Algorithm = Algorithm::Winograd(WinogradTile::Two);
    const FOUR: Algorithm = Algorithm::Winograd(WinogradTile::Four);

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
    fn algorithms_are_chosen_where_they_save_more_than_transforms_cost() {
        let base = three_by_three(64, 64, 64, 14);
        let valid = Padding::default();
        let cases = [
            (three_by_three(64, 64, 64, 28), FOUR),
            (three_by_three(16, 512, 512, 4), FOUR),
            (Conv2dGeometry { in_height: 4, in_width: 4, padding: valid, ..base }, TWO),
            (three_by_three(64, 512, 512, 2), Algorithm::Direct),
            (three_by_three(64, 1, 64, 28), Algorithm::Direct),
            (three_by_three(16, 7, 9, 28), Algorithm::WinogradNarrow),
            (three_by_three(64, 13, 13, 14), Algorithm::WinogradNarrow),
            (three_by_three(16, 1, 7, 28), Algorithm::Direct),
            (three_by_three(16, 5, 12, 2), Algorithm::Direct),
            (Conv2dGeometry { stride: [2, 2], ..base }, Algorithm::Direct),
            (Conv2dGeometry { dilation: [1, 2], ..base }, Algorithm::Direct),
            (Conv2dGeometry { kernel: [3, 1], ..base }, Algorithm::Direct),
            (Conv2dGeometry { groups: 2, ..base }, Algorithm::Direct),
            (Conv2dGeometry { batch: 0, ..base }, Algorithm::Direct),
        ];
        for (geometry, expect) in cases {
            assert_eq!(map_algorithm(&geometry), expect, "algorithm of maps of {geometry:?}");
        }
    }

    #[test]
    fn lanes_of_a_gradient_are_added_up_only_where_tiles_are_many() {
        let cases = [
            (three_by_three(64, 64, 64, 28), FOUR),
            (three_by_three(16, 7, 9, 28), Algorithm::WinogradNarrow),
            (three_by_three(16, 16, 13, 7), Algorithm::Direct),
        ];
        for (geometry, expect) in cases {
            assert_eq!(gradient_algorithm(&geometry), expect, "algorithm of the gradient of {geometry:?}");
        }
    }
}
