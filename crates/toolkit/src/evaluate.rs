//! A finished network on a data set.

use crate::error::Result;
use crate::events::Observer;
use crate::predict::Predictions;
use crate::source::{check_fit, input_of, preprocess_of};
use serde::{Deserialize, Serialize};
use std::path::Path;
use taper_data::{DataConfig, Dataset};

/// How a network does on a data set. The names are stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of the images whose class is right.
    pub accuracy: f64,
    /// Images in all.
    pub images: usize,
    /// Median time for one image: batch 1, one thread, without preprocessing.
    pub seconds_per_image: f64,
}

/// Runs the network in the file `model` on the images of `source` (`mnist` or a path): its test set where it has one, else
/// all of it, or at most `limit` of them. How bytes become inputs is read from the model's metadata, where they say so.
///
/// # Errors
/// If the file or the data cannot be read, or do not belong together.
pub fn evaluate(
    model: &Path,
    source: &str,
    limit: Option<usize>,
    observer: &mut dyn Observer,
) -> Result<Accuracy> {
    let data = DataConfig { source: source.to_owned(), test_limit: limit, ..DataConfig::default() };
    let graph = taper_formats::load(model)?;
    let dataset = Dataset::for_evaluation(&data, input_of(&graph))?;
    check_fit(&graph, &model.display().to_string(), &dataset, source)?;
    let preprocess = preprocess_of(&graph).unwrap_or(data.preprocess);
    let predictions = Predictions::of(&graph, &dataset, preprocess, "running the network", observer)?;
    Ok(Accuracy {
        accuracy: predictions.agreement(dataset.labels()),
        images: dataset.len(),
        seconds_per_image: predictions.median_seconds(),
    })
}
