//! Loss and accuracy of a network over a set of samples.

use super::engine::Evaluator;
use super::layer::Mode;
use crate::error::{AdaptError, Result};
use serde::{Deserialize, Serialize};
use std::thread;
use taper_data::{Batch, Batches, Dataset, Preprocess};

/// Images per batch: large enough to fill the vector lanes and both cores, small enough for wide networks' buffers.
const BATCH: usize = 128;

/// How well a network does on a set of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of the images whose class is right.
    pub accuracy: f64,
}

/// Evaluates `network` on all of `dataset`, in order and without augmentation.
///
/// # Errors
/// If the images or labels do not fit the network, or its loss is not finite.
pub fn evaluate(
    network: &mut dyn Evaluator,
    dataset: &Dataset,
    preprocess: Preprocess,
) -> Result<Evaluation> {
    check_data(network, dataset)?;
    let (mut loss, mut correct) = (0.0, 0);
    thread::scope(|scope| {
        let mut batches = Batches::in_order(dataset, preprocess).prefetch(scope, BATCH)?;
        while let Some(batch) = batches.next_batch()? {
            let result = network.evaluate(batch.images, batch.labels.into())?;
            if !result.loss.is_finite() {
                let what = format!("the loss is {}", result.loss);
                let what = with_cause(network, what, batch, Mode::Evaluate)?;
                return Err(AdaptError::NotFinite { network: network.name().to_owned(), what });
            }
            loss += result.loss * batch.labels.len() as f64;
            correct += result.correct;
        }
        Ok::<_, AdaptError>(())
    })?;
    let samples = dataset.len() as f64;
    Ok(Evaluation { loss: loss / samples, accuracy: correct as f64 / samples })
}

/// Adds to `what` is wrong after a batch the name of where it began.
///
/// # Errors
/// If the batch cannot pass once more.
pub(super) fn with_cause(
    network: &mut dyn Evaluator,
    what: String,
    batch: Batch<'_>,
    mode: Mode,
) -> Result<String> {
    Ok(match network.find_fault(batch.images, batch.labels.into(), mode)? {
        Some(cause) => format!("{what}, and {cause} is the first that is not finite"),
        None => what,
    })
}

/// Refuses a set that is empty, or whose images or classes are not those of the network.
pub(super) fn check_data(network: &dyn Evaluator, dataset: &Dataset) -> Result<()> {
    let mismatch = |message| Err(AdaptError::Mismatch { network: network.name().to_owned(), message });
    let (input, image) = (network.input_shape(), dataset.shape());
    let fits = match input.image() {
        Some(sizes) => sizes == [image.height, image.width, image.channels],
        None => input.elements(1) == Some(image.elements()),
    };
    if !fits {
        return mismatch(format!("expected images for an input {input}, found {image}"));
    }
    if dataset.classes().len() > network.classes() {
        let (expected, found) = (network.classes(), dataset.classes().len());
        return mismatch(format!("expected at most {expected} classes, found {found}"));
    }
    if dataset.is_empty() {
        return mismatch("expected samples, found none".to_owned());
    }
    Ok(())
}
