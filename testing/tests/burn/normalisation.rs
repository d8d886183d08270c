//! Batch normalisation with the batch's statistics and with running ones, fused with a residual and a rectifier.

use crate::oracle::{Oracle, Results};
use crate::support::{
    Array, activated, any_activation, any_batch, cases, garbage, kinks, leave_out_kinks, unpacked,
};
use burn_tensor::Tensor;
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    Affine, AffineGradient, BatchNorm, BatchNormGradient, BatchStatistics, Running, Workspace,
};
use taper_testing::Random;

/// Mean and variance of each channel, `[1, C, 1, 1]`.
type Statistics = [Tensor<4>; 2];

fn statistics(x: Tensor<4>, running: Option<&[Array; 2]>) -> Statistics {
    if let Some(running) = running {
        return running.each_ref().map(|array| array.tensor());
    }
    let axes = [0, 2, 3];
    let mean = x.clone().mean_dims(&axes);
    [mean.clone(), (x - mean).square().mean_dims(&axes)]
}

fn in_burn(
    epsilon: f32,
    [mean, variance]: Statistics,
    x: Tensor<4>,
    gamma: Tensor<4>,
    beta: Tensor<4>,
) -> Tensor<4> {
    (x - mean) / (variance + f64::from(epsilon)).sqrt() * gamma + beta
}

/// The gradients are those of x, gamma, beta and, if there is one, the residual.
fn in_taper(
    norm: &BatchNorm,
    [x, gamma, beta]: [&Array; 3],
    residual: Option<&Array>,
    running: Option<&[Array; 2]>,
    dy: &Array,
) -> Results<4> {
    let (x_lanes, mut dy_lanes, residual) = (x.lanes(), dy.lanes(), residual.map(Array::lanes));
    let (mut y, mut dx) = (garbage(x_lanes.len()), garbage(x_lanes.len()));
    let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![f32::NAN; norm.channels]);
    let (mut statistics, mut workspace) = (BatchStatistics::default(), Workspace::new());
    let affine = Affine { gamma: &gamma.values, beta: &beta.values };
    match running {
        None => {
            norm.forward(&x_lanes, affine, residual.as_deref(), &mut y, &mut statistics, &mut workspace);
        }
        Some([mean, variance]) => {
            let running = Running { mean: &mean.values, variance: &variance.values };
            norm.forward_frozen(&x_lanes, affine, running, residual.as_deref(), &mut y, &mut statistics);
        }
    }
    let y_with_residual = residual.is_some().then_some(&y[..]);
    let activations =
        BatchNormGradient { x: &x_lanes, dy: &mut dy_lanes, y_with_residual, dx: Some(&mut dx) };
    let gradient = AffineGradient { gamma: &mut dgamma, beta: &mut dbeta };
    match running {
        None => norm.backward(activations, &statistics, gradient, &mut workspace),
        Some(_) => norm.backward_frozen(activations, &statistics, Some(gradient), &mut workspace),
    }
    let [y, dx, dresidual] = [&y, &dx, &dy_lanes].map(|lanes| unpacked(dy.shape, lanes));
    Results { y, gradients: [dx, dgamma, dbeta, dresidual] }
}

/// Whether a sum with a residual is fused.
#[derive(Clone, Copy, Debug)]
enum Residual {
    Added,
    Absent,
}

/// Whose statistics normalise.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Batch,
    Running,
}

fn check(norm: &BatchNorm, sides: [usize; 2], residual: Residual, origin: Origin, seed: u64) {
    let BatchNorm { batch, channels, epsilon, activation, .. } = *norm;
    let shape = [batch, channels, sides[0], sides[1]];
    let mut random = Random::new(seed);
    let [x, added, mut dy] = [(); 3].map(|()| Array::noise(shape, &mut random));
    // So wide that some values exceed 6.
    let [gamma, beta] = [4.0, 8.0].map(|wide| Array::of_channels(channels, &mut random).map(|x| wide * x));
    let [mean, variance] = [(); 2].map(|()| Array::of_channels(channels, &mut random));
    let running = [mean, variance.map(|variance| variance.abs() + 0.1)];
    let running = match origin {
        Origin::Batch => None,
        Origin::Running => Some(&running),
    };
    let sum = |x: Tensor<4>, gamma: Tensor<4>, beta: Tensor<4>, added: Tensor<4>| {
        let y = in_burn(epsilon, statistics(x.clone(), running), x, gamma, beta);
        match residual {
            Residual::Added => y + added,
            Residual::Absent => y,
        }
    };
    let inputs = [&x, &gamma, &beta, &added];
    let [x_burn, gamma_burn, beta_burn, added_burn] = inputs.map(Array::tensor);
    let [_, variance] = statistics(x_burn.clone(), running);
    leave_out_kinks(&mut dy, sum(x_burn, gamma_burn, beta_burn, added_burn), kinks(activation));

    let function =
        |[x, gamma, beta, added]: [Tensor<4>; 4]| activated(sum(x, gamma, beta, added), activation);
    // A normalised value has a magnitude of 1 in the mean, and its slope by x is at most the inverse deviation.
    let deviation = (variance + f64::from(epsilon)).sqrt();
    let terms =
        |[x, gamma, beta, added]: [Tensor<4>; 4]| (x / deviation.clone() + 1.0) * gamma + beta + added;
    let oracle = Oracle::new(inputs, &dy, &function, &terms);
    let mut actual = match residual {
        Residual::Added => in_taper(norm, [&x, &gamma, &beta], Some(&added), running, &dy),
        Residual::Absent => in_taper(norm, [&x, &gamma, &beta], None, running, &dy),
    };
    if let Residual::Absent = residual {
        // What is left of dy is no gradient then.
        actual.gradients[3].fill(0.0);
    }
    oracle.check(&(norm, residual, origin), &actual);
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn any_batch_norm_agrees(
        batch in any_batch(), channels in 1usize..6, sides in [1usize..8, 1usize..8],
        epsilon in prop_oneof![Just(1e-3f32), Just(1e-5)], activation in any_activation(),
        residual in prop_oneof![Just(Residual::Added), Just(Residual::Absent)],
        origin in prop_oneof![Just(Origin::Batch), Just(Origin::Running)], seed: u64,
    ) {
        let (pixels, isa) = (sides[0] * sides[1], Isa::best());
        let norm = BatchNorm { batch, channels, pixels, epsilon, activation, isa };
        check(&norm, sides, residual, origin, seed);
    }
}
