//! f32 training with 16 images side by side in the vector lanes.
//!
//! An activation of N images, C channels and H × W pixels is a slice of [`Lanes`] of shape
//! `[ceil(N/16)][C][H][W]`; each [`Lanes`] holds one value of 16 consecutive images. The lanes past the last image
//! are padding: [`pack`] zeroes them, forward kernels compute on them like on any other, and every kernel that
//! reduces over the batch leaves them out or relies on gradients being zero there, which the losses and
//! [`BatchNorm::backward`] ensure.
//!
//! Weights are plain f32 slices in TFLite's order: OHWI for convolutions, OI for fully connected layers.
//!
//! Kernels run on rayon's current pool. The order of every reduction follows from the shapes alone, so the result
//! is the same bytes at any number of threads and on every instruction set.

mod activation;
mod batch_norm;
mod bias;
mod binary;
mod concat;
mod conv;
mod dropout;
mod exp;
mod fake_quantize;
mod layout;
mod loss;
mod nonlinearity;
mod optimizer;
mod pad;
mod parallel;
mod philox;
mod pool;
mod prelu;
mod reduce;
mod resize;
mod zeros;

pub use crate::cpu::LANES;
pub use activation::{Activation, activation_backward, activation_forward};
pub use batch_norm::{
    Affine, AffineGradient, BatchNorm, BatchNormGradient, BatchStatistics, ChannelStatistics, Running,
};
pub use bias::bias_backward;
pub use binary::{Binary, BinaryFunction, Operand, accumulate};
pub use concat::{Axis, Concat};
pub use conv::{Algorithm, Conv2d, Conv2dGeometry, ConvTranspose2d, Padding, WinogradTile};
pub use dropout::Dropout;
pub use fake_quantize::FakeQuantize;
pub use layout::{flatten, pack, reshape, unflatten, unpack};
pub use loss::{
    Distillation, LossSummary, Regression, RegressionLoss, SigmoidCrossEntropy, SoftmaxCrossEntropy,
};
pub use nonlinearity::{GradientFrom, Nonlinearity};
pub use optimizer::{Adam, Sgd, sum_of_squares};
pub use pad::Pad2d;
pub use parallel::on_this_thread;
pub use pool::{AveragePool2d, MaxPool2d, PoolGeometry};
pub use prelu::Prelu;
pub use resize::{Resize2d, ResizeCoordinates, ResizeGeometry, ResizeMethod};
pub use zeros::count_zeros;

/// One value of each of 16 images, aligned to a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// Zero in every lane.
    pub const ZERO: Lanes = Lanes([0.0; LANES]);
}

/// How many blocks of 16 images hold `batch` images.
pub fn blocks(batch: usize) -> usize {
    batch.div_ceil(LANES)
}

/// How many lanes of block `block` hold images.
fn valid_lanes(batch: usize, block: usize) -> usize {
    batch.saturating_sub(block * LANES).min(LANES)
}

/// Buffers that kernels grow on first use and reuse afterwards.
#[derive(Debug, Default)]
pub struct Workspace {
    vectors: Vec<Lanes>,
    scalars: Vec<f32>,
    /// Weights in another layout, beside what the kernels that read or write them need.
    weights: Vec<f32>,
    summaries: Vec<LossSummary>,
}

impl Workspace {
    /// An empty workspace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Buffers of at least these sizes, with unspecified contents.
    fn buffers(&mut self, vectors: usize, scalars: usize) -> (&mut [Lanes], &mut [f32]) {
        if self.vectors.len() < vectors {
            self.vectors.resize(vectors, Lanes::ZERO);
        }
        if self.scalars.len() < scalars {
            self.scalars.resize(scalars, 0.0);
        }
        (&mut self.vectors[..vectors], &mut self.scalars[..scalars])
    }

    /// A buffer of `count` summaries, with unspecified contents.
    fn summaries(&mut self, count: usize) -> &mut [LossSummary] {
        if self.summaries.len() < count {
            self.summaries.resize(count, LossSummary::default());
        }
        &mut self.summaries[..count]
    }
}
