//! Transposed convolution in lane layout against plain loops, on every instruction set.

use crate::conv::{any_activation, any_geometry, for_each_product};
use crate::support::{Noise, bits, cases, everywhere, packed, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Activation, Conv2dGeometry, ConvTranspose2d, Lanes, Workspace, bias_backward};

/// Output, and gradients of input, weights and bias, in plain layout.
type Results = [Vec<f32>; 4];

/// The operands of the transpose of `g`: its input is as `g`'s output.
struct Operands {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Operands {
    fn new(g: &Conv2dGeometry, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        // Sums of products of quarters are exact, so that their order does not matter.
        Self {
            x: noise.quarters(g.batch * g.out_height() * g.out_width() * g.out_channels),
            weights: noise.quarters(g.weights_len()),
            bias: noise.quarters(g.in_channels),
            dy: noise.quarters(g.batch * g.in_height * g.in_width * g.in_channels),
        }
    }
}

fn reference(g: &Conv2dGeometry, operands: &Operands, activation: Activation) -> Results {
    let Operands { x, weights, bias, dy } = operands;
    let outputs = bias.len();
    let mut y: Vec<f32> = (0..dy.len()).map(|at| bias[at % outputs]).collect();
    let (mut dx, mut dw, mut dbias) = (vec![0.0; x.len()], vec![0.0; weights.len()], vec![0.0; outputs]);
    let taps = g.kernel[0] * g.kernel[1];
    for_each_product(g, |at_y, at_w, at_x| {
        // From `[I][taps][O]` to `[O][taps][I]`.
        let (input, tap, output) = (at_w / outputs / taps, at_w / outputs % taps, at_w % outputs);
        let at_w = (output * taps + tap) * g.out_channels + input;
        y[at_y] += x[at_x] * weights[at_w];
        dx[at_x] += dy[at_y] * weights[at_w];
        dw[at_w] += dy[at_y] * x[at_x];
    });
    for (at, dy) in dy.iter().enumerate() {
        dbias[at % outputs] += dy;
    }
    let limits = match activation {
        Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
        Activation::Relu => (0.0, f32::INFINITY),
        Activation::Relu6 => (0.0, 6.0),
    };
    y.iter_mut().for_each(|y| *y = y.clamp(limits.0, limits.1));
    [y, dx, dw, dbias]
}

fn kernels(g: &Conv2dGeometry, operands: &Operands, activation: Activation, isa: Isa) -> Results {
    let Operands { x, weights, bias, dy } = operands;
    let (in_pixels, out_pixels) = (g.out_height() * g.out_width(), g.in_height * g.in_width);
    let x = packed(x, g.batch, in_pixels, g.out_channels);
    let mut dy = packed(dy, g.batch, out_pixels, g.in_channels);
    let garbage = Lanes([f32::NAN; 16]);
    let (mut y, mut dx) = (vec![garbage; dy.len()], vec![garbage; x.len()]);
    let (mut dw, mut dbias) = (vec![f32::NAN; weights.len()], vec![f32::NAN; bias.len()]);
    let convolution = ConvTranspose2d::new(*g, isa);
    let mut workspace = Workspace::new();
    convolution.forward(&x, weights, Some(bias), activation, &mut y);
    bias_backward(isa, out_pixels, None, &mut dy, &mut dbias);
    convolution.backward_input(&dy, weights, &mut dx, &mut workspace);
    convolution.backward_weights(&x, &dy, &mut dw, &mut workspace);
    let y = unpacked(&y, g.batch, out_pixels, g.in_channels);
    [y, unpacked(&dx, g.batch, in_pixels, g.out_channels), dw, dbias]
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_transposed_convolution_equals_plain_loops(
        g in any_geometry(), activation in any_activation(), seed: u64,
    ) {
        let g = Conv2dGeometry { groups: 1, ..g };
        prop_assume!(g.out_height() > 0 && g.out_width() > 0);
        let operands = Operands::new(&g, seed);
        everywhere(|isa| kernels(&g, &operands, activation, isa).map(|values| bits(&values)));
        let actual = kernels(&g, &operands, activation, Isa::best());
        let expect = reference(&g, &operands, activation);
        for ((what, actual), expect) in ["y", "dx", "dw", "dbias"].iter().zip(actual).zip(expect) {
            prop_assert!(actual == expect, "{what} of {g:?}: {actual:?} instead of {expect:?}");
        }
    }
}
