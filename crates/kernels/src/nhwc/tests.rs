//! Kernels against the reference, over random shapes, for every instruction set of this CPU.

use super::geometry::{ConvShape, PoolShape};
use super::{
    ArgMax, AxisCopies, AxisRange, BatchNorm, Binary, ConcatPart, Conv, ConvTranspose, Coordinates, Curve,
    Depthwise, Elementwise, FakeQuantize, Fused, GroupedConv, Pad, Resize, average_pool, max_pool, prelu,
    reference, strided_slice, tile,
};
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
    reference::conv(&shape, 1, &x, &weights, bias, fused, &mut expected);
    let conv = Conv::new(isa, shape, &weights, bias, fused);
    let mut found = vec![f32::NAN; shape.output_len()];
    let mut scratch = vec![f32::NAN; conv.scratch_len()];
    conv.run(&x, &mut scratch, &mut found, threads);
    [expected, found]
}

/// The convolution with `groups` groups, each with the channels of `part`: by the reference, then by the kernels.
fn run_groups(isa: Isa, part: ConvShape, groups: usize, seed: u64, threads: usize) -> Vec<Vec<f32>> {
    let mut shape = part;
    shape.input[2] *= groups;
    shape.output[2] *= groups;
    let fused = [Fused::Identity, Fused::Relu, Fused::Relu6][(seed % 3) as usize];
    let x = whole_numbers(shape.input_len(), seed);
    let weights = whole_numbers(groups * part.weights_len(), seed ^ 1);
    let bias = whole_numbers(shape.output[2], seed ^ 2);
    let bias = (!seed.is_multiple_of(5)).then_some(&bias[..]);
    let mut expected = vec![f32::NAN; shape.output_len()];
    reference::conv(&shape, groups, &x, &weights, bias, fused, &mut expected);

    let conv = GroupedConv::new(isa, shape, groups, &weights, bias, fused);
    let mut found = vec![f32::NAN; shape.output_len()];
    let mut scratch = vec![f32::NAN; conv.scratch_len()];
    conv.run(&x, &mut scratch, &mut found, threads);
    let mut results = vec![expected, found];
    if part.input[2] == 1 && part.output[2] == 1 {
        let mut found = vec![f32::NAN; shape.output_len()];
        Depthwise::new(isa, shape, &weights, bias, fused).run(&x, &mut found, threads);
        results.push(found);
    }
    results
}

