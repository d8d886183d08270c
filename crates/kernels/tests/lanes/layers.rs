//! Layers other than convolution in lane layout, losses and optimizers, on every instruction set.

use crate::support::{
    GARBAGE, Noise, assert_close, bits, central_differences, dot, everywhere, lane_bits, packed,
    padding_lanes, unpacked,
};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Activation, Adam, AveragePool2d, BatchNorm, BatchStatistics, Lanes, MaxPool2d, Padding, PoolGeometry,
    Sgd, Workspace, activation_backward, activation_forward, blocks, count_zeros, softmax,
    softmax_cross_entropy,
};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn rectifiers_pass_what_they_should() {
    let x = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 0.5, 6.0, 7.0, f32::INFINITY];
    let check = |activation, expect: [f32; 8], slope: [f32; 8]| {
        let input: Vec<Lanes> = x.iter().map(|&x| Lanes([x; LANES])).collect();
        for isa in Isa::available() {
            let mut y = vec![GARBAGE; x.len()];
            activation_forward(isa, activation, &input, &mut y);
            assert_eq!(y.iter().map(|y| y.0[3]).collect::<Vec<_>>(), expect);
            let mut gradient = vec![Lanes([1.0; LANES]); x.len()];
            activation_backward(isa, activation, &y, &mut gradient);
            assert_eq!(gradient.iter().map(|dy| dy.0[3]).collect::<Vec<_>>(), slope);
            let nan = [GARBAGE];
            activation_forward(isa, activation, &nan, &mut y[..1]);
            assert!(y[0].0[0].is_nan());
        }
    };
    check(Activation::None, x, [1.0; 8]);
    check(
        Activation::Relu,
        [0.0, 0.0, 0.0, 0.0, 0.5, 6.0, 7.0, f32::INFINITY],
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
    );
    check(
        Activation::Relu6,
        [0.0, 0.0, 0.0, 0.0, 0.5, 6.0, 6.0, 6.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    );
}

/// A batch normalisation's results in plain layout: y, dx, dgamma, dbeta, mean, variance.
fn batch_norm(norm: &BatchNorm, x: &[f32], gamma: &[f32], beta: &[f32], dy: &[f32]) -> [Vec<f32>; 6] {
    let BatchNorm { batch, channels, pixels, .. } = *norm;
    let mut x = packed(x, batch, pixels, channels);
    // Padding lanes hold whatever earlier layers computed there.
    let first = (batch - 1) % LANES + 1;
    for value in x.iter_mut().skip((blocks(batch) - 1) * channels * pixels) {
        value.0[first..].fill(7.5);
    }
    let dy = packed(dy, batch, pixels, channels);
    let (mut y, mut dx) = (vec![GARBAGE; x.len()], vec![GARBAGE; x.len()]);
    let (mut dgamma, mut dbeta) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
    let (mut statistics, mut workspace) = (BatchStatistics::default(), Workspace::new());
    norm.forward(&x, gamma, beta, &mut y, &mut statistics, &mut workspace);
    norm.backward(&x, &dy, gamma, &statistics, &mut dx, &mut dgamma, &mut dbeta, &mut workspace);
    assert!(padding_lanes(&dx, batch).all(|value| value == 0.0));

    let mut again = vec![GARBAGE; x.len()];
    norm.inference(&x, gamma, beta, &statistics.mean, &statistics.variance, &mut again);
    let [y, dx, again] = [y, dx, again].map(|values| unpacked(&values, batch, pixels, channels));
    let expect: Vec<f64> = y.iter().map(|&y| f64::from(y)).collect();
    assert_close(&again, &expect, 1e-5, "inference with the batch's statistics");
    [y, dx, dgamma, dbeta, statistics.mean, statistics.variance]
}

