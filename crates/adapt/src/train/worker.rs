//! One thread's part of a pass: the images of a chunk go through all layers, forward and backward.

use super::layer::{Call, Mode, apart};
use super::loss::BatchLoss;
use super::parameter::{Gradients, Parameters, sum};
use super::plan::{Origin, Plan};
use super::program::{Program, Value};
use std::cmp::Reverse;
use std::ops::Range;
use std::time::Instant;
use taper_graph::Graph;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{
    BatchStatistics, LANES, Lanes, LossSummary, Workspace, accumulate, blocks, count_zeros, pack,
};

/// How long a layer took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerTime {
    /// Forward.
    pub forward: f64,
    /// Backward, of parameters and inputs together; 0 where nobody needs a gradient.
    pub backward: f64,
}

/// What all chunks of a pass share.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) graph: &'a Graph,
    pub(super) program: &'a Program,
    pub(super) parameters: &'a Parameters,
    pub(super) mode: Mode,
    /// Activations whose zeros are counted.
    pub(super) watched: &'a [Value],
    /// Training steps before this one.
    pub(super) step: u64,
    pub(super) isa: Isa,
}

/// Some images of a batch.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    /// Position in the batch of the first image.
    pub(super) first: usize,
    /// `[N][H][W][C]`.
    pub(super) images: &'a [f32],
    pub(super) loss: BatchLoss<'a>,
}

/// Buffers for the images of one chunk at a time; they grow when a larger plan comes, and are kept.
#[derive(Default)]
pub(super) struct Worker {
    arena: Vec<Lanes>,
    /// A teacher's logits.
    teacher: Vec<Lanes>,
    /// Gradients of one chunk, before they are added to those of the chunks before it.
    of_chunk: Vec<f32>,
    /// Gradients of one layer, before they are added to those of the layers that share its parameters.
    of_layer: Vec<f32>,
    workspace: Workspace,
    /// Of each step.
    statistics: Vec<BatchStatistics>,
    /// Of each step, added up since they were last taken.
    times: Vec<LayerTime>,
    /// Of each watched activation, per channel, added up since they were last taken.
    zeros: Vec<Vec<u64>>,
    /// Looks at every value while it is there.
    inspection: Option<Inspection>,
}

/// What a pass is searched for.
#[derive(Debug, Default)]
struct Inspection {
    first: Option<Fault>,
}

/// Where a pass meets a value that is not finite; the least is the first that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The output of a step.
    Output(usize),
    /// A gradient that a step computes.
    Gradient(Reverse<usize>),
}

impl Worker {
    /// As [`Worker::run`], but the gradients of all but the first of several chunks are added.
    pub(super) fn run_nth(
        &mut self,
        nth: usize,
        pass: Pass<'_>,
        plan: &Plan,
        chunk: Chunk<'_>,
        gradients: &mut [f32],
    ) -> LossSummary {
        if nth == 0 || pass.mode == Mode::Evaluate {
            return self.run(pass, plan, chunk, gradients);
        }
        let mut of_chunk = std::mem::take(&mut self.of_chunk);
        of_chunk.resize(gradients.len(), 0.0);
        let summary = self.run(pass, plan, chunk, &mut of_chunk);
        sum(gradients, &of_chunk);
        self.of_chunk = of_chunk;
        summary
    }

    /// Takes a chunk through all layers, and back if the pass is for learning: then `gradients` is overwritten with what
    /// the chunk adds to those of the batch's mean loss. Returns what it adds to the batch's loss.
    fn run(&mut self, pass: Pass<'_>, plan: &Plan, chunk: Chunk<'_>, gradients: &mut [f32]) -> LossSummary {
        if self.arena.len() < plan.len {
            self.arena.resize(plan.len, Lanes::ZERO);
        }
        self.statistics.resize(plan.layers.len(), BatchStatistics::default());
        self.times.resize(plan.layers.len(), LayerTime::default());
        let shape = pass.program.shape(pass.graph, 0);
        let [height, width, channels] = shape.image().unwrap_or([1, 1, shape.elements(1).unwrap_or(0)]);
        pack(
            chunk.images,
            chunk.loss.images(),
            height * width,
            channels,
            &mut self.arena[plan.input.clone()],
        );
        self.forward(pass, plan, chunk);

        match pass.mode {
            Mode::Evaluate => {
                let logits = &self.arena[plan.logits.clone()];
                chunk.loss.run(logits, None, &mut self.teacher, &mut self.workspace)
            }
            Mode::Train => {
                let ranges = [plan.logits.clone(), plan.logits_gradient.clone()];
                let [logits, gradient] = apart(&mut self.arena, ranges);
                let summary = chunk.loss.run(logits, Some(gradient), &mut self.teacher, &mut self.workspace);
                self.backward(pass, plan, chunk, gradients);
                summary
            }
        }
    }

    /// The batch statistics of a step's last forward pass.
    pub(super) fn statistics(&self, step: usize) -> &BatchStatistics {
        &self.statistics[step]
    }

    /// Adds the times of each step to `times`, and forgets them; `None` if it did not work.
    pub(super) fn take_times(&mut self, times: &mut [LayerTime]) -> Option<()> {
        let worked = self.times.iter().any(|time| time.forward > 0.0);
        for (sum, time) in times.iter_mut().zip(&mut self.times) {
            let LayerTime { forward, backward } = std::mem::take(time);
            sum.forward += forward;
            sum.backward += backward;
        }
        worked.then_some(())
    }

