//! Convolutions, transposed ones, and fully connected layers, which are convolutions of a map of one pixel.

use super::{Call, Gradients, Layer, Map, Needs, Site, apart, fused, lane_padding};
use crate::error::Result;
use crate::train::parameter::ParameterId;
use taper_graph::{Conv2d, ConvTranspose2d, FullyConnected};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, Activation, Conv2dGeometry, activation_backward, bias_backward};

struct Convolution {
    kernel: Kernel,
    weights: ParameterId,
    bias: Option<ParameterId>,
    activation: Activation,
    /// Of each map of the output.
    pixels: usize,
    learns: bool,
    isa: Isa,
}

/// What forms the products.
enum Kernel {
    Convolution(Box<lanes::Conv2d>),
    Transposed(Box<lanes::ConvTranspose2d>),
}

/// A layer for a convolution.
///
/// # Errors
/// If its weights are no constant.
pub(super) fn convolution(site: &Site<'_>, conv: &Conv2d) -> Result<Box<dyn Layer>> {
    let (map, weights) = (site.map(0), site.sizes(1));
    let geometry = Conv2dGeometry {
        batch: site.images,
        in_channels: map.channels,
        in_height: map.height,
        in_width: map.width,
        out_channels: weights[0],
        kernel: [weights[1], weights[2]],
        stride: conv.stride,
        dilation: conv.dilation,
        padding: lane_padding(conv.padding),
        groups: conv.groups,
    };
    layer(site, convolution_of(site, geometry), fused(site, conv.activation)?)
}

/// A layer for a transposed convolution.
///
/// # Errors
/// If its weights are no constant.
pub(super) fn transposed(site: &Site<'_>, conv: &ConvTranspose2d) -> Result<Box<dyn Layer>> {
    let (map, weights) = (Map::of(site.program.shape(site.graph, site.step.output)), site.sizes(1));
    // The convolution that leads back from the output.
    let convolution = Conv2dGeometry {
        batch: site.images,
        in_channels: map.channels,
        in_height: map.height,
        in_width: map.width,
        out_channels: weights[3],
        kernel: [weights[1], weights[2]],
        stride: conv.stride,
        dilation: [1, 1],
        padding: lane_padding(conv.padding),
        groups: 1,
    };
    let kernel = Kernel::Transposed(Box::new(lanes::ConvTranspose2d::new(convolution, site.isa)));
    layer(site, kernel, fused(site, conv.activation)?)
}

/// A layer for a fully connected layer.
///
/// # Errors
/// If its weights are no constant.
pub(super) fn fully_connected(site: &Site<'_>, dense: &FullyConnected) -> Result<Box<dyn Layer>> {
    let weights = site.sizes(1);
    let geometry = Conv2dGeometry::fully_connected(site.images, weights[1], weights[0]);
    layer(site, convolution_of(site, geometry), fused(site, dense.activation)?)
}

fn convolution_of(site: &Site<'_>, geometry: Conv2dGeometry) -> Kernel {
    Kernel::Convolution(Box::new(lanes::Conv2d::new(geometry, site.isa)))
}

fn layer(site: &Site<'_>, kernel: Kernel, activation: Activation) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Convolution {
        kernel,
        weights: site.parameter(1)?,
        bias: site.optional_parameter(2)?,
        activation,
        pixels: Map::of(site.program.shape(site.graph, site.step.output)).pixels(),
        learns: site.step.learns,
        isa: site.isa,
    }))
}

impl Layer for Convolution {
    fn needs(&self) -> Needs {
        Needs { input: self.learns, output: self.activation != Activation::None }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = [call.x(0), call.y()];
        let Call { arena, parameters, workspace, .. } = call;
        let [x, y] = apart(arena, [x, y]);
        let bias = self.bias.map(|bias| parameters.value(bias));
        let weights = parameters.value(self.weights);
        match &self.kernel {
            Kernel::Convolution(conv) => conv.forward(x, weights, bias, self.activation, y, workspace),
            Kernel::Transposed(conv) => conv.forward(x, weights, bias, self.activation, y),
        }
    }

    fn backward(&self, call: &mut Call<'_>, gradients: &mut Gradients<'_>) {
        let (x, y, dy, dx) = (call.x(0), call.y(), call.dy(), call.dx(0));
        let Call { arena, parameters, workspace, .. } = call;
        let output = match self.activation {
            Activation::None => 0..0,
            Activation::Relu | Activation::Relu6 => y,
        };
        let [y, before_activation] = apart(arena, [output, dy.clone()]);
        match self.bias {
            Some(bias) if self.learns => gradients.write([bias], |[dbias]| {
                let output = (self.activation != Activation::None).then_some((self.activation, &*y));
                bias_backward(self.isa, self.pixels, output, before_activation, dbias);
            }),
            _ => activation_backward(self.isa, self.activation, y, before_activation),
        }
        let weights = parameters.value(self.weights);
        match (self.learns, dx) {
            (true, Some(dx)) => {
                let [x, dy, dx] = apart(arena, [x, dy, dx]);
                gradients.write([self.weights], |[dw]| match &self.kernel {
                    Kernel::Convolution(conv) => conv.backward(x, dy, weights, dw, dx, workspace),
                    Kernel::Transposed(conv) => {
                        conv.backward_weights(x, dy, dw, workspace);
                        conv.backward_input(dy, weights, dx, workspace);
                    }
                });
            }
            (true, None) => {
                let [x, dy] = apart(arena, [x, dy]);
                gradients.write([self.weights], |[dw]| match &self.kernel {
                    Kernel::Convolution(conv) => conv.backward_weights(x, dy, dw, workspace),
                    Kernel::Transposed(conv) => conv.backward_weights(x, dy, dw, workspace),
                });
            }
            (false, Some(dx)) => {
                let [dy, dx] = apart(arena, [dy, dx]);
                match &self.kernel {
                    Kernel::Convolution(conv) => conv.backward_input(dy, weights, dx, workspace),
                    Kernel::Transposed(conv) => conv.backward_input(dy, weights, dx, workspace),
                }
            }
            (false, None) => {}
        }
    }
}
