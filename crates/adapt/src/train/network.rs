//! A network in training: its program, its parameters and its buffers.
//!
//! A batch passes the layers in chunks of images. Where a network has many parameters, or batch normalisation ties the
//! images of a batch together, the whole batch is one chunk, and all threads share the work of each layer; only if its
//! activations exceed the memory budget is it cut into smaller ones, one after the other. A narrow network hardly has
//! work to share in a layer: there, chunks of 16 images pass all layers on a thread of their own, in its caches.
//!
//! Chunks, and the order in which their gradients are added up, follow from the network and the batch alone.

use super::layer::{Map, Mode};
use super::loss::{BatchLoss, Loss, Objective, Targets};
use super::parameter::{Parameter, Parameters, sum};
use super::plan::Plan;
use super::program::{Program, Value};
use super::worker::{Chunk, Fault, LayerTime, Pass, Worker};
use crate::error::{AdaptError, Result};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use taper_graph::{Graph, NodeId, Op, Shape, TensorData, TensorId};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{LANES, LossSummary, on_this_thread, sum_of_squares};

/// How much the running statistics of batch normalisation keep of themselves at each step. Retraining takes few
/// steps, so they must follow faster than with Keras's 0.99.
const STATISTICS_MOMENTUM: f32 = 0.9;

/// Networks with at most this many parameters are narrow: their gradients fit into a second-level cache several times.
const NARROW: usize = 1 << 16;

/// Parts of a batch of a narrow network whose gradients are added up apart from each other.
const PARTS: usize = 16;

/// What a network is prepared for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkSettings {
    /// What it learns to make small.
    pub loss: Loss,
    /// Nodes whose parameters stay as they are, batch statistics included, and so where other nodes share them. A name
    /// may end in `*`, which stands for anything.
    pub freeze: Vec<String>,
    /// The most bytes that activations and their gradients may take; of a narrow network, those of each thread. A batch
    /// that needs more is cut into smaller ones, whose gradients are added up; batch normalisation then sees the
    /// statistics of each of them.
    pub memory_budget: Option<usize>,
    /// Of the random numbers of dropout.
    pub seed: u64,
}

/// A network that can be trained and evaluated on mini-batches.
///
/// Activations lie in lane layout (see `taper_kernels::lanes`). A softmax or sigmoid at the network's end may be part of
/// the [`Loss`]. Buffers are kept between batches and grow only when a larger batch comes.
pub struct Network {
    /// The network without its parameters' values.
    graph: Graph,
    program: Program,
    /// Shared with the pass that computes it.
    objective: Arc<Objective>,
    parameters: Parameters,
    gradients: Vec<f32>,
    /// Gradients of the parts of a batch.
    parts: Vec<Part>,
    plans: BTreeMap<(usize, Mode), Plan>,
    /// Images of a chunk of each number of images that came so far.
    chunk_sizes: BTreeMap<(usize, Mode), usize>,
    /// One for each thread.
    workers: Vec<Mutex<Worker>>,
    watched: Vec<Value>,
    memory_budget: Option<usize>,
    /// Whether it hardly has work to share in a layer.
    narrow: bool,
    /// Whether batch statistics tie the images of a training batch together.
    tied: bool,
    seed: u64,
    /// Training steps before the next one; dropout draws other values in each.
    step: u64,
    isa: Isa,
}

/// What some chunks of a batch come to.
#[derive(Default)]
struct Part {
    gradients: Vec<f32>,
    summary: LossSummary,
}

impl Network {
    /// Prepares a float network with one input and one output for training.
    ///
    /// # Errors
    /// If the graph is inconsistent, or holds an operator that has no gradient here.
    pub fn new(graph: &Graph) -> Result<Self> {
        Self::with_settings(graph.clone(), &NetworkSettings::default())
    }

