//! Layers other than convolution and batch normalisation in lane layout, losses and optimizers, on every instruction set.

use crate::support::{
    GARBAGE, Noise, assert_close, bits, cases, dot, everywhere, lane_bits, packed, padding_lanes, unpacked,
};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Activation, Adam, AveragePool2d, Lanes, MaxPool2d, Padding, PoolGeometry, Sgd, activation_backward,
    activation_forward, count_zeros, sum_of_squares,
};

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

proptest! {
    #![proptest_config(cases(24))]

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
    fn packing_and_unpacking_gives_the_same(batch in 1usize..40, pixels in 1usize..90, channels in 1usize..5) {
        let x = Noise::new(1).reals(batch * pixels * channels);
        let lanes = packed(&x, batch, pixels, channels);
        prop_assert!(padding_lanes(&lanes, batch).all(|value| value == 0.0));
        for (at, value) in x.iter().enumerate() {
            let (image, pixel, channel) = (at / (pixels * channels), at / channels % pixels, at % channels);
            let place = (image / LANES * channels + channel) * pixels + pixel;
            prop_assert_eq!(lanes[place].0[image % LANES], *value);
        }
        prop_assert_eq!(unpacked(&lanes, batch, pixels, channels), x);
    }

    #[test]
    fn optimizers_follow_their_formulas(length in 1usize..70, seed: u64) {
        let mut noise = Noise::new(seed);
        let [start, first, second] = [(); 3].map(|()| noise.reals(length));
        let adam = Adam { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-3, weight_decay: 0.2, gradient_scale: 0.5 };
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.2, gradient_scale: 0.5 };
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
                let g = 0.5 * f64::from(gradient);
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
    let padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    let overlapping = PoolGeometry { in_height: 16, in_width: 16, window: [3, 3], padding, ..odd };
    check_pooling(&overlapping, 3);
}

#[test]
fn a_sum_of_squares_is_exact_where_f64_is() {
    // From nothing over a part of a vector to several tasks.
    for length in [0, 1, 31, 33, 16 << 10, (16 << 10) + 1, 100_000] {
        let values = Noise::new(length as u64).quarters(length);
        let expect: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        assert_eq!(everywhere(|isa| sum_of_squares(isa, &values)), expect, "{length} values");
    }
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
