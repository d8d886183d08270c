//! f32 inference in NHWC, made for a batch of one and efficient at any number of channels.
//!
//! Convolution and fully connected layers are one kernel: [`Conv`] keeps 16 output channels in the vector lanes and
//! several pixels in registers. Layers narrower than the lanes put several neighbouring pixels side by side in one
//! vector (see [`geometry`]). Every kernel stands beside a plain loop in [`mod@reference`] that defines its result.

pub mod geometry;
pub mod reference;

mod conv;
mod elementwise;
mod pool;

#[cfg(test)]
pub(crate) mod tests;

pub use conv::Conv;
pub(crate) use conv::positions_per_tile;
pub use elementwise::{BatchNorm, activate, softmax};
pub use geometry::{ConvShape, PoolShape, Window};
pub use pool::{average_pool, max_pool};

/// The nonlinearity that a kernel applies to what it writes. NaN stays NaN.
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