    /// Prepares a float network with one input and one output for training.
    ///
    /// # Errors
    /// As for [`Network::new`], if nothing is to learn, and if the loss has senseless settings or is not for such an
    /// output.
    pub fn with_settings(mut graph: Graph, settings: &NetworkSettings) -> Result<Self> {
        graph.verify()?;
        let missing = |pattern: &&String| !graph.nodes.iter().any(|node| matches(pattern, &node.name));
        if let Some(pattern) = settings.freeze.iter().find(missing) {
            let message = format!("expected layers to freeze named `{pattern}`, found none");
            return Err(AdaptError::Unsupported { pass: "train", network: graph.name.clone(), message });
        }
        let frozen = |name: &str| settings.freeze.iter().any(|pattern| matches(pattern, name));
        let parameters = Parameters::take(&mut graph, frozen)?;
        let program = Program::of(&graph, &parameters, &settings.loss)?;
        let unsupported =
            |message| AdaptError::Unsupported { pass: "train", network: graph.name.clone(), message };
        let logits = graph.tensor(program.values[program.logits].tensor);
        if !matches!(logits.shape.rank(), 2 | 4) {
            let message =
                format!("expected an image or a vector in `{}`, found {}", logits.name, logits.shape);
            return Err(unsupported(message));
        }
        if !program.values[program.logits].learns {
            return Err(unsupported("no layer has parameters to learn".to_owned()));
        }
        let objective = Objective::new(settings.loss.clone(), Map::of(&logits.shape), Isa::best())?;
        let narrow = parameters.iter().map(|parameter| parameter.value.len()).sum::<usize>() <= NARROW;
        let normalises = |node: NodeId| matches!(graph.node(node).op, Op::BatchNorm(_));
        let tied = program.steps.iter().any(|step| step.learns && normalises(step.node));
        let mut network = Self {
            gradients: vec![0.0; parameters.gradients()],
            parameters,
            program,
            objective: Arc::new(objective),
            graph,
            parts: Vec::new(),
            plans: BTreeMap::new(),
            chunk_sizes: BTreeMap::new(),
            workers: Vec::new(),
            watched: Vec::new(),
            memory_budget: settings.memory_budget,
            narrow,
            tied,
            seed: settings.seed,
            step: 0,
            isa: Isa::best(),
        };
        // Layers are built here once so that what cannot be trained is refused before any work is done.
        network.prepare(1, Mode::Train)?;
        Ok(network)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// The shape of the input.
    pub(super) fn input_shape(&self) -> &Shape {
        self.program.shape(&self.graph, 0)
    }

    /// The number of classes: the channels of the output.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.objective.channels()
    }

    /// The parameters as they stand.
    pub(super) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters, to be changed.
    pub(super) fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The parameters, to be changed by their gradients.
    pub(super) fn parameters_and_gradients(&mut self) -> (&mut Parameters, &[f32]) {
        (&mut self.parameters, &self.gradients)
    }

    /// Tells how many training steps came before the next one.
    pub(super) fn set_step(&mut self, step: u64) {
        self.step = step;
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

    /// Runs a batch forward and backward; the gradients of the mean loss are left for the optimizer.
    ///
    /// `images` is `[N][H][W][C]`, already preprocessed. Batch normalisation uses the batch's statistics and updates the
    /// running ones.
    ///
    /// # Errors
    /// If the batch does not fit the network or its loss, or not into the memory budget.
    pub fn learn<'a>(&mut self, images: &[f32], targets: impl Into<Targets<'a>>) -> Result<LossSummary> {
        self.pass(images, targets.into(), Mode::Train)
    }

