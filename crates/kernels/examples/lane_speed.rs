//! Speed of convolution in lane layout for the layers of VGG-16 on 28 × 28 images, of its pruned form and of
//! ResNet-50, by each algorithm, next to the peak of fused multiply-adds.
//!
//! `cargo run --release -p taper-kernels --example lane_speed -- [threads] [instruction set] [layer]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::time::{Duration, Instant};

use taper_kernels::cpu::{Isa, LANES, fma_peak};
use taper_kernels::lanes::{
    Activation, Algorithm, Conv2d, Conv2dGeometry, Lanes, Padding, WinogradTile, Workspace, on_this_thread,
};

/// Cheap numbers in -0.5..0.5.
fn noise(length: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed;
    (0..length).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    })
}

fn lanes(length: usize, seed: u32) -> Vec<Lanes> {
    let mut values = noise(length * LANES, seed);
    (0..length).map(|_| Lanes(std::array::from_fn(|_| values.next().unwrap()))).collect()
}

/// Names of the algorithms, in the order of their columns; `None` is the kernel's own choice.
const ALGORITHMS: [(&str, Option<Algorithm>); 5] = [
    ("direct", Some(Algorithm::Direct)),
    ("narrow", Some(Algorithm::WinogradNarrow)),
    ("F(2,3)", Some(Algorithm::Winograd(WinogradTile::Two))),
    ("F(4,3)", Some(Algorithm::Winograd(WinogradTile::Four))),
    ("chosen", None),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(2, |threads| threads.parse().unwrap());
    let filter = arguments.next().unwrap_or_default();
    let layers = arguments.next().unwrap_or_default();
    let isa = Isa::available().into_iter().find(|isa| isa.name().contains(&filter)).unwrap_or(Isa::best());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let peak = fma_peak(isa, Duration::from_millis(500)) / 1e9;
        println!("{} on {threads} threads, peak {peak:.0} GFLOP/s", isa.name());
        let names = ALGORITHMS.map(|(name, _)| format!("{name:>18}")).concat();
        println!("{:>12} {:>6} {names}   (ms forward, backward)", "layer", "batch");
        on_this_thread(|| table(isa, "pruned VGG-16", 16, &NARROW, &layers));
        table(isa, "VGG-16", 64, &LAYERS, &layers);
        table(isa, "VGG-16", 256, &LAYERS, &layers);
        table(isa, "ResNet-50", 16, &RESNET, &layers);
    });
}

/// Prints the times of the layers of a network whose names contain `filter`, and their sums.
fn table(isa: Isa, network: &str, batch: usize, layers: &[Layer], filter: &str) {
    let mut totals = [[0.0; 2]; ALGORITHMS.len()];
    for &(name, inputs, outputs, side, repeats) in layers.iter().filter(|layer| layer.0.contains(filter)) {
        let times = layer(isa, batch, inputs, outputs, side);
        let columns = times.map(|times| times.map(|time| format!("{:>8.3}", time * 1e3)).concat());
        println!("{name:>12} {batch:>6}   {}", columns.join("  "));
        for (total, time) in totals.as_flattened_mut().iter_mut().zip(times.as_flattened()) {
            *total += time * f64::from(repeats);
        }
    }
    for ((name, _), total) in ALGORITHMS.iter().zip(totals) {
        let [forward, backward] = total.map(|seconds| seconds * 1e3);
        let rate = batch as f64 / total.iter().sum::<f64>();
        println!(
            "{network} batch {batch}, {name}: forward {forward:.2} backward {backward:.2} ms, {rate:.0} images/s"
        );
    }
}

