//! Small random networks: convolutions, pooling, flatten, fully connected, softmax; in floats or integers.

use crate::random::Random;
use taper_graph::{
    Activation, Conv2d, DType, FullyConnected, Graph, Op, Padding, Pool2d, PoolKind, Quantization, Shape,
    Softmax, TensorData, TensorId,
};

/// The numbers that a network computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// 32-bit floats.
    Float,
    /// int8 activations and symmetric int8 weights, per channel or per tensor.
    Int8,
    /// uint8 activations and weights, per tensor with zero points.
    Uint8,
}

impl Numbers {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Float, Self::Int8, Self::Uint8];

    fn dtype(self) -> DType {
        match self {
            Self::Float => DType::F32,
            Self::Int8 => DType::I8,
            Self::Uint8 => DType::U8,
        }
    }
}

/// Standard deviation of uniform 8-bit integers.
const UNIFORM_DEVIATION: f32 = 74.0;

/// A random network with the batch open: one to three convolutions, pooling between them, a classifier behind. Scales are
/// such that activations spread over their range.
///
/// # Panics
/// Never, unless the graph's own rules change.
#[must_use]
pub fn random(seed: u64, numbers: Numbers) -> Graph {
    let mut random = Random::new(seed);
    let sizes = [random.between(1, 9), random.between(1, 9), random.between(1, 5)];
    let mut network = Network::new(random, numbers, sizes);
    for layer in 0..network.random.between(1, 3) {
        network.convolution(&format!("conv{layer}"));
        if network.random.one_in(3) {
            network.activation(&format!("act{layer}"));
        }
        if network.random.one_in(2) {
            network.pool(&format!("pool{layer}"));
        }
    }
    if network.random.one_in(3) {
        let kind = network.random.pick(&[PoolKind::Max, PoolKind::Average]);
        network.same("global", Op::GlobalPool2d { kind });
    }
    if seed.is_multiple_of(3) {
        let [height, width, channels] = network.image();
        network.same("reshape", Op::Reshape { shape: vec![width, height, channels] });
    }
    network.same("flatten", Op::Flatten);
    network.fully_connected("dense");
    if network.random.one_in(2) {
        network.softmax("softmax");
    }
    network.finish()
}

/// A network under construction: its last activation and the random numbers it is made of.
struct Network {
    graph: Graph,
    random: Random,
    numbers: Numbers,
    x: TensorId,
}

impl Network {
    fn new(mut random: Random, numbers: Numbers, sizes: [usize; 3]) -> Self {
        let mut graph = Graph::new("random");
        let x = graph.add_input("image", Shape::batched(&sizes), numbers.dtype());
        graph.tensor_mut(x).quantization = match numbers {
            Numbers::Float => None,
            Numbers::Int8 => Some(Quantization::PerTensor {
                scale: 1.0 / 64.0,
                zero_point: random.between(0, 20) as i32 - 10,
            }),
            Numbers::Uint8 => Some(Quantization::PerTensor {
                scale: 1.0 / 64.0,
                zero_point: random.between(118, 138) as i32,
            }),
        };
        Self { graph, random, numbers, x }
    }

    fn image(&self) -> [usize; 3] {
        self.graph.tensor(self.x).shape.image().expect("the network is still an image here")
    }

    fn convolution(&mut self, name: &str) {
        let [height, width, channels] = self.image();
        let random = &mut self.random;
        let out = random.between(1, 6);
        let kernel = [random.between(1, height.min(3)), random.between(1, width.min(3))];
        let stride = [random.between(1, 2), random.between(1, 2)];
        let fits = |axis: usize, size: usize, dilation| (kernel[axis] - 1) * dilation < size;
        let step = random.between(1, 2);
        let step = if fits(0, height, step) && fits(1, width, step) { step } else { 1 };
        let dilation = [step; 2];
        let padding = match random.between(0, 2) {
            0 => Padding::default(),
            1 => Padding::same([height, width], kernel, stride, dilation),
            _ => Padding {
                top: random.between(0, 2),
                bottom: random.between(0, 2),
                left: random.between(0, 2),
                right: random.between(0, 2),
            },
        };
        let activation = random.pick(&[None, Some(Activation::Relu), Some(Activation::Relu6)]);
        let op = Op::Conv2d(Conv2d { stride, dilation, padding, groups: 1, activation });
        self.layer(name, op, &[out, kernel[0], kernel[1], channels]);
    }

    fn fully_connected(&mut self, name: &str) {
        let features = self.graph.tensor(self.x).shape.channels().expect("flattened");
        let out = self.random.between(2, 5);
        let activation = self.random.pick(&[None, Some(Activation::Relu)]);
        self.layer(name, Op::FullyConnected(FullyConnected { activation }), &[out, features]);
    }

