//! Two networks on the same inputs: how far apart their outputs are, and where they part.

use crate::arrays::prepare;
use crate::error::{Result, ToolkitError};
use crate::source::{input_of, preprocess_of};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use taper_data::{Batches, DataConfig, Dataset};
use taper_graph::{Graph, TensorId};
use taper_run::{Cpu, CpuSession, Session};

/// Below this SQNR two float networks no longer compute the same: a relative error above a thousandth.
const FLOATS_PART: f64 = 60.0;
/// Below this SQNR a network of integers no longer follows another: an error above a third of the signal.
const INTEGERS_PART: f64 = 10.0;

/// What two networks are compared on.
#[derive(Debug, Clone, PartialEq)]
pub enum ComparisonInput {
    /// Images of a data set.
    Data {
        /// `mnist` or a path.
        source: String,
        /// At most so many images.
        limit: usize,
    },
    /// `.npy` files, in the order of the networks' inputs.
    Arrays(Vec<PathBuf>),
}

/// How far apart two networks are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Inputs that both ran on.
    pub runs: usize,
    /// The outputs, in the networks' order.
    pub outputs: Vec<Difference>,
    /// The activations that both have, in the first network's order.
    pub layers: Vec<Difference>,
    /// Activations of the first network that the second does not have.
    pub unmatched: usize,
    /// SQNR below which an activation counts as another, in dB.
    pub parting_sqnr_db: f64,
    /// The first activation whose SQNR is below that; `null` if none is.
    pub parts_at: Option<String>,
}

/// How far apart two activations are, over all inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The tensor's name in the first network.
    pub name: String,
    /// The tensor's name in the second network.
    pub other: String,
    /// The largest difference of two real values.
    pub largest: f64,
    /// Signal to noise, `10 · log10(Σ a² / Σ (a − b)²)`, in dB; `null` if nothing differs.
    pub sqnr_db: Option<f64>,
    /// Cosine of the angle between both; 1 if both are zero.
    pub cosine: f64,
}

/// Compares the networks in the files `first` and `second`.
///
/// Activations are matched by name; where fewer than half have the same name in both, also by shape, in order.
///
/// # Errors
/// If a file cannot be read, or both networks cannot run on the input.
pub fn compare(first: &Path, second: &Path, input: &ComparisonInput) -> Result<Comparison> {
    let names = [first, second].map(|path| path.display().to_string());
    let graphs = [taper_formats::load(first)?, taper_formats::load(second)?];
    if graphs[0].outputs.len() != graphs[1].outputs.len() {
        return Err(ToolkitError::Mismatch {
            model: names[1].clone(),
            data: names[0].clone(),
            message: format!(
                "expected {} outputs, found {}",
                graphs[0].outputs.len(),
                graphs[1].outputs.len()
            ),
        });
    }
    let outputs: Vec<_> = graphs[0].outputs.iter().copied().zip(graphs[1].outputs.iter().copied()).collect();
    let layers = pairs(&graphs);
    let mut sums: BTreeMap<(TensorId, TensorId), Sums> = BTreeMap::new();
    let mut runs = 0;
    let mut visit = |sessions: &mut [CpuSession; 2]| -> Result<()> {
        let mut seen = [BTreeMap::new(), BTreeMap::new()];
        for ((session, graph), seen) in sessions.iter_mut().zip(&graphs).zip(&mut seen) {
            let mut values = Ok(());
            session.run_observed(&mut |tensor, view| match view.real(graph, tensor) {
                Ok(reals) => drop(seen.insert(tensor, reals)),
                Err(error) => values = Err(error),
            });
            values?;
        }
        for pair in layers.iter().chain(&outputs) {
            if let (Some(a), Some(b)) = (seen[0].get(&pair.0), seen[1].get(&pair.1)) {
                check_lengths(&graphs, &names, *pair, [a.len(), b.len()])?;
                sums.entry(*pair).or_default().add(a, b);
            }
        }
        runs += 1;
        Ok(())
    };
    match input {
        ComparisonInput::Arrays(paths) => {
            let [a, b] = [0, 1].map(|index| prepare(&graphs[index], &names[index], paths));
            visit(&mut [a?, b?])?;
        }
        ComparisonInput::Data { source, limit } => {
            let [a, b] = [0, 1].map(|index| Cpu::default().session(&graphs[index], 1));
            let mut sessions = [a?, b?];
            let data =
                DataConfig { source: source.clone(), test_limit: Some(*limit), ..DataConfig::default() };
            let dataset = Dataset::for_evaluation(&data, input_of(&graphs[0]))?;
            let preprocess = graphs.iter().find_map(preprocess_of).unwrap_or(data.preprocess);
            let mut batches = Batches::in_order(&dataset, preprocess);
            let mut image = vec![0.0; dataset.shape().elements()];
            while batches.fill(&mut image, &mut [0])?.is_some() {
                for session in &mut sessions {
                    session.set_real_input(0, &image)?;
                }
                visit(&mut sessions)?;
            }
        }
    }
    let difference = |pair: &(TensorId, TensorId)| {
        let sums = sums.get(pair)?;
        let [name, other] =
            [graphs[0].tensor(pair.0), graphs[1].tensor(pair.1)].map(|tensor| tensor.name.clone());
        Some(sums.difference(name, other))
    };
    let integers =
        graphs.iter().any(|graph| graph.tensors.iter().any(|tensor| tensor.quantization.is_some()));
    let parting_sqnr_db = if integers { INTEGERS_PART } else { FLOATS_PART };
    let layers: Vec<Difference> = layers.iter().filter_map(difference).collect();
    let outputs: Vec<Difference> = outputs.iter().filter_map(difference).collect();
    let parts = |layer: &&Difference| layer.sqnr_db.is_some_and(|sqnr| sqnr < parting_sqnr_db);
    Ok(Comparison {
        runs,
        parts_at: layers.iter().chain(&outputs).find(parts).map(|layer| layer.name.clone()),
        unmatched: activations(&graphs[0]).len() - layers.len(),
        outputs,
        layers,
        parting_sqnr_db,
    })
}