/// Name, input and output channels, side of the map, how many of them the network has.
type Layer = (&'static str, usize, usize, usize, u32);

/// VGG-16 on 28 × 28 images, and other shapes.
const LAYERS: [Layer; 23] = [
    ("1-64 @28", 1, 64, 28, 1),
    ("64-64 @28", 64, 64, 28, 1),
    ("64-128 @14", 64, 128, 14, 1),
    ("128-128 @14", 128, 128, 14, 1),
    ("128-256 @7", 128, 256, 7, 1),
    ("256-256 @7", 256, 256, 7, 2),
    ("256-512 @4", 256, 512, 4, 1),
    ("512-512 @4", 512, 512, 4, 2),
    ("512-512 @2", 512, 512, 2, 3),
    ("1-5 @28", 1, 5, 28, 0),
    ("5-5 @28", 5, 5, 28, 0),
    ("16-16 @28", 16, 16, 28, 0),
    ("24-24 @28", 24, 24, 28, 0),
    ("32-32 @28", 32, 32, 28, 0),
    ("32-32 @14", 32, 32, 14, 0),
    ("32-32 @7", 32, 32, 7, 0),
    ("64-64 @4", 64, 64, 4, 0),
    ("5-7 @14", 5, 7, 14, 0),
    ("13-13 @14", 13, 13, 14, 0),
    ("10-10 @7", 10, 10, 7, 0),
    ("5-5 @4", 5, 5, 4, 0),
    ("16-16 @4", 16, 16, 4, 0),
    ("5-5 @2", 5, 5, 2, 0),
];

/// The same for the 3 × 3 convolutions of ResNet-50 on 128 × 128 images.
const RESNET: [Layer; 4] = [
    ("64-64 @32", 64, 64, 32, 3),
    ("128-128 @16", 128, 128, 16, 4),
    ("256-256 @8", 256, 256, 8, 6),
    ("512-512 @4", 512, 512, 4, 3),
];

/// The pruned form of VGG-16, in which blocks of 16 images pass all layers on one thread.
const NARROW: [Layer; 13] = [
    ("1-7 @28", 1, 7, 28, 1),
    ("7-9 @28", 7, 9, 28, 1),
    ("9-12 @14", 9, 12, 14, 1),
    ("12-11 @14", 12, 11, 14, 1),
    ("11-16 @7", 11, 16, 7, 1),
    ("16-13 @7", 16, 13, 7, 1),
    ("13-10 @7", 13, 10, 7, 1),
    ("10-14 @4", 10, 14, 4, 1),
    ("14-9 @4", 14, 9, 4, 1),
    ("9-8 @4", 9, 8, 4, 1),
    ("8-6 @2", 8, 6, 2, 1),
    ("6-5 @2", 6, 5, 2, 1),
    ("5-12 @2", 5, 12, 2, 1),
];

/// Times of forward and backward by each algorithm, in seconds: the least of several calls, one of each in turn.
fn layer(isa: Isa, batch: usize, inputs: usize, outputs: usize, side: usize) -> [[f64; 2]; ALGORITHMS.len()] {
    let geometry = Conv2dGeometry {
        batch,
        in_channels: inputs,
        in_height: side,
        in_width: side,
        out_channels: outputs,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding { top: 1, bottom: 1, left: 1, right: 1 },
        groups: 1,
    };
    let convolutions = ALGORITHMS.map(|(_, algorithm)| match algorithm {
        Some(algorithm) => Conv2d::with_algorithm(geometry, isa, algorithm),
        None => Conv2d::new(geometry, isa),
    });
    let (x, mut dx) = (lanes(geometry.input_len(), 1), lanes(geometry.input_len(), 2));
    let (mut y, dy) = (lanes(geometry.output_len(), 3), lanes(geometry.output_len(), 4));
    let weights: Vec<f32> = noise(geometry.weights_len(), 5).collect();
    let bias: Vec<f32> = noise(outputs, 6).collect();
    let mut dw = weights.clone();
    let mut workspace = Workspace::new();
    let mut least = [[f64::MAX; 2]; ALGORITHMS.len()];
    let begin = Instant::now();
    let mut calls = 0;
    while calls < 3 || (calls < 2000 && begin.elapsed().as_secs_f64() < 1.0) {
        for (convolution, least) in convolutions.iter().zip(&mut least) {
            let [forward, backward] = least;
            time(forward, || {
                convolution.forward(&x, &weights, Some(&bias), Activation::Relu, &mut y, &mut workspace)
            });
            time(backward, || {
                convolution.backward(&x, &dy, &weights, &mut dw, &mut dx, &mut workspace);
            });
        }
        calls += 1;
    }
    least
}

/// Lowers `least` to the time that `f` takes, in seconds.
fn time(least: &mut f64, f: impl FnOnce()) {
    let start = Instant::now();
    f();
    *least = least.min(start.elapsed().as_secs_f64());
}
