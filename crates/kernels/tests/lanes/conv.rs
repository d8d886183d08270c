//! Direct convolution and fully connected layers in lane layout against plain loops, on every instruction set.

use crate::support::{
    Noise, assert_close, at_any_threads, bits, central_differences, dot, lane_bits, packed, unpacked,
};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Activation, Algorithm, Conv2d, Conv2dGeometry, Lanes, Padding, Workspace, bias_backward, flatten,
    reshape, unflatten,
};

/// A convolution's operands in plain layout, NHWC and OHWI.
struct Operands {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Operands {
    fn new(g: &Conv2dGeometry, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        Self {
            x: noise.quarters(g.batch * g.in_height * g.in_width * g.in_channels),
            weights: noise.quarters(g.weights_len()),
            bias: noise.quarters(g.out_channels),
            dy: noise.quarters(g.batch * g.out_height() * g.out_width() * g.out_channels),
        }
    }
}

/// Calls `f` with the indices into x, weights and y of every product of a convolution.
pub(crate) fn for_each_product(g: &Conv2dGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let (group_in, group_out) = (g.in_channels / g.groups, g.out_channels / g.groups);
    for n in 0..g.batch {
        for (oy, ox) in (0..g.out_height()).flat_map(|oy| (0..g.out_width()).map(move |ox| (oy, ox))) {
            for (ky, kx) in (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx))) {
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding.top);
                let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.padding.left);
                if iy >= g.in_height || ix >= g.in_width {
                    continue;
                }
                for (o, i) in (0..g.out_channels).flat_map(|o| (0..group_in).map(move |i| (o, i))) {
                    let input = o / group_out * group_in + i;
                    f(
                        ((n * g.in_height + iy) * g.in_width + ix) * g.in_channels + input,
                        ((o * g.kernel[0] + ky) * g.kernel[1] + kx) * group_in + i,
                        ((n * g.out_height() + oy) * g.out_width() + ox) * g.out_channels + o,
                    );
                }
            }
        }
    }
}

/// Every result of a convolution, in plain layout.
#[derive(Debug, PartialEq)]
struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    dbias: Vec<f32>,
}

fn reference(g: &Conv2dGeometry, operands: &Operands, activation: Activation) -> Results {
    let Operands { x, weights, bias, dy } = operands;
    let mut y: Vec<f64> = (0..dy.len()).map(|at| f64::from(bias[at % g.out_channels])).collect();
    let (mut dx, mut dw) = (vec![0.0f64; x.len()], vec![0.0f64; weights.len()]);
    for_each_product(g, |at_x, at_w, at_y| {
        y[at_y] += f64::from(x[at_x]) * f64::from(weights[at_w]);
        dx[at_x] += f64::from(dy[at_y]) * f64::from(weights[at_w]);
        dw[at_w] += f64::from(dy[at_y]) * f64::from(x[at_x]);
    });
    let mut dbias = vec![0.0f64; bias.len()];
    for (at, dy) in dy.iter().enumerate() {
        dbias[at % g.out_channels] += f64::from(*dy);
    }
    let limits = match activation {
        Activation::None => (f64::NEG_INFINITY, f64::INFINITY),
        Activation::Relu => (0.0, f64::INFINITY),
        Activation::Relu6 => (0.0, 6.0),
    };
    let y = y.iter().map(|y| y.clamp(limits.0, limits.1)).collect::<Vec<_>>();
    let [y, dx, dw, dbias] = [y, dx, dw, dbias].map(|values| values.iter().map(|&v| v as f32).collect());
    Results { y, dx, dw, dbias }
}

fn kernels(g: &Conv2dGeometry, operands: &Operands, activation: Activation, isa: Isa) -> Results {
    let Operands { x, weights, bias, dy } = operands;
    let (in_pixels, out_pixels) = (g.in_height * g.in_width, g.out_height() * g.out_width());
    let x = packed(x, g.batch, in_pixels, g.in_channels);
    let mut dy = packed(dy, g.batch, out_pixels, g.out_channels);
    let garbage = Lanes([f32::NAN; 16]);
    let (mut y, mut dx) = (vec![garbage; g.output_len()], vec![garbage; g.input_len()]);
    let (mut dw, mut dbias) = (vec![f32::NAN; weights.len()], vec![f32::NAN; bias.len()]);
    let convolution = Conv2d::with_algorithm(*g, isa, Algorithm::Direct);
    let mut workspace = Workspace::new();
    convolution.forward(&x, weights, Some(bias), activation, &mut y, &mut workspace);
    bias_backward(isa, out_pixels, None, &mut dy, &mut dbias);
    convolution.backward_input(&dy, weights, &mut dx, &mut workspace);
    convolution.backward_weights(&x, &dy, &mut dw, &mut workspace);
    Results {
        y: unpacked(&y, g.batch, out_pixels, g.out_channels),
        dx: unpacked(&dx, g.batch, in_pixels, g.in_channels),
        dw,
        dbias,
    }
}

