//! Batch normalisation with residual and rectifier in lane layout, on every instruction set.

use crate::support::{
    GARBAGE, Noise, assert_close, bits, cases, central_differences, everywhere, packed, padding_lanes,
    unpacked,
};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Activation, Affine, AffineGradient, BatchNorm, BatchNormGradient, BatchStatistics, Lanes, Running,
    Workspace, blocks, on_this_thread,
};

/// Everything that a normalisation is given, in plain layout.
struct Inputs {
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    residual: Option<Vec<f32>>,
    dy: Vec<f32>,
    /// Running mean and variance of a frozen normalisation.
    running: Option<[Vec<f32>; 2]>,
}

/// What a normalisation makes of it, in plain layout; statistics are mean and variance.
struct Outputs<T> {
    y: Vec<T>,
    statistics: [Vec<T>; 2],
    dx: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
    dresidual: Vec<T>,
}

impl Inputs {
    fn noise(batch: usize, channels: usize, pixels: usize, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let length = batch * pixels * channels;
        let [x, dy, residual] = [(); 3].map(|()| noise.reals(length));
        let [gamma, beta, mean, variance] = [(); 4].map(|()| noise.reals(channels));
        let variance = variance.iter().map(|value| value.abs() + 0.5).collect();
        Self { x, gamma, beta, residual: Some(residual), dy, running: Some([mean, variance]) }
    }
}

/// Lane layout with garbage in the lanes past the last image, where earlier layers may have computed anything.
fn packed_with_garbage(nhwc: &[f32], norm: &BatchNorm) -> Vec<Lanes> {
    let BatchNorm { batch, channels, pixels, .. } = *norm;
    let mut lanes = packed(nhwc, batch, pixels, channels);
    let first = (batch - 1) % LANES + 1;
    for value in lanes.iter_mut().skip((blocks(batch) - 1) * channels * pixels) {
        value.0[first..].fill(f32::NAN);
    }
    lanes
}

fn computed(norm: &BatchNorm, inputs: &Inputs) -> Outputs<f32> {
    let BatchNorm { batch, channels, pixels, .. } = *norm;
    let x = packed_with_garbage(&inputs.x, norm);
    let residual = inputs.residual.as_ref().map(|residual| packed_with_garbage(residual, norm));
    let upstream = packed(&inputs.dy, batch, pixels, channels);
    let mut dy = upstream.clone();
    let (mut y, mut dx) = (vec![GARBAGE; x.len()], vec![GARBAGE; x.len()]);
    let (mut dgamma, mut dbeta) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
    let (mut statistics, mut workspace) = (BatchStatistics::default(), Workspace::new());
    let affine = Affine { gamma: &inputs.gamma, beta: &inputs.beta };
    match &inputs.running {
        None => norm.forward(&x, affine, residual.as_deref(), &mut y, &mut statistics, &mut workspace),
        Some([mean, variance]) => {
            let running = Running { mean, variance };
            norm.forward_frozen(&x, affine, running, residual.as_deref(), &mut y, &mut statistics);
        }
    }
    let y_with_residual = residual.as_ref().map(|_| &y[..]);
    let mut backward = |dy: &mut Vec<Lanes>, dx: Option<&mut Vec<Lanes>>, wanted: bool| {
        let activations = BatchNormGradient { x: &x, dy, y_with_residual, dx: dx.map(|dx| &mut dx[..]) };
        let gradient = AffineGradient { gamma: &mut dgamma, beta: &mut dbeta };
        match &inputs.running {
            None => norm.backward(activations, &statistics, gradient, &mut workspace),
            Some(_) => {
                let gradient = wanted.then_some(gradient);
                norm.backward_frozen(activations, &statistics, gradient, &mut workspace);
            }
        }
    };
    // What is not asked for must not change the rest.
    let (mut dresidual, mut dx_alone) = (upstream.clone(), dx.clone());
    backward(&mut dresidual, Some(&mut dx_alone), false);
    backward(&mut dy, None, true);
    assert_eq!(dy, dresidual);
    dy.clone_from(&upstream);
    backward(&mut dy, Some(&mut dx), true);
    assert_eq!((&dy, &dx), (&dresidual, &dx_alone));
    assert!(residual.is_some() || dy == upstream, "without a residual dy stays");
    assert!(padding_lanes(&dx, batch).all(|value| value == 0.0));
    assert!(padding_lanes(&dy, batch).all(|value| value == 0.0));

    let [y, dx, dresidual] = [y, dx, dy].map(|values| unpacked(&values, batch, pixels, channels));
    let mean = statistics.channels().iter().map(|channel| channel.mean).collect();
    let variance = statistics.channels().iter().map(|channel| channel.variance).collect();
    Outputs { y, statistics: [mean, variance], dx, dgamma, dbeta, dresidual }
}

