//! Convolutions and fully connected layers, with their fused rectifiers.

use crate::oracle::{Oracle, Results};
use crate::support::{
    Array, activated, any_activation, any_batch, cases, garbage, kinks, leave_out_kinks, unpacked,
};
use burn_tensor::ops::{ConvOptions, PadMode};
use burn_tensor::{Tensor, module};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Activation, Algorithm, Conv2d, Conv2dGeometry, Padding, WinogradTile, Workspace, bias_backward,
};
use taper_testing::Random;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Direct,
    Algorithm::Winograd(WinogradTile::Two),
    Algorithm::Winograd(WinogradTile::Four),
    Algorithm::WinogradNarrow,
];

fn in_burn(g: &Conv2dGeometry, [x, weights, bias]: [Tensor<4>; 3]) -> Tensor<4> {
    let Padding { top, bottom, left, right } = g.padding;
    let x = x.pad([(top, bottom), (left, right)], PadMode::Constant(0.0));
    let options = ConvOptions::new(g.stride, [0, 0], g.dilation, g.groups);
    module::conv2d(x, weights.permute([0, 3, 1, 2]), Some(bias.reshape([g.out_channels])), options)
}

fn in_taper(
    conv: &Conv2d,
    [x, weights, bias]: [&Array; 3],
    activation: Activation,
    dy: &Array,
) -> Results<3> {
    let (x_lanes, mut dy_lanes) = (x.lanes(), dy.lanes());
    let (mut y, mut dx) = (garbage(dy_lanes.len()), garbage(x_lanes.len()));
    let [mut dw, mut dbias] = [weights, bias].map(|array| vec![f32::NAN; array.values.len()]);
    let mut workspace = Workspace::new();
    conv.forward(&x_lanes, &weights.values, Some(&bias.values), activation, &mut y, &mut workspace);
    let plane = dy.shape[2] * dy.shape[3];
    bias_backward(Isa::best(), plane, Some((activation, &y)), &mut dy_lanes, &mut dbias);
    conv.backward(&x_lanes, &dy_lanes, &weights.values, &mut dw, &mut dx, &mut workspace);
    Results { y: unpacked(dy.shape, &y), gradients: [unpacked(x.shape, &dx), dw, dbias] }
}

/// Checks a convolution by the algorithms that are for its shape.
fn check(g: &Conv2dGeometry, activation: Activation, seed: u64) {
    let mut random = Random::new(seed);
    let x = Array::noise([g.batch, g.in_channels, g.in_height, g.in_width], &mut random);
    let [height, width] = g.kernel;
    let weights = Array::noise([g.out_channels, height, width, g.in_channels / g.groups], &mut random);
    let bias = Array::of_channels(g.out_channels, &mut random);
    let mut dy = Array::noise([g.batch, g.out_channels, g.out_height(), g.out_width()], &mut random);
    let inputs = [&x, &weights, &bias];
    leave_out_kinks(&mut dy, in_burn(g, inputs.map(Array::tensor)), kinks(activation));

    let function = |inputs: [Tensor<4>; 3]| activated(in_burn(g, inputs), activation);
    let oracle = Oracle::new(inputs, &dy, &function, &|inputs| in_burn(g, inputs));
    let chosen = Conv2d::new(*g, Isa::best());
    oracle.check(&(g, activation), &in_taper(&chosen, inputs, activation, &dy));
    for algorithm in ALGORITHMS {
        let conv = Conv2d::with_algorithm(*g, Isa::best(), algorithm);
        oracle.check(&(g, activation, algorithm), &in_taper(&conv, inputs, activation, &dy));
    }
}

fn pair(range: std::ops::Range<usize>) -> [std::ops::Range<usize>; 2] {
    [range.clone(), range]
}

fn any_padding() -> impl Strategy<Value = Padding> {
    [0usize..4, 0..4, 0..4, 0..4].prop_map(|[top, bottom, left, right]| Padding { top, bottom, left, right })
}

/// Convolutions whose kernel fits the padded input.
fn any_geometry() -> impl Strategy<Value = Conv2dGeometry> {
    let channels = (1usize..4, 1usize..5, 1usize..6);
    let windows = (pair(1..5), pair(1..4), pair(1..5));
    (any_batch(), channels, pair(1..11), windows, any_padding())
        .prop_map(|(batch, (groups, inputs, outputs), input, (kernel, stride, dilation), padding)| {
            Conv2dGeometry {
                batch,
                in_channels: groups * inputs,
                in_height: input[0],
                in_width: input[1],
                out_channels: groups * outputs,
                kernel,
                stride,
                dilation,
                padding,
                groups,
            }
        })
        .prop_filter("the kernel fits", |g| g.out_height() > 0 && g.out_width() > 0)
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_convolution_agrees(g in any_geometry(), activation in any_activation(), seed: u64) {
        check(&g, activation, seed);
    }

    #[test]
    fn any_depthwise_convolution_agrees(
        g in any_geometry(), channels in 1usize..6, kernel in prop_oneof![Just(3usize), Just(5)], seed: u64,
    ) {
        let depthwise =
            Conv2dGeometry { in_channels: channels, out_channels: channels, groups: channels, ..g };
        check(&depthwise, Activation::None, seed);
        let padding = Padding { top: 2, bottom: 2, left: 2, right: 2 };
        let kernel = [kernel; 2];
        check(&Conv2dGeometry { kernel, dilation: [1, 1], padding, ..depthwise }, Activation::Relu6, seed);
    }

    #[test]
    fn any_pointwise_convolution_agrees(g in any_geometry(), seed: u64) {
        let g = Conv2dGeometry { kernel: [1, 1], padding: Padding::default(), ..g };
        check(&g, Activation::None, seed);
    }

    #[test]
    fn any_convolution_that_winograd_suits_agrees(
        g in any_geometry(), padding in any_padding(), activation in any_activation(), seed: u64,
    ) {
        let g = Conv2dGeometry { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], groups: 1, padding, ..g };
        prop_assume!(g.out_height() > 0 && g.out_width() > 0);
        check(&g, activation, seed);
    }

    #[test]
    fn any_fully_connected_layer_agrees(
        batch in any_batch(), inputs in 1usize..70, outputs in 1usize..20, activation in any_activation(), seed: u64,
    ) {
        check(&Conv2dGeometry::fully_connected(batch, inputs, outputs), activation, seed);
    }
}
