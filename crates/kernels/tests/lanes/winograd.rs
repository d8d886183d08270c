//! Winograd's convolutions against direct ones, on every instruction set.

use crate::support::{Noise, at_any_threads, bits, lane_bits};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Activation, Algorithm, Conv2d, Conv2dGeometry, LANES, Lanes, Padding, WinogradTile, Workspace, blocks,
    pack,
};

/// The algorithms, and what errors they may make relative to the largest result.
const ALGORITHMS: [(Algorithm, f32); 3] = [
    (Algorithm::Winograd(WinogradTile::Two), 1e-5),
    (Algorithm::Winograd(WinogradTile::Four), 5e-5),
    (Algorithm::WinogradNarrow, 5e-5),
];

/// A convolution's operands in lane layout.
struct Operands {
    x: Vec<Lanes>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<Lanes>,
}

impl Operands {
    fn new(g: &Conv2dGeometry, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let mut map = |pixels: usize, channels: usize| {
            let mut lanes = vec![Lanes::ZERO; blocks(g.batch) * pixels * channels];
            pack(&noise.reals(g.batch * pixels * channels), g.batch, pixels, channels, &mut lanes);
            lanes
        };
        Self {
            x: map(g.in_height * g.in_width, g.in_channels),
            dy: map(g.out_height() * g.out_width(), g.out_channels),
            weights: noise.reals(g.weights_len()),
            bias: noise.reals(g.out_channels),
        }
    }
}

/// Every result of a convolution.
struct Results {
    y: Vec<Lanes>,
    dx: Vec<Lanes>,
    dw: Vec<f32>,
}

fn results(convolution: &Conv2d, operands: &Operands, activation: Activation) -> Results {
    let Operands { x, weights, bias, dy } = operands;
    let g = convolution.geometry();
    let garbage = Lanes([f32::NAN; LANES]);
    let (mut y, mut dx) = (vec![garbage; g.output_len()], vec![garbage; g.input_len()]);
    let mut dw = vec![f32::NAN; weights.len()];
    let mut workspace = Workspace::new();
    convolution.forward(x, weights, Some(bias), activation, &mut y, &mut workspace);
    convolution.backward_input(dy, weights, &mut dx, &mut workspace);
    convolution.backward_weights(x, dy, &mut dw, &mut workspace);

    let (mut both_dx, mut both_dw) = (vec![garbage; dx.len()], vec![f32::NAN; dw.len()]);
    convolution.backward(x, dy, weights, &mut both_dw, &mut both_dx, &mut workspace);
    assert!(both_dx == dx && both_dw == dw, "what is computed together differs from what is computed apart");
    Results { y, dx, dw }
}

fn values(lanes: &[Lanes]) -> Vec<f32> {
    lanes.iter().flat_map(|lanes| lanes.0).collect()
}

/// The largest magnitude; NaN if there is one.
fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values
        .map(f32::abs)
        .fold(0.0, |largest, value| if value.is_nan() || value > largest { value } else { largest })
}

/// The largest errors of y, dx and dw, relative to the largest expectation; that of y before its activation, which
/// may cut off most of what was summed.
fn errors(actual: &Results, expect: &Results, sums: &[Lanes]) -> [f32; 3] {
    let error = |actual: &[f32], expect: &[f32], scale: &[f32]| {
        let error = largest(actual.iter().zip(expect).map(|(actual, expect)| actual - expect));
        if error == 0.0 { error } else { error / largest(scale.iter().copied()) }
    };
    [
        error(&values(&actual.y), &values(&expect.y), &values(sums)),
        error(&values(&actual.dx), &values(&expect.dx), &values(&expect.dx)),
        error(&actual.dw, &expect.dw, &expect.dw),
    ]
}

fn check(g: &Conv2dGeometry, activation: Activation, seed: u64) {
    let operands = Operands::new(g, seed);
    let direct = Conv2d::with_algorithm(*g, Isa::best(), Algorithm::Direct);
    let expect = results(&direct, &operands, activation);
    let sums = results(&direct, &operands, Activation::None).y;
    for isa in Isa::available() {
        for (algorithm, tolerance) in ALGORITHMS {
            let convolution = Conv2d::with_algorithm(*g, isa, algorithm);
            let errors = errors(&results(&convolution, &operands, activation), &expect, &sums);
            assert!(
                errors.iter().all(|&error| error <= tolerance),
                "errors {errors:?} of y, dx, dw of {g:?} by {algorithm:?} on {}",
                isa.name()
            );
        }
    }
}

fn three_by_three(batch: usize, inputs: usize, outputs: usize, sides: [usize; 2]) -> Conv2dGeometry {
    Conv2dGeometry {
        batch,
        in_channels: inputs,
        in_height: sides[0],
        in_width: sides[1],
        out_channels: outputs,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding { top: 1, bottom: 1, left: 1, right: 1 },
        groups: 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution_equals_the_direct_one(
        batch in 1usize..40, inputs in 1usize..65, outputs in 1usize..65, height in 1usize..12, width in 1usize..12,
        padding in [0usize..3, 0..3, 0..3, 0..3], seed: u64,
        activation in prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)],
    ) {
        let [top, bottom, left, right] = padding;
        let padding = Padding { top, bottom, left, right };
        check(&Conv2dGeometry { padding, ..three_by_three(batch, inputs, outputs, [height, width]) }, activation, seed);
    }
}

#[test]
fn operands_larger_than_a_chunk_or_band_equal_the_direct_ones() {
    for (batch, inputs, outputs) in [(60, 300, 290), (100, 70, 20), (2, 20, 600)] {
        check(&three_by_three(batch, inputs, outputs, [6, 5]), Activation::Relu6, 2);
    }
}

#[test]
fn errors_stay_small_at_the_widths_of_networks() {
    for (inputs, outputs, side) in [(512, 512, 4), (256, 512, 4), (256, 256, 7), (64, 64, 28)] {
        let g = three_by_three(16, inputs, outputs, [side; 2]);
        let operands = Operands::new(&g, 1);
        let isa = Isa::best();
        let expect = results(&Conv2d::with_algorithm(g, isa, Algorithm::Direct), &operands, Activation::None);
        for (algorithm, _) in ALGORITHMS {
            let convolution = Conv2d::with_algorithm(g, isa, algorithm);
            let errors = errors(&results(&convolution, &operands, Activation::None), &expect, &expect.y);
            assert!(errors.iter().all(|&error| error <= 1e-4), "errors {errors:?} of y, dx, dw of {g:?}");
        }
    }
}

#[test]
fn results_are_the_same_bytes_at_any_threads_and_on_any_instruction_set() {
    for g in [
        three_by_three(70, 7, 9, [13, 28]),
        three_by_three(70, 35, 70, [9, 6]),
        three_by_three(33, 64, 48, [4, 4]),
        three_by_three(5, 300, 290, [5, 3]),
    ] {
        let operands = Operands::new(&g, 3);
        for (algorithm, _) in ALGORITHMS {
            let results: Vec<_> = Isa::available()
                .into_iter()
                .map(|isa| {
                    let convolution = Conv2d::with_algorithm(g, isa, algorithm);
                    at_any_threads(|| {
                        let Results { y, dx, dw } = results(&convolution, &operands, Activation::Relu);
                        [lane_bits(&y), lane_bits(&dx), bits(&dw)]
                    })
                })
                .collect();
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "instruction sets differ on {g:?}");
        }
    }
}
