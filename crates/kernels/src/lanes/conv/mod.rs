//! Two-dimensional convolution: forward, gradient of the input, gradient of weights and bias.

mod depthwise;
mod gather;
mod geometry;
mod region;
mod tile;
mod transposed;
mod weights;
mod winograd;

use depthwise::Depthwise;
use gather::Gather;
pub use geometry::{Conv2dGeometry, Padding};
pub use transposed::ConvTranspose2d;
use weights::WeightGradient;
pub use winograd::WinogradTile;
use winograd::{InputGradient, NarrowGradient, NarrowMap, WinogradGradient, WinogradMap};

use super::{Activation, Lanes, Workspace};
use crate::cpu::Isa;

/// A convolution of one shape, on one instruction set. Any stride, dilation, padding and groups, depthwise included.
///
/// Weights are OHWI, `[C_out][K_h][K_w][C_in / groups]`; activations are in lane layout.
#[derive(Clone, Debug)]
pub struct Conv2d {
    geometry: Conv2dGeometry,
    isa: Isa,
    plan: Plan,
}

/// How products are formed. Each algorithm has its own order of sums, so they differ in rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Every weight times every input that it meets; for any convolution.
    Direct,
    /// Winograd's minimal filtering; for 3 × 3 kernels of stride 1, dilation 1 and one group.
    Winograd(WinogradTile),
    /// Winograd's minimal filtering with tiles of 4 × 4 outputs, one tile after the other; for the same convolutions,
    /// and fast where channels are few.
    WinogradNarrow,
}

#[derive(Clone, Debug)]
enum Plan {
    /// Each channel is a group of its own.
    Depthwise(Depthwise),
    Full(Box<Full>),
}

/// Channels of the output that read several of the input, each map by the algorithm that suits it.
#[derive(Clone, Debug)]
struct Full {
    forward: Map,
    backward: Map,
    weights: Gradient,
}

/// From activation to activation.
#[derive(Clone, Debug)]
enum Map {
    Direct(Gather),
    Winograd(WinogradMap),
    WinogradNarrow(NarrowMap),
}

/// To the gradient of weights.
#[derive(Clone, Debug)]
enum Gradient {
    Direct(WeightGradient),
    Winograd(WinogradGradient),
    WinogradNarrow(NarrowGradient),
}

impl Conv2d {
    /// Plans a convolution by the algorithms that are cheapest for its shape.
    ///
    /// # Panics
    ///
    /// Panics if kernel, stride, dilation or groups is 0, or if `groups` does not divide both channel counts.
    pub fn new(geometry: Conv2dGeometry, isa: Isa) -> Self {
        check(&geometry);
        Self::plan(geometry, isa, winograd::map_algorithm(&geometry), winograd::gradient_algorithm(&geometry))
    }

    /// Plans a convolution by one algorithm, or directly if that algorithm is not for its shape.
    ///
    /// # Panics
    ///
    /// As [`Conv2d::new`].
    pub fn with_algorithm(geometry: Conv2dGeometry, isa: Isa, algorithm: Algorithm) -> Self {
        check(&geometry);
        let algorithm = if winograd::supports(&geometry) { algorithm } else { Algorithm::Direct };
        Self::plan(geometry, isa, algorithm, algorithm)
    }