/// The same by the definition, in f64, for a slope of the activation that is known from the output. Beside it, the sums
/// of the absolute terms of dgamma and of dbeta.
fn expected(norm: &BatchNorm, inputs: &Inputs, y: &[f32]) -> (Outputs<f64>, [Vec<f64>; 2]) {
    let Inputs { x, gamma, beta, residual, dy, running } = inputs;
    let channels = norm.channels;
    let count = (x.len() / channels) as f64;
    let channel_sum = |values: &dyn Fn(usize) -> f64, channel: usize| {
        (channel..x.len()).step_by(channels).map(values).sum::<f64>()
    };
    let per_channel =
        |values: &dyn Fn(usize) -> f64| (0..channels).map(|c| channel_sum(values, c)).collect::<Vec<_>>();
    let value = |at: usize| f64::from(x[at]);
    let wide = |values: &Vec<f32>| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let [mean, variance] = match running {
        Some(running) => running.each_ref().map(wide),
        None => {
            let mean = per_channel(&|at| value(at) / count);
            let variance = per_channel(&|at| (value(at) - mean[at % channels]).powi(2) / count);
            [mean, variance]
        }
    };
    let inverse = |c: usize| (variance[c] + f64::from(norm.epsilon)).sqrt().recip();
    let normal = |at: usize| (value(at) - mean[at % channels]) * inverse(at % channels);
    let before_activation = |at: usize| {
        let c = at % channels;
        f64::from(gamma[c]) * normal(at)
            + f64::from(beta[c])
            + residual.as_ref().map_or(0.0, |r| f64::from(r[at]))
    };
    let rectified = |at: usize| match norm.activation {
        Activation::None => before_activation(at),
        Activation::Relu => before_activation(at).max(0.0),
        Activation::Relu6 => before_activation(at).clamp(0.0, 6.0),
    };
    let passes = |at: usize| match norm.activation {
        Activation::None => true,
        Activation::Relu => y[at] > 0.0,
        Activation::Relu6 => 0.0 < y[at] && y[at] < 6.0,
    };
    let behind = |at: usize| if passes(at) { f64::from(dy[at]) } else { 0.0 };
    let dgamma = per_channel(&|at| behind(at) * normal(at));
    let dbeta = per_channel(&|at| behind(at));
    let magnitudes =
        [per_channel(&|at| (behind(at) * normal(at)).abs()), per_channel(&|at| behind(at).abs())];
    let dx = |at: usize| {
        let c = at % channels;
        let through_statistics = (dbeta[c] + normal(at) * dgamma[c]) / count;
        let frozen = if running.is_some() { 0.0 } else { 1.0 };
        f64::from(gamma[c]) * inverse(c) * (behind(at) - frozen * through_statistics)
    };
    let all = 0..x.len();
    let outputs = Outputs {
        y: all.clone().map(rectified).collect(),
        dx: all.clone().map(dx).collect(),
        dresidual: all.map(|at| if residual.is_some() { behind(at) } else { f64::from(dy[at]) }).collect(),
        statistics: [mean, variance],
        dgamma,
        dbeta,
    };
    (outputs, magnitudes)
}

/// Checks sums to a share of the sum of their absolute terms (at least 1): terms of both signs may cancel almost wholly,
/// and what is left then has few digits.
fn assert_sums_close(actual: &[f32], expect: &[f64], magnitudes: &[f64], what: &str) {
    for ((actual, expect), magnitude) in actual.iter().zip(expect).zip(magnitudes) {
        let error = (f64::from(*actual) - expect).abs();
        assert!(error <= 1e-6 * magnitude.max(1.0), "{what}: {actual} instead of {expect} of {magnitude}");
    }
}

