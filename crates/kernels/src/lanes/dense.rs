//! Fully connected layers on `[blocks][features]`: a 1×1 convolution of a map of one pixel.

use super::{Activation, Conv2d, Conv2dGeometry, Lanes, Padding, Workspace};
use crate::cpu::Isa;

/// A fully connected layer of one shape; weights are OI, `[out_features][in_features]`.
///
/// The features of a map larger than one pixel must first be put into NHWC order with [`flatten`](super::flatten).
#[derive(Clone, Debug)]
pub struct Dense {
    convolution: Conv2d,
}

impl Dense {
    /// Plans a layer.
    pub fn new(batch: usize, in_features: usize, out_features: usize, isa: Isa) -> Self {
        let geometry = Conv2dGeometry {
            batch,
            in_channels: in_features,
            in_height: 1,
            in_width: 1,
            out_channels: out_features,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::default(),
            groups: 1,
        };
        Self { convolution: Conv2d::new(geometry, isa) }
    }

    /// `y = activation(w · x + bias)`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the shape asks for, as do the gradients below.
    pub fn forward(
        &self,
        x: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [Lanes],
    ) {
        self.convolution.forward(x, weights, bias, activation, y);
    }

    /// Overwrites `dx` with the gradient of the input, given that of the output (before its activation).
    pub fn backward_input(&self, dy: &[Lanes], weights: &[f32], dx: &mut [Lanes], workspace: &mut Workspace) {
        self.convolution.backward_input(dy, weights, dx, workspace);
    }

    /// Overwrites `dw` and `dbias` with the gradients of weights and bias, given that of the output (before its
    /// activation), which must be zero in padding lanes.
    pub fn backward_weights(
        &self,
        x: &[Lanes],
        dy: &[Lanes],
        dw: &mut [f32],
        dbias: Option<&mut [f32]>,
        workspace: &mut Workspace,
    ) {
        self.convolution.backward_weights(x, dy, dw, dbias, workspace);
    }
}