fn check_lengths(
    graphs: &[Graph; 2],
    names: &[String; 2],
    pair: (TensorId, TensorId),
    lengths: [usize; 2],
) -> Result<()> {
    if lengths[0] == lengths[1] {
        return Ok(());
    }
    let [a, b] = [graphs[0].tensor(pair.0), graphs[1].tensor(pair.1)];
    Err(ToolkitError::Mismatch {
        model: names[1].clone(),
        data: names[0].clone(),
        message: format!("expected `{}` to be {} like `{}`, found {}", b.name, a.shape, a.name, b.shape),
    })
}

/// What nodes write, in order.
fn activations(graph: &Graph) -> Vec<TensorId> {
    graph.nodes.iter().flat_map(|node| node.outputs.iter().copied()).collect()
}

/// The activations that are the same in both networks.
fn pairs(graphs: &[Graph; 2]) -> Vec<(TensorId, TensorId)> {
    let [first, second] = [activations(&graphs[0]), activations(&graphs[1])];
    let sizes = |graph: &Graph, id: TensorId| graph.tensor(id).shape.with_batch(1);
    let by_name: BTreeMap<&str, TensorId> =
        second.iter().map(|id| (graphs[1].tensor(*id).name.as_str(), *id)).collect();
    let mut matched: BTreeMap<TensorId, TensorId> = BTreeMap::new();
    for &id in &first {
        let other = by_name.get(graphs[0].tensor(id).name.as_str());
        if let Some(&other) = other.filter(|other| sizes(&graphs[0], id) == sizes(&graphs[1], **other)) {
            matched.insert(id, other);
        }
    }
    if 2 * matched.len() < first.len().min(second.len()) {
        let mut taken: BTreeSet<TensorId> = matched.values().copied().collect();
        let mut from = 0;
        for &id in &first {
            if let Some(other) = matched.get(&id) {
                from = second.iter().position(|candidate| candidate == other).map_or(from, |place| place + 1);
                continue;
            }
            let fits = |other: &&TensorId| {
                !taken.contains(*other) && sizes(&graphs[0], id) == sizes(&graphs[1], **other)
            };
            if let Some(&other) = second[from..].iter().find(fits) {
                from =
                    second.iter().position(|candidate| *candidate == other).map_or(from, |place| place + 1);
                taken.insert(other);
                matched.insert(id, other);
            }
        }
    }
    first.into_iter().filter_map(|id| Some((id, *matched.get(&id)?))).collect()
}

/// Sums over all values of two activations.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    largest: f64,
    a_squares: f64,
    b_squares: f64,
    products: f64,
    noise: f64,
}

impl Sums {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.largest = self.largest.max((a - b).abs());
            self.a_squares += a * a;
            self.b_squares += b * b;
            self.products += a * b;
            self.noise += (a - b) * (a - b);
        }
    }

    fn difference(self, name: String, other: String) -> Difference {
        let norms = (self.a_squares * self.b_squares).sqrt();
        Difference {
            name,
            other,
            largest: self.largest,
            // Noise without a signal is as bad as a ratio can tell.
            sqnr_db: (self.noise > 0.0)
                .then(|| 10.0 * (self.a_squares.max(f64::MIN_POSITIVE) / self.noise).log10()),
            cosine: match (norms > 0.0, self.noise > 0.0) {
                (true, _) => self.products / norms,
                (false, true) => 0.0,
                (false, false) => 1.0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_their_definitions() {
        let check = |a: &[f32], b: &[f32], largest: f64, sqnr_db: Option<f64>, cosine: f64| {
            let mut sums = Sums::default();
            sums.add(a, b);
            let found = sums.difference(String::new(), String::new());
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(close(found.largest, largest) && close(found.cosine, cosine), "{found:?}");
            assert!(found.sqnr_db.zip(sqnr_db).is_none_or(|(a, b)| close(a, b)), "{found:?}");
            assert_eq!(found.sqnr_db.is_some(), sqnr_db.is_some());
        };
        check(&[3.0, 4.0], &[3.0, 4.0], 0.0, None, 1.0);
        check(&[0.0], &[0.0], 0.0, None, 1.0);
        check(&[10.0, 0.0], &[9.0, 0.0], 1.0, Some(20.0), 1.0);
        check(&[1.0, 0.0], &[0.0, 1.0], 1.0, Some(10.0 * 0.5f64.log10()), 0.0);
    }
}
