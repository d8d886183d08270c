//! Nonlinearities against their definitions in f64.

use crate::support::{GARBAGE, assert_close, cases, central_differences, everywhere, lane_bits};
use crate::support::{Noise, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{GradientFrom, Lanes, Nonlinearity};

const ALL: [Nonlinearity; 11] = [
    Nonlinearity::LeakyRelu { slope: 0.1 },
    Nonlinearity::LeakyRelu { slope: 0.0 },
    Nonlinearity::LeakyRelu { slope: -0.5 },
    Nonlinearity::Sigmoid,
    Nonlinearity::Tanh,
    Nonlinearity::HardSwish,
    Nonlinearity::HardSigmoid,
    Nonlinearity::Elu { alpha: 1.5 },
    Nonlinearity::Elu { alpha: -0.5 },
    Nonlinearity::Silu,
    Nonlinearity::ReluN1To1,
];

fn definition(nonlinearity: Nonlinearity, x: f64) -> f64 {
    match nonlinearity {
        Nonlinearity::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
        Nonlinearity::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Nonlinearity::Tanh => x.tanh(),
        Nonlinearity::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Nonlinearity::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Nonlinearity::Elu { alpha } => x.max(0.0) + f64::from(alpha) * x.min(0.0).exp_m1(),
        Nonlinearity::Silu => x / (1.0 + (-x).exp()),
        Nonlinearity::ReluN1To1 => x.clamp(-1.0, 1.0),
    }
}

fn kept<'a>(nonlinearity: Nonlinearity, x: &'a [Lanes], y: &'a [Lanes]) -> &'a [Lanes] {
    match nonlinearity.gradient_from() {
        GradientFrom::Input => x,
        GradientFrom::Output => y,
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn nonlinearities_equal_their_definitions(batch in 1usize..36, values in 1usize..9, seed: u64) {
        let mut noise = Noise::new(seed);
        let mut x: Vec<f32> = noise.reals(batch * values).iter().map(|x| x * 5.0).collect();
        // A difference across a kink is no gradient.
        for x in &mut x {
            let kink = [-3.0, -1.0, 0.0, 1.0, 3.0].into_iter().find(|kink| (*x - kink).abs() < 0.01);
            *x += if kink.is_some() { 0.02 } else { 0.0 };
        }
        let dy = noise.reals(x.len());
        let (input, output_gradient) = (packed(&x, batch, 1, values), packed(&dy, batch, 1, values));
        for nonlinearity in ALL {
            let run = |isa| {
                let (mut y, mut gradient) = (vec![GARBAGE; input.len()], output_gradient.clone());
                nonlinearity.forward(isa, &input, &mut y);
                nonlinearity.backward(isa, kept(nonlinearity, &input, &y), &mut gradient);
                [y, gradient]
            };
            everywhere(|isa| run(isa).map(|values| lane_bits(&values)));
            let [y, gradient] = run(Isa::best());
            prop_assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0));
            let of = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| definition(nonlinearity, f64::from(x))).collect() };
            assert_close(&unpacked(&y, batch, 1, values), &of(&x), 1e-6, "y");
            let loss = |x: &[f32]| of(x).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>();
            let expect = central_differences(&x, 1e-3, loss);
            assert_close(&unpacked(&gradient, batch, 1, values), &expect, 1e-4, "gradient");
        }
    }
}

#[test]
fn curves_are_right_to_a_few_units_in_the_last_place() {
    let all = [
        (Nonlinearity::Sigmoid, 3.0),
        (Nonlinearity::Tanh, 3.0),
        (Nonlinearity::Silu, 4.0),
        (Nonlinearity::Elu { alpha: 1.0 }, 5.0),
    ];
    for (nonlinearity, tolerance) in all {
        let x: Vec<Lanes> = (-9_000i32..9_000).map(|step| Lanes([step as f32 * 1.1e-3; LANES])).collect();
        let mut y = vec![GARBAGE; x.len()];
        nonlinearity.forward(Isa::best(), &x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let (x, y) = (f64::from(x.0[5]), f64::from(y.0[5]));
            let expect = definition(nonlinearity, x);
            let units = (y - expect).abs() / (expect.abs() * f64::from(f32::EPSILON));
            assert!(x == 0.0 || units <= tolerance, "{nonlinearity:?}({x}) = {y}: off by {units} units");
        }
    }
}

