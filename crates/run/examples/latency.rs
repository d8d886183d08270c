//! Time per image at batch 1: VGG-16 for 28×28×1 images against a pruned one of 5 to 16 channels.
//!
//! `cargo run --release -p taper-run --example latency [THREADS]`

#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use taper_graph::{DType, Graph, Quantization, TensorData};
use taper_run::{Cpu, Session};
use taper_zoo::{Normalisation, Task, Vgg, vgg16};

/// What a network of this kind looks like after adaptive iterative pruning.
const PRUNED: [&[usize]; 5] = [&[5, 8], &[10, 12], &[14, 16, 16], &[12, 9, 7], &[6, 5, 5]];

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(NonZeroUsize::MIN), |text| text.parse())?;
    let task = Task { input: [28, 28, 1], classes: 10 };
    let pruned = Vgg {
        name: "pruned".to_owned(),
        blocks: PRUNED.iter().map(|widths| widths.to_vec()).collect(),
        normalisation: Normalisation::None,
    };
    let cpu = Cpu { threads, ..Cpu::default() };
    println!("{}, {threads} thread(s)", cpu.isa.name());
    for mut graph in [vgg16(task, Normalisation::None)?, pruned.build(task)?] {
        taper_testing::graphs::randomize(&mut graph, 1);
        report(&cpu, &graph)?;
        quantize(&mut graph);
        report(&cpu, &graph)?;
    }
    Ok(())
}

fn report(cpu: &Cpu, graph: &Graph) -> Result<(), Box<dyn Error>> {
    let cost = taper_graph::cost(graph);
    let mut session = cpu.session(graph, 1)?;
    session.set_real_input(0, &vec![0.5; session.inputs()[0].len()])?;
    let times = measure(&mut session)?;
    let memory = session.memory();
    println!(
        "{:8} {} min {:9.1} us, median {:9.1} us, {:6.1} Gop/s; {} parameters, {} MACs, arena {} B, weights {} B",
        graph.name,
        session.inputs()[0].dtype,
        times.least.as_secs_f64() * 1e6,
        times.median.as_secs_f64() * 1e6,
        2e-9 * cost.macs as f64 / times.least.as_secs_f64(),
        cost.parameters,
        cost.macs,
        memory.arena_bytes,
        memory.weight_bytes,
    );
    Ok(())
}

/// Makes the network an integer one with the same work; its scales are rough, its answers mean nothing.
fn quantize(graph: &mut Graph) {
    for id in 0..graph.tensors.len() {
        let tensor = &mut graph.tensors[id];
        let bias = tensor.shape.rank() == 1;
        let (scale, zero_point) = match &tensor.data {
            None if tensor.name == "softmax" => (1.0 / 256.0, -128),
            None => (1.0 / 64.0, -128),
            Some(_) => (1.0 / 127.0, 0),
        };
        tensor.quantization = Some(Quantization::PerTensor { scale, zero_point });
        tensor.dtype = if bias { DType::I32 } else { DType::I8 };
        if let Some(TensorData::F32(values)) = &tensor.data {
            tensor.data = Some(match bias {
                true => TensorData::I32(vec![0; values.len()]),
                false => TensorData::I8(values.iter().map(|value| (value / scale).round() as i8).collect()),
            });
        }
    }
}

struct Times {
    least: Duration,
    median: Duration,
}

/// Runs for about two seconds.
fn measure(session: &mut dyn Session) -> Result<Times, Box<dyn Error>> {
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < Duration::from_secs(2) {
        let run = Instant::now();
        session.run()?;
        times.push(run.elapsed());
    }
    times.sort_unstable();
    Ok(Times { least: times[0], median: times[times.len() / 2] })
}
