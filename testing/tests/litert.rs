//! Taper's CPU against LiteRT: integer operators and networks bit for bit with the reference resolver, floats closely.

use taper_formats::tflite;
use taper_graph::{
    Activation, ArgMax, AxisSlice, Binary, Concat, Conv2d, DType, Elementwise, FullyConnected, Graph, Op,
    Pad, Padding, Pool2d, PoolKind, Quantization, Resize2d, ResizeCoordinates, ResizeMethod, Shape, Softmax,
    StridedSlice, TensorData, TensorId,
};
use taper_run::{Cpu, Session, View};
use taper_testing::Random;
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};
use taper_testing::litert::{Job, Litert, Resolver};

const SAMPLES: usize = 3;

/// Random bytes, the extremes often; or random normal floats.
fn input(graph: &Graph, random: &mut Random) -> Vec<u8> {
    let tensor = graph.tensor(graph.single_input().expect("one input"));
    let count = tensor.shape.elements(SAMPLES).expect("small");
    match tensor.dtype {
        DType::F32 => random.normals(count, 2.0).iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => {
            let mut bytes = random.bytes(count * tensor.dtype.bytes());
            for byte in &mut bytes {
                if random.one_in(6) {
                    *byte = random.pick(&[0, 127, 128, 255]);
                }
            }
            bytes
        }
    }
}

/// Taper's output for all samples at once, as bytes.
fn run(graph: &Graph, input: &[u8]) -> Vec<u8> {
    let mut session = Cpu::default().session(graph, SAMPLES).expect("the CPU runs it");
    let values = TensorData::from_le_bytes(session.inputs()[0].dtype, input).expect("whole elements");
    let view = match &values {
        TensorData::F32(values) => View::F32(values),
        TensorData::I8(values) => View::I8(values),
        TensorData::U8(values) => View::U8(values),
        TensorData::I16(_) | TensorData::I32(_) | TensorData::I64(_) => unreachable!("no such input is made"),
    };
    session.set_input(0, view).expect("fits");
    session.run().expect("runs");
    session.output(0).expect("has an output").to_data().to_le_bytes()
}

/// Runs every graph here and in LiteRT, and hands both outputs to `compare`.
fn judge(graphs: &[Graph], resolver: Resolver, compare: impl Fn(&Graph, &[u8], &[u8]) -> Result<(), String>) {
    let Some(litert) = Litert::set_up() else { return };
    let mut random = Random::new(11);
    let inputs: Vec<Vec<u8>> = graphs.iter().map(|graph| input(graph, &mut random)).collect();
    let files: Vec<Vec<u8>> = graphs.iter().map(|graph| tflite::write(graph).expect("writes")).collect();
    let jobs: Vec<Job<'_>> = files
        .iter()
        .zip(&inputs)
        .map(|(model, input)| Job { model, inputs: vec![input.clone()], samples: SAMPLES })
        .collect();
    let outcomes = litert.run_all(&jobs, resolver).expect("LiteRT runs them");
    let cases = graphs.iter().zip(&inputs).zip(outcomes);
    let failures: Vec<String> = cases
        .filter_map(|((graph, input), outcome)| compare(graph, &outcome.outputs[0], &run(graph, input)).err())
        .collect();
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), graphs.len(), failures.join("\n"));
}

fn same_bytes(graph: &Graph, expected: &[u8], found: &[u8]) -> Result<(), String> {
    let differing: Vec<_> =
        expected.iter().zip(found).filter(|(expected, found)| expected != found).collect();
    if expected == found {
        return Ok(());
    }
    Err(format!("`{}`: {} of {} bytes differ: {differing:?}", graph.name, differing.len(), expected.len()))
}

/// A graph of one operator under construction.
struct Single {
    graph: Graph,
    random: Random,
    dtype: DType,
    x: TensorId,
}

impl Single {
    fn new(name: &str, seed: u64, dtype: DType, sizes: &[usize]) -> Self {
        let mut graph = Graph::new(format!("{name} {dtype} {seed}"));
        let x = graph.add_input("x", Shape::batched(sizes), dtype);
        let mut this = Self { graph, random: Random::new(seed), dtype, x };
        if dtype != DType::F32 {
            this.graph.tensor_mut(x).quantization = Some(this.affine(dtype, 1.0));
        }
        this
    }

