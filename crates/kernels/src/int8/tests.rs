//! Kernels against the reference and against properties, for every instruction set of this CPU.

use super::*;
use crate::cpu::Isa;
use crate::nhwc::ConvShape;
use crate::nhwc::tests::conv_shapes;
use proptest::prelude::*;

/// Any values, the extremes often.
fn integers<T: Integer>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) as i32 % 640 {
            raw @ 0..=511 => T::saturate(raw / 2 + T::MIN),
            raw if raw % 2 == 0 => T::saturate(i32::MIN),
            _ => T::saturate(i32::MAX),
        }
    };
    (0..len).map(|_| next()).collect()
}

/// Checks a convolution in one group, or a depthwise one with as many groups as input channels.
fn check<T: Integer + std::fmt::Debug, W: Integer>(
    shape: ConvShape,
    groups: usize,
    zeros: [i32; 3],
    seed: u64,
) {
    let x: Vec<T> = integers(shape.input_len(), seed);
    let weights: Vec<W> = integers(shape.weights_len() / groups, seed ^ 1);
    let bias: Vec<i32> =
        integers::<i8>(shape.output[2], seed ^ 2).into_iter().map(|b| i32::from(b) << 8).collect();
    let factors = (0..shape.output[2]).map(|channel| 1.5 / (1.0 + ((seed + channel as u64) % 4000) as f64));
    let quantization = ConvQuantization {
        input_zero: zeros[0] + T::MIN,
        weights_zero: if W::MIN == 0 { zeros[1] } else { 0 },
        output_zero: zeros[2] + T::MIN,
        factors: match seed % 2 {
            0 => Factors::Fixed(factors.map(Multiplier::from_real).collect()),
            _ => Factors::Real(factors.collect()),
        },
        range: [zeros[2] + T::MIN, T::MAX],
    };
    let bias = (!seed.is_multiple_of(3)).then_some(&bias[..]);
    let mut expected = vec![T::default(); shape.output_len()];
    reference::conv(&shape, groups, &quantization, &x, &weights, bias, &mut expected);
    for isa in Isa::available() {
        for threads in [1, 3] {
            let mut found = vec![T::default(); shape.output_len()];
            if groups == 1 {
                let conv = Conv::new(isa, shape, &quantization, &weights, bias);
                conv.run(&x, &mut vec![i16::MAX; conv.scratch_len()], &mut found, threads);
            } else {
                Depthwise::new(isa, shape, &quantization, &weights, bias).run(&x, &mut found, threads);
            }
            assert_eq!(expected, found, "{} with {threads} threads", isa.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn convolution_equals_the_reference(
        shape in conv_shapes(), zeros in [0i32..=255, 0..=255, 0..=255], seed in 0u64..10_000,
    ) {
        check::<i8, i8>(shape, 1, zeros, seed);
        check::<u8, u8>(shape, 1, zeros, seed);
        check::<u8, i8>(shape, 1, zeros, seed);
    }

    #[test]
    fn depthwise_convolution_equals_the_reference(
        shape in conv_shapes(), channels in prop_oneof![2usize..8, 14usize..40], multiplier in 1usize..4,
        zeros in [0i32..=255, 0..=255, 0..=255], seed in 0u64..10_000,
    ) {
        let mut shape = shape;
        shape.input[2] = channels;
        shape.output[2] = channels * multiplier;
        check::<i8, i8>(shape, channels, zeros, seed);
        check::<u8, u8>(shape, channels, zeros, seed);
    }

    #[test]
    fn functions_of_two_operands_are_within_one_step_of_the_real_ones(
        a in any::<i8>(), b in any::<i8>(), scales in [0.01f32..1.0, 0.01..1.0, 0.05..1.0], zeros in [-128i32..=127, -128..=127, -128..=127],
    ) {
        let [of_a, of_b, of_y] =
            [0, 1, 2].map(|at| Affine { scale: scales[at], zero_point: zeros[at] });
        let (real_a, real_b) = (of_a.dequantize(a), of_b.dequantize(b));
        for (function, real) in [
            (IntegerBinary::Add, real_a + real_b),
            (IntegerBinary::Subtract, real_a - real_b),
            (IntegerBinary::Multiply, real_a * real_b),
        ] {
            let mut y = [0i8];
            Elementwise::new::<i8>(function, Fused::Identity, [&[1], &[1]], [of_a, of_b], of_y).run(&[a], &[b], &mut y);
            let expected: i8 = of_y.quantize(real);
            prop_assert!(y[0].abs_diff(expected) <= 1, "{function:?}: {} for {expected}", y[0]);
        }
    }

    #[test]
    fn a_multiplier_is_within_one_of_the_real_product(x in -1_000_000i32..1_000_000, factor in 1e-9f64..0.999) {
        let found = Multiplier::from_real(factor).apply(x);
        prop_assert!((f64::from(found) - f64::from(x) * factor).abs() <= 1.0);
    }

    #[test]
    fn softmax_is_close_to_the_real_one(
        x in prop::collection::vec(any::<i8>(), 1..20), scale in 1e-4f32..1.0, beta in 0.25f32..4.0,
    ) {
        let mut y = vec![0i8; x.len()];
        Softmax::new(x.len(), scale, beta).expect("in range").run(&x, &mut y);
        let exponentials: Vec<f64> = x.iter().map(|&x| (f64::from(x) * f64::from(scale * beta)).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        for (y, exponential) in y.iter().zip(exponentials) {
            let real = (exponential / sum * 256.0).min(255.0);
            prop_assert!((f64::from(*y) + 128.0 - real).abs() <= 1.0, "{y} for {real}");
        }
    }
}

#[test]
fn probabilities_below_half_a_step_are_zero() {
    for classes in [1000, 9000] {
        let mut y = vec![1u8; classes];
        Softmax::new(classes, 0.1, 1.0).expect("in range").run(&vec![7u8; classes], &mut y);
        assert!(y.iter().all(|&y| y == 0), "{classes} classes");
    }
}

#[test]
fn rounding_is_that_of_tflite() {
    fn check(factor: f64, x: i32, expected: i32) {
        assert_eq!(Multiplier::from_real(factor).apply(x), expected, "{factor} · {x}");
    }
    check(0.0, 1000, 0);
    check(1.0, -7, -7);
    check(0.5, 3, 2);
    check(0.5, -3, -1);
    check(0.25, 2, 1);
    check(0.25, -2, -1);
    check(0.25, -6, -2);
    check(4.0, 5, 20);
    check(1e-12, i32::MAX, 0);
    check(f64::NAN, 5, 0);
}

#[test]
fn values_out_of_range_saturate() {
    let affine = Affine { scale: 0.5, zero_point: 3 };
    let cases =
        [(0.0, 3), (0.25, 4), (-0.25, 2), (f32::INFINITY, 127), (f32::NEG_INFINITY, -128), (f32::NAN, 3)];
    for (real, expected) in cases {
        assert_eq!(affine.quantize::<i8>(real), expected, "{real}");
    }
    assert_eq!(affine.dequantize(5i8), 1.0);
}
