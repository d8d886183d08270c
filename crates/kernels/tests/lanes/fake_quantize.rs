//! Fake quantization against TensorFlow's definition.

use crate::support::{GARBAGE, Noise, assert_close, bits, cases, everywhere, lane_bits};
use crate::support::{packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{FakeQuantize, Lanes, Workspace};

/// Scale and nudged range.
fn nudged(bits: u32, min: f32, max: f32) -> (f32, [f32; 2]) {
    let levels = 2f32.powi(bits as i32) - 1.0;
    let scale = (max - min) / levels;
    let zero_point = (-min / scale).round().min(levels);
    (scale, [-zero_point * scale, (levels - zero_point) * scale])
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn fake_quantization_equals_its_definition(
        batch in 1usize..36, values in 1usize..200, width in 2u32..=16, min in -2f32..-0.01, max in 0.01f32..2.0,
        seed: u64,
    ) {
        let mut noise = Noise::new(seed);
        let x: Vec<f32> = noise.reals(batch * values).iter().map(|x| x * 3.0).collect();
        let dy = noise.reals(x.len());
        let (lanes, output_gradient) = (packed(&x, batch, 1, values), packed(&dy, batch, 1, values));
        let run = |isa| {
            let quantize = FakeQuantize::new(width, min, max, isa);
            let (mut y, mut gradient) = (vec![GARBAGE; lanes.len()], output_gradient.clone());
            quantize.forward(&lanes, &mut y);
            let ends = quantize.backward(&lanes, &mut gradient, &mut Workspace::new());
            (y, gradient, ends)
        };
        everywhere(|isa| {
            let (y, gradient, ends) = run(isa);
            [lane_bits(&y), lane_bits(&gradient), bits(&ends)]
        });
        let (y, gradient, ends) = run(Isa::best());
        prop_assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0));

        let (scale, [low, high]) = nudged(width, min, max);
        let mut expect = [0.0f64; 2];
        let results = unpacked(&y, batch, 1, values).into_iter().zip(unpacked(&gradient, batch, 1, values));
        for ((&x, &dy), (y, dx)) in x.iter().zip(&dy).zip(results) {
            let error = (y - x.clamp(low, high)).abs();
            prop_assert!(error <= 0.5 * scale + 1e-6, "{} became {} at scale {}", x, y, scale);
            let level = f64::from(y) / f64::from(scale);
            prop_assert!((level - level.round()).abs() < 1e-2, "{} is no multiple of {}", y, scale);
            prop_assert_eq!(dx, if (low..=high).contains(&x) { dy } else { 0.0 });
            expect[0] += if x < low { f64::from(dy) } else { 0.0 };
            expect[1] += if x > high { f64::from(dy) } else { 0.0 };
        }
        assert_close(&ends, &expect, 1e-5, "gradients of the range");
    }
}

#[test]
fn zero_and_the_ends_stay_what_they_are() {
    let check = |bits, range: [f32; 2], expect: [f32; 2]| {
        for isa in Isa::available() {
            let quantize = FakeQuantize::new(bits, range[0], range[1], isa);
            assert_eq!(quantize.range(), expect, "{range:?} in {bits} bits");
            let mut y = [GARBAGE; 3];
            quantize.forward(&[0.0, expect[0], expect[1]].map(|x| Lanes([x; LANES])), &mut y);
            assert_eq!(y.map(|y| y.0[9]), [0.0, expect[0], expect[1]], "{range:?} in {bits} bits");
        }
    };
    check(8, [0.0, 255.0], [0.0, 255.0]);
    check(8, [-128.0, 127.0], [-128.0, 127.0]);
    // The zero point, 0.4, moves to 0; 0.6 to 1.
    check(2, [-0.4, 2.6], [0.0, 3.0]);
    check(2, [-0.6, 2.4], [-1.0, 2.0]);
    // Ranges beside zero are widened.
    check(2, [1.0, 3.0], [0.0, 3.0]);
    check(2, [-3.0, -1.0], [-3.0, 0.0]);
    check(16, [-32768.0, 32767.0], [-32768.0, 32767.0]);
    check(8, [0.0, 0.0], [0.0, 0.0]);
}

#[test]
fn halves_round_up_and_an_empty_range_lets_gradients_through() {
    let quantize = FakeQuantize::new(8, -128.0, 127.0, Isa::best());
    let x = [-1.5, -0.5, 0.5, 1.5, 200.0, f32::NAN].map(|x| Lanes([x; LANES]));
    let mut y = [GARBAGE; 6];
    quantize.forward(&x, &mut y);
    assert_eq!(y[..5].iter().map(|y| y.0[0]).collect::<Vec<_>>(), [-1.0, 0.0, 1.0, 2.0, 127.0]);
    assert!(y[5].0[0].is_nan());

    let empty = FakeQuantize::new(8, 0.0, 0.0, Isa::best());
    let mut gradient = [Lanes([2.0; LANES]); 6];
    assert_eq!(empty.backward(&x, &mut gradient, &mut Workspace::new()), [0.0; 2]);
    assert_eq!(gradient, [Lanes([2.0; LANES]); 6]);
    empty.forward(&x, &mut y);
    assert_eq!(y, [Lanes::ZERO; 6]);
}
