//! The variables of each layer, and where a file keeps them.
//!
//! Source: `keras/src/saving/saving_lib.py` and `keras/src/legacy/saving/legacy_h5_format.py`.

use super::config::{Kind, Layer, Model, Switch};
use super::container::{Container, Rules};
use super::wrong_layer;
use crate::error::{FormatError, Result};
use crate::weights::hdf5::Hdf5;
use crate::weights::{MODEL_WEIGHTS, WEIGHT_NAMES, join};
use std::collections::BTreeMap;

/// Where the variables of each layer lie, by the layer's id, in the order of [`names`].
pub(super) type Paths = BTreeMap<usize, Vec<String>>;

/// What training does to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Learns,
    Rests,
}

/// Names of a layer's variables in the order in which Keras keeps them, and whether they learn.
pub(super) fn names(layer: &Layer) -> Vec<(&'static str, Fate)> {
    use Fate::{Learns, Rests};
    let with_bias = |kernels: &[&'static str]| {
        let bias = layer.flag("use_bias", Switch::On).then_some("bias");
        kernels.iter().copied().chain(bias).map(|name| (name, Learns)).collect()
    };
    match layer.class.as_str() {
        "Conv2D" | "Conv2DTranspose" | "Dense" => with_bias(&["kernel"]),
        "DepthwiseConv2D" => with_bias(&["depthwise_kernel"]),
        "SeparableConv2D" => with_bias(&["depthwise_kernel", "pointwise_kernel"]),
        "BatchNormalization" => {
            let gamma = layer.flag("scale", Switch::On).then_some(("gamma", Learns));
            let beta = layer.flag("center", Switch::On).then_some(("beta", Learns));
            let statistics = [("moving_mean", Rests), ("moving_variance", Rests)];
            gamma.into_iter().chain(beta).chain(statistics).collect()
        }
        "PReLU" => vec![("alpha", Learns)],
        "Normalization" if layer.option("mean").is_none() => {
            vec![("mean", Rests), ("variance", Rests), ("count", Rests)]
        }
        _ => Vec::new(),
    }
}

/// Where the variables of all layers lie.
pub(super) fn paths(model: &Model, container: &Container) -> Result<Paths> {
    let mut paths = Paths::new();
    match container.rules {
        Rules::Numbered => numbered(model, "", &mut paths),
        Rules::Listed => {
            let file = &container.weights;
            let root = if file.has_group(MODEL_WEIGHTS) { MODEL_WEIGHTS } else { "" };
            for layer in model.layers.iter().filter(|layer| !layer.is_operation) {
                listed(layer, file, &join(root, &layer.name), &mut paths)?;
            }
        }
    }
    Ok(paths)
}

/// Layers are numbered within their class, in order. A Sequential does not count its input as a layer.
fn numbered(model: &Model, group: &str, paths: &mut Paths) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for layer in model.layers.iter().filter(|layer| !layer.is_operation) {
        if matches!(model.kind, Kind::Sequential(_)) && layer.class == "InputLayer" {
            continue;
        }
        let class = snake_case(&layer.class);
        let count = seen.entry(class.clone()).or_default();
        let folder = if *count == 0 { class } else { format!("{class}_{count}") };
        *count += 1;
        let place = join(group, &format!("layers/{folder}"));
        match &layer.inner {
            Some(inner) => numbered(inner, &place, paths),
            None => {
                let variables = (0..names(layer).len()).map(|position| format!("{place}/vars/{position}"));
                paths.insert(layer.id, variables.collect());
            }
        }
    }
}

/// Keras's `to_snake_case`: a line before a capital letter that follows a small one or precedes one.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> =
        class.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut name = String::new();
    for (position, letter) in letters.iter().enumerate() {
        let small = |letter: Option<&char>| letter.is_some_and(char::is_ascii_lowercase);
        let before = position.checked_sub(1).and_then(|before| letters.get(before));
        if letter.is_ascii_uppercase()
            && before.is_some()
            && (small(before) || small(letters.get(position + 1)))
        {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A layer of the outermost model lists its variables and those of the layers in it: first all that learn, then the others.
fn listed(layer: &Layer, file: &Hdf5, group: &str, paths: &mut Paths) -> Result<()> {
    let mut expected = Vec::new();
    collect(layer, Fate::Learns, &mut expected);
    // A layer that cannot be read at all may have no weights either; what is wrong with it comes first.
    if expected.is_empty() || !file.has_group(group) {
        return Ok(());
    }
    let stored = file.attributes(group)?.texts(WEIGHT_NAMES)?.unwrap_or_default();
    // Random layers keep the state of their generators among the weights.
    let stored =
        stored.into_iter().filter(|name| !matches!(variable(name), "StateVar" | "seed_generator_state"));
    let stored: Vec<String> = stored.collect();
    if stored.len() != expected.len() {
        return Err(FormatError::invalid(
            format!("hdf5 group `{group}`"),
            format!(
                "expected the {} variables of layer `{}`, found {}",
                expected.len(),
                layer.name,
                stored.len()
            ),
        ));
    }
    let (learning, resting): (Vec<_>, Vec<_>) =
        expected.iter().partition(|variable| variable.fate == Fate::Learns);
    for (wanted, name) in learning.into_iter().chain(resting).zip(stored) {
        check_name(wanted, &name)?;
        paths.entry(wanted.layer.id).or_insert_with(|| vec![String::new(); names(wanted.layer).len()])
            [wanted.position] = join(group, &name);
    }
    Ok(())
}

struct Variable<'m> {
    layer: &'m Layer,
    position: usize,
    name: &'static str,
    fate: Fate,
}

/// The variables of a layer, or of the layers in it. All rest where a model around them does.
fn collect<'m>(layer: &'m Layer, around: Fate, variables: &mut Vec<Variable<'m>>) {
    let around = if layer.is_trainable() { around } else { Fate::Rests };
    match &layer.inner {
        Some(inner) => {
            let layers = inner.layers.iter().filter(|layer| !layer.is_operation);
            layers.for_each(|layer| collect(layer, around, variables));
        }
        None => {
            let own = names(layer).into_iter().enumerate();
            variables.extend(own.map(|(position, (name, own))| {
                let fate = if own == Fate::Learns { around } else { Fate::Rests };
                Variable { layer, position, name, fate }
            }));
        }
    }
}

/// The last part of a weight's name, without the number that TensorFlow adds.
fn variable(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split(':').next().unwrap_or(name)
}

/// Checks that a weight is not one of another kind, where its name is one that Keras gives.
fn check_name(wanted: &Variable<'_>, name: &str) -> Result<()> {
    const KNOWN: [&str; 13] = [
        "kernel",
        "bias",
        "depthwise_kernel",
        "pointwise_kernel",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "alpha",
        "mean",
        "variance",
        "count",
        "recurrent_kernel",
    ];
    let found = variable(name);
    let same = found == wanted.name || (found == "kernel" && wanted.name == "depthwise_kernel");
    if same || !KNOWN.contains(&found) {
        return Ok(());
    }
    Err(wrong_layer(wanted.layer, format!("expected its `{}`, found `{name}` in its place", wanted.name)))
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn classes_are_named_as_keras_names_them() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("ReLU", "re_lu"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
            ("UpSampling2D", "up_sampling2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