#[test]
fn nonlinearities_have_their_limits_and_slopes_at_kinks() {
    let mut x = [f32::NEG_INFINITY, -100.0, -3.0, 0.0, 3.0, 100.0, f32::INFINITY];
    let check = |x: [f32; 7], nonlinearity: Nonlinearity, expect: [f32; 7], slopes: [f32; 7]| {
        let input: Vec<Lanes> = x.iter().map(|&x| Lanes([x; LANES])).collect();
        for isa in Isa::available() {
            let (mut y, mut gradient) = (vec![GARBAGE; x.len()], vec![Lanes([1.0; LANES]); x.len()]);
            nonlinearity.forward(isa, &input, &mut y);
            nonlinearity.backward(isa, kept(nonlinearity, &input, &y), &mut gradient);
            for at in 0..x.len() {
                let (y, slope) = (y[at].0[7], gradient[at].0[7]);
                assert!(
                    (y - expect[at]).abs() < 1e-6 || y == expect[at],
                    "{nonlinearity:?}({}) = {y}",
                    x[at]
                );
                assert!((slope - slopes[at]).abs() < 1e-6, "{nonlinearity:?}'({}) = {slope}", x[at]);
            }
            nonlinearity.forward(isa, &[GARBAGE], &mut y[..1]);
            assert!(y[0].0.iter().all(|y| y.is_nan()));
        }
    };
    let infinite = f32::INFINITY;
    let leaky = Nonlinearity::LeakyRelu { slope: 0.5 };
    check(x, leaky, [-infinite, -50.0, -1.5, 0.0, 3.0, 100.0, infinite], [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0]);
    let [near, slope] = [0.952_574_1, 0.045_176_66];
    check(
        x,
        Nonlinearity::Sigmoid,
        [0.0, 0.0, 1.0 - near, 0.5, near, 1.0, 1.0],
        [0.0, 0.0, slope, 0.25, slope, 0.0, 0.0],
    );
    let [near, slope] = [0.995_054_8, 0.009_866_04];
    check(
        x,
        Nonlinearity::Tanh,
        [-1.0, -1.0, -near, 0.0, near, 1.0, 1.0],
        [0.0, 0.0, slope, 1.0, slope, 0.0, 0.0],
    );
    // At minus infinity, hard swish is the product of an infinity and 0.
    x[0] = -1e30;
    check(
        x,
        Nonlinearity::HardSwish,
        [0.0, 0.0, 0.0, 0.0, 3.0, 100.0, infinite],
        [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0],
    );
    // At infinity, the gradient of silu is the product of an infinity and 0.
    x[6] = 1e30;
    let [near, slope] = [0.142_277_62, -0.088_104_1];
    check(
        x,
        Nonlinearity::Silu,
        [0.0, 0.0, -near, 0.0, 3.0 - near, 100.0, 1e30],
        [0.0, 0.0, slope, 0.5, 1.0 - slope, 1.0, 1.0],
    );
    [x[0], x[6]] = [-infinite, infinite];
    let sixth = 1.0 / 6.0;
    check(
        x,
        Nonlinearity::HardSigmoid,
        [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, sixth, 0.0, 0.0, 0.0],
    );
    let near = 0.049_787_07;
    check(
        x,
        Nonlinearity::Elu { alpha: 2.0 },
        [-2.0, -2.0, 2.0 * near - 2.0, 0.0, 3.0, 100.0, infinite],
        [0.0, 0.0, 2.0 * near, 2.0, 1.0, 1.0, 1.0],
    );
    x[2..5].copy_from_slice(&[-1.0, 0.5, 1.0]);
    check(
        x,
        Nonlinearity::ReluN1To1,
        [-1.0, -1.0, -1.0, 0.5, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    );
}