/// `y`, mean and variance by the definition, in f64.
fn batch_norm_reference(norm: &BatchNorm, x: &[f32], gamma: &[f32], beta: &[f32]) -> [Vec<f64>; 3] {
    let channels = norm.channels;
    let of_channel = |channel: usize| x.iter().skip(channel).step_by(channels).map(|&x| f64::from(x));
    let count = (x.len() / channels) as f64;
    let mean: Vec<f64> = (0..channels).map(|c| of_channel(c).sum::<f64>() / count).collect();
    let variance: Vec<f64> =
        (0..channels).map(|c| of_channel(c).map(|x| (x - mean[c]).powi(2)).sum::<f64>() / count).collect();
    let y = x.iter().enumerate().map(|(at, &x)| {
        let c = at % channels;
        let normal = (f64::from(x) - mean[c]) / (variance[c] + f64::from(norm.epsilon)).sqrt();
        f64::from(gamma[c]) * normal + f64::from(beta[c])
    });
    [y.collect(), mean, variance]
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn batch_norm_equals_its_definition(batch in 1usize..36, channels in 1usize..5, pixels in 1usize..7, seed: u64) {
        prop_assume!(batch * pixels > 2);
        let mut noise = Noise::new(seed);
        let x = noise.reals(batch * pixels * channels);
        let dy = noise.reals(x.len());
        let (gamma, beta) = (noise.reals(channels), noise.reals(channels));
        let norm = |isa| BatchNorm { batch, channels, pixels, epsilon: 1e-2, isa };
        everywhere(|isa| batch_norm(&norm(isa), &x, &gamma, &beta, &dy).map(|values| bits(&values)));
        let norm = norm(Isa::best());
        let [y, dx, dgamma, dbeta, mean, variance] = batch_norm(&norm, &x, &gamma, &beta, &dy);
        let reference = |x: &[f32], gamma: &[f32], beta: &[f32]| batch_norm_reference(&norm, x, gamma, beta);
        let [expect, expect_mean, expect_variance] = reference(&x, &gamma, &beta);
        assert_close(&y, &expect, 1e-5, "y");
        assert_close(&mean, &expect_mean, 1e-6, "mean");
        assert_close(&variance, &expect_variance, 1e-6, "variance");
        let loss = |x: &[f32], gamma: &[f32], beta: &[f32]| {
            reference(x, gamma, beta)[0].iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
        };
        assert_close(&dx, &central_differences(&x, 1e-3, |x| loss(x, &gamma, &beta)), 1e-3, "dx");
        assert_close(&dgamma, &central_differences(&gamma, 0.5, |gamma| loss(&x, gamma, &beta)), 1e-5, "dgamma");
        assert_close(&dbeta, &central_differences(&beta, 0.5, |beta| loss(&x, &gamma, beta)), 1e-5, "dbeta");
    }

    #[test]
    fn pooling_equals_plain_loops(
        (batch, channels) in (1usize..20, 1usize..4), input in [1usize..9, 1usize..9],
        window in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4],
        hang in [0usize..3, 0usize..3, 0usize..3, 0usize..3], seed: u64,
    ) {
        let [in_height, in_width] = input;
        let [top, bottom] = [hang[0], hang[1]].map(|hang| hang % window[0]);
        let [left, right] = [hang[2], hang[3]].map(|hang| hang % window[1]);
        let padding = Padding { top, bottom, left, right };
        check_pooling(&PoolGeometry { batch, channels, in_height, in_width, window, stride, padding }, seed);
    }

    #[test]
    fn cross_entropy_equals_its_definition(batch in 1usize..36, classes in 1usize..12, seed: u64) {
        let mut noise = Noise::new(seed);
        let logits: Vec<f32> = noise.reals(batch * classes).iter().map(|value| value * 8.0).collect();
        let labels = noise.labels(batch, classes);
        let input = packed(&logits, batch, 1, classes);
        let mut gradient = vec![GARBAGE; input.len()];
        let summary = softmax_cross_entropy(&input, &labels, classes, Some(&mut gradient));
        assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0));

        let loss = |logits: &[f32]| {
            let losses = logits.chunks_exact(classes).zip(&labels).map(|(logits, &label)| {
                let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
                sum.ln() - f64::from(logits[label as usize])
            });
            losses.sum::<f64>() / batch as f64
        };
        prop_assert!((summary.loss - loss(&logits)).abs() < 1e-5);
        let differences = central_differences(&logits, 1e-2, loss);
        assert_close(&unpacked(&gradient, batch, 1, classes), &differences, 1e-4, "gradient");
        let right = logits.chunks_exact(classes).zip(&labels).filter(|(logits, label)| {
            logits.iter().all(|&logit| logit <= logits[**label as usize])
        });
        prop_assert_eq!(summary.correct, right.count());

        let mut probabilities = vec![GARBAGE; input.len()];
        softmax(&input, classes, &mut probabilities);
        let expect: Vec<f64> = logits.chunks_exact(classes).flat_map(|logits| {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            logits.iter().map(move |&logit| f64::from(logit).exp() / sum)
        }).collect();
        assert_close(&unpacked(&probabilities, batch, 1, classes), &expect, 1e-6, "softmax");
    }

    #[test]
    fn zeros_are_counted_per_channel(batch in 1usize..40, channels in 1usize..5, pixels in 1usize..9, seed: u64) {
        let mut y = Noise::new(seed).quarters(batch * pixels * channels);
        for value in y.iter_mut().filter(|value| value.abs() < 1.0) {
            *value *= 0.0;
        }
        let mut expect = vec![0; channels];
        for (at, value) in y.iter().enumerate() {
            expect[at % channels] += u64::from(*value == 0.0);
        }
        let packed = packed(&y, batch, pixels, channels);
        prop_assert_eq!(everywhere(|isa| count_zeros(isa, &packed, batch, channels, pixels)), expect);
    }

    #[test]
    fn packing_and_unpacking_gives_the_same(batch in 1usize..40, pixels in 1usize..9, channels in 1usize..5) {
        let x = Noise::new(1).reals(batch * pixels * channels);
        let lanes = packed(&x, batch, pixels, channels);
        prop_assert!(padding_lanes(&lanes, batch).all(|value| value == 0.0));
        prop_assert_eq!(unpacked(&lanes, batch, pixels, channels), x);
    }

    #[test]
    fn optimizers_follow_their_formulas(length in 1usize..70, seed: u64) {
        let mut noise = Noise::new(seed);
        let [start, first, second] = [(); 3].map(|()| noise.reals(length));
        let adam = Adam { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-3, weight_decay: 0.2 };
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.2 };
        let taken = everywhere(|isa| {
            let mut states = [start.clone(), vec![0.0; length], vec![0.0; length], start.clone(), vec![0.0; length]];
            let [by_adam, mean, square, by_sgd, velocity] = &mut states;
            for (step, gradient) in [(1, &first), (2, &second)] {
                adam.step(isa, step, by_adam, gradient, mean, square);
                sgd.step(isa, by_sgd, gradient, velocity);
            }
            [bits(&states[0]), bits(&states[3])]
        });
        let [by_adam, by_sgd] = taken.map(|bits| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>());
        let (mut expect_adam, mut expect_sgd) = (Vec::new(), Vec::new());
        for at in 0..length {
            let (mut w, mut m, mut v) = (f64::from(start[at]), 0.0, 0.0);
            let (mut u, mut velocity) = (w, 0.0);
            for (step, gradient) in [(1, first[at]), (2, second[at])] {
                let g = f64::from(gradient);
                m = 0.9 * m + 0.1 * g;
                v = 0.99 * v + 0.01 * g * g;
                let (mean, square) = (m / (1.0 - 0.9f64.powi(step)), v / (1.0 - 0.99f64.powi(step)));
                w -= 0.1 * (mean / (square.sqrt() + 1e-3) + 0.2 * w);
                velocity = 0.9 * velocity + g + 0.2 * u;
                u -= 0.1 * velocity;
            }
            expect_adam.push(w);
            expect_sgd.push(u);
        }
        assert_close(&by_adam, &expect_adam, 1e-5, "Adam");
        assert_close(&by_sgd, &expect_sgd, 1e-6, "SGD");
    }
}

