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

fn check<T: Integer + std::fmt::Debug, W: Integer>(shape: ConvShape, zeros: [i32; 3], seed: u64) {
    let x: Vec<T> = integers(shape.input_len(), seed);
    let weights: Vec<W> = integers(shape.weights_len(), seed ^ 1);
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
    reference::conv(&shape, &quantization, &x, &weights, bias, &mut expected);
    for isa in Isa::available() {
        for threads in [1, 3] {
            let conv = Conv::new(isa, shape, &quantization, &weights, bias);
            let mut found = vec![T::default(); shape.output_len()];
            conv.run(&x, &mut vec![i16::MAX; conv.scratch_len()], &mut found, threads);
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
        check::<i8, i8>(shape, zeros, seed);
        check::<u8, u8>(shape, zeros, seed);
        check::<u8, i8>(shape, zeros, seed);
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
