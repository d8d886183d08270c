//! Small random float networks with branches, made of blocks that a test chooses.

use crate::random::Random;
use taper_graph::{
    Activation, BatchNorm, Binary, Concat, Conv2d, ConvTranspose2d, DType, Dropout, Elementwise,
    FakeQuantize, FullyConnected, Graph, Op, Pad, Padding, PoolKind, Resize2d, ResizeCoordinates,
    ResizeMethod, Shape, Softmax, TensorData, TensorId,
};

/// A part of a network that takes an image and gives one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Block {
    /// A convolution, and the sum, difference, product, maximum or minimum of its input and output.
    Residual,
    /// A function of the map and a constant, or the other way round: of one, of all channels, or of all pixels.
    Constant,
    /// One factor or divisor for each channel, from the mean of the map.
    Excitation,
    /// One factor for each pixel, from all channels.
    Mask,
    /// Two convolutions side by side along one of the axes.
    Concat,
    /// A depthwise convolution with one or two outputs for each input.
    Depthwise,
    /// A convolution in two groups.
    Grouped,
    /// A transposed convolution, with or without SAME's padding, and perhaps a rectifier.
    ConvTranspose,
    /// Rows and columns in another arrangement, by way of another rank or not.
    Reshape,
    /// Channels become columns.
    ChannelsToColumns,
    /// Batch normalisation.
    BatchNorm,
    /// A normalised convolution, its sum with the input or with another of them, and perhaps a rectifier.
    NormalisedSum,
    /// A nonlinearity that stands alone.
    Activation(Activation),
    /// A nonlinearity fused behind a convolution.
    Fused(Activation),
    /// A nonlinearity with learned slopes.
    Prelu,
    /// A border of this value.
    Pad(f32),
    /// A resize of any kind.
    Resize,
    /// Dropout.
    Dropout,
    /// Fake quantization.
    FakeQuantize,
}

impl Block {
    /// Blocks in which a channel of zeros stays one, and no channel is kept.
    pub const OF_FREE_CHANNELS: [Self; 16] = [
        Self::Residual,
        Self::Residual,
        Self::Excitation,
        Self::Mask,
        Self::Concat,
        Self::Depthwise,
        Self::ConvTranspose,
        Self::Reshape,
        Self::BatchNorm,
        Self::Activation(Activation::Relu),
        Self::Activation(Activation::HardSwish),
        Self::Prelu,
        Self::Pad(0.0),
        Self::Resize,
        Self::Dropout,
        Self::FakeQuantize,
    ];

    /// Blocks that a TFLite file holds as the graph does.
    pub const OF_TFLITE: [Self; 19] = [
        Self::Residual,
        Self::Constant,
        Self::Excitation,
        Self::Mask,
        Self::Concat,
        Self::Depthwise,
        Self::Grouped,
        Self::ConvTranspose,
        Self::Reshape,
        Self::ChannelsToColumns,
        Self::Activation(Activation::Sigmoid),
        Self::Activation(Activation::Tanh),
        Self::Activation(Activation::HardSwish),
        Self::Activation(Activation::LeakyRelu { slope: 0.125 }),
        Self::Activation(Activation::ReluN1To1),
        Self::Fused(Activation::Relu6),
        Self::Prelu,
        Self::Pad(0.5),
        Self::Resize,
    ];

    /// Nonlinearities that a TFLite file holds as several operators, or that LiteRT's reference resolver does not have.
    pub const BESIDE_TFLITE: [Self; 3] = [
        Self::Activation(Activation::HardSigmoid),
        Self::Activation(Activation::Silu),
        Self::Activation(Activation::Elu { alpha: 1.0 }),
    ];

    /// All kinds of blocks.
    pub const ALL: [Self; 28] = [
        Self::Residual,
        Self::Constant,
        Self::Excitation,
        Self::Mask,
        Self::Concat,
        Self::Depthwise,
        Self::Grouped,
        Self::ConvTranspose,
        Self::Reshape,
        Self::ChannelsToColumns,
        Self::BatchNorm,
        Self::NormalisedSum,
        Self::Activation(Activation::Relu),
        Self::Activation(Activation::Sigmoid),
        Self::Activation(Activation::Tanh),
        Self::Activation(Activation::HardSwish),
        Self::Activation(Activation::LeakyRelu { slope: 0.1 }),
        Self::Activation(Activation::HardSigmoid),
        Self::Activation(Activation::Elu { alpha: 0.5 }),
        Self::Activation(Activation::Silu),
        Self::Activation(Activation::ReluN1To1),
        Self::Fused(Activation::Tanh),
        Self::Fused(Activation::Relu6),
        Self::Prelu,
        Self::Pad(0.5),
        Self::Resize,
        Self::Dropout,
        Self::FakeQuantize,
    ];
}