/// Windows of a pooling in plain layout: for each output, the input pixels that it covers, in order.
fn windows(g: &PoolGeometry) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for (oy, ox) in (0..g.out_height()).flat_map(|oy| (0..g.out_width()).map(move |ox| (oy, ox))) {
        let mut window = Vec::new();
        for (ky, kx) in (0..g.window[0]).flat_map(|ky| (0..g.window[1]).map(move |kx| (ky, kx))) {
            let iy = (oy * g.stride[0] + ky).wrapping_sub(g.padding.top);
            let ix = (ox * g.stride[1] + kx).wrapping_sub(g.padding.left);
            if iy < g.in_height && ix < g.in_width {
                window.push(iy * g.in_width + ix);
            }
        }
        all.push(window);
    }
    all
}

fn check_pooling(g: &PoolGeometry, seed: u64) {
    let (batch, channels) = (g.batch, g.channels);
    let (in_pixels, out_pixels) = (g.in_height * g.in_width, g.out_height() * g.out_width());
    let mut noise = Noise::new(seed);
    let x = noise.quarters(batch * in_pixels * channels);
    let dy = noise.quarters(batch * out_pixels * channels);
    let mut expect = [vec![0.0f32; dy.len()], vec![0.0; x.len()], vec![0.0; dy.len()], vec![0.0; x.len()]];
    let [max, max_dx, average, average_dx] = &mut expect;
    for (n, c) in (0..batch).flat_map(|n| (0..channels).map(move |c| (n, c))) {
        for (output, window) in windows(g).iter().enumerate() {
            let at = |pixel: &usize| (n * in_pixels + pixel) * channels + c;
            let to = (n * out_pixels + output) * channels + c;
            let share = 1.0 / window.len() as f32;
            let mut first = at(&window[0]);
            for from in window.iter().map(at) {
                if x[from] > x[first] {
                    first = from;
                }
                average[to] += x[from];
                average_dx[from] += dy[to] * share;
            }
            average[to] *= share;
            max[to] = x[first];
            max_dx[first] += dy[to];
        }
    }
    let (x, dy) = (packed(&x, batch, in_pixels, channels), packed(&dy, batch, out_pixels, channels));
    let actual = everywhere(|isa| {
        let [mut y, mut average] = [(); 2].map(|()| vec![GARBAGE; dy.len()]);
        let [mut dx, mut average_dx] = [(); 2].map(|()| vec![GARBAGE; x.len()]);
        let pool = MaxPool2d::new(*g, isa);
        pool.forward(&x, &mut y);
        pool.backward(&x, &y, &dy, &mut dx);
        let pool = AveragePool2d::new(*g, isa);
        pool.forward(&x, &mut average);
        pool.backward(&dy, &mut average_dx);
        [y, dx, average, average_dx].map(|values| lane_bits(&values))
    });
    let shapes =
        [("max", out_pixels), ("max dx", in_pixels), ("average", out_pixels), ("average dx", in_pixels)];
    for ((actual, expect), (what, pixels)) in actual.into_iter().zip(expect).zip(shapes) {
        let (lanes, _) = actual.as_chunks::<LANES>();
        let lanes: Vec<Lanes> = lanes.iter().map(|bits| Lanes(bits.map(f32::from_bits))).collect();
        assert_eq!(unpacked(&lanes, batch, pixels, channels), expect, "{what} of {g:?}");
    }
}