    /// A scale around `around`, over three decades, and any zero point, the extremes often.
    fn affine(&mut self, dtype: DType, around: f32) -> Quantization {
        let (least, greatest) = dtype.integer_range().expect("an integer type");
        let offset = match self.random.between(0, 4) {
            0 => 0,
            1 => 255,
            _ => self.random.between(0, 255) as i32,
        };
        assert_eq!(greatest - least, 255, "8-bit");
        let scale = around * 10f32.powf(3.0 * self.random.unit() - 1.5);
        Quantization::PerTensor { scale, zero_point: least as i32 + offset }
    }

    fn scale(&self, id: TensorId) -> f32 {
        match &self.graph.tensor(id).quantization {
            Some(Quantization::PerTensor { scale, .. }) => *scale,
            Some(Quantization::PerAxis { scales, .. }) => scales[0],
            None => 1.0,
        }
    }

    /// Ends the graph with a node whose output has this quantization.
    fn finish(mut self, op: Op, inputs: &[TensorId], quantization: Option<Quantization>) -> Graph {
        let y = self.graph.add_node("y", op, inputs).expect("the operator fits");
        self.graph.tensor_mut(y).quantization = quantization;
        self.graph.outputs.push(y);
        self.graph.verify().expect("sound");
        self.graph
    }

    /// A node with weights `[O, …]`, and a bias in most cases.
    fn layer(mut self, op: Op, sizes: &[usize]) -> Graph {
        let (outputs, depth) = (sizes[0], sizes[1..].iter().product::<usize>());
        let input_scale = self.scale(self.x);
        let base = 10f32.powf(-3.0 * self.random.unit());
        let per_axis = self.dtype == DType::I8 && self.random.one_in(2);
        let scales: Vec<f32> = (0..outputs).map(|_| base * (0.1 + self.random.unit())).collect();
        let bytes = self.random.bytes(outputs * depth);
        let (data, zero_point) = match self.dtype {
            DType::U8 => (TensorData::U8(bytes), self.random.pick(&[0, 1, 100, 128, 255])),
            _ => (TensorData::I8(bytes.iter().map(|byte| byte.cast_signed()).collect()), 0),
        };
        let quantization = |scales: Vec<f32>, zero_point| match per_axis {
            true => Quantization::PerAxis { axis: 0, scales },
            false => Quantization::PerTensor { scale: scales[0], zero_point },
        };
        let weights = self.graph.add_constant("weights", sizes, data);
        self.graph.tensor_mut(weights).quantization = Some(quantization(scales.clone(), zero_point));
        let mut inputs = vec![self.x, weights];
        if !self.random.one_in(4) {
            let spread = 5000.0 * (depth as f32).sqrt();
            let values = self.random.normals(outputs, spread).iter().map(|&value| value as i32).collect();
            let bias = self.graph.add_constant("bias", &[outputs], TensorData::I32(values));
            let bias_scales = scales.iter().map(|scale| scale * input_scale).collect();
            self.graph.tensor_mut(bias).quantization = Some(quantization(bias_scales, 0));
            inputs.push(bias);
        }
        // Sums of random products have this deviation; the output's scale makes them fill its range, or overflow it.
        let around = 60.0 * (depth as f32).sqrt() * input_scale * base;
        let output = self.affine(self.dtype, around);
        self.finish(op, &inputs, Some(output))
    }
}

fn fused(random: &mut Random) -> Option<Activation> {
    random.pick(&[None, Some(Activation::Relu), Some(Activation::Relu6)])
}

