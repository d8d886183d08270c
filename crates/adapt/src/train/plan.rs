//! Where a program's activations and gradients stand in memory, for one number of images.
//!
//! One arena holds them all. An activation stands in it until the last step that needs it, which may be a backward step;
//! gradients take the places of activations that nobody needs any more.

use super::layer::{self, Layer, Mode};
use super::parameter::Parameters;
use super::program::{Program, Step};
use crate::error::{AdaptError, Result};
use std::ops::Range;
use taper_graph::Graph;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Lanes, blocks};
use taper_run::arena::{Lifetime, layout};

/// A program made ready for a number of images.
pub(super) struct Plan {
    /// The layer of each step.
    pub(super) layers: Vec<Box<dyn Layer>>,
    /// The places of each step's operands.
    pub(super) places: Vec<Places>,
    /// The input.
    pub(super) input: Range<usize>,
    pub(super) logits: Range<usize>,
    /// The gradient of the logits; empty if the plan is for evaluation.
    pub(super) logits_gradient: Range<usize>,
    /// Lanes of the arena.
    pub(super) len: usize,
}

/// Where a step's operands stand in the arena.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) x: Vec<Range<usize>>,
    pub(super) y: Range<usize>,
    /// The gradient of the output; absent if no backward step is to be taken.
    pub(super) dy: Option<Range<usize>>,
    /// The gradient of each input that needs one.
    pub(super) dx: Vec<Option<Gradient>>,
}

/// Where the gradient of an input goes.
#[derive(Debug, Clone)]
pub(super) struct Gradient {
    pub(super) at: Range<usize>,
    pub(super) from: Origin,
}

/// Where the gradient of an input comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// The layer writes it to its place.
    Layer,
    /// The layer leaves it in the gradient of its output, whose place it shares.
    Output,
    /// The layer leaves it in the gradient of its output, which is copied.
    OutputCopied,
    /// The layer leaves it in the gradient of its output, which is added to what other readers of the input wrote.
    OutputAdded,
    /// The layer writes it to this place, which is added to what other readers of the input wrote.
    LayerAdded(Range<usize>),
}

/// A buffer by its position in a list of lifetimes.
type Buffer = usize;

/// [`Origin`] and [`Gradient`] before offsets are known.
struct Wish {
    gradient: Buffer,
    scratch: Option<Buffer>,
    origin: Origin,
}

impl Plan {
    /// Plans `program` for `images` images.
    ///
    /// # Errors
    /// If a step has no forward or backward rule here, or memory cannot address the buffers.
    pub(super) fn new(
        graph: &Graph,
        program: &Program,
        parameters: &Parameters,
        images: usize,
        mode: Mode,
        seed: u64,
        isa: Isa,
    ) -> Result<Self> {
        let layers = program
            .steps
            .iter()
            .map(|step| layer::build(graph, program, parameters, step, images, seed, isa))
            .collect::<Result<Vec<_>>>()?;
        let mut buffers = Buffers { list: Vec::new(), images };
        let values = buffers.activations(program, &layers, mode);
        let (wishes, gradients) = match mode {
            Mode::Train => buffers.gradients(program, &layers),
            Mode::Evaluate => (program.steps.iter().map(|_| Vec::new()).collect(), Vec::new()),
        };
        let arena = layout(&buffers.list, 1).ok_or_else(|| AdaptError::Unsupported {
            pass: "train",
            network: graph.name.clone(),
            message: format!("expected a batch that fits into memory's addresses, found {images} images"),
        })?;
        let range = |buffer: Buffer| arena.offsets[buffer]..arena.offsets[buffer] + buffers.list[buffer].len;
        let gradient_of = |value: usize| gradients.get(value).copied().flatten().map(range);
        let places = program.steps.iter().zip(wishes).map(|(step, wishes)| Places {
            x: step.inputs.iter().map(|input| range(values[*input])).collect(),
            y: range(values[step.output]),
            dy: gradient_of(step.output).filter(|_| !wishes.is_empty()),
            dx: wishes
                .into_iter()
                .map(|wish| {
                    wish.map(|Wish { gradient, scratch, origin }| Gradient {
                        at: range(gradient),
                        from: scratch.map_or(origin, |scratch| Origin::LayerAdded(range(scratch))),
                    })
                })
                .collect(),
        });
        Ok(Self {
            places: places.collect(),
            layers,
            input: range(values[0]),
            logits: range(values[program.logits]),
            logits_gradient: gradient_of(program.logits).unwrap_or(0..0),
            len: arena.len,
        })
    }

