//! Small float networks written down layer by layer, with random parameters.

use crate::random::Random;
use taper_graph::{
    Activation, BatchNorm, Conv2d, DType, FullyConnected, Graph, Op, Padding, Pool2d, PoolKind, Shape,
    Softmax, TensorData, TensorId,
};

/// A convolution that keeps the size of the image for odd kernels of `kernel` pixels, with no nonlinearity.
#[must_use]
pub fn same(kernel: usize) -> Conv2d {
    let side = kernel / 2;
    let padding = Padding { top: side, bottom: side, left: side, right: side };
    Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups: 1, activation: None }
}

/// A network under construction. Each layer is named by its kind and its position among all nodes, from 0: the second
/// node is `relu1` if it is a relu. Parameters are `NAME/weights`, `NAME/bias`, `NAME/gamma` and so on.
#[derive(Debug, Clone)]
pub struct Chain {
    graph: Graph,
    random: Random,
    x: TensorId,
    biased: bool,
}

impl Chain {
    /// A network with one input of the given sizes, the batch left out.
    #[must_use]
    pub fn new(seed: u64, input: &[usize]) -> Self {
        let mut graph = Graph::new("chain");
        let x = graph.add_input("image", Shape::batched(input), DType::F32);
        Self { graph, random: Random::new(seed), x, biased: true }
    }

    /// Layers from here on have no bias.
    #[must_use]
    pub fn unbiased(mut self) -> Self {
        self.biased = false;
        self
    }

    /// A convolution to `channels` channels.
    #[must_use]
    pub fn conv(self, channels: usize, kernel: [usize; 2], conv: Conv2d) -> Self {
        let inputs = self.channels();
        self.layer("conv", &[channels, kernel[0], kernel[1], inputs], Op::Conv2d(conv))
    }

    /// A convolution that keeps the size of the image, with a fused relu.
    #[must_use]
    pub fn conv_relu(self, channels: usize) -> Self {
        self.conv(channels, [3, 3], Conv2d { activation: Some(Activation::Relu), ..same(3) })
    }

    /// A fully connected layer to `channels` channels.
    #[must_use]
    pub fn dense(self, channels: usize, activation: Option<Activation>) -> Self {
        let inputs = self.channels();
        self.layer("dense", &[channels, inputs], Op::FullyConnected(FullyConnected { activation }))
    }

    /// Batch normalisation, with statistics as if it had been trained.
    #[must_use]
    pub fn batch_norm(mut self) -> Self {
        let (name, channels) = (self.name("norm"), self.channels());
        let mut inputs = vec![self.x];
        for (role, mean, deviation) in
            [("gamma", 1.0, 0.2), ("beta", 0.0, 0.2), ("mean", 0.0, 0.2), ("variance", 1.0, 0.15)]
        {
            // Twelve uniform numbers lie within six deviations, so that variances stay above 0.
            let values = self.random.normals(channels, deviation).iter().map(|value| mean + value).collect();
            let constant =
                self.graph.add_constant(format!("{name}/{role}"), &[channels], TensorData::F32(values));
            inputs.push(constant);
        }
        self.node(name, Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &inputs)
    }

    /// A nonlinearity that stands alone.
    #[must_use]
    pub fn activation(self, function: Activation) -> Self {
        self.op(function.name(), Op::Activation { function })
    }

    /// Pooling over square windows without gaps; what hangs over below and to the right makes a pixel of its own.
    #[must_use]
    pub fn pool(self, kind: PoolKind, side: usize) -> Self {
        let [height, width, _] =
            self.graph.tensor(self.x).shape.image().expect("the network is still an image here");
        let padding = Padding::same([height, width], [side; 2], [side; 2], [1, 1]);
        self.op("pool", Op::Pool2d(Pool2d { kind, window: [side; 2], stride: [side; 2], padding }))
    }

    /// Pooling over the whole map.
    #[must_use]
    pub fn global_pool(self, kind: PoolKind) -> Self {
        self.op("global", Op::GlobalPool2d { kind })
    }

    /// All but the batch in one dimension.
    #[must_use]
    pub fn flatten(self) -> Self {
        self.op("flatten", Op::Flatten)
    }

    /// Softmax.
    #[must_use]
    pub fn softmax(self) -> Self {
        self.op("softmax", Op::Softmax(Softmax { beta: 1.0 }))
    }

    /// Any operator without parameters.
    #[must_use]
    pub fn op(self, kind: &str, op: Op) -> Self {
        let (name, x) = (self.name(kind), self.x);
        self.node(name, op, &[x])
    }

    /// The network.
    ///
    /// # Panics
    /// If the layers do not make a sound graph, as do the functions above if one does not fit the layers before it.
    #[must_use]
    pub fn finish(mut self) -> Graph {
        self.graph.outputs.push(self.x);
        self.graph.verify().expect("the layers fit");
        self.graph
    }

    fn channels(&self) -> usize {
        self.graph.tensor(self.x).shape.channels().expect("every activation here has channels")
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}{}", self.graph.nodes.len())
    }

    fn layer(mut self, kind: &str, sizes: &[usize], op: Op) -> Self {
        let name = self.name(kind);
        let fan_in: usize = sizes[1..].iter().product();
        let values = self.random.normals(sizes[0] * fan_in, (2.0 / fan_in as f32).sqrt());
        let weights = self.graph.add_constant(format!("{name}/weights"), sizes, TensorData::F32(values));
        let mut inputs = vec![self.x, weights];
        if self.biased {
            let values = self.random.normals(sizes[0], 0.1);
            let bias = self.graph.add_constant(format!("{name}/bias"), &sizes[..1], TensorData::F32(values));
            inputs.push(bias);
        }
        self.node(name, op, &inputs)
    }

    fn node(mut self, name: String, op: Op, inputs: &[TensorId]) -> Self {
        self.x = self.graph.add_node(name, op, inputs).expect("the layer fits");
        self
    }
}