fn check(g: &Conv2dGeometry, activation: Activation, seed: u64) {
    let operands = Operands::new(g, seed);
    let expect = reference(g, &operands, activation);
    for isa in Isa::available() {
        let actual = kernels(g, &operands, activation, isa);
        let pairs = [
            ("y", &actual.y, &expect.y),
            ("dx", &actual.dx, &expect.dx),
            ("dw", &actual.dw, &expect.dw),
            ("dbias", &actual.dbias, &expect.dbias),
        ];
        for (what, actual, expect) in pairs {
            assert!(actual == expect, "{what} of {g:?} on {}: {actual:?} instead of {expect:?}", isa.name());
        }
    }
}

pub(crate) fn any_geometry() -> impl Strategy<Value = Conv2dGeometry> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    (
        (1usize..36, 1usize..4, 1usize..6, 1usize..10),
        pair(1..9),
        pair(1..5),
        pair(1..4),
        prop_oneof![Just([1, 1]), Just([2, 2]), Just([4, 1]), Just([1, 4])],
        [0usize..4, 0..4, 0..4, 0..4],
    )
        .prop_map(|((batch, groups, inputs, outputs), input, kernel, stride, dilation, padding)| {
            let [top, bottom, left, right] = padding;
            Conv2dGeometry {
                batch,
                in_channels: groups * inputs,
                in_height: input[0],
                in_width: input[1],
                out_channels: groups * outputs,
                kernel,
                stride,
                dilation,
                padding: Padding { top, bottom, left, right },
                groups,
            }
        })
}

/// Depthwise convolutions whose kernels take one pass or several.
fn any_depthwise() -> impl Strategy<Value = Conv2dGeometry> {
    let kernel = prop_oneof![2 => Just([3, 3]), 1 => Just([5, 5]), 1 => [1usize..8, 1usize..8]];
    (any_geometry(), 2usize..6, kernel, [1usize..16, 1usize..16]).prop_map(|(g, channels, kernel, input)| {
        Conv2dGeometry {
            in_channels: channels,
            out_channels: channels,
            groups: channels,
            kernel,
            in_height: input[0],
            in_width: input[1],
            ..g
        }
    })
}

pub(crate) fn any_activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution_equals_plain_loops(g in any_geometry(), activation in any_activation(), seed: u64) {
        check(&g, activation, seed);
    }

    #[test]
    fn any_depthwise_convolution_equals_plain_loops(
        g in any_depthwise(), activation in any_activation(), seed: u64,
    ) {
        check(&g, activation, seed);
    }
}

/// A 3 × 3 convolution with one pixel of padding.
fn three_by_three(batch: usize, inputs: usize, outputs: usize, side: usize) -> Conv2dGeometry {
    Conv2dGeometry {
        batch,
        in_channels: inputs,
        in_height: side,
        in_width: side,
        out_channels: outputs,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding { top: 1, bottom: 1, left: 1, right: 1 },
        groups: 1,
    }
}

#[test]
fn convolutions_of_networks_equal_plain_loops() {
    let base = three_by_three(17, 16, 16, 7);
    let cases = [
        three_by_three(64, 1, 5, 28),
        three_by_three(33, 5, 7, 14),
        three_by_three(16, 32, 40, 7),
        three_by_three(48, 48, 33, 4),
        three_by_three(80, 64, 72, 2),
        three_by_three(40, 16, 11, 1),
        Conv2dGeometry { kernel: [1, 1], padding: Padding::default(), ..three_by_three(20, 16, 24, 4) },
        Conv2dGeometry { stride: [2, 2], ..base },
        Conv2dGeometry { stride: [3, 3], kernel: [2, 2], ..base },
        Conv2dGeometry { dilation: [2, 4], ..base },
        Conv2dGeometry { groups: 16, ..base },
        Conv2dGeometry { groups: 16, stride: [2, 2], kernel: [5, 5], ..base },
        Conv2dGeometry { groups: 8, out_channels: 32, ..base },
        Conv2dGeometry { groups: 16, out_channels: 32, ..base },
        Conv2dGeometry { in_height: 1, in_width: 1, padding: Padding::default(), ..base },
    ];
    for g in cases {
        check(&g, Activation::Relu, 7);
    }
}

