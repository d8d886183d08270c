//! Speed of the memory-bound training kernels in GB/s, next to that of a plain copy on the same threads: bytes that a
//! kernel must read and write at least once, over the least of its times.
//!
//! `cargo run --release -p taper-kernels --example memory_speed -- [threads]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Activation, Adam, Affine, AffineGradient, AveragePool2d, BatchNorm, BatchNormGradient, BatchStatistics,
    Lanes, MaxPool2d, Padding, PoolGeometry, Running, Sgd, Workspace, count_zeros, pack, sum_of_squares,
};

/// One block of images.
const BATCH: usize = LANES;

/// Channels and side of the maps: two that lie in memory, one in a core's cache.
const MAPS: [(usize, usize); 3] = [(64, 64), (256, 32), (8, 28)];

/// Cheap numbers in -0.5..0.5.
fn noise(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..length).map(|_| next()).collect()
}

fn lanes(length: usize, seed: u32) -> Vec<Lanes> {
    noise(length * LANES, seed).as_chunks::<LANES>().0.iter().map(|values| Lanes(*values)).collect()
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Buffers for kernels on one tensor's shape, and the copy that each is measured against.
struct Bench {
    from: Vec<Lanes>,
    to: Vec<Lanes>,
}

impl Bench {
    /// Runs the kernel and a copy in turns, and prints the kernel's rate and its share of the copy's; `tensors` is how
    /// many tensors of the shape it reads and writes.
    fn report(&mut self, name: &str, tensors: f64, mut kernel: impl FnMut()) {
        let bytes = size_of_val(&self.from[..]) as f64;
        let (mut least, mut least_copy) = (f64::MAX, f64::MAX);
        let start = Instant::now();
        let mut calls = 0;
        while calls < 3 || (calls < 2000 && start.elapsed().as_secs_f64() < 0.5) {
            least = least.min(seconds(&mut kernel));
            least_copy = least_copy.min(seconds(|| {
                let tasks = self.to.par_chunks_mut(2048).zip(self.from.par_chunks(2048));
                tasks.for_each(|(to, from)| to.copy_from_slice(from));
            }));
            calls += 1;
        }
        let rate = tensors * bytes / least / 1e9;
        let share = rate / (2.0 * bytes / least_copy / 1e9) * 100.0;
        println!("{name:>32} {:>10.1} {rate:>8.1} {share:>8.0}", least * 1e6);
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |threads| threads.parse().unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        for (channels, side) in MAPS {
            let length = channels * side * side;
            let kilobytes = length * size_of::<Lanes>() / 1024;
            println!("{channels} channels of {side} × {side}: {kilobytes} KiB, {threads} threads");
            println!("{:>32} {:>10} {:>8} {:>8}", "", "µs", "GB/s", "% copy");
            let mut bench = Bench { from: lanes(length, 1), to: lanes(length, 2) };
            batch_norm(&mut bench, channels, side * side);
            pooling(&mut bench, channels, side);
            others(&mut bench, channels, side * side);
            optimizers(&mut bench, length * LANES);
        }
    });
}