/// A random network with the batch open: a convolution, three to six of `blocks`, and a classifier.
///
/// # Panics
/// Never, unless the graph's own rules change.
#[must_use]
pub fn random(seed: u64, blocks: &[Block]) -> Graph {
    let mut random = Random::new(seed);
    let mut graph = Graph::new("branches");
    let sizes = [random.between(2, 6), random.between(2, 6), random.between(1, 3)];
    let image = graph.add_input("image", Shape::batched(&sizes), DType::F32);
    let mut network = Network { graph, random };
    let width = 2 * network.random.between(1, 3);
    let mut x = network.conv("stem", image, width, 1, Some(Activation::Relu));
    for position in 0..network.random.between(3, 6) {
        let block = network.random.pick(blocks);
        x = network.block(block, &format!("block{position}"), x);
    }
    x = network.add("global", Op::GlobalPool2d { kind: PoolKind::Average }, &[x]);
    x = network.add("flatten", Op::Flatten, &[x]);
    x = network.dense("dense", x, 4);
    x = network.add("softmax", Op::Softmax(Softmax { beta: 1.0 }), &[x]);
    network.graph.outputs.push(x);
    network.graph.verify().expect("random networks are sound");
    network.graph
}

struct Network {
    graph: Graph,
    random: Random,
}

