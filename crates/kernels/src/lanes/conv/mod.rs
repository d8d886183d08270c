//! Two-dimensional convolution: forward, gradient of the input, gradient of weights and bias.

mod depthwise;
mod gather;
mod geometry;
mod region;
mod tile;
mod weights;

use depthwise::Depthwise;
use gather::Gather;
pub use geometry::{Conv2dGeometry, Padding};
use weights::WeightGradient;

use super::{Activation, Lanes, Workspace};
use crate::cpu::Isa;

/// A convolution of one shape, on one instruction set. Any stride, dilation, padding and groups, depthwise included.
///
/// Weights are OHWI, `[C_out][K_h][K_w][C_in / groups]`; activations are in lane layout.
#[derive(Clone, Debug)]
pub struct Conv2d {
    geometry: Conv2dGeometry,
    isa: Isa,
    forward: Gather,
    backward: Gather,
    weights: WeightGradient,
    /// Stands in for the other three where each channel is a group of its own.
    depthwise: Option<Depthwise>,
}

impl Conv2d {
    /// Plans a convolution.
    ///
    /// # Panics
    ///
    /// Panics if kernel, stride, dilation or groups is 0, or if `groups` does not divide both channel counts.
    pub fn new(geometry: Conv2dGeometry, isa: Isa) -> Self {
        let Conv2dGeometry { kernel, stride, dilation, groups, in_channels, out_channels, .. } = geometry;
        let sizes = [kernel, stride, dilation].concat();
        assert!(
            sizes.iter().all(|&size| size > 0),
            "kernel, stride and dilation must not be 0: {geometry:?}"
        );
        assert!(
            groups > 0 && in_channels % groups == 0 && out_channels % groups == 0,
            "groups must divide the channels: {geometry:?}"
        );
        Self {
            geometry,
            isa,
            forward: Gather::forward(&geometry),
            backward: Gather::backward(&geometry),
            weights: WeightGradient::new(&geometry),
            depthwise: Depthwise::new(&geometry),
        }
    }

    /// The shape it was planned for.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }

    /// `y = activation(w * x + bias)`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that the geometry asks for, as do the gradients below.
    pub fn forward(
        &self,
        x: &[Lanes],
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [Lanes],
    ) {
        if let Some(depthwise) = &self.depthwise {
            return depthwise.forward(self.isa, x, weights, bias, activation, y);
        }
        self.forward.run(self.isa, x, weights, bias, activation, y);
    }

    /// Overwrites `dx` with the gradient of the input, given that of the output (before its activation).
    pub fn backward_input(&self, dy: &[Lanes], weights: &[f32], dx: &mut [Lanes], workspace: &mut Workspace) {
        if let Some(depthwise) = &self.depthwise {
            return depthwise.backward_input(self.isa, dy, weights, dx);
        }
        let (_, transposed) = workspace.buffers(0, weights.len());
        weights::transpose(&self.geometry, weights, transposed);
        self.backward.run(self.isa, dy, transposed, None, Activation::None, dx);
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
        match &self.depthwise {
            Some(depthwise) => depthwise.backward_weights(self.isa, x, dy, dw, workspace),
            None => self.weights.run(self.isa, x, dy, dw, workspace),
        }
        if let Some(dbias) = dbias {
            weights::bias_gradient(self.isa, &self.geometry, dy, dbias);
        }
    }
}
