//! Pooling: max, average and global.

use crate::oracle::{Function, Oracle, Results};
use crate::support::{Array, any_batch, cases, garbage, unpacked};
use burn_tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn_tensor::{Tensor, module};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{AveragePool2d, MaxPool2d, Padding, PoolGeometry};
use taper_testing::Random;

/// Checks the maximum and the mean of windows against functions in burn.
fn check(g: &PoolGeometry, max: Function<'_, 1>, average: Function<'_, 1>, seed: u64) {
    let mut random = Random::new(seed);
    // No two values of a window are equal, so that every maximum has one place.
    let x = Array::distinct([g.batch, g.channels, g.in_height, g.in_width], &mut random);
    let dy = Array::noise([g.batch, g.channels, g.out_height(), g.out_width()], &mut random);
    let (x_lanes, dy_lanes) = (x.lanes(), dy.lanes());
    let (mut y, mut dx) = (garbage(dy_lanes.len()), garbage(x_lanes.len()));

    let pool = MaxPool2d::new(*g, Isa::best());
    pool.forward(&x_lanes, &mut y);
    pool.backward(&x_lanes, &y, &dy_lanes, &mut dx);
    let actual = Results { y: unpacked(dy.shape, &y), gradients: [unpacked(x.shape, &dx)] };
    Oracle::new([&x], &dy, max, max).check(&pool, &actual);

    let pool = AveragePool2d::new(*g, Isa::best());
    pool.forward(&x_lanes, &mut y);
    pool.backward(&dy_lanes, &mut dx);
    let actual = Results { y: unpacked(dy.shape, &y), gradients: [unpacked(x.shape, &dx)] };
    Oracle::new([&x], &dy, average, average).check(&pool, &actual);
}

/// Padding of one axis that is less than the window on both sides.
fn hang(padding: [usize; 2], window: usize) -> (usize, usize) {
    (padding[0] % window, padding[1] % window)
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_pooling_agrees(
        (batch, channels) in (any_batch(), 1usize..4), input in [1usize..10, 1usize..10],
        window in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4],
        padding in [[0usize..4, 0usize..4], [0usize..4, 0usize..4]], seed: u64,
    ) {
        let pairs = [0, 1].map(|axis| hang(padding[axis], window[axis]));
        let [(top, bottom), (left, right)] = pairs;
        let g = PoolGeometry {
            batch,
            channels,
            in_height: input[0],
            in_width: input[1],
            window,
            stride,
            padding: Padding { top, bottom, left, right },
        };
        prop_assume!(g.out_height() > 0 && g.out_width() > 0);
        let max = MaxPoolOptions::new(window).with_stride(stride).with_padding_pairs(pairs);
        let average = AvgPoolOptions::new(window).with_stride(stride).with_padding_pairs(pairs);
        let average = average.with_count_include_pad(false);
        check(
            &g,
            &|[x]| module::max_pool2d(x, max.clone()),
            &|[x]| module::avg_pool2d(x, average.clone()),
            seed,
        );
    }

    #[test]
    fn any_pooling_that_rounds_up_agrees(
        (batch, channels) in (any_batch(), 1usize..4), input in [1usize..10, 1usize..10], window in 2usize..5,
        stride in 2usize..4, before in 0usize..3, seed: u64,
    ) {
        prop_assume!(2 * before <= window && input.iter().all(|side| side + 2 * before >= window));
        // Rows and columns that the last window lacks, as a window must begin within the input.
        let [bottom, right] = input.map(|side| {
            let mut windows = (side + 2 * before - window).div_ceil(stride);
            if windows * stride >= side + before {
                windows -= 1;
            }
            (windows * stride + window).saturating_sub(side + before)
        });
        prop_assume!(bottom < window && right < window);
        let padding = Padding { top: before, left: before, bottom, right };
        let [in_height, in_width] = input;
        let (window, stride) = ([window; 2], [stride; 2]);
        let g = PoolGeometry { batch, channels, in_height, in_width, window, stride, padding };
        let max = MaxPoolOptions::new(window).with_stride(stride).with_padding([before; 2]).with_ceil_mode(true);
        let average = AvgPoolOptions::new(window).with_stride(stride).with_padding([before; 2]);
        let average = average.with_count_include_pad(false).with_ceil_mode(true);
        check(
            &g,
            &|[x]| module::max_pool2d(x, max.clone()),
            &|[x]| module::avg_pool2d(x, average.clone()),
            seed,
        );
    }

    #[test]
    fn any_global_pooling_agrees(
        batch in any_batch(), channels in 1usize..5, sides in [1usize..10, 1usize..10], seed: u64,
    ) {
        let g = PoolGeometry::global(batch, channels, sides[0], sides[1]);
        let max = |[x]: [Tensor<4>; 1]| x.max_dim(3).max_dim(2);
        check(&g, &max, &|[x]| module::adaptive_avg_pool2d(x, [1, 1]), seed);
    }
}