    /// Runs a batch forward with the running statistics of batch normalisation. Arguments as for [`Network::learn`].
    ///
    /// # Errors
    /// As for [`Network::learn`].
    pub fn evaluate<'a>(&mut self, images: &[f32], targets: impl Into<Targets<'a>>) -> Result<LossSummary> {
        self.pass(images, targets.into(), Mode::Evaluate)
    }

    /// From here on, counts the zeros of each channel of these activations.
    ///
    /// # Errors
    /// If one of them is not computed.
    pub fn watch(&mut self, tensors: &[TensorId]) -> Result<()> {
        let value = |tensor: &TensorId| {
            self.program.values.iter().position(|value| value.tensor == *tensor).ok_or_else(|| {
                self.unsupported(format!("`{}` is not computed in training", self.graph.tensor(*tensor).name))
            })
        };
        self.watched = tensors.iter().map(value).collect::<Result<_>>()?;
        self.take_zeros();
        Ok(())
    }

    /// How many values of each channel of each watched activation were zero since this was last asked.
    pub fn take_zeros(&mut self) -> Vec<Vec<u64>> {
        let channels = |value: &Value| self.program.shape(&self.graph, *value).channels().unwrap_or(1);
        let mut zeros: Vec<Vec<u64>> = self.watched.iter().map(|value| vec![0; channels(value)]).collect();
        self.workers.iter_mut().for_each(|worker| own(worker).take_zeros(&mut zeros));
        zeros
    }

    /// The names of the nodes that steps are named by, in order.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.program.steps.iter().map(|step| self.graph.node(step.node).name.as_str())
    }

    /// The time that each step took since this was last asked. Where chunks passed on several threads, it is the mean of
    /// those that worked.
    pub fn take_times(&mut self) -> Vec<LayerTime> {
        let mut times = vec![LayerTime::default(); self.program.steps.len()];
        let worked = self.workers.iter_mut().filter_map(|worker| own(worker).take_times(&mut times)).count();
        for LayerTime { forward, backward } in &mut times {
            *forward /= worked.max(1) as f64;
            *backward /= worked.max(1) as f64;
        }
        times
    }

    /// Where a batch first meets a value that is not finite: it passes once more, and every value is looked at.
    pub(super) fn find_fault(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        mode: Mode,
    ) -> Result<Option<String>> {
        self.workers.iter_mut().for_each(|worker| own(worker).inspect());
        self.pass(images, targets, mode)?;
        let fault = self.workers.iter_mut().filter_map(|worker| own(worker).inspected()).min();
        let name = |step: usize| &self.graph.node(self.program.steps[step].node).name;
        Ok(fault.map(|fault| match fault {
            Fault::Output(step) => format!("the output of `{}`", name(step)),
            Fault::Gradient(Reverse(step)) => format!("the gradient of `{}`", name(step)),
        }))
    }

    /// The parameter with the largest gradient in the last batch, and the norm of that gradient.
    pub(super) fn largest_gradient(&self) -> (&str, f64) {
        let norm = |parameter: &Parameter| {
            sum_of_squares(self.isa, &self.gradients[parameter.gradient.clone()]).sqrt()
        };
        let norms = self.parameters.iter().map(|parameter| (parameter.name.as_str(), norm(parameter)));
        norms.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("", 0.0))
    }

    fn pass(&mut self, images: &[f32], targets: Targets<'_>, mode: Mode) -> Result<LossSummary> {
        let features = self.program.values[0].features;
        if images.is_empty() || !images.len().is_multiple_of(features) {
            return Err(self.mismatch(format!(
                "expected images of {features} values for `{}`, found {} values in all",
                self.graph.tensor(self.program.values[0].tensor).name,
                images.len()
            )));
        }
        let count = images.len() / features;
        let objective = Arc::clone(&self.objective);
        let loss = objective.of_batch(count, targets, mode).map_err(|message| self.mismatch(message))?;
        let size = self.chunk_size(count, mode)?;
        self.prepare(size, mode)?;
        if !count.is_multiple_of(size) {
            self.prepare(count % size, mode)?;
        }
        let batch = Batch { images, loss, features, size, mode };
        Ok(if self.at_once(mode) { self.pass_at_once(batch) } else { self.pass_in_turns(batch) })
    }

    /// One chunk after the other, with all threads in each layer.
    fn pass_in_turns(&mut self, batch: Batch<'_>) -> LossSummary {
        self.workers.resize_with(self.workers.len().max(1), Mutex::default);
        let Self { graph, program, parameters, gradients, plans, workers, watched, step, isa, .. } = self;
        let worker = own(&mut workers[0]);
        let mut summary = LossSummary::default();
        for position in 0..batch.chunks() {
            let (plan, chunk) = batch.chunk(position, plans);
            let mode = batch.mode;
            let pass = Pass { graph, program, parameters, watched, mode, step: *step, isa: *isa };
            summary += worker.run_nth(position, pass, plan, chunk, gradients);
            for (step, layer) in plan.layers.iter().enumerate() {
                if let (Some(running), Mode::Train) = (layer.running(), mode) {
                    let [mean, variance] = parameters.values_mut(running);
                    worker.statistics(step).update_running(STATISTICS_MOMENTUM, mean, variance);
                }
            }
        }
        summary
    }

    /// Chunks on several threads, each on one alone.
    fn pass_at_once(&mut self, batch: Batch<'_>) -> LossSummary {
        self.workers.resize_with(self.workers.len().max(rayon::current_num_threads()), Mutex::default);
        let Self { graph, program, parameters, gradients, plans, workers, watched, parts, step, isa, .. } =
            self;
        let count = batch.chunks().min(PARTS);
        parts.resize_with(parts.len().max(count), Part::default);
        let parts = &mut parts[..count];
        let mode = batch.mode;
        let pass = Pass { graph, program, parameters, watched, mode, step: *step, isa: *isa };
        parts.par_iter_mut().enumerate().for_each(|(number, Part { gradients, summary })| {
            let thread = rayon::current_thread_index().unwrap_or(0);
            let mut worker = workers[thread].lock().unwrap_or_else(PoisonError::into_inner);
            gradients.resize(parameters.gradients(), 0.0);
            *summary = LossSummary::default();
            let chunks = number * batch.chunks() / count..(number + 1) * batch.chunks() / count;
            on_this_thread(|| {
                for (nth, position) in chunks.enumerate() {
                    let (plan, chunk) = batch.chunk(position, plans);
                    *summary += worker.run_nth(nth, pass, plan, chunk, gradients);
                }
            });
        });
        if mode == Mode::Train {
            gradients.fill(0.0);
            parts.iter().for_each(|part| sum(gradients, &part.gradients));
        }
        let mut summary = LossSummary::default();
        parts.iter().for_each(|part| summary += part.summary);
        summary
    }

    /// Whether chunks pass at once, each on a thread of its own.
    fn at_once(&self, mode: Mode) -> bool {
        self.narrow && !(self.tied && mode == Mode::Train)
    }

    /// Images of a chunk of a batch of `batch` images.
    fn chunk_size(&mut self, batch: usize, mode: Mode) -> Result<usize> {
        if let Some(&size) = self.chunk_sizes.get(&(batch, mode)) {
            return Ok(size);
        }
        let mut blocks = if self.at_once(mode) { 1 } else { batch.div_ceil(LANES) };
        while let Some(budget) = self.memory_budget {
            let images = batch.min(blocks * LANES);
            let bytes = self.prepare(images, mode)?.bytes();
            if bytes <= budget {
                break;
            }
            self.plans.remove(&(images, mode));
            if blocks == 1 {
                let network = self.graph.name.clone();
                return Err(AdaptError::Memory { network, images, bytes, budget });
            }
            blocks = blocks.div_ceil(2);
        }
        let size = batch.min(blocks * LANES);
        self.chunk_sizes.insert((batch, mode), size);
        Ok(size)
    }

    /// The plan for `images` images, made if there is none yet.
    fn prepare(&mut self, images: usize, mode: Mode) -> Result<&Plan> {
        let at_once = self.at_once(mode);
        let Self { graph, program, parameters, plans, seed, isa, .. } = self;
        Ok(match plans.entry((images, mode)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let plan = || Plan::new(graph, program, parameters, images, mode, *seed, *isa);
                entry.insert(if at_once { on_this_thread(plan) } else { plan() }?)
            }
        })
    }

    fn unsupported(&self, message: String) -> AdaptError {
        AdaptError::Unsupported { pass: "train", network: self.graph.name.clone(), message }
    }

    fn mismatch(&self, message: String) -> AdaptError {
        AdaptError::Mismatch { network: self.graph.name.clone(), message }
    }
}

/// A batch, and how it is cut.
#[derive(Clone, Copy)]
struct Batch<'a> {
    images: &'a [f32],
    loss: BatchLoss<'a>,
    /// Values of an image.
    features: usize,
    /// Images of a chunk.
    size: usize,
    mode: Mode,
}

impl<'a> Batch<'a> {
    fn chunks(self) -> usize {
        self.loss.images().div_ceil(self.size)
    }

    /// A chunk, and its plan.
    fn chunk<'p>(self, position: usize, plans: &'p BTreeMap<(usize, Mode), Plan>) -> (&'p Plan, Chunk<'a>) {
        let (first, end) = (position * self.size, self.loss.images().min((position + 1) * self.size));
        let images = &self.images[first * self.features..end * self.features];
        let plan = plans.get(&(end - first, self.mode)).expect("a pass prepares the plans of its chunks");
        (plan, Chunk { first, images, loss: self.loss.part(first..end) })
    }
}

/// What a lock guards that nobody else can hold.
fn own<T>(lock: &mut Mutex<T>) -> &mut T {
    lock.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `name` is `pattern`, or begins with it up to a final `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests;
