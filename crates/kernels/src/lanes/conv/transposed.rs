//! Transposed convolution: a convolution whose input and output have changed places.

use super::gather::Gather;
use super::geometry::Conv2dGeometry;
use super::weights::{self, WeightGradient};
use crate::cpu::Isa;
use crate::lanes::{Activation, Lanes, Workspace};

/// A transposed convolution of one shape, on one instruction set: its forward pass is the gradient of a convolution's
/// input, and the other way round.
///
/// Weights are `[C_out][K_h][K_w][C_in]`; activations are in lane layout.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    /// The convolution from the output's shape to the input's.
    convolution: Conv2dGeometry,
    isa: Isa,
    forward: Gather,
    backward: Gather,
    weights: WeightGradient,
}

impl ConvTranspose2d {
    /// Plans the transpose of `convolution`, whose output is this one's input.
    ///
    /// # Panics
    ///
    /// Panics if kernel, stride or dilation is 0, or there are several groups.
    pub fn new(convolution: Conv2dGeometry, isa: Isa) -> Self {
        super::check(&convolution);
        assert_eq!(convolution.groups, 1, "one group");
        Self {
            convolution,
            isa,
            forward: Gather::backward(&convolution),
            backward: Gather::forward(&convolution),
            weights: WeightGradient::new(&convolution),
        }
    }

    /// `y = activation(wᵀ * x + bias)`.
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
        self.forward.run(self.isa, x, weights, bias, activation, y);
    }

    /// Overwrites `dx` with the gradient of the input, given that of the output (before its activation).
    pub fn backward_input(&self, dy: &[Lanes], weights: &[f32], dx: &mut [Lanes], workspace: &mut Workspace) {
        let (_, of_convolution) = workspace.buffers(0, weights.len());
        let Conv2dGeometry { in_channels, out_channels, .. } = self.convolution;
        let turned =
            Conv2dGeometry { in_channels: out_channels, out_channels: in_channels, ..self.convolution };
        weights::transpose(&turned, weights, of_convolution);
        self.backward.run(self.isa, dy, of_convolution, None, Activation::None, dx);
    }

    /// Overwrites `dw` with the gradient of the weights, given that of the output (before its activation), which must be
    /// zero in padding lanes. That of the bias is [`bias_backward`](crate::lanes::bias_backward).
    pub fn backward_weights(&self, x: &[Lanes], dy: &[Lanes], dw: &mut [f32], workspace: &mut Workspace) {
        let mut of_convolution = std::mem::take(&mut workspace.weights);
        of_convolution.resize(dw.len(), 0.0);
        self.weights.run(self.isa, dy, x, &mut of_convolution, workspace);
        weights::transpose(&self.convolution, &of_convolution, dw);
        workspace.weights = of_convolution;
    }
}
