//! A network in training: its layers as a chain, its parameters and its buffers.

use super::layer::{Layer, Mode};
use super::parameter::Parameters;
use crate::error::{AdaptError, Result};
use std::collections::BTreeMap;
use std::time::Instant;
use taper_graph::{Graph, GraphError, Op, Shape, Softmax, TensorData, TensorId};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Lanes, LossSummary, Workspace, blocks, count_zeros, pack, softmax_cross_entropy};

/// A classifier that can be trained and evaluated on mini-batches.
///
/// Activations lie in lane layout (see `taper_kernels::lanes`). The network is a chain of layers that ends in logits;
/// a softmax at its end is part of the loss. Buffers are kept between batches and grow only when a larger batch comes.
pub struct Network {
    graph: Graph,
    parameters: Parameters,
    /// The tensors along the chain: the input, then what each layer writes.
    chain: Vec<TensorId>,
    /// The layers for each batch size that has come so far.
    plans: BTreeMap<usize, Vec<Layer>>,
    /// What each tensor of the chain holds.
    activations: Vec<Vec<Lanes>>,
    /// Gradients of two neighbours in the chain.
    gradients: [Vec<Lanes>; 2],
    /// How long each layer took in the batch that ran last.
    times: Vec<LayerTime>,
    workspace: Workspace,
    isa: Isa,
}

/// How long a layer took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerTime {
    /// Forward.
    pub forward: f64,
    /// Backward, of parameters and input together; 0 where nobody needs a gradient.
    pub backward: f64,
}