fn batch_norm(bench: &mut Bench, channels: usize, pixels: usize) {
    let norm = BatchNorm {
        batch: BATCH,
        channels,
        pixels,
        epsilon: 1e-3,
        activation: Activation::Relu,
        isa: Isa::best(),
    };
    let length = channels * pixels;
    let [x, residual] = [3, 4].map(|seed| lanes(length, seed));
    let [mut y, mut dy, mut dx] = [5, 6, 7].map(|seed| lanes(length, seed));
    let [gamma, beta, mean] = [8, 9, 10].map(|seed| noise(channels, seed));
    let variance = vec![1.0; channels];
    let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![0.0; channels]);
    let affine = Affine { gamma: &gamma, beta: &beta };
    let running = Running { mean: &mean, variance: &variance };
    let (mut statistics, mut workspace) = (BatchStatistics::default(), Workspace::new());
    bench.report("norm + relu, frozen", 2.0, || {
        norm.forward_frozen(&x, affine, running, None, &mut y, &mut statistics);
    });
    bench.report("norm + relu", 2.0, || {
        norm.forward(&x, affine, None, &mut y, &mut statistics, &mut workspace);
    });
    bench.report("norm + residual + relu", 3.0, || {
        norm.forward(&x, affine, Some(&residual), &mut y, &mut statistics, &mut workspace);
    });
    let mut backward = |y_with_residual: Option<&[Lanes]>, dx: Option<&mut [Lanes]>| {
        let gradient = AffineGradient { gamma: &mut dgamma, beta: &mut dbeta };
        let activations = BatchNormGradient { x: &x, dy: &mut dy, y_with_residual, dx };
        norm.backward(activations, &statistics, gradient, &mut workspace);
    };
    bench.report("norm + relu backward", 3.0, || backward(None, Some(&mut dx)));
    bench.report("norm + relu backward, no dx", 2.0, || backward(None, None));
    bench.report("norm + residual + relu backward", 5.0, || backward(Some(&y), Some(&mut dx)));
}

fn pooling(bench: &mut Bench, channels: usize, side: usize) {
    let same = Padding { top: 1, bottom: 1, left: 1, right: 1 };
    let global = PoolGeometry::global(BATCH, channels, side, side);
    let halved = PoolGeometry { window: [2, 2], stride: [2, 2], ..global };
    let overlapping = PoolGeometry { window: [3, 3], stride: [2, 2], padding: same, ..global };
    for (name, geometry) in [("2 × 2", halved), ("3 × 3", overlapping), ("global", global)] {
        let x = lanes(geometry.input_len(), 11);
        let mut dx = x.clone();
        let mut y = lanes(geometry.output_len(), 12);
        let dy = y.clone();
        let tensors = 1.0 + y.len() as f64 / x.len() as f64;
        let max = MaxPool2d::new(geometry, Isa::best());
        let average = AveragePool2d::new(geometry, Isa::best());
        bench.report(&format!("average {name}"), tensors, || average.forward(&x, &mut y));
        bench.report(&format!("average {name} backward"), tensors, || average.backward(&dy, &mut dx));
        bench.report(&format!("max {name}"), tensors, || max.forward(&x, &mut y));
        let backward = || max.backward(&x, &y, &dy, &mut dx);
        bench.report(&format!("max {name} backward"), 2.0 * tensors, backward);
    }
}

fn others(bench: &mut Bench, channels: usize, pixels: usize) {
    let length = channels * pixels;
    let image = noise(length * BATCH, 13);
    let mut packed = lanes(length, 14);
    bench.report("pack", 2.0, || pack(&image, BATCH, pixels, channels, &mut packed));
    // An image of one channel with as many values.
    bench.report("pack one channel", 2.0, || pack(&image, BATCH, length, 1, &mut packed));
    bench.report("count zeros", 1.0, || {
        black_box(count_zeros(Isa::best(), &packed, BATCH, channels, pixels));
    });
}

fn optimizers(bench: &mut Bench, length: usize) {
    let (isa, gradient) = (Isa::best(), noise(length, 15));
    let mut weights = noise(length, 16);
    let [mut mean, mut square] = [(); 2].map(|()| vec![0.0; length]);
    let (learning_rate, weight_decay, gradient_scale) = (1e-3, 0.0, 0.5);
    let adam = Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, gradient_scale };
    let sgd = Sgd { learning_rate, momentum: 0.9, weight_decay, gradient_scale };
    bench.report("Adam", 7.0, || adam.step(isa, 3, &mut weights, &gradient, &mut mean, &mut square));
    bench.report("SGD", 5.0, || sgd.step(isa, &mut weights, &gradient, &mut mean));
    bench.report("sum of squares", 1.0, || {
        black_box(sum_of_squares(isa, &gradient));
    });
}
