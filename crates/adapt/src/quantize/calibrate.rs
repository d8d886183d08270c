//! Calibration: the range of real values that each activation takes on representative samples.

use super::config::{Calibration, CalibrationMethod};
use crate::error::{AdaptError, Result};
use std::collections::BTreeMap;
use taper_data::{Batches, Dataset, Preprocess};
use taper_graph::{Graph, TensorId};
use taper_run::{Cpu, Session};

/// The range of an activation's real values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The least.
    pub min: f32,
    /// The greatest.
    pub max: f32,
}

/// The range of every activation, the graph's inputs included.
pub type Ranges = BTreeMap<TensorId, Range>;

/// Runs the float `graph` on the chosen samples and notes the range of every activation.
///
/// # Errors
/// If the graph cannot be run on the data, or an activation is not finite.
pub fn calibrate(
    graph: &Graph,
    dataset: &Dataset,
    samples: &[usize],
    preprocess: Preprocess,
    calibration: &Calibration,
) -> Result<Ranges> {
    let mut ranges = Ranges::new();
    let mut bad = None;
    observe(graph, dataset, samples, preprocess, &mut |tensor, values| {
        let range = ranges.entry(tensor).or_insert(Range { min: f32::INFINITY, max: f32::NEG_INFINITY });
        for &value in values {
            range.min = range.min.min(value);
            range.max = range.max.max(value);
            if !value.is_finite() {
                bad.get_or_insert((tensor, value));
            }
        }
    })?;
    if let Some((tensor, value)) = bad {
        return Err(AdaptError::Unsupported {
            pass: "calibrate",
            network: graph.name.clone(),
            message: format!("expected finite values in `{}`, found {value}", graph.tensor(tensor).name),
        });
    }
    match calibration.method {
        CalibrationMethod::MinMax => Ok(ranges),
        CalibrationMethod::Percentile => {
            let mut histograms: BTreeMap<TensorId, Histogram> =
                ranges.iter().map(|(tensor, range)| (*tensor, Histogram::new(*range))).collect();
            observe(graph, dataset, samples, preprocess, &mut |tensor, values| {
                if let Some(histogram) = histograms.get_mut(&tensor) {
                    values.iter().for_each(|value| histogram.count(*value));
                }
            })?;
            let within = |histogram: Histogram| histogram.percentile(calibration.percentile);
            Ok(histograms.into_iter().map(|(tensor, histogram)| (tensor, within(histogram))).collect())
        }
    }
}

/// Calls `visit` with every activation of every sample.
fn observe(
    graph: &Graph,
    dataset: &Dataset,
    samples: &[usize],
    preprocess: Preprocess,
    visit: &mut (dyn FnMut(TensorId, &[f32]) + Send),
) -> Result<()> {
    let mut session = Cpu::default().session(graph, 1)?;
    let mut image = vec![0.0; dataset.shape().elements()];
    let mut batches = Batches::of(dataset, preprocess, samples.to_vec());
    while batches.fill(&mut image, &mut [0])?.is_some() {
        session.set_real_input(0, &image)?;
        session.run_observed(&mut |tensor, values| {
            if let Some(values) = values.floats() {
                visit(tensor, values);
            }
        });
    }
    Ok(())
}

/// Counts of values in bins of equal width.
struct Histogram {
    range: Range,
    bins: Vec<u64>,
}

impl Histogram {
    /// Bins fine enough that a percentile is off by less than a quantization step.
    const BINS: usize = 4096;

    fn new(range: Range) -> Self {
        Self { range, bins: vec![0; Self::BINS] }
    }

    fn count(&mut self, value: f32) {
        let width = self.range.max - self.range.min;
        let position = if width > 0.0 { (value - self.range.min) / width * Self::BINS as f32 } else { 0.0 };
        self.bins[(position as usize).min(Self::BINS - 1)] += 1;
    }

    /// The range without the outermost `100 − percentile` per cent of the values at either end.
    fn percentile(&self, percentile: f64) -> Range {
        let total: u64 = self.bins.iter().sum();
        let outside = (total as f64 * (1.0 - percentile / 100.0)) as u64;
        let skipped = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            bins.take_while(|count| {
                sum += **count;
                sum <= outside
            })
            .count()
        };
        let low = skipped(&mut self.bins.iter());
        let high = Self::BINS - skipped(&mut self.bins.iter().rev());
        let width = (self.range.max - self.range.min) / Self::BINS as f32;
        Range { min: self.range.min + low as f32 * width, max: self.range.min + high as f32 * width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_leave_out_the_tails() {
        let check = |percentile: f64, min: f32, max: f32| {
            let mut histogram = Histogram::new(Range { min: 0.0, max: 100.0 });
            (0..=10_000).for_each(|step| histogram.count(step as f32 / 100.0));
            let found = histogram.percentile(percentile);
            assert!(
                (found.min - min).abs() < 0.1 && (found.max - max).abs() < 0.1,
                "{percentile}: {found:?}"
            );
        };
        check(100.0, 0.0, 100.0);
        check(99.0, 1.0, 99.0);
        check(90.0, 10.0, 90.0);
    }

    #[test]
    fn a_constant_activation_has_its_own_range() {
        let mut histogram = Histogram::new(Range { min: 2.0, max: 2.0 });
        histogram.count(2.0);
        assert_eq!(histogram.percentile(99.0), Range { min: 2.0, max: 2.0 });
    }
}
