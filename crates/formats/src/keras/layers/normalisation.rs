//! Batch normalisation.

use super::Site;
use crate::error::Result;
use crate::keras::config::Switch;
use taper_graph::{BatchNorm, Op, TensorId};

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