    /// Bytes of the arena.
    pub(super) fn bytes(&self) -> usize {
        self.len.saturating_mul(size_of::<Lanes>())
    }
}

/// Buffers of the arena. The input is there at time 0, step `s` of `n` runs forward at time `s + 1` and backward at time
/// `2 · n + 1 − s`, the loss at `n + 1`.
struct Buffers {
    list: Vec<Lifetime>,
    images: usize,
}

impl Buffers {
    fn push(&mut self, features: usize, first: usize, last: usize) -> Buffer {
        self.list.push(Lifetime { len: blocks(self.images) * features, first, last });
        self.list.len() - 1
    }

    /// A buffer for each activation.
    fn activations(&mut self, program: &Program, layers: &[Box<dyn Layer>], mode: Mode) -> Vec<Buffer> {
        let steps = program.steps.len();
        let backward = |position: usize, step: &Step| match mode {
            Mode::Train if program.values[step.output].learns => Some(2 * steps + 1 - position),
            Mode::Train | Mode::Evaluate => None,
        };
        let mut producers = vec![None; program.values.len()];
        for (position, step) in program.steps.iter().enumerate() {
            producers[step.output] = Some(position);
        }
        let mut all = Vec::new();
        for (value, activations) in program.values.iter().enumerate() {
            let first = producers[value].map_or(0, |position| position + 1);
            let mut last = if value == program.logits { steps + 1 } else { first };
            for reader in program.readers(value) {
                last = last.max(reader + 1);
                if layers[reader].needs().input {
                    last = last.max(backward(reader, &program.steps[reader]).unwrap_or(0));
                }
            }
            if let Some(producer) = producers[value].filter(|producer| layers[*producer].needs().output) {
                last = last.max(backward(producer, &program.steps[producer]).unwrap_or(0));
            }
            all.push(self.push(activations.features, first, last));
        }
        all
    }

    /// What each step does with the gradients of its inputs (nothing at all if no gradient reaches it), and the buffer of
    /// each activation's gradient.
    fn gradients(
        &mut self,
        program: &Program,
        layers: &[Box<dyn Layer>],
    ) -> (Vec<Vec<Option<Wish>>>, Vec<Option<Buffer>>) {
        let steps = program.steps.len();
        let mut gradients: Vec<Option<Buffer>> = vec![None; program.values.len()];
        let features = |value: usize| program.values[value].features;
        if program.values[program.logits].learns {
            gradients[program.logits] = Some(self.push(features(program.logits), steps + 1, steps + 1));
        }
        let mut wishes = Vec::new();
        for (position, step) in program.steps.iter().enumerate().rev() {
            let now = 2 * steps + 1 - position;
            let Some(dy) = gradients[step.output] else {
                wishes.push(Vec::new());
                continue;
            };
            self.list[dy].last = now;
            let mut taken = false;
            let mut of_step = Vec::new();
            for (input, &value) in step.inputs.iter().enumerate() {
                if !program.values[value].learns {
                    of_step.push(None);
                    continue;
                }
                let passes = layers[position].passes(input);
                let repeated = step.inputs.iter().filter(|other| **other == value).count() > 1;
                let (gradient, scratch, origin) = match (gradients[value], passes) {
                    (None, true) if !taken && !repeated => {
                        taken = true;
                        (dy, None, Origin::Output)
                    }
                    (None, true) => (self.push(features(value), now, now), None, Origin::OutputCopied),
                    (None, false) => (self.push(features(value), now, now), None, Origin::Layer),
                    (Some(gradient), true) => (gradient, None, Origin::OutputAdded),
                    (Some(gradient), false) => {
                        let scratch = self.push(features(value), now, now);
                        (gradient, Some(scratch), Origin::Layer)
                    }
                };
                self.list[gradient].last = now;
                gradients[value] = Some(gradient);
                of_step.push(Some(Wish { gradient, scratch, origin }));
            }
            wishes.push(of_step);
        }
        wishes.reverse();
        (wishes, gradients)
    }
}
