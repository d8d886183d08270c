//! Predictions of a network on a data set, image by image, as a deployed program would make them.

use crate::error::Result;
use crate::events::{Observer, Progress};
use std::time::Instant;
use taper_data::{Batches, Dataset, Preprocess};
use taper_graph::Graph;
use taper_run::{Cpu, Session};

/// What a network said of each image, in the data set's order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Predictions {
    /// The class with the greatest output; the first of equals.
    pub(crate) classes: Vec<u32>,
    /// Time that each image took, without preprocessing.
    pub(crate) seconds: Vec<f64>,
}

impl Predictions {
    /// Runs `graph` on every image at batch 1.
    ///
    /// # Errors
    /// If the graph cannot be run on the images, or an image cannot be read.
    pub(crate) fn of(
        graph: &Graph,
        dataset: &Dataset,
        preprocess: Preprocess,
        what: &'static str,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut session = Cpu::default().session(graph, 1)?;
        let mut image = vec![0.0; dataset.shape().elements()];
        let mut outputs = vec![0.0; session.outputs()[0].len()];
        let mut batches = Batches::in_order(dataset, preprocess);
        let mut predictions = Self { classes: Vec::new(), seconds: Vec::new() };
        while batches.fill(&mut image, &mut [0])?.is_some() {
            session.set_real_input(0, &image)?;
            let started = Instant::now();
            session.run()?;
            predictions.seconds.push(started.elapsed().as_secs_f64());
            session.real_output(0, &mut outputs)?;
            predictions.classes.push(greatest(&outputs));
            let done = predictions.classes.len();
            if done.is_multiple_of(64) || done == dataset.len() {
                observer.progress(&Progress::Images { what, done, total: dataset.len() });
            }
        }
        Ok(predictions)
    }

    /// Share of the images whose class is `labels`'.
    #[must_use]
    pub(crate) fn agreement(&self, labels: &[u32]) -> f64 {
        let same = self.classes.iter().zip(labels).filter(|(class, label)| class == label).count();
        same as f64 / labels.len().max(1) as f64
    }

    /// Median time for one image.
    #[must_use]
    pub(crate) fn median_seconds(&self) -> f64 {
        median(&self.seconds)
    }
}

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn greatest(values: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    u32::try_from(best).unwrap_or(u32::MAX)
}
