//! Speed of MobileNet v1's depthwise and pointwise convolutions on 16 images of 128 × 128 pixels: milliseconds per
//! pass, and GB/s of activations read and written (depthwise) or GFLOP/s (pointwise).
//!
//! `cargo run --release -p taper-kernels --example depthwise_speed -- [threads] [filter]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::time::Instant;

use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Activation, Conv2d, Conv2dGeometry, Lanes, Padding, Workspace};

/// Images per batch: one block of lanes.
const BATCH: usize = 16;

/// Channels of a depthwise convolution, side of its map, stride, channels of the pointwise convolution behind it,
/// how many of this pair MobileNet v1 has.
const PAIRS: [(usize, usize, usize, usize, u32); 9] = [
    (32, 64, 1, 64, 1),
    (64, 64, 2, 128, 1),
    (128, 32, 1, 128, 1),
    (128, 32, 2, 256, 1),
    (256, 16, 1, 256, 1),
    (256, 16, 2, 512, 1),
    (512, 8, 1, 512, 5),
    (512, 8, 2, 1024, 1),
    (1024, 4, 1, 1024, 1),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(2, |threads| threads.parse().unwrap());
    let filter = arguments.next().unwrap_or_default();
    let isa = Isa::available().into_iter().find(|isa| isa.name().contains(&filter)).unwrap_or(Isa::best());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        println!("{} on {threads} threads: forward, dw, dx", isa.name());
        let (mut depthwise_total, mut pointwise_total) = ([0.0; 3], [0.0; 3]);
        for (channels, side, stride, outputs, repeats) in PAIRS {
            let depthwise = Conv2dGeometry {
                batch: BATCH,
                in_channels: channels,
                in_height: side,
                in_width: side,
                out_channels: channels,
                kernel: [3, 3],
                stride: [stride; 2],
                dilation: [1, 1],
                // TensorFlow's `same`: a stride of 2 pads below and to the right only.
                padding: Padding { top: 2 - stride, bottom: 1, left: 2 - stride, right: 1 },
                groups: channels,
            };
            let side = depthwise.out_height();
            let pointwise = Conv2dGeometry {
                in_height: side,
                in_width: side,
                out_channels: outputs,
                kernel: [1, 1],
                stride: [1, 1],
                padding: Padding::default(),
                groups: 1,
                ..depthwise
            };
            let bytes = ((depthwise.input_len() + depthwise.output_len()) * size_of::<Lanes>()) as f64;
            let cases = [
                ("depthwise", depthwise, bytes, "GB/s", &mut depthwise_total),
                ("pointwise", pointwise, 2.0 * pointwise.macs() as f64, "GFLOP/s", &mut pointwise_total),
            ];
            for (kind, geometry, work, unit, total) in cases {
                let times = times(isa, geometry);
                for (total, time) in total.iter_mut().zip(times) {
                    *total += time * f64::from(repeats);
                }
                let Conv2dGeometry { in_channels, out_channels, in_height, stride, .. } = geometry;
                let name = format!("{kind} {in_channels}-{out_channels} @{in_height} /{}", stride[0]);
                let [a, b, c] = times.map(|time| work / time / 1e9);
                let [x, y, z] = times.map(|time| time * 1e3);
                println!("{name:>28} {a:6.0} {b:6.0} {c:6.0} {unit:<8} {x:.3} {y:.3} {z:.3} ms");
            }
        }
        for (kind, total) in [("depthwise", depthwise_total), ("pointwise", pointwise_total)] {
            let [a, b, c] = total.map(|time| time * 1e3);
            println!("all {kind}: forward {a:.2} dw {b:.2} dx {c:.2} ms, {:.2} ms in all", a + b + c);
        }
    });
}

/// The least times of forward, gradient of weights, gradient of input, in seconds.
fn times(isa: Isa, geometry: Conv2dGeometry) -> [f64; 3] {
    let convolution = Conv2d::new(geometry, isa);
    let (x, mut dx) = (lanes(geometry.input_len(), 1), lanes(geometry.input_len(), 2));
    let (mut y, dy) = (lanes(geometry.output_len(), 3), lanes(geometry.output_len(), 4));
    let weights: Vec<f32> = noise(geometry.weights_len(), 5).collect();
    let bias: Vec<f32> = noise(geometry.out_channels, 6).collect();
    let mut dw = weights.clone();
    let mut workspace = Workspace::new();
    [
        least_time(|| {
            convolution.forward(&x, &weights, Some(&bias), Activation::Relu6, &mut y, &mut workspace)
        }),
        least_time(|| convolution.backward_weights(&x, &dy, &mut dw, &mut workspace)),
        least_time(|| convolution.backward_input(&dy, &weights, &mut dx, &mut workspace)),
    ]
}

/// The least of the times of several calls, in seconds.
fn least_time(mut f: impl FnMut()) -> f64 {
    f();
    let mut least = f64::MAX;
    let start = Instant::now();
    let mut calls = 0;
    while calls < 3 || (calls < 1000 && start.elapsed().as_secs_f64() < 0.25) {
        let start = Instant::now();
        f();
        least = least.min(start.elapsed().as_secs_f64());
        calls += 1;
    }
    least
}

/// Cheap numbers in -0.5..0.5.
fn noise(length: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed;
    (0..length).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    })
}

fn lanes(length: usize, seed: u32) -> Vec<Lanes> {
    let mut values = noise(length * 16, seed);
    (0..length).map(|_| Lanes(std::array::from_fn(|_| values.next().unwrap()))).collect()
}