    /// Adds the zeros of each watched activation to `zeros`, and forgets them.
    pub(super) fn take_zeros(&mut self, zeros: &mut [Vec<u64>]) {
        for (sums, counts) in zeros.iter_mut().zip(self.zeros.drain(..)) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }

    /// Looks at every value of the passes to come until [`Worker::inspected`] is asked.
    pub(super) fn inspect(&mut self) {
        self.inspection = Some(Inspection::default());
    }

    /// The first fault that was met since [`Worker::inspect`].
    pub(super) fn inspected(&mut self) -> Option<Fault> {
        self.inspection.take()?.first
    }

    fn forward(&mut self, pass: Pass<'_>, plan: &Plan, chunk: Chunk<'_>) {
        let images = chunk.loss.images();
        self.count_zeros(pass, plan, 0, images);
        for (position, layer) in plan.layers.iter().enumerate() {
            let started = Instant::now();
            layer.forward(&mut Call {
                mode: pass.mode,
                arena: &mut self.arena,
                places: &plan.places[position],
                parameters: pass.parameters,
                step: pass.step,
                first_image: chunk.first as u32,
                statistics: &mut self.statistics[position],
                workspace: &mut self.workspace,
            });
            self.times[position].forward += started.elapsed().as_secs_f64();
            if let Some(inspection) = &mut self.inspection {
                let output = &self.arena[plan.places[position].y.clone()];
                inspection.look(Fault::Output(position), of_images(output, images));
            }
            self.count_zeros(pass, plan, pass.program.steps[position].output, images);
        }
    }

    fn backward(&mut self, pass: Pass<'_>, plan: &Plan, chunk: Chunk<'_>, gradients: &mut [f32]) {
        let mut gradients = Gradients::new(pass.parameters, gradients, &mut self.of_layer);
        for (position, layer) in plan.layers.iter().enumerate().rev() {
            let places = &plan.places[position];
            let Some(dy) = places.dy.clone() else { continue };
            let started = Instant::now();
            let mut call = Call {
                mode: pass.mode,
                arena: &mut self.arena,
                places,
                parameters: pass.parameters,
                step: pass.step,
                first_image: chunk.first as u32,
                statistics: &mut self.statistics[position],
                workspace: &mut self.workspace,
            };
            layer.backward(&mut call, &mut gradients);
            if let Some(inspection) = &mut self.inspection {
                let constants = &pass.graph.node(pass.program.steps[position].node).inputs;
                let learned = constants.iter().filter_map(|tensor| pass.parameters.id(*tensor));
                let values = learned.flat_map(|id| gradients.of(id).iter().copied());
                inspection.look(Fault::Gradient(Reverse(position)), values);
            }
            for gradient in places.dx.iter().flatten() {
                let (from, at) = (&gradient.from, gradient.at.clone());
                match from {
                    Origin::Layer | Origin::Output => {}
                    Origin::OutputCopied => self.arena.copy_within(dy.clone(), at.start),
                    Origin::OutputAdded => add(pass.isa, &mut self.arena, dy.clone(), at),
                    Origin::LayerAdded(scratch) => add(pass.isa, &mut self.arena, scratch.clone(), at),
                }
            }
            self.times[position].backward += started.elapsed().as_secs_f64();
        }
    }

    fn count_zeros(&mut self, pass: Pass<'_>, plan: &Plan, value: Value, images: usize) {
        let Some(watch) = pass.watched.iter().position(|watched| *watched == value) else { return };
        let channels = pass.program.shape(pass.graph, value).channels().unwrap_or(1).max(1);
        let pixels = pass.program.values[value].features / channels;
        let place = match pass.program.steps.iter().position(|step| step.output == value) {
            None => &plan.input,
            Some(step) => &plan.places[step].y,
        };
        let found = count_zeros(pass.isa, &self.arena[place.clone()], images, channels, pixels);
        self.zeros.resize(pass.watched.len(), Vec::new());
        let sums = &mut self.zeros[watch];
        sums.resize(channels, 0);
        sums.iter_mut().zip(found).for_each(|(sum, count)| *sum += count);
    }
}

impl Inspection {
    fn look(&mut self, at: Fault, mut values: impl Iterator<Item = f32>) {
        if self.first.is_none_or(|first| at < first) && values.any(|value| !value.is_finite()) {
            self.first = Some(at);
        }
    }
}

/// The values of an activation, without those in padding lanes.
fn of_images(activation: &[Lanes], images: usize) -> impl Iterator<Item = f32> {
    let per_block = activation.len() / blocks(images).max(1);
    activation.chunks(per_block.max(1)).enumerate().flat_map(move |(block, values)| {
        let lanes = LANES.min(images - block * LANES);
        values.iter().flat_map(move |value| value.0[..lanes].iter().copied())
    })
}

/// Adds one part of an arena to another.
fn add(isa: Isa, arena: &mut [Lanes], from: Range<usize>, to: Range<usize>) {
    let [from, to] = apart(arena, [from, to]);
    accumulate(isa, from, to);
}
