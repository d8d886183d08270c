//! Functions of two operands against plain loops.

use crate::support::{GARBAGE, Noise, cases, everywhere, lane_bits, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{Activation, Binary, BinaryFunction, Lanes, Operand, accumulate, blocks};

const FUNCTIONS: [BinaryFunction; 6] = [
    BinaryFunction::Add,
    BinaryFunction::Subtract,
    BinaryFunction::Multiply,
    BinaryFunction::Divide,
    BinaryFunction::Maximum,
    BinaryFunction::Minimum,
];

/// For each value of the output in NHWC, the index of the value that it is computed from, of an operand of `images`: all,
/// or one that serves them all.
fn sources(batch: usize, shape: [usize; 3], images: usize, operand: [usize; 3]) -> Vec<usize> {
    let [channels, height, width] = shape;
    let mut sources = Vec::new();
    for n in (0..batch).map(|n| n.min(images - 1)) {
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let [c, y, x] = [0, 1, 2].map(|axis| [c, y, x][axis].min(operand[axis] - 1));
                    sources.push(((n * operand[1] + y) * operand[2] + x) * operand[0] + c);
                }
            }
        }
    }
    sources
}

/// The function's value and its derivatives by both operands.
fn definition(function: BinaryFunction, a: f32, b: f32) -> (f32, [f32; 2]) {
    match function {
        BinaryFunction::Add => (a + b, [1.0, 1.0]),
        BinaryFunction::Subtract => (a - b, [1.0, -1.0]),
        BinaryFunction::Multiply => (a * b, [b, a]),
        BinaryFunction::Divide => (a / b, [1.0 / b, -a / (b * b)]),
        BinaryFunction::Maximum if a >= b => (a, [1.0, 0.0]),
        BinaryFunction::Minimum if a <= b => (a, [1.0, 0.0]),
        BinaryFunction::Maximum | BinaryFunction::Minimum => (b, [0.0, 1.0]),
    }
}

/// Fills the lanes past the last image with what an earlier layer may have left there.
fn soil(values: &mut [Lanes], batch: usize, left: f32) {
    let per_block = values.len() / blocks(batch);
    let first = (batch - 1) % LANES + 1;
    let start = values.len() - per_block;
    values[start..].iter_mut().for_each(|value| value.0[first..].fill(left));
}

fn check(function: BinaryFunction, batch: usize, shapes: [[usize; 3]; 2], activation: Activation, seed: u64) {
    for constant in [None, Some(Operand::A), Some(Operand::B)] {
        check_operands(function, batch, shapes, constant, activation, seed);
    }
}

