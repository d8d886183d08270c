//! Functions of two activations against plain loops.

use crate::support::{GARBAGE, Noise, cases, everywhere, lane_bits, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{Activation, Binary, BinaryFunction, Lanes, Operand, accumulate, blocks};

const FUNCTIONS: [BinaryFunction; 3] =
    [BinaryFunction::Add, BinaryFunction::Multiply, BinaryFunction::Maximum];

/// For each value of the output in NHWC, the index of the operand's value that it is computed from.
fn sources(batch: usize, shape: [usize; 3], operand: [usize; 3]) -> Vec<usize> {
    let [channels, height, width] = shape;
    let mut sources = Vec::new();
    for n in 0..batch {
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
        BinaryFunction::Multiply => (a * b, [b, a]),
        BinaryFunction::Maximum if a >= b => (a, [1.0, 0.0]),
        BinaryFunction::Maximum => (b, [0.0, 1.0]),
    }
}

/// Fills the lanes past the last image with what an earlier layer may have left there.
fn soil(values: &mut [Lanes], batch: usize) {
    let per_block = values.len() / blocks(batch);
    let first = (batch - 1) % LANES + 1;
    let start = values.len() - per_block;
    values[start..].iter_mut().for_each(|value| value.0[first..].fill(7.5));
}

fn check(function: BinaryFunction, batch: usize, shapes: [[usize; 3]; 2], activation: Activation, seed: u64) {
    let shape = [0, 1, 2].map(|axis| shapes[0][axis].max(shapes[1][axis]));
    let length = |shape: [usize; 3]| batch * shape.iter().product::<usize>();
    let mut noise = Noise::new(seed);
    // Sums of products of quarters are exact, so that their order does not matter.
    let [a, b, dy] = [shapes[0], shapes[1], shape].map(|shape| noise.quarters(length(shape)));
    let from = shapes.map(|operand| sources(batch, shape, operand));
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

    let lanes = |values: &[f32], [channels, height, width]: [usize; 3]| {
        packed(values, batch, height * width, channels)
    };
    let (mut x, dy) = ([lanes(&a, shapes[0]), lanes(&b, shapes[1])], lanes(&dy, shape));
    x.iter_mut().for_each(|x| soil(x, batch));
    let run = |isa| {
        let binary = Binary::new(function, batch, shapes[0], shapes[1], isa);
        assert_eq!(binary.output_shape(), shape);
        let (mut y, mut gradients) = (vec![GARBAGE; dy.len()], x.each_ref().map(|x| vec![GARBAGE; x.len()]));
        binary.forward(&x[0], &x[1], activation, &mut y);
        for (operand, gradient) in [Operand::A, Operand::B].into_iter().zip(&mut gradients) {
            let reads = function.gradient_reads(operand);
            let [a, b] = [0, 1].map(|n| if reads[n] { x[n].as_slice() } else { &[] });
            binary.backward(operand, a, b, &dy, gradient);
            assert!(padding_lanes(gradient, batch).all(|value| value == 0.0));
        }
        let [da, db] = gradients;
        [y, da, db]
    };
    everywhere(|isa| run(isa).map(|values| lane_bits(&values)));
    let results =
        run(Isa::best()).into_iter().zip(expect).zip([("y", shape), ("da", shapes[0]), ("db", shapes[1])]);
    for ((actual, expect), (what, [channels, height, width])) in results {
        let actual = unpacked(&actual, batch, height * width, channels);
        assert_eq!(actual, expect, "{what} of {function:?} of {shapes:?}");
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn binary_functions_equal_plain_loops(
        batch in 1usize..36, shape in [1usize..5, 1usize..6, 1usize..6], ones in [0usize..3, 0usize..3, 0usize..3],
        function in 0usize..3, activation in 0usize..3, seed: u64,
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
fn a_maximum_passes_nan_and_gives_ties_to_the_first() {
    let [one, nan] = [Lanes([1.0; LANES]), GARBAGE];
    for isa in Isa::available() {
        let binary = Binary::new(BinaryFunction::Maximum, 1, [2, 1, 1], [2, 1, 1], isa);
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