    /// A layer with weights of these sizes, output channels first, and in most cases a bias.
    fn layer(&mut self, name: &str, op: Op, sizes: &[usize]) {
        let (channels, fan_in) = (sizes[0], sizes[1..].iter().product::<usize>());
        let weights_name = format!("{name}/weights");
        let bias_name = format!("{name}/bias");
        // TFLite demands a bias of every convolution; its writer would add one.
        let needed = matches!(op, Op::Conv2d(_));
        let biased = needed || !self.random.one_in(4);
        let mut inputs = vec![self.x];
        if self.numbers == Numbers::Float {
            let he = (2.0 / fan_in as f32).sqrt();
            let values = self.random.normals(channels * fan_in, he);
            inputs.push(self.graph.add_constant(weights_name, sizes, TensorData::F32(values)));
            if biased {
                let values = self.random.normals(channels, 0.1);
                inputs.push(self.graph.add_constant(bias_name, &[channels], TensorData::F32(values)));
            }
            self.x = self.graph.add_node(name, op, &inputs).expect("the layer fits");
            return;
        }
        let input_scale = self.scale();
        let scales: Vec<f32> = (0..channels).map(|_| 0.002 + 0.01 * self.random.unit()).collect();
        let bytes = self.random.bytes(channels * fan_in);
        let per_axis = self.numbers == Numbers::Int8 && channels > 1 && !self.random.one_in(4);
        let quantization = |scales: Vec<f32>, zero_point| {
            if per_axis {
                Quantization::PerAxis { axis: 0, scales }
            } else {
                Quantization::PerTensor { scale: scales[0], zero_point }
            }
        };
        let (data, zero_point) = match self.numbers {
            // The least value is left out of symmetric weights, as TFLite's specification has it.
            Numbers::Int8 => {
                (TensorData::I8(bytes.iter().map(|&byte| byte.cast_signed().max(-127)).collect()), 0)
            }
            Numbers::Uint8 | Numbers::Float => (TensorData::U8(bytes), self.random.between(100, 150) as i32),
        };
        let weights = self.graph.add_constant(weights_name, sizes, data);
        self.graph.tensor_mut(weights).quantization = Some(quantization(scales.clone(), zero_point));
        inputs.push(weights);
        let spread = (fan_in as f32).sqrt() * UNIFORM_DEVIATION * UNIFORM_DEVIATION;
        if biased {
            let values =
                self.random.normals(channels, spread / 4.0).iter().map(|&value| value as i32).collect();
            let bias = self.graph.add_constant(bias_name, &[channels], TensorData::I32(values));
            let bias_scales = scales.iter().map(|scale| scale * input_scale).collect();
            self.graph.tensor_mut(bias).quantization = Some(quantization(bias_scales, 0));
            inputs.push(bias);
        }
        self.x = self.graph.add_node(name, op, &inputs).expect("the layer fits");
        let scale = spread * input_scale * scales[0] / 50.0;
        self.quantize_output(scale);
    }

    fn activation(&mut self, name: &str) {
        let function = self.random.pick(&[Activation::Relu, Activation::Relu6]);
        self.same(name, Op::Activation { function });
    }

    fn pool(&mut self, name: &str) {
        let [height, width, _] = self.image();
        let random = &mut self.random;
        let window = [random.between(1, height.min(3)), random.between(1, width.min(3))];
        let stride = [random.between(1, 2), random.between(1, 2)];
        let same = random.one_in(2);
        let padding =
            if same { Padding::same([height, width], window, stride, [1, 1]) } else { Padding::default() };
        let kind = random.pick(&[PoolKind::Max, PoolKind::Average]);
        self.same(name, Op::Pool2d(Pool2d { kind, window, stride, padding }));
    }

    fn softmax(&mut self, name: &str) {
        let op = Op::Softmax(Softmax { beta: 1.0 });
        self.x = self.graph.add_node(name, op, &[self.x]).expect("softmax fits everywhere");
        // TFLite's integer softmax writes 256 steps from 0 to 1.
        let quantization = |zero_point| Some(Quantization::PerTensor { scale: 1.0 / 256.0, zero_point });
        self.graph.tensor_mut(self.x).quantization = match self.numbers {
            Numbers::Float => None,
            Numbers::Int8 => quantization(-128),
            Numbers::Uint8 => quantization(0),
        };
    }

    /// A node whose output means what its input does.
    fn same(&mut self, name: &str, op: Op) {
        let quantization = self.graph.tensor(self.x).quantization.clone();
        self.x = self.graph.add_node(name, op, &[self.x]).expect("the operator fits");
        self.graph.tensor_mut(self.x).quantization = quantization;
    }

    fn scale(&self) -> f32 {
        match self.graph.tensor(self.x).quantization {
            Some(Quantization::PerTensor { scale, .. }) => scale,
            Some(Quantization::PerAxis { .. }) | None => unreachable!("integer activations have one scale"),
        }
    }

    fn quantize_output(&mut self, scale: f32) {
        let zero_point = match self.numbers {
            Numbers::Float => return,
            Numbers::Int8 => self.random.between(0, 40) as i32 - 20,
            Numbers::Uint8 => self.random.between(108, 148) as i32,
        };
        self.graph.tensor_mut(self.x).quantization = Some(Quantization::PerTensor { scale, zero_point });
    }

    fn finish(mut self) -> Graph {
        self.graph.outputs.push(self.x);
        self.graph.verify().expect("random networks are sound");
        self.graph
    }
}

/// Gives the parameters of a float network random values: He's deviation for weights, small ones for the rest.
pub fn randomize(graph: &mut Graph, seed: u64) {
    let mut random = Random::new(seed);
    for tensor in &mut graph.tensors {
        let Some(TensorData::F32(values)) = &mut tensor.data else {
            continue;
        };
        let fan_in: usize = tensor.shape.sizes().map_or(1, |sizes| sizes.iter().skip(1).product());
        let rank = tensor.shape.rank();
        let deviation = if rank > 1 { (2.0 / fan_in as f32).sqrt() } else { 0.1 };
        *values = random.normals(values.len(), deviation);
    }
}
