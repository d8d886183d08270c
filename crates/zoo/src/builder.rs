//! The layers that networks are built of, with weights of zero and normalisation that changes nothing.

use crate::Task;
use taper_graph::{
    Activation, BatchNorm, Conv2d, DType, Dropout, FullyConnected, Graph, Op, Padding, Pool2d, PoolKind,
    Result, Shape, Softmax, TensorData, TensorId,
};

/// A graph under construction. Nodes are named by the caller, parameters `NODE/weights`, `NODE/bias` and so on.
pub(crate) struct Builder {
    graph: Graph,
}

/// A convolution with a square kernel.
#[derive(Clone, Copy)]
pub(crate) struct Convolution {
    /// Output channels.
    pub(crate) width: usize,
    /// Height and width of the kernel.
    pub(crate) kernel: usize,
    /// Pixels from one output position to the next.
    pub(crate) stride: usize,
    /// Zeros around the input.
    pub(crate) padding: Border,
    /// What is added to the sums.
    pub(crate) bias: Bias,
    /// Nonlinearity fused behind the bias.
    pub(crate) activation: Option<Activation>,
}

/// What lies around an image.
#[derive(Clone, Copy)]
pub(crate) enum Border {
    /// So many pixels on each side.
    Even(usize),
    /// TensorFlow's `same`.
    Same,
}

/// Whether a layer adds a constant to each channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    /// It does.
    Learned,
    /// It does not, as batch normalisation behind it adds one.
    Absent,
}

impl Builder {
    /// A network named `name` and its only input.
    pub(crate) fn new(name: &str, task: Task) -> (Self, TensorId) {
        let mut graph = Graph::new(name);
        let image = graph.add_input("image", Shape::batched(&task.input), DType::F32);
        (Self { graph }, image)
    }

    pub(crate) fn convolution(&mut self, name: &str, x: TensorId, layer: Convolution) -> Result<TensorId> {
        let inputs = self.channels(x);
        self.grouped(name, x, layer, inputs, 1)
    }

    /// A convolution of each channel by itself; it has as many outputs as inputs, whatever its width says.
    pub(crate) fn depthwise(&mut self, name: &str, x: TensorId, layer: Convolution) -> Result<TensorId> {
        let width = self.channels(x);
        self.grouped(name, x, Convolution { width, ..layer }, 1, width)
    }

    fn grouped(
        &mut self,
        name: &str,
        x: TensorId,
        layer: Convolution,
        inputs: usize,
        groups: usize,
    ) -> Result<TensorId> {
        let Convolution { width, kernel, stride, padding, bias, activation } = layer;
        let (kernel, stride, dilation) = ([kernel; 2], [stride; 2], [1, 1]);
        let mut read = vec![x, self.zeros(format!("{name}/weights"), &[width, kernel[0], kernel[1], inputs])];
        if bias == Bias::Learned {
            read.push(self.zeros(format!("{name}/bias"), &[width]));
        }
        let padding = self.padding(x, padding, kernel, stride);
        self.add(name, Op::Conv2d(Conv2d { stride, dilation, padding, groups, activation }), &read)
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: TensorId, epsilon: f32) -> Result<TensorId> {
        let channels = self.channels(x);
        let mut read = vec![x];
        for (role, value) in [("gamma", 1.0), ("beta", 0.0), ("mean", 0.0), ("variance", 1.0)] {
            let data = TensorData::F32(vec![value; channels]);
            read.push(self.graph.add_constant(format!("{name}/{role}"), &[channels], data));
        }
        self.add(name, Op::BatchNorm(BatchNorm { epsilon }), &read)
    }

    pub(crate) fn activation(&mut self, name: &str, x: TensorId, function: Activation) -> Result<TensorId> {
        self.add(name, Op::Activation { function }, &[x])
    }

    /// Maxima over square windows.
    pub(crate) fn max_pool(
        &mut self,
        name: &str,
        x: TensorId,
        window: usize,
        stride: usize,
        padding: Border,
    ) -> Result<TensorId> {
        let (window, stride) = ([window; 2], [stride; 2]);
        let padding = self.padding(x, padding, window, stride);
        self.add(name, Op::Pool2d(Pool2d { kind: PoolKind::Max, window, stride, padding }), &[x])
    }

    /// The mean of each channel, as a vector.
    pub(crate) fn mean(&mut self, name: &str, x: TensorId) -> Result<TensorId> {
        let x = self.add(name, Op::GlobalPool2d { kind: PoolKind::Average }, &[x])?;
        self.add("flatten", Op::Flatten, &[x])
    }

    pub(crate) fn dropout(&mut self, name: &str, x: TensorId, rate: f32) -> Result<TensorId> {
        self.add(name, Op::Dropout(Dropout { rate }), &[x])
    }

    /// Any operator without parameters.
    pub(crate) fn add(&mut self, name: &str, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        self.graph.add_node(name, op, inputs)
    }

    /// The network with `x` as its features: a fully connected layer and softmax at its end.
    pub(crate) fn classifier(mut self, x: TensorId, classes: usize) -> Result<Graph> {
        let features = self.channels(x);
        let weights = self.zeros("predictions/weights".to_owned(), &[classes, features]);
        let bias = self.zeros("predictions/bias".to_owned(), &[classes]);
        let dense = Op::FullyConnected(FullyConnected::default());
        let x = self.add("predictions", dense, &[x, weights, bias])?;
        let x = self.add("softmax", Op::Softmax(Softmax { beta: 1.0 }), &[x])?;
        self.graph.outputs.push(x);
        self.graph.verify()?;
        Ok(self.graph)
    }

    fn channels(&self, x: TensorId) -> usize {
        self.graph.tensor(x).shape.channels().unwrap_or_default()
    }

    fn padding(&self, x: TensorId, border: Border, kernel: [usize; 2], stride: [usize; 2]) -> Padding {
        match border {
            Border::Even(side) => Padding { top: side, bottom: side, left: side, right: side },
            Border::Same => {
                let [height, width, _] = self.graph.tensor(x).shape.image().unwrap_or_default();
                Padding::same([height, width], kernel, stride, [1, 1])
            }
        }
    }

    fn zeros(&mut self, name: String, sizes: &[usize]) -> TensorId {
        self.graph.add_constant(name, sizes, TensorData::F32(vec![0.0; sizes.iter().product()]))
    }
}
