//! Time and memory that reading a network takes, such as a large ONNX file.
//!
//! `cargo run --release -p taper-formats --example read_speed -- write FILE` makes a network of 125 million parameters, and
//! `… -- read FILE` reads it.

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use taper_formats::{load, save};
use taper_graph::{Conv2d, DType, FullyConnected, Graph, Op, Padding, Shape, TensorData};

/// As VGG-16's classifier, with a convolution before it.
fn network() -> Result<Graph, Box<dyn Error>> {
    let mut graph = Graph::new("large");
    let image = graph.add_input("image", Shape::batched(&[7, 7, 512]), DType::F32);
    let padding = Padding { top: 1, bottom: 1, left: 1, right: 1 };
    let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups: 1, activation: None };
    let mut constant = |name: &str, sizes: &[usize]| {
        let values = vec![0.5; sizes.iter().product()];
        graph.add_constant(name, sizes, TensorData::F32(values))
    };
    let layers = [
        constant("conv/weights", &[1024, 3, 3, 512]),
        constant("first/weights", &[2048, 7 * 7 * 1024]),
        constant("second/weights", &[8192, 2048]),
    ];
    let x = graph.add_node("conv", Op::Conv2d(conv), &[image, layers[0]])?;
    let x = graph.add_node("flatten", Op::Flatten, &[x])?;
    let x = graph.add_node("first", Op::FullyConnected(FullyConnected::default()), &[x, layers[1]])?;
    let x = graph.add_node("second", Op::FullyConnected(FullyConnected::default()), &[x, layers[2]])?;
    graph.outputs.push(x);
    Ok(graph)
}

#[allow(clippy::print_stdout, reason = "a measurement is printed")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [mode, path] if mode == "write" => save(&network()?, Path::new(path))?,
        [mode, path] if mode == "read" => {
            let size = std::fs::metadata(path)?.len();
            let start = Instant::now();
            let graph = load(Path::new(path))?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{} nodes, {size} bytes in {:.1} ms", graph.nodes.len(), 1e3 * seconds);
            // Linux tells the greatest memory that the process held.
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
        }
        _ => return Err("usage: read_speed write|read FILE".into()),
    }
    Ok(())
}