fn padding(
    random: &mut Random,
    input: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Padding {
    let fits = (0..2).all(|axis| (window[axis] - 1) * dilation[axis] < input[axis]);
    match fits && random.one_in(2) {
        true => Padding::default(),
        false => Padding::same(input, window, stride, dilation),
    }
}

fn convolution(seed: u64, dtype: DType) -> Graph {
    let mut random = Random::new(seed);
    let [height, width] = [random.between(1, 9), random.between(1, 9)];
    let (inputs, outputs) = (random.between(1, 19), random.pick(&[1, 2, 3, 5, 8, 11, 16, 17, 40, 70]));
    let kernel = [random.between(1, 4), random.between(1, 4)];
    let stride = [random.between(1, 3), random.between(1, 3)];
    let dilation = [random.between(1, 2), random.between(1, 2)];
    let op = Op::Conv2d(Conv2d {
        stride,
        dilation,
        groups: 1,
        padding: padding(&mut random, [height, width], kernel, stride, dilation),
        activation: fused(&mut random),
    });
    Single::new("convolution", seed, dtype, &[height, width, inputs])
        .layer(op, &[outputs, kernel[0], kernel[1], inputs])
}

fn fully_connected(seed: u64, dtype: DType) -> Graph {
    let mut random = Random::new(seed);
    let (inputs, outputs) = (random.between(1, 200), random.between(1, 40));
    let op = Op::FullyConnected(FullyConnected { activation: fused(&mut random) });
    Single::new("fully connected", seed, dtype, &[inputs]).layer(op, &[outputs, inputs])
}

fn activation(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("activation", seed, dtype, &[5, 5, 7]);
    let function = single.random.pick(&[Activation::Relu, Activation::Relu6]);
    let (x, scale) = (single.x, single.scale(single.x));
    let output = single.affine(dtype, scale);
    single.finish(Op::Activation { function }, &[x], Some(output))
}

fn pool(seed: u64, dtype: DType) -> Graph {
    let mut random = Random::new(seed);
    let input = [random.between(1, 9), random.between(1, 9)];
    let window = [random.between(1, 4), random.between(1, 4)];
    let stride = [random.between(1, 3), random.between(1, 3)];
    let kind = random.pick(&[PoolKind::Max, PoolKind::Average]);
    let padding = padding(&mut random, input, window, stride, [1, 1]);
    let single = Single::new("pooling", seed, dtype, &[input[0], input[1], random.between(1, 20)]);
    let (x, quantization) = (single.x, single.graph.tensor(single.x).quantization.clone());
    single.finish(Op::Pool2d(Pool2d { kind, window, stride, padding }), &[x], quantization)
}

fn global_pool(seed: u64, dtype: DType) -> Graph {
    let mut random = Random::new(seed);
    let sizes = [random.between(1, 12), random.between(1, 12), random.between(1, 9)];
    let kind = random.pick(&[PoolKind::Max, PoolKind::Average, PoolKind::Average]);
    let mut single = Single::new("global pooling", seed, dtype, &sizes);
    let (x, scale) = (single.x, single.scale(single.x));
    let quantization = match kind {
        PoolKind::Max => single.graph.tensor(x).quantization.clone(),
        PoolKind::Average => Some(single.affine(dtype, scale)),
    };
    single.finish(Op::GlobalPool2d { kind }, &[x], quantization)
}

fn softmax(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("softmax", seed, dtype, &[Random::new(seed).between(1, 40)]);
    let x = single.x;
    let input = single.affine(dtype, 0.1);
    single.graph.tensor_mut(x).quantization = Some(input);
    let beta = single.random.pick(&[1.0, 1.0, 0.5, 2.0]);
    let zero_point = if dtype == DType::I8 { -128 } else { 0 };
    let output = Quantization::PerTensor { scale: 1.0 / 256.0, zero_point };
    single.finish(Op::Softmax(Softmax { beta }), &[x], Some(output))
}

fn quantize(seed: u64, dtype: DType) -> Graph {
    let from = Random::new(seed).pick(&[DType::F32, DType::I8, DType::U8]);
    let mut single = Single::new("quantize", seed, from, &[50]);
    let (x, scale) = (single.x, single.scale(single.x));
    let output = single.affine(dtype, if from == DType::F32 { 0.05 } else { scale });
    single.finish(Op::Quantize { dtype }, &[x], Some(output))
}

fn depthwise(seed: u64, dtype: DType) -> Graph {
    let mut random = Random::new(seed);
    let [height, width] = [random.between(1, 9), random.between(1, 9)];
    let (channels, multiplier) = (random.pick(&[2, 3, 8, 16, 17, 40]), random.pick(&[1, 1, 2, 3]));
    let kernel = [random.between(1, 4), random.between(1, 4)];
    let (stride, dilation) = ([random.between(1, 3); 2], [random.between(1, 2); 2]);
    let op = Op::Conv2d(Conv2d {
        stride,
        dilation,
        groups: channels,
        padding: padding(&mut random, [height, width], kernel, stride, dilation),
        activation: fused(&mut random),
    });
    Single::new("depthwise", seed, dtype, &[height, width, channels])
        .layer(op, &[channels * multiplier, kernel[0], kernel[1], 1])
}

/// Functions of an activation and another or a constant, in either order.
fn elementwise(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("elementwise", seed, dtype, &[3, 4, 5]);
    let random = &mut single.random;
    let function =
        random.pick(&[Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Maximum, Binary::Minimum]);
    let extreme = matches!(function, Binary::Maximum | Binary::Minimum);
    let activation = if extreme { None } else { fused(random) };
    let constant = random.pick(&[None, Some([3, 4, 5]), Some([1, 1, 5]), Some([1, 1, 1]), Some([3, 1, 1])]);
    let (x, scale) = (single.x, single.scale(single.x));
    let same = single.graph.tensor(x).quantization.clone();
    let other = match constant {
        None => x,
        Some(sizes) => {
            let bytes = single.random.bytes(sizes.iter().product());
            let data = TensorData::from_le_bytes(dtype, &bytes).expect("bytes");
            let sizes = [&[1][..], &sizes].concat();
            let id = single.graph.add_constant("constant", &sizes, data);
            let quantization = if extreme { same.clone() } else { Some(single.affine(dtype, scale)) };
            single.graph.tensor_mut(id).quantization = quantization;
            id
        }
    };
    let around = match function {
        Binary::Multiply => 60.0 * scale * single.scale(other),
        Binary::Add | Binary::Subtract | Binary::Divide | Binary::Maximum | Binary::Minimum => {
            2.0 * scale.max(single.scale(other))
        }
    };
    let output = if extreme { same } else { Some(single.affine(dtype, around)) };
    let inputs = if single.random.one_in(2) { [x, other] } else { [other, x] };
    single.finish(Op::Elementwise(Elementwise { function, activation }), &inputs, output)
}

/// Two rescaled copies of an activation side by side. TFLite's `i8` concatenation wants one scale.
fn concat(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("concatenation", seed, dtype, &[3, 4, 5]);
    let (x, scale) = (single.x, single.scale(single.x));
    let output = single.affine(dtype, scale);
    let parts = ["a", "b"].map(|name| {
        let differs = dtype == DType::U8 && single.random.one_in(2);
        let quantization = if differs { single.affine(dtype, scale) } else { output.clone() };
        let part = single.graph.add_node(name, Op::Quantize { dtype }, &[x]).expect("fits");
        single.graph.tensor_mut(part).quantization = Some(quantization);
        part
    });
    let axis = single.random.between(1, 3);
    single.finish(Op::Concat(Concat { axis }), &parts, Some(output))
}

fn pad(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("padding", seed, dtype, &[3, 4, 5]);
    let mut side = || single.random.between(0, 3);
    let padding = Padding { top: side(), bottom: side(), left: side(), right: side() };
    let (x, quantization) = (single.x, single.graph.tensor(single.x).quantization.clone());
    single.finish(Op::Pad(Pad { padding, value: 0.0 }), &[x], quantization)
}

fn resize(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("resize", seed, dtype, &[4, 5, 3]);
    let random = &mut single.random;
    let size = [random.between(1, 13), random.between(1, 13)];
    let method = random.pick(&[ResizeMethod::Nearest, ResizeMethod::Bilinear, ResizeMethod::Bilinear]);
    let coordinates = random.pick(&[
        ResizeCoordinates::Asymmetric,
        ResizeCoordinates::AlignCorners,
        ResizeCoordinates::HalfPixel,
    ]);
    let (x, quantization) = (single.x, single.graph.tensor(single.x).quantization.clone());
    single.finish(Op::Resize2d(Resize2d { size, method, coordinates }), &[x], quantization)
}

fn strided_slice(seed: u64, dtype: DType) -> Graph {
    let sizes = [4, 5, 6];
    let mut single = Single::new("strided slice", seed, dtype, &sizes);
    let longest_step = single.random.between(1, 3);
    let mut axes = Vec::new();
    for (axis, size) in (1..).zip(sizes) {
        if single.random.one_in(2) {
            let (start, step) = (single.random.between(0, size - 1), single.random.between(1, longest_step));
            let count = single.random.between(1, (size - start).div_ceil(step));
            axes.push(AxisSlice { axis, start, step, count });
        }
    }
    let (x, quantization) = (single.x, single.graph.tensor(single.x).quantization.clone());
    single.finish(Op::StridedSlice(StridedSlice { axes }), &[x], quantization)
}

fn tile(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("tile", seed, dtype, &[2, 3, 4]);
    let repeats = (0..3).map(|_| single.random.between(1, 3)).collect();
    let (x, quantization) = (single.x, single.graph.tensor(single.x).quantization.clone());
    single.finish(Op::Tile { repeats }, &[x], quantization)
}

fn arg_max(seed: u64, dtype: DType) -> Graph {
    let mut single = Single::new("arg max", seed, dtype, &[3, 4, 5]);
    let axis = single.random.between(1, 3);
    let indices = single.random.pick(&[DType::I32, DType::I64]);
    let x = single.x;
    single.finish(Op::ArgMax(ArgMax { axis, dtype: indices }), &[x], None)
}

#[test]
fn floats_are_moved_and_searched_as_the_reference_resolver_does() {
    let graphs: Vec<Graph> = [strided_slice, tile, arg_max]
        .into_iter()
        .flat_map(|make| (0..20).map(move |seed| make(seed, DType::F32)))
        .collect();
    judge(&graphs, Resolver::Reference, same_bytes);
}

/// The reference resolver does not know the version of TILE that takes `i8`.
#[test]
fn copies_of_integers_equal_the_default_resolver() {
    let graphs: Vec<Graph> =
        (0..20).flat_map(|seed| [DType::I8, DType::U8].map(|dtype| tile(seed, dtype))).collect();
    judge(&graphs, Resolver::Default, same_bytes);
}

#[test]
fn integer_operators_equal_the_reference_resolver() {
    type Make = fn(u64, DType) -> Graph;
    const OPERATORS: [(Make, u64); 14] = [
        (depthwise, 100),
        (elementwise, 200),
        (concat, 40),
        (pad, 20),
        (resize, 100),
        (strided_slice, 40),
        (arg_max, 30),
        (convolution, 100),
        (fully_connected, 150),
        (activation, 40),
        (pool, 50),
        (global_pool, 60),
        (softmax, 40),
        (quantize, 40),
    ];
    let graphs: Vec<Graph> = OPERATORS
        .into_iter()
        .flat_map(|(make, cases)| {
            (0..cases).flat_map(move |seed| [make(seed, DType::I8), make(seed, DType::U8)])
        })
        .collect();
    judge(&graphs, Resolver::Reference, same_bytes);
}

#[test]
fn integer_networks_equal_the_reference_resolver() {
    let graphs: Vec<Graph> = (0..80)
        .flat_map(|seed| [Numbers::Int8, Numbers::Uint8].map(|numbers| graphs::random(seed, numbers)))
        .collect();
    judge(&graphs, Resolver::Reference, same_bytes);
}

#[test]
fn float_networks_come_close() {
    let graphs: Vec<Graph> = (0..40).map(|seed| graphs::random(seed, Numbers::Float)).collect();
    judge(&graphs, Resolver::Reference, close);
}

#[test]
fn float_networks_with_branches_come_close() {
    let graphs: Vec<Graph> = (0..150).map(|seed| branches::random(seed, &Block::OF_TFLITE)).collect();
    judge(&graphs, Resolver::Reference, close);
}

#[test]
fn float_networks_of_other_nonlinearities_come_close() {
    let graphs: Vec<Graph> = (0..20).map(|seed| branches::random(seed, &Block::BESIDE_TFLITE)).collect();
    judge(&graphs, Resolver::Default, close);
}

fn close(graph: &Graph, expected: &[u8], found: &[u8]) -> Result<(), String> {
    let floats =
        |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect() };
    let far = |(expected, found): &(f32, f32)| (expected - found).abs() > 1e-4 * expected.abs().max(1.0);
    match floats(expected).into_iter().zip(floats(found)).find(far) {
        Some((expected, found)) => Err(format!("{:#?}: expected {expected}, found {found}", graph.nodes)),
        None => Ok(()),
    }
}
