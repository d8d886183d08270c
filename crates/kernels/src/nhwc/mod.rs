//! f32 inference in NHWC, made for a batch of one and efficient at any number of channels.
//!
//! Convolution and fully connected layers are one kernel: [`Conv`] keeps 16 output channels in the vector lanes and
//! several pixels in registers. Layers narrower than the lanes put several neighbouring pixels side by side in one
//! vector (see [`geometry`]). [`Depthwise`] keeps the channels of its input in the lanes. Every kernel stands beside a
//! plain loop in [`mod@reference`], or a formula, that defines its result.

pub mod geometry;
pub mod reference;

mod arg_max;
mod broadcast;
mod conv;
mod conv_transpose;
mod copy;
mod curve;
mod depthwise;
mod elementwise;
mod fake_quantize;
mod grouped;
mod pool;
mod resize;

#[cfg(test)]
pub(crate) mod tests;

pub use arg_max::ArgMax;
pub(crate) use broadcast::Broadcast;
pub use broadcast::{Binary, Elementwise};
pub use conv::Conv;
pub(crate) use conv::{in_parts, positions_per_tile};
pub use conv_transpose::ConvTranspose;
pub use copy::{AxisCopies, AxisRange, ConcatPart, Pad, strided_slice, tile};
pub use curve::{Curve, prelu};
pub use depthwise::Depthwise;
pub(crate) use depthwise::taps_inside;
pub use elementwise::{BatchNorm, activate, softmax};
pub use fake_quantize::FakeQuantize;
pub use geometry::{ConvShape, PoolShape, Window};
pub use grouped::GroupedConv;
pub use pool::{average_pool, max_pool};
pub use resize::{Between, Coordinates, Resize};

/// The nonlinearity that a kernel applies to what it writes: a limit of the range. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fused {
    /// None.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Fused {
    /// The nonlinearity of one value.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Relu => {
                if 0.0 > x {
                    0.0
                } else {
                    x
                }
            }
            Self::Relu6 => {
                let x = if 0.0 > x { 0.0 } else { x };
                if 6.0 < x { 6.0 } else { x }
            }
        }
    }
}
