//! Kernels against the reference, over random shapes, for every instruction set of this CPU.

use super::geometry::{ConvShape, PoolShape};
use super::{BatchNorm, Conv, Fused, average_pool, max_pool, reference};
use crate::cpu::Isa;
use proptest::prelude::*;

/// Any convolution whose kernel fits; small enough for the reference.
pub(crate) fn conv_shapes() -> impl Strategy<Value = ConvShape> {
    let pair = |range: std::ops::RangeInclusive<usize>| [range.clone(), range];
    (
        1usize..=2,
        pair(1..=9),
        (1usize..=20, prop_oneof![1usize..=20, 30usize..=100]),
        pair(1..=4),
        pair(1..=3),
        pair(1..=3),
        pair(0..=3),
        pair(0..=3),
    )
        .prop_filter_map(
            "kernel fits",
            |(batch, image, (inputs, outputs), kernel, stride, dilation, before, after)| {
                let mut output = [0, 0, outputs];
                for axis in 0..2 {
                    let extent = (kernel[axis] - 1) * dilation[axis] + 1;
                    let padded = before[axis] + image[axis] + after[axis];
                    output[axis] = padded.checked_sub(extent)? / stride[axis] + 1;
                }
                let input = [image[0], image[1], inputs];
                Some(ConvShape { batch, input, output, kernel, stride, dilation, padding: before })
            },
        )
}

/// Small whole numbers, whose products f32 adds exactly in any order.
fn whole_numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 60) as f32 - 8.0
    };
    (0..len).map(|_| next()).collect()
}

fn run(isa: Isa, shape: ConvShape, seed: u64, fused: Fused, threads: usize) -> [Vec<f32>; 2] {
    let x = whole_numbers(shape.input_len(), seed);
    let weights = whole_numbers(shape.weights_len(), seed ^ 1);
    let bias = whole_numbers(shape.output[2], seed ^ 2);
    let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
    let mut expected = vec![f32::NAN; shape.output_len()];
    reference::conv(&shape, &x, &weights, bias, fused, &mut expected);
    let conv = Conv::new(isa, shape, &weights, bias, fused);
    let mut found = vec![f32::NAN; shape.output_len()];
    let mut scratch = vec![f32::NAN; conv.scratch_len()];
    conv.run(&x, &mut scratch, &mut found, threads);
    [expected, found]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn convolution_equals_the_reference(shape in conv_shapes(), seed in 0u64..1000) {
        let fused = [Fused::Identity, Fused::Relu, Fused::Relu6][(seed % 3) as usize];
        for isa in Isa::available() {
            let [expected, found] = run(isa, shape, seed, fused, 1);
            prop_assert_eq!(&expected, &found, "{}", isa.name());
        }
    }

    #[test]
    fn pooling_equals_the_reference(
        batch in 1usize..3, input in [1usize..8, 1..8, 1..6], window in [1usize..4, 1..4], stride in [1usize..4, 1..4],
        padding in [0usize..3, 0..3],
    ) {
        prop_assume!((0..2).all(|axis| padding[axis] < window[axis] && input[axis] >= window[axis]));
        let output = [0, 1].map(|axis| (input[axis] + padding[axis] - window[axis]) / stride[axis] + 1);
        let shape = PoolShape { batch, input, output, window, stride, padding };
        let x = whole_numbers(batch * input.iter().product::<usize>(), 7);
        let len = batch * output[0] * output[1] * input[2];
        let (mut expected, mut found) = (vec![0.0; len], vec![0.0; len]);
        reference::max_pool(&shape, &x, &mut expected);
        max_pool(&shape, &x, &mut found);
        prop_assert_eq!(&expected, &found);
        reference::average_pool(&shape, &x, &mut expected);
        average_pool(&shape, &x, &mut found);
        prop_assert_eq!(&expected, &found);
    }
}

#[test]
fn threads_do_not_change_the_output() {
    let shape = ConvShape {
        batch: 1,
        input: [15, 17, 48],
        output: [15, 17, 64],
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1, 1],
    };
    let [expected, one] = run(Isa::best(), shape, 4, Fused::Relu, 1);
    let [_, three] = run(Isa::best(), shape, 4, Fused::Relu, 3);
    assert_eq!(expected, one);
    assert_eq!(expected, three);
}

#[test]
fn nan_is_not_hidden() {
    for fused in [Fused::Identity, Fused::Relu, Fused::Relu6] {
        for isa in Isa::available() {
            let conv = Conv::new(isa, ConvShape::fully_connected(1, 1, 1), &[1.0], None, fused);
            let mut y = [0.0];
            conv.run(&[f32::NAN], &mut [], &mut y, 1);
            assert!(y[0].is_nan(), "{fused:?} on {}", isa.name());
        }
    }
}

#[test]
fn batch_norm_is_folded_into_a_factor_and_an_addend() {
    let batch_norm = BatchNorm::new(&[2.0, 1.0], &[0.5, -1.0], &[1.0, 3.0], &[3.0, 0.0], 1.0);
    let mut y = [0.0; 4];
    batch_norm.run(&[1.0, 3.0, 5.0, 4.0], &mut y);
    assert_eq!(y, [0.5, -1.0, 4.5, 0.0]);
}