/// Two tensors of one rank whose sizes are equal or 1.
fn broadcasts() -> impl Strategy<Value = [Vec<usize>; 2]> {
    let axis = (1usize..5, 0usize..4).prop_map(|(size, sides)| match sides {
        0 => [size, 1],
        1 => [1, size],
        _ => [size, size],
    });
    prop::collection::vec(axis, 1..5)
        .prop_map(|axes| [0, 1].map(|side| axes.iter().map(|sizes| sizes[side]).collect()))
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
    fn grouped_convolution_equals_the_reference(
        shape in conv_shapes(), groups in 1usize..4, seed in 0u64..1000, threads in 1usize..3,
    ) {
        for isa in Isa::available() {
            let results = run_groups(isa, shape, groups, seed, threads);
            prop_assert_eq!(&results[0], &results[1], "{}", isa.name());
        }
    }

    #[test]
    fn depthwise_convolution_equals_the_reference(
        shape in conv_shapes(), channels in prop_oneof![1usize..8, 14usize..40], seed in 0u64..1000,
    ) {
        let part = ConvShape {
            input: [shape.input[0], shape.input[1], 1],
            output: [shape.output[0], shape.output[1], 1],
            ..shape
        };
        for isa in Isa::available() {
            let results = run_groups(isa, part, channels, seed, 1);
            prop_assert_eq!(&results[0], &results[2], "{}", isa.name());
        }
    }

    #[test]
    fn transposed_convolution_equals_the_reference(
        shape in conv_shapes(), seed in 0u64..1000, threads in 1usize..3,
    ) {
        // From the convolution's output back to its input.
        let shape = ConvShape { input: shape.output, output: shape.input, ..shape };
        let fused = [Fused::Identity, Fused::Relu, Fused::Relu6][(seed % 3) as usize];
        let x = whole_numbers(shape.input_len(), seed);
        let weights = whole_numbers(shape.weights_len(), seed ^ 1);
        let bias = whole_numbers(shape.output[2], seed ^ 2);
        let bias = (!seed.is_multiple_of(5)).then_some(&bias[..]);
        let mut expected = vec![f32::NAN; shape.output_len()];
        reference::conv_transpose(&shape, &x, &weights, bias, fused, &mut expected);
        for isa in Isa::available() {
            let mut found = vec![f32::NAN; shape.output_len()];
            ConvTranspose::new(isa, shape, &weights, bias, fused).run(&x, &mut found, threads);
            prop_assert_eq!(&expected, &found, "{}", isa.name());
        }
    }

    #[test]
    fn functions_of_two_operands_equal_the_reference(sizes in broadcasts(), seed in 0u64..1000) {
        let [a_sizes, b_sizes] = &sizes;
        let a = whole_numbers(a_sizes.iter().product(), seed);
        // No zeros, which cannot be divided by.
        let b: Vec<f32> = whole_numbers(b_sizes.iter().product(), seed ^ 1).iter().map(|b| b + 0.5).collect();
        let len = a_sizes.iter().zip(b_sizes).map(|(a, b)| a.max(b)).product();
        let fused = [Fused::Identity, Fused::Relu, Fused::Relu6][(seed % 3) as usize];
        for function in [
            Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide, Binary::Maximum, Binary::Minimum,
        ] {
            let (mut expected, mut found) = (vec![f32::NAN; len], vec![f32::NAN; len]);
            reference::elementwise(function, fused, [a_sizes, b_sizes], &a, &b, &mut expected);
            Elementwise::new(function, fused, a_sizes, b_sizes).run(&a, &b, &mut found);
            prop_assert_eq!(&expected, &found, "{:?}", function);
        }
    }

    #[test]
    fn resizing_equals_the_reference(
        batch in 1usize..3, input in [1usize..8, 1..8, 1..6], output in [1usize..12, 1..12], seed in 0u64..1000,
    ) {
        let x = whole_numbers(batch * input.iter().product::<usize>(), seed);
        let len = batch * output[0] * output[1] * input[2];
        for coordinates in [Coordinates::Asymmetric, Coordinates::AlignCorners, Coordinates::HalfPixel] {
            let (mut expected, mut found) = (vec![f32::NAN; len], vec![f32::NAN; len]);
            let resize = Resize { input, output, coordinates };
            reference::nearest(input, output, coordinates, &x, &mut expected);
            resize.nearest(&x, &mut found);
            prop_assert_eq!(&expected, &found, "{:?}", coordinates);
            reference::bilinear(input, output, coordinates, &x, &mut expected);
            resize.bilinear(&x, &mut found);
            for (expected, found) in expected.iter().zip(&found) {
                prop_assert!((expected - found).abs() < 1e-4, "{coordinates:?}: {expected} {found}");
            }
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
    let part = ConvShape { input: [95, 97, 1], output: [95, 97, 1], ..shape };
    let results = run_groups(Isa::best(), part, 33, 4, 3);
    assert_eq!(results[0], results[2]);
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

#[test]
fn curves_are_those_of_their_formulas() {
    let x = [-4.0, -1.0, -0.0, 0.5, 2.0, 7.0, f32::NAN];
    type Formula = fn(f64) -> f64;
    let cases: [(Curve, Formula); 8] = [
        (Curve::LeakyRelu { slope: 0.25 }, |x| if x > 0.0 { x } else { 0.25 * x }),
        (Curve::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Curve::Tanh, f64::tanh),
        (Curve::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
        (Curve::HardSigmoid, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0),
        (Curve::Elu { alpha: 0.5 }, |x| if x > 0.0 { x } else { 0.5 * x.exp_m1() }),
        (Curve::Silu, |x| x / (1.0 + (-x).exp())),
        (Curve::ReluN1To1, |x| x.clamp(-1.0, 1.0)),
    ];
    for (curve, formula) in cases {
        let mut y = [0.0; 7];
        curve.run(&x, &mut y);
        for (x, y) in x.into_iter().zip(y) {
            let expected = formula(f64::from(x));
            let same = if expected.is_nan() { y.is_nan() } else { (expected - f64::from(y)).abs() < 1e-6 };
            assert!(same, "{curve:?} of {x}: expected {expected}, found {y}");
        }
    }
    let mut y = [0.0; 4];
    prelu(&[0.5, -1.0], &[-2.0, -2.0, 3.0, 3.0], &mut y);
    assert_eq!(y, [-1.0, 2.0, 3.0, 3.0]);
}

#[test]
fn fake_quantization_nudges_its_range_to_hold_zero() {
    // Expected values: TensorFlow's own tests of `fake_quant_with_min_max_args` with 8 bits.
    let cases = [
        (-0.1, 63.65, 0.0, 63.75),
        (-0.125, 63.625, -0.25, 63.5),
        (-63.65, 0.1, -63.75, 0.0),
        (2.0, 65.75, 0.0, 63.75),
    ];
    for (min, max, least, greatest) in cases {
        let fake = FakeQuantize::new(min, max, 8).expect("a range");
        let mut y = [0.0; 4];
        fake.run(&[-100.0, 0.0, 100.0, f32::NAN], &mut y);
        assert_eq!(y[..3], [least, 0.0, greatest], "{min}..={max}");
        assert!(y[3].is_nan());
    }
    let fake = FakeQuantize::new(-0.1, 63.65, 8).expect("a range");
    assert_eq!([0.1, 0.125, 0.4].map(|x| fake.apply(x)), [0.0, 0.25, 0.5]);
    for (min, max) in [(1.0, 1.0), (1.0, 0.0), (f32::NAN, 1.0), (-f32::MAX, f32::MAX)] {
        assert_eq!(FakeQuantize::new(min, max, 8), None);
    }
}

#[test]
fn concatenation_and_padding_put_values_in_their_place() {
    let mut y = [0.0; 6];
    ConcatPart { len: 2, offset: 0, stride: 3 }.run(&[1.0, 2.0, 4.0, 5.0], &mut y);
    ConcatPart { len: 1, offset: 2, stride: 3 }.run(&[3.0, 6.0], &mut y);
    assert_eq!(y, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);

    let pad = Pad { input: [1, 2, 1], output: [2, 4], before: [1, 0] };
    let mut y = [0.0; 16];
    pad.run(9.0, &[1.0, 2.0, 3.0, 4.0], &mut y);
    assert_eq!(y, [9., 9., 9., 9., 1., 2., 9., 9., 9., 9., 9., 9., 3., 4., 9., 9.]);
}

/// The place of each element of a tensor of these sizes, row-major.
fn places(sizes: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..sizes.iter().product())
        .map(move |at| [at / (sizes[1] * sizes[2]), at / sizes[2] % sizes[1], at % sizes[2]])
}

proptest! {
    #[test]
    fn slices_and_copies_take_each_value_from_its_place(
        sizes in [1usize..5, 1..5, 1..5], starts in [0usize..4, 0..4, 0..4], steps in [1usize..3, 1..3, 1..3],
        copies in [1usize..4, 1..4, 1..4],
    ) {
        let x: Vec<usize> = (0..sizes.iter().product()).collect();
        let value = |[a, b, c]: [usize; 3]| (a * sizes[1] + b) * sizes[2] + c;

        let ranges: [AxisRange; 3] = std::array::from_fn(|axis| {
            let (size, step) = (sizes[axis], steps[axis]);
            let start = starts[axis] % size;
            AxisRange { size, start, step, count: (size - start).div_ceil(step) }
        });
        let expected: Vec<usize> = places(ranges.map(|range| range.count))
            .map(|at| value([0, 1, 2].map(|axis| ranges[axis].start + at[axis] * ranges[axis].step)))
            .collect();
        let mut y = vec![0; expected.len()];
        strided_slice(&ranges, &x, &mut y);
        prop_assert_eq!(&y, &expected);

        let axes = [0, 1, 2].map(|axis| AxisCopies { size: sizes[axis], copies: copies[axis] });
        let tiled = axes.map(|axis| axis.size * axis.copies);
        let expected: Vec<usize> =
            places(tiled).map(|at| value([0, 1, 2].map(|axis| at[axis] % sizes[axis]))).collect();
        let mut y = vec![0; expected.len()];
        tile(&axes, &x, &mut y);
        prop_assert_eq!(&y, &expected);
    }
}

#[test]
fn arg_max_gives_the_first_of_the_greatest_values() {
    fn check(size: usize, inner: usize, x: &[f32], expected: &[usize]) {
        let mut y = vec![0; expected.len()];
        ArgMax { size, inner }.run(x, &mut y, |index| index);
        assert_eq!(y, expected, "{x:?}");
    }
    check(3, 1, &[1.0, 5.0, 5.0, 2.0, -1.0, 2.0], &[1, 0]);
    check(2, 3, &[1.0, 5.0, 5.0, 2.0, -1.0, 6.0], &[1, 0, 1]);
    check(3, 1, &[f32::NAN, 1.0, 2.0, 1.0, f32::NAN, 2.0], &[0, 2]);
}
