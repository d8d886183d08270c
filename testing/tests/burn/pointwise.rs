//! Functions of one value: rectifiers, nonlinearities, dropout and fake quantization.

use crate::oracle::{Function, Oracle, Results};
use crate::support::{Array, activated, any_batch, cases, garbage, unpacked};
use burn_tensor::{Tensor, activation};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Activation, Dropout, FakeQuantize, GradientFrom, Lanes, Nonlinearity, Prelu, Workspace,
    activation_backward, activation_forward,
};
use taper_testing::Random;

fn any_shape() -> impl Strategy<Value = [usize; 4]> {
    (any_batch(), 1usize..5, [1usize..8, 1usize..8])
        .prop_map(|(batch, channels, [height, width])| [batch, channels, height, width])
}

/// Numbers in -8..8, none of them near a kink of a function here.
fn between_kinks(shape: [usize; 4], random: &mut Random) -> Array {
    Array::noise(shape, random).map(|x| {
        let x = 8.0 * x;
        let near = [-3.0, -1.0, 0.0, 1.0, 3.0, 6.0].into_iter().any(|kink: f32| (x - kink).abs() < 0.01);
        if near { x + 0.02 } else { x }
    })
}

/// Checks a function in burn against its output and the gradient that `backward` makes of that of the output, in place.
fn check(
    what: &dyn std::fmt::Debug,
    shape: [usize; 4],
    seed: u64,
    function: Function<'_, 1>,
    forward: impl FnOnce(&[Lanes], &mut [Lanes]),
    backward: impl FnOnce(&[Lanes], &[Lanes], &mut [Lanes]),
) {
    let mut random = Random::new(seed);
    let (x, dy) = (between_kinks(shape, &mut random), Array::noise(shape, &mut random));
    // Where a nonlinearity saturates, its slope is what is left of a difference of numbers near 1.
    let oracle = Oracle::new([&x], &dy, function, &|[x]| x);
    let (x, mut gradient) = (x.lanes(), dy.lanes());
    let mut y = garbage(x.len());
    forward(&x, &mut y);
    backward(&x, &y, &mut gradient);
    oracle.check(what, &Results { y: unpacked(shape, &y), gradients: [unpacked(shape, &gradient)] });
}

fn in_burn(nonlinearity: Nonlinearity, x: Tensor<4>) -> Tensor<4> {
    match nonlinearity {
        Nonlinearity::LeakyRelu { slope } => activation::leaky_relu(x, f64::from(slope)),
        Nonlinearity::Sigmoid => activation::sigmoid(x),
        Nonlinearity::Tanh => activation::tanh(x),
        // burn's own computes in f32.
        Nonlinearity::HardSwish => x.clone() * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Nonlinearity::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Nonlinearity::Elu { alpha } => {
            let negative = (x.clone().clamp_max(0.0).exp() - 1.0) * f64::from(alpha);
            x.clamp_min(0.0) + negative
        }
        Nonlinearity::Silu => x.clone() * activation::sigmoid(x),
        Nonlinearity::ReluN1To1 => x.clamp(-1.0, 1.0),
    }
}

