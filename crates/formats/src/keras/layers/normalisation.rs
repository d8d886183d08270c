//! Layers that shift and scale.

use super::{Site, binary};
use crate::error::Result;
use crate::keras::config::Switch;
use taper_graph::{BatchNorm, Binary, Op, TensorId};

/// The default of Keras.
const EPSILON: f32 = 1e-3;

pub(super) fn batch(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let rank = site.rank(x);
    if site.layer.axis("axis", rank)?.is_some_and(|axis| axis + 1 != rank) {
        return Err(site.layer.unexpected("axis", "the innermost"));
    }
    if site.layer.flag("renorm", Switch::Off) {
        return Err(site.layer.unexpected("renorm", "false"));
    }
    let mean = site.vector("mean", "moving_mean")?;
    let variance = site.vector("variance", "moving_variance")?;
    let channels = site.builder.graph.tensor(mean).f32_data().map_or(0, <[f32]>::len);
    let mut inputs = vec![x];
    for (role, switch, absent) in [("gamma", "scale", 1.0), ("beta", "center", 0.0)] {
        inputs.push(if site.layer.flag(switch, Switch::On) {
            site.vector(role, role)?
        } else {
            site.constant(role, |_, _| Ok((vec![channels], vec![absent; channels])))?
        });
    }
    inputs.extend([mean, variance]);
    let epsilon = site.layer.number("epsilon")?.unwrap_or(EPSILON);
    site.node(Op::BatchNorm(BatchNorm { epsilon }), &inputs)
}

/// The least deviation that Normalization divides by: `keras.backend.epsilon()`.
const LEAST_DEVIATION: f32 = 1e-7;

/// Rescaling: `scale · x + offset`, each a number or one for each channel.
pub(super) fn rescale(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let scale = site.layer.numbers("scale")?.unwrap_or_else(|| vec![1.0]);
    let offset = site.layer.numbers("offset")?.unwrap_or_else(|| vec![0.0]);
    scaled(site, x, [("scale", scale), ("offset", offset)])
}

/// Normalization: `(x − mean) / sqrt(variance)` with statistics of the data, or the inverse of it.
pub(super) fn by_statistics(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let rank = site.rank(x);
    let axis = site.layer.axis("axis", rank)?;
    let mut statistics = [Vec::new(), Vec::new()];
    for (statistic, name) in statistics.iter_mut().zip(["mean", "variance"]) {
        *statistic = match site.layer.numbers(name)? {
            Some(values) => values,
            None => site.builder.variable(site.layer, name)?.values,
        };
    }
    let [mean, variance] = statistics;
    let several = mean.len().max(variance.len()) > 1;
    if several && axis.is_none_or(|axis| axis + 1 != rank) {
        return Err(site.layer.unexpected("axis", "the innermost or null"));
    }
    if site.layer.flag("invert", Switch::Off) {
        return Err(site.layer.unexpected("invert", "false"));
    }
    if mean.len() != variance.len() {
        let message =
            format!("expected as many variances as means, found {} and {}", variance.len(), mean.len());
        return Err(site.wrong(message));
    }
    let scale: Vec<f32> = variance.iter().map(|value| 1.0 / value.sqrt().max(LEAST_DEVIATION)).collect();
    let offset = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
    scaled(site, x, [("scale", scale), ("offset", offset)])
}

/// A product and a sum with constants of one value, or one for each channel.
fn scaled(
    site: &mut Site<'_, '_>,
    x: TensorId,
    [(scale, scales), (offset, offsets)]: [(&'static str, Vec<f32>); 2],
) -> Result<TensorId> {
    let sizes = |values: &[f32]| if values.len() == 1 { Vec::new() } else { vec![values.len()] };
    let scales = site.constant(scale, |_, _| Ok((sizes(&scales), scales)))?;
    let offsets = site.constant(offset, |_, _| Ok((sizes(&offsets), offsets)))?;
    let x = site.part("product", binary(Binary::Multiply), &[x, scales])?;
    site.binary(Binary::Add, [x, offsets])
}