#[test]
fn results_are_the_same_bytes_at_any_threads_and_on_any_instruction_set() {
    let shapes = [
        three_by_three(70, 13, 21, 9),
        three_by_three(100, 32, 70, 2),
        three_by_three(50, 3, 2, 20),
        Conv2dGeometry { groups: 21, ..three_by_three(40, 21, 21, 9) },
        Conv2dGeometry { groups: 5, kernel: [7, 6], stride: [2, 1], ..three_by_three(40, 5, 5, 20) },
    ];
    for g in shapes {
        let mut noise = Noise::new(3);
        let operands = Operands {
            x: noise.reals(g.batch * g.in_height * g.in_width * g.in_channels),
            weights: noise.reals(g.weights_len()),
            bias: noise.reals(g.out_channels),
            dy: noise.reals(g.batch * g.out_height() * g.out_width() * g.out_channels),
        };
        let results: Vec<_> = Isa::available()
            .into_iter()
            .map(|isa| {
                at_any_threads(|| {
                    let Results { y, dx, dw, dbias } = kernels(&g, &operands, Activation::Relu, isa);
                    [y, dx, dw, dbias].map(|values| bits(&values))
                })
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets differ on {g:?}");
    }
}

#[test]
fn gradients_equal_central_differences() {
    let g = Conv2dGeometry { stride: [2, 1], dilation: [1, 2], groups: 2, ..three_by_three(3, 4, 6, 5) };
    let operands = Operands::new(&g, 11);
    let Operands { x, weights, bias, dy } = &operands;
    let isa = Isa::best();
    let loss = |x: &[f32], weights: &[f32], bias: &[f32]| {
        let [x, weights, bias] = [x, weights, bias].map(<[f32]>::to_vec);
        let operands = Operands { x, weights, bias, dy: dy.clone() };
        dot(&kernels(&g, &operands, Activation::None, isa).y, dy)
    };
    let actual = kernels(&g, &operands, Activation::None, isa);
    assert_close(&actual.dx, &central_differences(x, 0.5, |x| loss(x, weights, bias)), 1e-6, "dx");
    assert_close(&actual.dw, &central_differences(weights, 0.5, |w| loss(x, w, bias)), 1e-6, "dw");
    assert_close(&actual.dbias, &central_differences(bias, 0.5, |b| loss(x, weights, b)), 1e-6, "dbias");
}

#[test]
fn a_fully_connected_layer_takes_features_in_nhwc_order() {
    let (batch, pixels, channels, outputs) = (21, 6, 5, 10);
    let mut noise = Noise::new(5);
    let x = noise.quarters(batch * pixels * channels);
    let weights = noise.quarters(outputs * pixels * channels);
    let bias = noise.quarters(outputs);
    let maps = packed(&x, batch, pixels, channels);
    let mut features = vec![Lanes::ZERO; maps.len()];
    flatten(&maps, channels, pixels, &mut features);
    let mut back = vec![Lanes::ZERO; maps.len()];
    unflatten(&features, channels, pixels, &mut back);
    assert_eq!(lane_bits(&back), lane_bits(&maps));
    for to_channels in [1, channels, pixels, pixels * channels] {
        let mut reshaped = vec![Lanes::ZERO; maps.len()];
        reshape(&maps, [channels, pixels], to_channels, &mut reshaped);
        assert_eq!(unpacked(&reshaped, batch, pixels * channels / to_channels, to_channels), x);
    }

    let mut y = vec![Lanes::ZERO; 2 * outputs];
    let dense = Conv2d::new(Conv2dGeometry::fully_connected(batch, pixels * channels, outputs), Isa::best());
    dense.forward(&features, &weights, Some(&bias), Activation::None, &mut y, &mut Workspace::new());
    let expect: Vec<f32> = x
        .chunks_exact(pixels * channels)
        .flat_map(|x| weights.chunks_exact(x.len()).zip(&bias).map(move |(w, b)| dot(x, w) as f32 + b))
        .collect();
    assert_eq!(unpacked(&y, batch, 1, outputs), expect);
}
