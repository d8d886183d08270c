//! Functions of several activations, concatenation and borders.

use crate::oracle::{Oracle, Results};
use crate::support::{
    Array, activated, any_activation, any_batch, cases, garbage, kinks, leave_out_kinks, unpacked,
};
use burn_tensor::Tensor;
use burn_tensor::ops::PadMode;
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Activation, Axis, Binary, BinaryFunction, Concat, Operand, Pad2d, Padding, activation_backward,
};
use taper_testing::Random;

fn in_burn(function: BinaryFunction, shape: [usize; 4], operands: [Tensor<4>; 2]) -> Tensor<4> {
    let [a, b] = operands.map(|operand| operand.expand(shape));
    match function {
        BinaryFunction::Add => a + b,
        BinaryFunction::Multiply => a * b,
        BinaryFunction::Subtract => a - b,
        BinaryFunction::Divide => a / b,
        BinaryFunction::Maximum => a.max_pair(b),
        BinaryFunction::Minimum => a.min_pair(b),
    }
}

fn check_binary(function: BinaryFunction, [a, b]: [[usize; 4]; 2], activation: Activation, seed: u64) {
    let isa = Isa::best();
    let shape = [0, 1, 2, 3].map(|axis| a[axis].max(b[axis]));
    let mut random = Random::new(seed);
    // Quarters, and numbers halfway between quarters, so that no two operands are equal.
    let mut quarters =
        |shape, offset| Array::drawn(shape, || random.between(0, 16) as f32 / 4.0 - 2.0 + offset);
    let [a, b] = [quarters(a, 0.0), quarters(b, 0.125)];
    let mut dy = Array::noise(shape, &mut random);
    leave_out_kinks(&mut dy, in_burn(function, shape, [&a, &b].map(Array::tensor)), kinks(activation));
    let oracle = Oracle::new(
        [&a, &b],
        &dy,
        &|operands| activated(in_burn(function, shape, operands), activation),
        &|[a, b]| in_burn(function, shape, [a, b]),
    );

    let [_, channels, height, width] = shape;
    let sizes = [&a, &b].map(|operand| [operand.shape[1], operand.shape[2], operand.shape[3]]);
    let binary = Binary::new(function, shape[0], sizes[0], sizes[1], isa);
    assert_eq!(binary.output_shape(), [channels, height, width]);
    let (lanes, mut dy_lanes) = ([&a, &b].map(Array::lanes), dy.lanes());
    let (mut y, mut gradients) = (garbage(dy_lanes.len()), lanes.each_ref().map(|x| garbage(x.len())));
    binary.forward(&lanes[0], &lanes[1], activation, &mut y);
    activation_backward(isa, activation, &y, &mut dy_lanes);
    for (operand, gradient) in [Operand::A, Operand::B].into_iter().zip(&mut gradients) {
        binary.backward(operand, &lanes[0], &lanes[1], &dy_lanes, gradient);
    }
    let [da, db] = &gradients;
    let gradients = [unpacked(a.shape, da), unpacked(b.shape, db)];
    oracle.check(&binary, &Results { y: unpacked(shape, &y), gradients });
}

fn check_concat(shape: [usize; 4], axis: Axis, sizes: [usize; 3], seed: u64) {
    let place = match axis {
        Axis::Channels => 1,
        Axis::Height => 2,
        Axis::Width => 3,
    };
    let with_size = |size: usize| {
        let mut shape = shape;
        shape[place] = size;
        shape
    };
    let whole = with_size(sizes.iter().sum());
    let mut random = Random::new(seed);
    let parts = sizes.map(|size| Array::noise(with_size(size), &mut random));
    let dy = Array::noise(whole, &mut random);
    let cat = |parts: [Tensor<4>; 3]| Tensor::cat(parts.to_vec(), place);
    let oracle = Oracle::new(parts.each_ref(), &dy, &cat, &cat);

    let [batch, channels, height, width] = whole;
    let concat = Concat::new(batch, [channels, height, width], axis);
    let dy_lanes = dy.lanes();
    let mut y = garbage(dy_lanes.len());
    let mut offset = 0;
    let gradients = parts.each_ref().map(|part| {
        let lanes = part.lanes();
        let mut gradient = garbage(lanes.len());
        concat.forward(offset, &lanes, &mut y);
        concat.backward(offset, &dy_lanes, &mut gradient);
        offset += part.shape[place];
        unpacked(part.shape, &gradient)
    });
    oracle.check(&concat, &Results { y: unpacked(whole, &y), gradients });
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_function_of_two_agrees(
        batch in any_batch(), sizes in [1usize..5, 1usize..6, 1usize..6], ones in [0usize..3, 0usize..3, 0usize..3],
        activation in any_activation(), seed: u64,
    ) {
        // Along each axis none, the first or the second operand is broadcast.
        let operand = |which| {
            let size = |axis: usize| if ones[axis] == which { 1 } else { sizes[axis] };
            [batch, size(0), size(1), size(2)]
        };
        for function in [
            BinaryFunction::Add,
            BinaryFunction::Subtract,
            BinaryFunction::Multiply,
            BinaryFunction::Divide,
            BinaryFunction::Maximum,
            BinaryFunction::Minimum,
        ] {
            check_binary(function, [operand(1), operand(2)], activation, seed);
        }
    }

    #[test]
    fn any_concatenation_agrees(
        batch in any_batch(), sizes in [1usize..5, 1usize..6, 1usize..6], parts in [1usize..5, 1usize..5, 1usize..5],
        seed: u64,
    ) {
        let [channels, height, width] = sizes;
        for axis in [Axis::Channels, Axis::Height, Axis::Width] {
            check_concat([batch, channels, height, width], axis, parts, seed);
        }
    }

    #[test]
    fn any_border_agrees(
        batch in any_batch(), sizes in [1usize..5, 1usize..7, 1usize..7], border in [0usize..4, 0usize..4, 0usize..4, 0usize..4],
        value in -2f32..2.0, seed: u64,
    ) {
        let ([channels, in_height, in_width], [top, bottom, left, right]) = (sizes, border);
        let padding = Padding { top, bottom, left, right };
        let pad = Pad2d { batch, channels, in_height, in_width, padding, value };
        let mut random = Random::new(seed);
        let x = Array::noise([batch, channels, in_height, in_width], &mut random);
        let dy = Array::noise([batch, channels, pad.out_height(), pad.out_width()], &mut random);
        let function = |[x]: [Tensor<4>; 1]| x.pad([(top, bottom), (left, right)], PadMode::Constant(value));
        let oracle = Oracle::new([&x], &dy, &function, &function);

        let (mut y, mut dx) = (garbage(pad.output_len()), garbage(pad.input_len()));
        pad.forward(&x.lanes(), &mut y);
        pad.backward(&dy.lanes(), &mut dx);
        oracle.check(&pad, &Results { y: unpacked(dy.shape, &y), gradients: [unpacked(x.shape, &dx)] });
    }
}