impl Network {
    /// Prepares a float network with one image input and one output for training.
    ///
    /// # Errors
    /// If the graph is inconsistent, is no chain, or holds an operator that has no gradient here.
    pub fn new(graph: &Graph) -> Result<Self> {
        graph.verify()?;
        let chain = chain(graph)?;
        let network = Self {
            parameters: Parameters::of(graph)?,
            graph: graph.clone(),
            activations: vec![Vec::new(); chain.len()],
            gradients: [Vec::new(), Vec::new()],
            times: vec![LayerTime::default(); chain.len() - 1],
            chain,
            plans: BTreeMap::new(),
            workspace: Workspace::new(),
            isa: Isa::best(),
        };
        let logits = &graph.tensor(network.chain[network.chain.len() - 1]);
        if logits.shape.channels() != Some(network.classes()) {
            let message = format!("expected a value per class in `{}`, found {}", logits.name, logits.shape);
            return Err(network.unsupported(message));
        }
        // Layers are built here once so that what cannot be trained is refused before any work is done.
        if !network.plan(1)?.iter().any(Layer::learns) {
            return Err(network.unsupported("no layer has parameters to learn".to_owned()));
        }
        Ok(network)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// The shape of the input.
    pub(super) fn input_shape(&self) -> &Shape {
        &self.graph.tensor(self.chain[0]).shape
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.features(self.chain.len() - 1)
    }

    /// The parameters as they stand.
    pub(super) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters, for an optimizer.
    pub(super) fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The network with the parameters as they stand.
    #[must_use]
    pub fn to_graph(&self) -> Graph {
        let mut graph = self.graph.clone();
        for parameter in self.parameters.iter() {
            graph.tensor_mut(parameter.tensor).data = Some(TensorData::F32(parameter.value.clone()));
        }
        graph
    }

    /// Runs a batch forward and backward; the gradients of the mean loss are left in the parameters.
    ///
    /// `images` is `[labels.len()][H][W][C]`, already preprocessed. Batch normalisation uses the batch's statistics and
    /// updates the running ones.
    ///
    /// # Errors
    /// If the batch does not fit the network.
    pub fn learn(&mut self, images: &[f32], labels: &[u32]) -> Result<LossSummary> {
        self.forward(images, labels, Mode::Train)?;
        let classes = self.classes();
        let len = blocks(labels.len()) * classes;
        let logits = &self.activations[self.chain.len() - 1][..len];
        let summary = softmax_cross_entropy(logits, labels, classes, Some(&mut self.gradients[0][..len]));
        self.backward(labels.len());
        Ok(summary)
    }

    /// Runs a batch forward with the running statistics of batch normalisation. Arguments as for [`Network::learn`].
    ///
    /// # Errors
    /// If the batch does not fit the network.
    pub fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<LossSummary> {
        self.forward(images, labels, Mode::Evaluate)?;
        let len = blocks(labels.len()) * self.classes();
        let logits = &self.activations[self.chain.len() - 1][..len];
        Ok(softmax_cross_entropy(logits, labels, self.classes(), None))
    }

    /// How many values of each channel of `tensor` were zero in the batch that ran last.
    ///
    /// # Errors
    /// If the tensor does not stand in the chain.
    pub fn zeros(&self, tensor: TensorId, batch: usize) -> Result<Vec<u64>> {
        let position = self.chain.iter().position(|id| *id == tensor).ok_or_else(|| {
            self.unsupported(format!("`{}` is no activation of the chain", self.graph.tensor(tensor).name))
        })?;
        let channels = self.graph.tensor(tensor).shape.channels().unwrap_or(1);
        let values = &self.activations[position][..blocks(batch) * self.features(position)];
        let pixels = self.features(position) / channels.max(1);
        Ok(count_zeros(self.isa, values, batch, channels, pixels))
    }

    /// Each layer's name with the time that it took in the batch that ran last, in order.
    pub fn layer_times(&self) -> impl Iterator<Item = (&str, LayerTime)> {
        let names = self.chain[1..].iter().map(|id| self.graph.tensor(*id).name.as_str());
        names.zip(self.times.iter().copied())
    }

    fn plan(&self, batch: usize) -> Result<Vec<Layer>> {
        self.chain
            .windows(2)
            .map(|pair| {
                let node = self.graph.producer(pair[1]).map(|id| self.graph.node(id));
                let node = node.ok_or_else(|| {
                    self.unsupported(format!("nothing writes `{}`", self.graph.tensor(pair[1]).name))
                })?;
                Layer::new(&self.graph, node, &self.parameters, batch, self.isa)
            })
            .collect()
    }

    /// Values of one image in a tensor of the chain.
    fn features(&self, position: usize) -> usize {
        self.graph.tensor(self.chain[position]).shape.elements(1).unwrap_or(0)
    }

    /// Lanes of each tensor of the chain for a batch.
    fn lens(&self, batch: usize) -> Vec<usize> {
        (0..self.chain.len()).map(|position| blocks(batch) * self.features(position)).collect()
    }

    fn forward(&mut self, images: &[f32], labels: &[u32], mode: Mode) -> Result<()> {
        let batch = labels.len();
        let input = self.graph.tensor(self.chain[0]);
        if batch == 0 || images.len() != batch * self.features(0) {
            return Err(self.mismatch(format!(
                "expected {batch} images of {} values for `{}`, found {} values in all",
                self.features(0),
                input.name,
                images.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= self.classes()) {
            return Err(self.mismatch(format!("expected labels below {}, found {label}", self.classes())));
        }
        let [height, width, channels] = input.shape.image().unwrap_or([1, 1, self.features(0)]);
        self.make_room(batch);
        if !self.plans.contains_key(&batch) {
            let plan = self.plan(batch)?;
            self.plans.insert(batch, plan);
        }
        let lens = self.lens(batch);
        let Some(layers) = self.plans.get_mut(&batch) else { return Ok(()) };
        pack(images, batch, height * width, channels, &mut self.activations[0][..lens[0]]);
        for (position, layer) in layers.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(position + 1);
            let (x, y) = (&before[position][..lens[position]], &mut after[0][..lens[position + 1]]);
            let started = Instant::now();
            layer.forward(mode, x, y, &mut self.parameters, &mut self.workspace);
            self.times[position] = LayerTime { forward: started.elapsed().as_secs_f64(), backward: 0.0 };
        }
        Ok(())
    }

    fn backward(&mut self, batch: usize) {
        let lens = self.lens(batch);
        let Some(layers) = self.plans.get_mut(&batch) else { return };
        // Nobody needs gradients before the first layer that learns.
        let Some(first) = layers.iter().position(Layer::learns) else { return };
        let [mut dy, mut dx] = self.gradients.each_mut();
        for (position, layer) in layers.iter_mut().enumerate().skip(first).rev() {
            let (x, y) = (&self.activations[position], &self.activations[position + 1]);
            let wanted = if position > first { lens[position] } else { 0 };
            let started = Instant::now();
            layer.backward(
                &x[..lens[position]],
                &y[..lens[position + 1]],
                &mut dy[..lens[position + 1]],
                &mut dx[..wanted],
                &mut self.parameters,
                &mut self.workspace,
            );
            self.times[position].backward = started.elapsed().as_secs_f64();
            std::mem::swap(&mut dy, &mut dx);
        }
    }

    fn make_room(&mut self, batch: usize) {
        let lens = self.lens(batch);
        for (activation, len) in self.activations.iter_mut().zip(&lens) {
            grow(activation, *len);
        }
        // The input has no gradient.
        let widest = lens[1..].iter().copied().max().unwrap_or(0);
        for gradient in &mut self.gradients {
            grow(gradient, widest);
        }
    }

    fn unsupported(&self, message: String) -> AdaptError {
        unsupported(&self.graph, message)
    }

    fn mismatch(&self, message: String) -> AdaptError {
        AdaptError::Mismatch { network: self.graph.name.clone(), message }
    }
}

fn grow(buffer: &mut Vec<Lanes>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, Lanes::ZERO);
    }
}

fn unsupported(graph: &Graph, message: String) -> AdaptError {
    AdaptError::Unsupported { pass: "train", network: graph.name.clone(), message }
}

/// The tensors from the only input to the logits, each read by one node only.
fn chain(graph: &Graph) -> Result<Vec<TensorId>> {
    let mut output = graph.single_output()?;
    if let Some(node) = graph.producer(output).map(|id| graph.node(id))
        && let Op::Softmax(Softmax { beta }) = node.op
    {
        if beta != 1.0 {
            return Err(unsupported(graph, format!("expected a beta of 1 of `{}`, found {beta}", node.name)));
        }
        output = node.inputs[0];
    }
    let input = graph.single_input()?;
    let mut chain = vec![output];
    let mut at = output;
    while at != input {
        let node = graph.producer(at).map(|id| graph.node(id)).ok_or_else(|| GraphError::InvalidTensor {
            tensor: graph.tensor(at).name.clone(),
            message: "expected it to follow from the network's input, found a constant".to_owned(),
        })?;
        at = node.inputs[0];
        if graph.consumers(at).count() > 1 {
            let name = &graph.tensor(at).name;
            return Err(unsupported(
                graph,
                format!("`{name}` is read by several layers; only chains are trained"),
            ));
        }
        chain.push(at);
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests;