fn check(norm: impl Fn(Isa) -> BatchNorm + Sync, inputs: &Inputs) {
    let flat = |outputs: Outputs<f32>| {
        let Outputs { y, statistics: [mean, variance], dx, dgamma, dbeta, dresidual } = outputs;
        [y, mean, variance, dx, dgamma, dbeta, dresidual].map(|values| bits(&values))
    };
    let shared = everywhere(|isa| flat(computed(&norm(isa), inputs)));
    assert!(shared == on_this_thread(|| flat(computed(&norm(Isa::best()), inputs))), "one thread alone");
    let norm = norm(Isa::best());
    let actual = computed(&norm, inputs);
    let (expect, [dgamma, dbeta]) = expected(&norm, inputs, &actual.y);
    assert_close(&actual.y, &expect.y, 1e-5, "y");
    for (actual, expect) in actual.statistics.iter().zip(&expect.statistics) {
        assert_close(actual, expect, 1e-6, "statistics");
    }
    assert_close(&actual.dx, &expect.dx, 1e-5, "dx");
    assert_sums_close(&actual.dgamma, &expect.dgamma, &dgamma, "dgamma");
    assert_sums_close(&actual.dbeta, &expect.dbeta, &dbeta, "dbeta");
    assert_close(&actual.dresidual, &expect.dresidual, 0.0, "dresidual");
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)]
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn batch_norm_equals_its_definition(
        batch in 1usize..36, channels in 1usize..6, pixels in prop_oneof![1usize..9, 250usize..600],
        activation in activations(), residual: bool, frozen: bool, seed: u64,
    ) {
        let mut inputs = Inputs::noise(batch, channels, pixels, seed);
        // So wide that some values exceed 6.
        inputs.beta.iter_mut().for_each(|beta| *beta *= 8.0);
        if !residual {
            inputs.residual = None;
        }
        if !frozen {
            inputs.running = None;
        }
        check(|isa| BatchNorm { batch, channels, pixels, epsilon: 1e-2, activation, isa }, &inputs);
    }

    #[test]
    fn gradients_equal_finite_differences(batch in 1usize..18, pixels in 1usize..4, frozen: bool, seed: u64) {
        prop_assume!(batch * pixels > 2);
        let (channels, epsilon, activation) = (2, 1e-2, Activation::None);
        let mut inputs = Inputs::noise(batch, channels, pixels, seed);
        if !frozen {
            inputs.running = None;
        }
        let norm = BatchNorm { batch, channels, pixels, epsilon, activation, isa: Isa::best() };
        let actual = computed(&norm, &inputs);
        let loss = |inputs: &Inputs| {
            let (expect, _) = expected(&norm, inputs, &actual.y);
            expect.y.iter().zip(&inputs.dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
        };
        let mut differences = |vector: fn(&mut Inputs) -> &mut Vec<f32>, step: f32| {
            let start = vector(&mut inputs).clone();
            let differences = central_differences(&start, step, |moved| {
                vector(&mut inputs).copy_from_slice(moved);
                loss(&inputs)
            });
            *vector(&mut inputs) = start;
            differences
        };
        assert_close(&actual.dx, &differences(|inputs| &mut inputs.x, 1e-3), 1e-3, "dx");
        assert_close(&actual.dgamma, &differences(|inputs| &mut inputs.gamma, 0.5), 1e-5, "dgamma");
        assert_close(&actual.dbeta, &differences(|inputs| &mut inputs.beta, 0.5), 1e-5, "dbeta");
    }
}

#[test]
fn many_channels_equal_the_definition() {
    // Enough of them that each thread takes groups of channels for itself.
    let (batch, channels, pixels, activation) = (18, 33, 40, Activation::Relu);
    let mut inputs = Inputs::noise(batch, channels, pixels, 5);
    inputs.running = None;
    check(|isa| BatchNorm { batch, channels, pixels, epsilon: 1e-3, activation, isa }, &inputs);
}

#[test]
fn a_mean_far_from_zero_costs_no_digits_of_the_variance() {
    let (batch, channels, pixels, epsilon) = (20, 2, 700, 1e-3);
    // Multiples of 1/64 around 4096 are exact in f32, and so is their distance from it.
    let small: Vec<f32> =
        Noise::new(3).quarters(batch * channels * pixels).iter().map(|value| value / 16.0).collect();
    let norm = BatchNorm { batch, channels, pixels, epsilon, activation: Activation::None, isa: Isa::best() };
    let statistics = |shift: f32| {
        let x: Vec<f32> = small.iter().map(|value| value + shift).collect();
        let mut statistics = BatchStatistics::default();
        let mut y = vec![GARBAGE; blocks(batch) * channels * pixels];
        let affine = Affine { gamma: &[1.0; 2], beta: &[0.0; 2] };
        let x = packed(&x, batch, pixels, channels);
        norm.forward(&x, affine, None, &mut y, &mut statistics, &mut Workspace::new());
        statistics.channels().iter().map(|channel| channel.variance).collect::<Vec<_>>()
    };
    let expect: Vec<f64> = statistics(0.0).iter().map(|variance| f64::from(*variance) * 1e3).collect();
    let shifted: Vec<f32> = statistics(4096.0).iter().map(|variance| variance * 1e3).collect();
    assert_close(&shifted, &expect, 1e-4, "variance around 4096");
}

#[test]
fn running_statistics_move_by_the_rest_of_the_momentum() {
    let norm = BatchNorm {
        batch: 2,
        channels: 1,
        pixels: 1,
        epsilon: 0.0,
        activation: Activation::None,
        isa: Isa::best(),
    };
    let mut batch = BatchStatistics::default();
    let affine = Affine { gamma: &[1.0], beta: &[0.0] };
    let x = packed(&[0.0, 4.0], 2, 1, 1);
    norm.forward(&x, affine, None, &mut [GARBAGE], &mut batch, &mut Workspace::new());
    let (mut mean, mut variance) = ([0.0], [1.0]);
    batch.update_running(0.75, &mut mean, &mut variance);
    assert_eq!([mean, variance], [[0.5], [1.75]]);
}