impl Network {
    fn block(&mut self, block: Block, name: &str, x: TensorId) -> TensorId {
        let [height, width, channels] = self.graph.tensor(x).shape.image().expect("still an image");
        match block {
            Block::Residual => {
                let y = self.conv(&format!("{name}_conv"), x, channels, 1, None);
                let function = self.random.pick(&[
                    Binary::Add,
                    Binary::Subtract,
                    Binary::Multiply,
                    Binary::Maximum,
                    Binary::Minimum,
                ]);
                self.function(name, function, [x, y])
            }
            Block::Constant => {
                let sizes: [&[usize]; 4] = [&[1], &[channels], &[1, 1, 1, channels], &[height, width, 1]];
                let sizes = self.random.pick(&sizes);
                let function = self.random.pick(&[
                    Binary::Add,
                    Binary::Subtract,
                    Binary::Multiply,
                    Binary::Divide,
                    Binary::Maximum,
                    Binary::Minimum,
                ]);
                let constant = self.constant(&format!("{name}/constant"), sizes, 1.5, 0.125);
                match function {
                    // The map may be 0 somewhere.
                    Binary::Divide => {
                        let divide = Elementwise { function, activation: None };
                        self.add(name, Op::Elementwise(divide), &[x, constant])
                    }
                    Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Maximum | Binary::Minimum => {
                        self.function(name, function, [x, constant])
                    }
                }
            }
            Block::Excitation => {
                let global = Op::GlobalPool2d { kind: PoolKind::Average };
                let y = self.add(&format!("{name}_mean"), global, &[x]);
                let y = self.conv(&format!("{name}_conv"), y, channels, 1, None);
                let sigmoid = Op::Activation { function: Activation::Sigmoid };
                let y = self.add(&format!("{name}_gate"), sigmoid, &[y]);
                let function = self.random.pick(&[Binary::Multiply, Binary::Divide]);
                self.add(name, Op::Elementwise(Elementwise { function, activation: None }), &[x, y])
            }
            Block::Mask => {
                let y = self.conv(&format!("{name}_conv"), x, 1, 1, None);
                let product = Elementwise { function: Binary::Multiply, activation: None };
                self.add(name, Op::Elementwise(product), &[y, x])
            }
            Block::Concat => {
                let axis = self.random.between(1, 3);
                let widths = [self.random.between(1, 3), self.random.between(1, 3)];
                let parts = [0, 1].map(|side| {
                    let width = if axis == 3 { widths[side] } else { widths[0] };
                    self.conv(&format!("{name}_conv{side}"), x, width, 1, None)
                });
                // An input may stand twice.
                let parts = [parts[0], parts[1], parts[0]];
                let count = self.random.between(2, 3);
                self.add(name, Op::Concat(Concat { axis }), &parts[..count])
            }
            Block::Depthwise => {
                let multiplier = self.random.between(1, 2);
                self.conv(name, x, channels * multiplier, channels, None)
            }
            Block::Grouped => {
                let y = self.conv(&format!("{name}_conv"), x, 4, 1, None);
                self.conv(name, y, 6, 2, None)
            }
            Block::ConvTranspose => self.conv_transpose(name, x),
            Block::Reshape => {
                let shape = self.random.pick(&[[width, height], [1, height * width]]);
                let shape = vec![shape[0], shape[1], channels];
                let mut x = x;
                if self.random.one_in(2) {
                    let rows = vec![height * width, channels];
                    x = self.add(&format!("{name}_rows"), Op::Reshape { shape: rows }, &[x]);
                }
                self.add(name, Op::Reshape { shape }, &[x])
            }
            Block::ChannelsToColumns => {
                self.add(name, Op::Reshape { shape: vec![height, width * channels, 1] }, &[x])
            }
            Block::BatchNorm => self.batch_norm(name, x),
            Block::NormalisedSum => {
                let conv = self.conv(&format!("{name}_conv"), x, channels, 1, None);
                let norm = self.batch_norm(&format!("{name}_norm"), conv);
                let shortcut = match self.random.between(0, 2) {
                    0 => x,
                    // What is normalised may be what it is added to.
                    1 => conv,
                    _ => {
                        let other = self.conv(&format!("{name}_shortcut"), x, channels, 1, None);
                        self.batch_norm(&format!("{name}_shortcut_norm"), other)
                    }
                };
                let inputs = if self.random.one_in(2) { [norm, shortcut] } else { [shortcut, norm] };
                let activation = self.random.one_in(3).then_some(Activation::Relu6);
                let sum = Op::Elementwise(Elementwise { function: Binary::Add, activation });
                let sum = self.add(&format!("{name}_sum"), sum, &inputs);
                let relu = Op::Activation { function: Activation::Relu };
                if self.random.one_in(2) { self.add(name, relu, &[sum]) } else { sum }
            }
            Block::Activation(function) => self.add(name, Op::Activation { function }, &[x]),
            Block::Fused(function) => {
                let outputs = self.random.between(1, 6);
                self.conv(name, x, outputs, 1, Some(function))
            }
            Block::Prelu => {
                let slopes = self.constant(&format!("{name}/slopes"), &[channels], 0.25, 0.1);
                self.add(name, Op::Prelu, &[x, slopes])
            }
            Block::Pad(value) => {
                let mut side = || self.random.between(0, 2);
                let padding = Padding { top: side(), bottom: side(), left: side(), right: 1 };
                self.add(name, Op::Pad(Pad { padding, value }), &[x])
            }
            Block::Resize => {
                let random = &mut self.random;
                let size = [random.between(1, height + 3), random.between(1, width + 3)];
                let method = random.pick(&[ResizeMethod::Nearest, ResizeMethod::Bilinear]);
                let coordinates = random.pick(&[
                    ResizeCoordinates::Asymmetric,
                    ResizeCoordinates::AlignCorners,
                    ResizeCoordinates::HalfPixel,
                ]);
                self.add(name, Op::Resize2d(Resize2d { size, method, coordinates }), &[x])
            }
            Block::Dropout => self.add(name, Op::Dropout(Dropout { rate: 0.5 }), &[x]),
            Block::FakeQuantize => {
                let min = self.constant(&format!("{name}/min"), &[1], -4.0, 0.0);
                let max = self.constant(&format!("{name}/max"), &[1], 3.75, 0.0);
                self.add(name, Op::FakeQuantize(FakeQuantize { bits: 8 }), &[x, min, max])
            }
        }
    }