    fn plan(geometry: Conv2dGeometry, isa: Isa, map: Algorithm, gradient: Algorithm) -> Self {
        if let Some(depthwise) = Depthwise::new(&geometry) {
            return Self { geometry, isa, plan: Plan::Depthwise(depthwise) };
        }
        let [forward, backward] = match map {
            Algorithm::Direct => [Gather::forward(&geometry), Gather::backward(&geometry)].map(Map::Direct),
            Algorithm::Winograd(tile) => {
                [WinogradMap::forward(&geometry, tile), WinogradMap::backward(&geometry, tile)]
                    .map(Map::Winograd)
            }
            Algorithm::WinogradNarrow => {
                [NarrowMap::forward(&geometry), NarrowMap::backward(&geometry)].map(Map::WinogradNarrow)
            }
        };
        let weights = match gradient {
            Algorithm::Direct => Gradient::Direct(WeightGradient::new(&geometry)),
            Algorithm::WinogradNarrow => Gradient::WinogradNarrow(NarrowGradient::new(&geometry)),
            Algorithm::Winograd(tile) => Gradient::Winograd(WinogradGradient::new(&geometry, tile)),
        };
        Self { geometry, isa, plan: Plan::Full(Box::new(Full { forward, backward, weights })) }
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
        workspace: &mut Workspace,
    ) {
        match &self.plan {
            Plan::Depthwise(plan) => plan.forward(self.isa, x, weights, bias, activation, y),
            Plan::Full(plan) => match &plan.forward {
                Map::Direct(map) => map.run(self.isa, x, weights, bias, activation, y),
                Map::Winograd(map) => map.run(self.isa, x, weights, bias, activation, y, workspace),
                Map::WinogradNarrow(map) => map.run(self.isa, x, weights, bias, activation, y, workspace),
            },
        }
    }

    /// Overwrites `dx` with the gradient of the input, given that of the output (before its activation).
    pub fn backward_input(&self, dy: &[Lanes], weights: &[f32], dx: &mut [Lanes], workspace: &mut Workspace) {
        match &self.plan {
            Plan::Depthwise(plan) => plan.backward_input(self.isa, dy, weights, dx),
            Plan::Full(plan) => match &plan.backward {
                Map::Direct(map) => {
                    let (_, transposed) = workspace.buffers(0, weights.len());
                    weights::transpose(&self.geometry, weights, transposed);
                    map.run(self.isa, dy, transposed, None, Activation::None, dx);
                }
                Map::Winograd(map) => map.run(self.isa, dy, weights, None, Activation::None, dx, workspace),
                Map::WinogradNarrow(map) => {
                    map.run(self.isa, dy, weights, None, Activation::None, dx, workspace)
                }
            },
        }
    }

    /// As [`Conv2d::backward_weights`] and [`Conv2d::backward_input`], which share work where that is faster.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution and their gradients")]
    pub fn backward(
        &self,
        x: &[Lanes],
        dy: &[Lanes],
        weights: &[f32],
        dw: &mut [f32],
        dx: &mut [Lanes],
        workspace: &mut Workspace,
    ) {
        if let Plan::Full(plan) = &self.plan
            && let (Map::WinogradNarrow(_), Gradient::WinogradNarrow(gradient)) =
                (&plan.backward, &plan.weights)
        {
            gradient.run(self.isa, x, dy, dw, Some(InputGradient { weights, dx }), workspace);
        } else {
            self.backward_weights(x, dy, dw, workspace);
            self.backward_input(dy, weights, dx, workspace);
        }
    }

    /// Overwrites `dw` with the gradient of the weights, given that of the output (before its activation), which must be
    /// zero in padding lanes. That of the bias is [`bias_backward`](crate::lanes::bias_backward).
    pub fn backward_weights(&self, x: &[Lanes], dy: &[Lanes], dw: &mut [f32], workspace: &mut Workspace) {
        match &self.plan {
            Plan::Depthwise(plan) => plan.backward_weights(self.isa, x, dy, dw, workspace),
            Plan::Full(plan) => match &plan.weights {
                Gradient::Direct(gradient) => gradient.run(self.isa, x, dy, dw, workspace),
                Gradient::Winograd(gradient) => gradient.run(self.isa, x, dy, dw, workspace),
                Gradient::WinogradNarrow(gradient) => gradient.run(self.isa, x, dy, dw, None, workspace),
            },
        }
    }
}

fn check(geometry: &Conv2dGeometry) {
    let Conv2dGeometry { kernel, stride, dilation, groups, in_channels, out_channels, .. } = *geometry;
    let sizes = [kernel, stride, dilation].concat();
    assert!(sizes.iter().all(|&size| size > 0), "kernel, stride and dilation must not be 0: {geometry:?}");
    assert!(
        groups > 0 && in_channels % groups == 0 && out_channels % groups == 0,
        "groups must divide the channels: {geometry:?}"
    );
}
