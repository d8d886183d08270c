//! Judging the networks of a run: accuracy on the test split, and time per image.

use super::Run;
use crate::error::Result;
use crate::events::{Event, IntegersTested, NetworkTime, Progress, Tested, TimedNetwork};
use crate::predict::{Predictions, median};
use std::time::Instant;
use taper_adapt::quantize::fold;
use taper_data::{Batches, Splits};
use taper_graph::Graph;
use taper_run::{Cpu, CpuSession, Session};

impl Run<'_> {
    /// Runs the networks on the test split, which no choice was made on.
    pub(super) fn test(
        &mut self,
        data: &Splits,
        before: &Graph,
        after: &Graph,
        integers: Option<&Graph>,
    ) -> Result<()> {
        if self.events.iter().any(|event| matches!(event, Event::Tested(_))) {
            return Ok(());
        }
        let preprocess = self.recipe.data.preprocess;
        let mut predict =
            |graph: &Graph, what| Predictions::of(graph, &data.test, preprocess, what, &mut *self.observer);
        let labels = data.test.labels();
        let before = predict(before, "testing the network before pruning")?;
        let after = predict(after, "testing the adapted float network")?;
        let integers = integers.map(|graph| predict(graph, "testing the integer network")).transpose()?;
        let integers = integers.map(|integers| {
            let mut classes = vec![[0; 3]; data.test.classes().len()];
            for ((&label, &float), &integer) in labels.iter().zip(&after.classes).zip(&integers.classes) {
                let [images, float_right, integer_right] = &mut classes[label as usize];
                *images += 1;
                *float_right += usize::from(float == label);
                *integer_right += usize::from(integer == label);
            }
            let agreement = integers.agreement(&after.classes);
            IntegersTested { accuracy: integers.agreement(labels), agreement, classes }
        });
        let (before, after) = (before.agreement(labels), after.agreement(labels));
        self.note(Event::Tested(Tested { before, after, integers }))
    }

    /// Times one image on each network at batch 1 on one thread, in turns, so that a noisy neighbour hits all alike.
    pub(super) fn time(&mut self, data: &Splits, integers: Option<&Graph>) -> Result<()> {
        if self.events.iter().any(|event| matches!(event, Event::Timed { .. })) {
            return Ok(());
        }
        let mut timed = Vec::new();
        for iteration in 0..=self.accepted() {
            // As deployed: batch normalisation is folded in floats as in integers.
            let graph = fold(&self.checkpoint(iteration)?)?;
            timed.push(Timed::new(TimedNetwork::Iteration(iteration), &graph)?);
        }
        if let Some(graph) = integers {
            timed.push(Timed::new(TimedNetwork::Integers, graph)?);
        }
        let (warm_up, repeats) = (self.recipe.measure.warm_up, self.recipe.measure.repeats);
        let mut image = vec![0.0; data.test.shape().elements()];
        let order = (0..warm_up + repeats).map(|round| round % data.test.len()).collect();
        let mut batches = Batches::of(&data.test, self.recipe.data.preprocess, order);
        for round in 0.. {
            if batches.fill(&mut image, &mut [0])?.is_none() {
                break;
            }
            for network in &mut timed {
                network.run(&image, round >= warm_up)?;
            }
            let (done, total) = (round + 1, warm_up + repeats);
            self.observer.progress(&Progress::Images { what: "timing the networks in turns", done, total });
        }
        self.note(Event::Timed { times: timed.iter().map(Timed::result).collect() })
    }

    /// The last iteration that stands.
    fn accepted(&self) -> usize {
        let iterations = self.events.iter().map(|event| match event {
            Event::Judged { state, .. } => state.iterations,
            _ => 0,
        });
        iterations.max().unwrap_or(0)
    }
}

/// A network with its times so far.
struct Timed {
    network: TimedNetwork,
    session: CpuSession,
    seconds: Vec<f64>,
}

impl Timed {
    fn new(network: TimedNetwork, graph: &Graph) -> Result<Self> {
        Ok(Self { network, session: Cpu::default().session(graph, 1)?, seconds: Vec::new() })
    }

    fn run(&mut self, image: &[f32], count: bool) -> Result<()> {
        self.session.set_real_input(0, image)?;
        // The other networks have emptied the caches: the first run fills them again, the second counts.
        self.session.run()?;
        let started = Instant::now();
        self.session.run()?;
        let seconds = started.elapsed().as_secs_f64();
        if count {
            self.seconds.push(seconds);
        }
        Ok(())
    }

    fn result(&self) -> NetworkTime {
        NetworkTime {
            network: self.network,
            median: median(&self.seconds),
            min: self.seconds.iter().copied().fold(f64::INFINITY, f64::min),
            arena_bytes: self.session.memory().arena_bytes,
        }
    }
}
