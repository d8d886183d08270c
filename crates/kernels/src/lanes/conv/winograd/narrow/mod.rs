//! Tiles of 4 × 4 outputs, one after the other, for few channels.
//!
//! With few channels, transforms cost as much as products. So a tile and what becomes of it stay in a first-level cache
//! from its input to its output, transforms are written for registers, and products along a column of a tile's
//! positions are transformed back before they leave the registers.

mod gradient;
mod map;
mod product;
mod taps;
mod tile;

pub(in crate::lanes::conv) use gradient::{InputGradient, NarrowGradient};
pub(in crate::lanes::conv) use map::NarrowMap;

use crate::cpu::LANES;
use crate::lanes::Lanes;
use crate::lanes::conv::geometry::Conv2dGeometry;

/// Rows and columns of a tile's outputs.
const OUTPUTS: usize = 4;
/// Rows and columns of its inputs, and of its positions.
const INPUTS: usize = OUTPUTS + 2;

/// Values along a row of a tile's inputs, or along a column of its positions.
type Line = [Lanes; INPUTS];

/// How many bytes of transformed weights can be read again for every tile.
const TAPS_BYTES: usize = 128 << 10;
/// How many bytes of sums of a gradient can be added to again and again.
const SUM_BYTES: usize = 512 << 10;

/// Whether a convolution has few channels for maps from activation to activation.
pub(super) fn suits_maps(geometry: &Conv2dGeometry) -> bool {
    let [inputs, outputs] = [geometry.in_channels, geometry.out_channels];
    let vectors = (inputs * outputs.div_ceil(LANES)).max(outputs * inputs.div_ceil(LANES));
    vectors * INPUTS * size_of::<Line>() <= TAPS_BYTES
}

/// The same for the gradient of its weights.
pub(super) fn suits_gradient(geometry: &Conv2dGeometry) -> bool {
    geometry.in_channels * geometry.out_channels * INPUTS * size_of::<Line>() <= SUM_BYTES
}