/// What fake quantization draws its inputs from: the distance between levels, how many there are, and how many of them
/// lie below 0.
fn any_levels() -> impl Strategy<Value = (u32, f32, usize)> {
    (2u32..=10, 0.01f32..0.2).prop_flat_map(|(bits, scale)| (Just(bits), Just(scale), 0..(1usize << bits)))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn any_rectifier_agrees(shape in any_shape(), seed: u64) {
        let isa = Isa::best();
        for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
            check(
                &activation, shape, seed,
                &|[x]| activated(x, activation),
                |x, y| activation_forward(isa, activation, x, y),
                |_, y, gradient| activation_backward(isa, activation, y, gradient),
            );
        }
    }

    #[test]
    fn any_nonlinearity_agrees(shape in any_shape(), slope in 0.01f32..0.9, seed: u64) {
        let isa = Isa::best();
        let (leaky, falling) = (Nonlinearity::LeakyRelu { slope }, Nonlinearity::LeakyRelu { slope: -slope });
        let alone = [
            Nonlinearity::Sigmoid,
            Nonlinearity::Tanh,
            Nonlinearity::HardSwish,
            Nonlinearity::HardSigmoid,
            Nonlinearity::Elu { alpha: 1.0 + slope },
            Nonlinearity::Silu,
            Nonlinearity::ReluN1To1,
        ];
        for of in [leaky, falling].into_iter().chain(alone) {
            check(
                &of, shape, seed,
                &|[x]| in_burn(of, x),
                |x, y| of.forward(isa, x, y),
                |x, y, gradient| of.backward(isa, match of.gradient_from() {
                    GradientFrom::Input => x,
                    GradientFrom::Output => y,
                }, gradient),
            );
        }
    }

    #[test]
    fn any_parametric_relu_agrees(shape in any_shape(), seed: u64) {
        let [batch, channels, height, width] = shape;
        let mut random = Random::new(seed);
        let x = between_kinks(shape, &mut random);
        let (slopes, dy) = (Array::of_channels(channels, &mut random), Array::noise(shape, &mut random));
        let function = |[x, slopes]: [Tensor<4>; 2]| activation::prelu(x, slopes.reshape([channels]));
        let oracle = Oracle::new([&x, &slopes], &dy, &function, &|[x, slopes]| x.clone() + x * slopes);

        let prelu = Prelu { batch, channels, pixels: height * width, isa: Isa::best() };
        let (x, mut gradient) = (x.lanes(), dy.lanes());
        let (mut y, mut dslopes) = (garbage(x.len()), vec![f32::NAN; channels]);
        prelu.forward(&x, &slopes.values, &mut y);
        prelu.backward(&x, &slopes.values, &mut gradient, Some(&mut dslopes), &mut Workspace::new());
        let gradients = [unpacked(shape, &gradient), dslopes];
        oracle.check(&prelu, &Results { y: unpacked(shape, &y), gradients });
    }

    #[test]
    fn any_dropout_agrees(shape in any_shape(), rate in 0.0f32..0.9, seed: u64, step: u64) {
        let dropout = Dropout { values: shape[1..].iter().product(), rate, seed, isa: Isa::best() };
        // The mask is Taper's own: which values survive is not for burn to say.
        let ones = Array::drawn(shape, || 1.0).lanes();
        let mut kept = garbage(ones.len());
        dropout.forward(step, 0, &ones, &mut kept);
        let factor = |kept: &f32| if *kept == 0.0 { 0.0 } else { 1.0 / (1.0 - rate) };
        let mask = Array::new(shape, unpacked(shape, &kept).iter().map(factor).collect());
        check(
            &dropout, shape, seed,
            &|[x]| x * mask.tensor(),
            |x, y| dropout.forward(step, 0, x, y),
            |_, _, gradient| dropout.backward(step, 0, gradient),
        );
    }

    #[test]
    fn any_fake_quantization_agrees(shape in any_shape(), levels in any_levels(), seed: u64) {
        let (bits, scale, zero_point) = levels;
        let highest = (1usize << bits) - 1;
        let range = [0, highest].map(|level| (level as f32 - zero_point as f32) * scale);
        let mut random = Random::new(seed);
        // Up to a few levels beyond the range, and neither where it ends nor where rounding turns.
        let x = Array::drawn(shape, || {
            let level = random.between(0, highest + 6) as f32 - 3.0;
            let beside = random.pick(&[-1.0, 1.0]) * (0.1 + 0.3 * random.unit());
            (level - zero_point as f32 + beside) * scale
        });
        let dy = Array::noise(shape, &mut random);
        let [low, high] = range.map(Array::number);
        let straight_through = |[x, low, high]: [Tensor<4>; 3]| {
            let [low, high] = [low, high].map(|end| end.expand(shape));
            let below = x.clone().lower(low.clone());
            let above = x.clone().greater(high.clone());
            let clamped = x.mask_where(below, low).mask_where(above, high);
            let rounded = (clamped.clone() / f64::from(scale)).round() * f64::from(scale);
            clamped.clone() + (rounded - clamped).detach()
        };
        let terms = |[x, low, high]: [Tensor<4>; 3]| x + low + high;
        let oracle = Oracle::without_differences([&x, &low, &high], &dy, &straight_through, &terms);

        let quantize = FakeQuantize::new(bits, range[0], range[1], Isa::best());
        let (x, mut gradient) = (x.lanes(), dy.lanes());
        let mut y = garbage(x.len());
        quantize.forward(&x, &mut y);
        let ends = quantize.backward(&x, &mut gradient, &mut Workspace::new());
        let gradients = [unpacked(shape, &gradient), vec![ends[0]], vec![ends[1]]];
        oracle.check(&quantize, &Results { y: unpacked(shape, &y), gradients });
    }
}