fn check_operands(
    function: BinaryFunction,
    batch: usize,
    shapes: [[usize; 3]; 2],
    constant: Option<Operand>,
    activation: Activation,
    seed: u64,
) {
    let shape = [0, 1, 2].map(|axis| shapes[0][axis].max(shapes[1][axis]));
    let images = [Operand::A, Operand::B].map(|operand| if constant == Some(operand) { 1 } else { batch });
    let mut noise = Noise::new(seed);
    // Sums of products of quarters are exact, so that their order does not matter.
    let [a, mut b, dy] = [(images[0], shapes[0]), (images[1], shapes[1]), (batch, shape)]
        .map(|(images, shape)| noise.quarters(images * shape.iter().product::<usize>()));
    if function == BinaryFunction::Divide {
        // So are those of quotients by powers of two.
        b.iter_mut().for_each(|b| *b = if *b > 0.0 { 2.0 } else { -0.5 });
    }
    let from = [0, 1].map(|side| sources(batch, shape, images[side], shapes[side]));
    let mut expect = [vec![0.0f32; dy.len()], vec![0.0; a.len()], vec![0.0; b.len()]];
    for at in 0..dy.len() {
        let [at_a, at_b] = [from[0][at], from[1][at]];
        let (value, slopes) = definition(function, a[at_a], b[at_b]);
        expect[0][at] = match activation {
            Activation::None => value,
            Activation::Relu => value.max(0.0),
            Activation::Relu6 => value.clamp(0.0, 6.0),
        };
        expect[1][at_a] += slopes[0] * dy[at];
        expect[2][at_b] += slopes[1] * dy[at];
    }

    let lanes = |operand, values: &[f32], [channels, height, width]: [usize; 3]| {
        if constant == Some(operand) {
            // What serves all images stands in every lane.
            let lanes = packed(values, 1, height * width, channels);
            return lanes.into_iter().map(|value| Lanes([value.0[0]; LANES])).collect();
        }
        let mut lanes = packed(values, batch, height * width, channels);
        soil(&mut lanes, batch, if function == BinaryFunction::Divide { 0.0 } else { 7.5 });
        lanes
    };
    let x = [lanes(Operand::A, &a, shapes[0]), lanes(Operand::B, &b, shapes[1])];
    let dy = packed(&dy, batch, shape[1] * shape[2], shape[0]);
    let run = |isa| {
        let [a, b] = shapes;
        let binary = match constant {
            None => Binary::new(function, batch, a, b, isa),
            Some(constant) => Binary::with_constant(function, batch, a, b, constant, isa),
        };
        assert_eq!(binary.output_shape(), shape);
        let (mut y, mut gradients) = (vec![GARBAGE; dy.len()], x.each_ref().map(|x| vec![GARBAGE; x.len()]));
        binary.forward(&x[0], &x[1], activation, &mut y);
        for (operand, gradient) in [Operand::A, Operand::B].into_iter().zip(&mut gradients) {
            if constant == Some(operand) {
                continue;
            }
            let reads = function.gradient_reads(operand);
            let [a, b] = [0, 1].map(|n| if reads[n] { x[n].as_slice() } else { &[] });
            binary.backward(operand, a, b, &dy, gradient);
            assert!(padding_lanes(gradient, batch).all(|value| value == 0.0));
        }
        assert!(padding_lanes(&y, batch).all(f32::is_finite), "{function:?}");
        let [da, db] = gradients;
        [y, da, db]
    };
    everywhere(|isa| run(isa).map(|values| lane_bits(&values)));
    let whats =
        [("y", shape, None), ("da", shapes[0], Some(Operand::A)), ("db", shapes[1], Some(Operand::B))];
    for ((actual, expect), (what, [channels, height, width], operand)) in
        run(Isa::best()).into_iter().zip(expect).zip(whats)
    {
        if operand.is_some() && operand == constant {
            continue;
        }
        let actual = unpacked(&actual, batch, height * width, channels);
        assert_eq!(actual, expect, "{what} of {function:?} of {shapes:?}");
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn binary_functions_equal_plain_loops(
        batch in 1usize..36, shape in [1usize..5, 1usize..6, 1usize..6], ones in [0usize..3, 0usize..3, 0usize..3],
        function in 0usize..6, activation in 0usize..3, seed: u64,
    ) {
        let operand = |which| [0, 1, 2].map(|axis| if ones[axis] == which { 1 } else { shape[axis] });
        let activation = [Activation::None, Activation::Relu, Activation::Relu6][activation];
        check(FUNCTIONS[function], batch, [operand(1), operand(2)], activation, seed);
    }
}

#[test]
fn binary_functions_of_networks_equal_plain_loops() {
    for function in FUNCTIONS {
        // Larger than a task; a gate per channel; a map for all channels; both at once; vectors; scalars.
        check(function, 17, [[3, 29, 31], [3, 29, 31]], Activation::Relu6, 1);
        check(function, 17, [[5, 9, 7], [5, 1, 1]], Activation::None, 2);
        check(function, 33, [[1, 9, 7], [5, 9, 7]], Activation::Relu, 3);
        check(function, 3, [[5, 1, 1], [1, 9, 7]], Activation::None, 4);
        check(function, 18, [[10, 1, 1], [10, 1, 1]], Activation::None, 5);
        check(function, 2, [[1, 1, 1], [4, 51, 53]], Activation::None, 6);
        check(function, 1, [[1, 1, 1], [1, 1, 1]], Activation::None, 7);
        check(function, 20, [[3, 1, 4], [1, 5, 4]], Activation::None, 8);
    }
}

#[test]
fn a_maximum_or_minimum_passes_nan_and_gives_ties_to_the_first() {
    let [one, nan] = [Lanes([1.0; LANES]), GARBAGE];
    for (isa, function) in
        Isa::available().into_iter().flat_map(|isa| [(isa, FUNCTIONS[4]), (isa, FUNCTIONS[5])])
    {
        let binary = Binary::new(function, 1, [2, 1, 1], [2, 1, 1], isa);
        let mut y = [Lanes::ZERO; 2];
        binary.forward(&[one, nan], &[nan, one], Activation::Relu, &mut y);
        assert!(y.iter().flat_map(|y| y.0).all(f32::is_nan));
        let (mut da, mut db) = ([nan; 2], [nan; 2]);
        binary.backward(Operand::A, &[one; 2], &[one; 2], &[one; 2], &mut da);
        binary.backward(Operand::B, &[one; 2], &[one; 2], &[one; 2], &mut db);
        assert_eq!((da, db), ([one; 2], [Lanes::ZERO; 2]));
    }
}

#[test]
fn gradients_accumulate() {
    let mut noise = Noise::new(3);
    let [a, b] = [(); 2].map(|()| noise.quarters(17 * 1000));
    let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    let [a, b] = [a, b].map(|values| packed(&values, 17, 1000, 1));
    let sums = everywhere(|isa| {
        let mut sum = b.clone();
        accumulate(isa, &a, &mut sum);
        lane_bits(&sum)
    });
    assert_eq!(sums, lane_bits(&packed(&sum, 17, 1000, 1)));
}