#[test]
fn pooling_of_networks_equals_plain_loops() {
    let odd = PoolGeometry {
        batch: 17,
        channels: 3,
        in_height: 7,
        in_width: 7,
        window: [2, 2],
        stride: [2, 2],
        padding: Padding { bottom: 1, right: 1, ..Padding::default() },
    };
    assert_eq!([odd.out_height(), odd.out_width()], [4, 4]);
    check_pooling(&odd, 1);
    check_pooling(&PoolGeometry::global(9, 2, 5, 3), 2);
}

#[test]
fn running_statistics_move_by_the_rest_of_the_momentum() {
    let batch = BatchStatistics { mean: vec![2.0], variance: vec![4.0], inverse_deviation: vec![0.5] };
    let (mut mean, mut variance) = ([0.0], [1.0]);
    batch.update_running(0.75, &mut mean, &mut variance);
    assert_eq!([mean, variance], [[0.5], [1.75]]);
}

#[test]
fn the_dot_product_of_a_gradient_is_that_of_its_pooling() {
    // Average pooling is linear, so its gradient is its adjoint: <dy, A x> = <Aᵀ dy, x>.
    let g = PoolGeometry { window: [3, 2], stride: [2, 1], ..PoolGeometry::global(5, 2, 7, 6) };
    let mut noise = Noise::new(9);
    let (x, dy) = (noise.reals(5 * 42 * 2), noise.reals(5 * g.out_height() * g.out_width() * 2));
    let pool = AveragePool2d::new(g, Isa::best());
    let (mut y, mut dx) = (vec![GARBAGE; g.output_len()], vec![GARBAGE; g.input_len()]);
    let pixels = g.out_height() * g.out_width();
    pool.forward(&packed(&x, 5, 42, 2), &mut y);
    pool.backward(&packed(&dy, 5, pixels, 2), &mut dx);
    let difference = dot(&unpacked(&y, 5, pixels, 2), &dy) - dot(&unpacked(&dx, 5, 42, 2), &x);
    assert!(difference.abs() < 1e-4, "{difference}");
}
