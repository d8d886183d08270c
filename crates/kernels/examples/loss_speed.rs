//! Speed of the losses with their gradients on maps of 128 × 128 pixels and 20 channels of 16 images, in
//! milliseconds and nanoseconds per element.
//!
//! `cargo run --release -p taper-kernels --example loss_speed -- [threads] [filter]`

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::time::Instant;

use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{
    Distillation, Lanes, Regression, RegressionLoss, SigmoidCrossEntropy, SoftmaxCrossEntropy, Workspace,
};

const BATCH: usize = LANES;
const CHANNELS: usize = 20;
const PIXELS: usize = 128 * 128;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(2, |threads| threads.parse().unwrap());
    let filter = arguments.next().unwrap_or_default();
    let isa = Isa::available().into_iter().find(|isa| isa.name().contains(&filter)).unwrap_or(Isa::best());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        println!("{} on {threads} threads", isa.name());
        let logits: Vec<Lanes> =
            (0..CHANNELS * PIXELS).map(|n| Lanes([(n % 1013) as f32 / 100.0; LANES])).collect();
        let mut gradient = vec![Lanes::ZERO; logits.len()];
        let labels: Vec<u32> = (0..BATCH * PIXELS).map(|n| (n % CHANNELS) as u32).collect();
        let targets: Vec<f32> = (0..logits.len() * BATCH).map(|n| (n % 2) as f32).collect();
        let mut workspace = Workspace::new();

        let softmax = SoftmaxCrossEntropy::new(CHANNELS, PIXELS, isa);
        let total = softmax.total_weight(&labels);
        let distillation = Distillation { hard: softmax, temperature: 4.0, soft_weight: 0.5 };
        let sigmoid = SigmoidCrossEntropy::new(CHANNELS, PIXELS, isa);
        let loss = RegressionLoss::Huber { delta: 1.0 };
        let huber = Regression { channels: CHANNELS, pixels: PIXELS, loss, isa };
        let elements = huber.total_weight(BATCH, None);

        show("total weight", || {
            softmax.total_weight(&labels);
        });
        show("softmax cross-entropy", || {
            softmax.run(&logits, &labels, total, Some(&mut gradient), &mut workspace);
        });
        show("distillation", || {
            distillation.run(&logits, &logits, &labels, total, Some(&mut gradient), &mut workspace);
        });
        show("sigmoid cross-entropy", || {
            sigmoid.run(&logits, &targets, None, elements, Some(&mut gradient), &mut workspace);
        });
        show("Huber", || {
            huber.run(&logits, &targets, None, elements, Some(&mut gradient), &mut workspace);
        });
    });
}

/// Prints the least time of several calls.
fn show(name: &str, mut f: impl FnMut()) {
    let mut least = f64::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        f();
        least = least.min(start.elapsed().as_secs_f64());
    }
    let elements = (BATCH * CHANNELS * PIXELS) as f64;
    println!("{name:>22} {:8.2} ms {:6.2} ns", least * 1e3, least * 1e9 / elements);
}