    /// A convolution over 1 or 3 pixels that keeps the size of the image.
    fn conv(
        &mut self,
        name: &str,
        x: TensorId,
        outputs: usize,
        groups: usize,
        activation: Option<Activation>,
    ) -> TensorId {
        let inputs = self.graph.tensor(x).shape.channels().expect("an image");
        let kernel = self.random.pick(&[1, 3]);
        let sizes = [outputs, kernel, kernel, inputs / groups];
        let deviation = (2.0 / sizes[1..].iter().product::<usize>() as f32).sqrt();
        let weights = self.constant(&format!("{name}/weights"), &sizes, 0.0, deviation);
        let bias = self.constant(&format!("{name}/bias"), &[outputs], 0.0, 0.1);
        let side = kernel / 2;
        let padding = Padding { top: side, bottom: side, left: side, right: side };
        let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups, activation };
        self.add(name, Op::Conv2d(conv), &[x, weights, bias])
    }

    fn conv_transpose(&mut self, name: &str, x: TensorId) -> TensorId {
        let [height, width, inputs] = self.graph.tensor(x).shape.image().expect("still an image");
        let random = &mut self.random;
        let outputs = random.between(1, 4);
        let kernel = [random.between(1, 4), random.between(1, 3)];
        // Images must not grow without end.
        let stride = if height * width > 60 { [1, 1] } else { [random.between(1, 3), random.between(1, 2)] };
        let (mut padding, mut output_padding) = (Padding::default(), [0, 0]);
        if random.one_in(3) {
            // What is left has at least one row and one column.
            let [[top, bottom], [left, right]] = kernel.map(|kernel| {
                let before = random.between(0, kernel - 1);
                [before, random.between(0, kernel - 1 - before)]
            });
            padding = Padding { top, bottom, left, right };
            // Only where nothing is cut off behind: both would undo each other.
            let added = stride.map(|stride| random.between(0, stride - 1));
            output_padding = [if bottom == 0 { added[0] } else { 0 }, if right == 0 { added[1] } else { 0 }];
        } else if random.one_in(2) {
            let size = [height * stride[0], width * stride[1]];
            let same = Padding::same(size, kernel, stride, [1, 1]);
            let covered = [
                (height - 1) * stride[0] + kernel[0] - same.top,
                (width - 1) * stride[1] + kernel[1] - same.left,
            ];
            output_padding = [0, 1].map(|axis| size[axis].saturating_sub(covered[axis]));
            let after = [0, 1].map(|axis| covered[axis].saturating_sub(size[axis]));
            padding = Padding { bottom: after[0], right: after[1], ..same };
        }
        let activation = random.one_in(2).then_some(Activation::Relu);
        let sizes = [outputs, kernel[0], kernel[1], inputs];
        let deviation = (2.0 / sizes[1..].iter().product::<usize>() as f32).sqrt();
        let mut all = vec![x, self.constant(&format!("{name}/weights"), &sizes, 0.0, deviation)];
        if self.random.one_in(2) {
            all.push(self.constant(&format!("{name}/bias"), &[outputs], 0.0, 0.1));
        }
        let conv = ConvTranspose2d { stride, padding, output_padding, activation };
        self.add(name, Op::ConvTranspose2d(conv), &all)
    }

    fn batch_norm(&mut self, name: &str, x: TensorId) -> TensorId {
        let channels = self.graph.tensor(x).shape.channels().expect("an image");
        let mut inputs = vec![x];
        for (role, mean) in [("gamma", 1.0), ("beta", 0.0), ("mean", 0.0), ("variance", 1.0)] {
            inputs.push(self.constant(&format!("{name}/{role}"), &[channels], mean, 0.15));
        }
        self.add(name, Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &inputs)
    }

    fn dense(&mut self, name: &str, x: TensorId, outputs: usize) -> TensorId {
        let inputs = self.graph.tensor(x).shape.channels().expect("flattened");
        let deviation = (1.0 / inputs as f32).sqrt();
        let weights = self.constant(&format!("{name}/weights"), &[outputs, inputs], 0.0, deviation);
        let bias = self.constant(&format!("{name}/bias"), &[outputs], 0.0, 0.1);
        self.add(name, Op::FullyConnected(FullyConnected::default()), &[x, weights, bias])
    }

    /// A function of two operands in either order, and perhaps a rectifier, which TFLite's extremes do not hold.
    fn function(&mut self, name: &str, function: Binary, [a, b]: [TensorId; 2]) -> TensorId {
        let extreme = matches!(function, Binary::Maximum | Binary::Minimum);
        let activation = (!extreme && self.random.one_in(2)).then_some(Activation::Relu);
        let inputs = if self.random.one_in(2) { [a, b] } else { [b, a] };
        self.add(name, Op::Elementwise(Elementwise { function, activation }), &inputs)
    }

    fn constant(&mut self, name: &str, sizes: &[usize], mean: f32, deviation: f32) -> TensorId {
        let values = self.random.normals(sizes.iter().product(), deviation);
        let values = values.into_iter().map(|value| mean + value).collect();
        self.graph.add_constant(name, sizes, TensorData::F32(values))
    }

    fn add(&mut self, name: &str, op: Op, inputs: &[TensorId]) -> TensorId {
        self.graph.add_node(name, op, inputs).expect("the block fits")
    }
}
