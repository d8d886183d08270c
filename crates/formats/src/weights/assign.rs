//! Weights of a file put into a network of the same architecture.

use super::array::{Array, Weights};
use super::element::Element;
use super::names::{keras_layer, torch_module};
use crate::error::{FormatError, Result};
use std::collections::{BTreeMap, BTreeSet};
use taper_graph::{DType, Graph, Node, Op, TensorData, TensorId};

/// How a framework lays out its weights and names its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Keras: `LAYER/VARIABLE`; convolutions `[KH, KW, I, O]`, depthwise ones `[KH, KW, C, multiplier]`,
    /// transposed ones `[KH, KW, O, I]`, matrices `[I, O]`. Where a file only numbers the arrays of a layer, they stand in
    /// Keras's order: kernel, bias; gamma, beta, mean, variance.
    Keras,
    /// PyTorch: `MODULE.weight`, `.bias`, `.running_mean` and so on; convolutions `[O, I/groups, KH, KW]`, matrices `[O, I]`,
    /// transposed convolutions `[I, O, KH, KW]`, images flattened channels first. A layer's module is the one of the same
    /// name, or what the zoo's tables say. If no layer has such a module and there are as many modules as layers, they are
    /// matched in order.
    Torch,
    /// Taper: the names and layouts of the graph's own constants. Quantized ones are for no constant of floats.
    Graph,
}

/// What went where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The network's constants that were filled, each with the array that it has now.
    pub assigned: Vec<(String, String)>,
    /// The network's constants that no array was for; they keep what they had.
    pub kept: Vec<String>,
    /// The arrays that no constant was for, but not PyTorch's counts of steps (`num_batches_tracked`).
    pub unused: Vec<String>,
}

/// PyTorch's count of the steps that batch statistics were gathered in.
const STEPS: &str = "num_batches_tracked";

/// A constant of a layer: its role decides the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Kernel,
    Bias,
    Gamma,
    Beta,
    Mean,
    Variance,
    Slopes,
}

/// A layer that has constants.
struct Layer<'g> {
    node: &'g Node,
    constants: Vec<(Role, TensorId)>,
}

/// Fills the constants of `graph` with the arrays of its layers, in `layout`, which is [`Weights::layout`] if nothing else is
/// known.
///
/// # Errors
/// If an array of a layer has not the shape that the layer needs.
pub fn assign(graph: &mut Graph, weights: &Weights, layout: Layout) -> Result<Report> {
    let layers = layers(graph);
    let found = match layout {
        Layout::Keras => by_keras_name(graph, &layers, weights),
        Layout::Torch => match by_torch_name(graph, &layers, weights) {
            found if found.is_empty() => in_order(&layers, weights),
            found => found,
        },
        Layout::Graph => by_own_name(graph, &layers, weights),
    };
    let mut data = Vec::with_capacity(found.len());
    let mut report = Report::default();
    let mut used = BTreeSet::new();
    let constants =
        layers.iter().flat_map(|layer| layer.constants.iter().map(move |&(role, id)| (layer, role, id)));
    for (layer, role, id) in constants {
        let name = &graph.tensor(id).name;
        let Some(&array) = found.get(&id) else {
            report.kept.push(name.clone());
            continue;
        };
        let Some(stored) = weights.get(array) else { continue };
        data.push((id, converted(graph, layer.node, role, id, (array, stored), layout)?));
        report.assigned.push((name.clone(), array.to_owned()));
        used.insert(array);
    }
    let unused = weights.iter().map(|(name, _)| name).filter(|name| !used.contains(name));
    report.unused = unused.filter(|name| variable(name, '.') != STEPS).map(str::to_owned).collect();
    for (id, values) in data {
        graph.tensor_mut(id).data = Some(TensorData::F32(values));
    }
    Ok(report)
}

/// The layers of a network and their constants, each constant once.
fn layers(graph: &Graph) -> Vec<Layer<'_>> {
    const NORMALISATION: [Role; 4] = [Role::Gamma, Role::Beta, Role::Mean, Role::Variance];
    let mut seen = BTreeSet::new();
    let mut layers = Vec::new();
    for node in &graph.nodes {
        let roles: &[Role] = match &node.op {
            Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) => &[Role::Kernel, Role::Bias],
            Op::BatchNorm(_) => &NORMALISATION,
            Op::Prelu => &[Role::Slopes],
            Op::Activation { .. }
            | Op::Elementwise(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::ArgMax(_)
            | Op::Softmax(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Quantize { .. }
            | Op::Opaque(_) => &[],
        };
        let constants = roles.iter().copied().zip(node.inputs.iter().skip(1).copied());
        let constants: Vec<_> = constants
            .filter(|&(_, id)| graph.tensor(id).dtype == DType::F32 && graph.tensor(id).data.is_some())
            .filter(|&(_, id)| seen.insert(id))
            .collect();
        if !constants.is_empty() {
            layers.push(Layer { node, constants });
        }
    }
    layers
}

type Found<'w> = BTreeMap<TensorId, &'w str>;

/// The arrays of each layer by the names of their variables; where the file only numbers them, in order, if each constant of
/// the layer has one.
fn by_keras_name<'w>(graph: &Graph, layers: &[Layer<'_>], weights: &'w Weights) -> Found<'w> {
    let mut of_layer: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, _) in weights.iter() {
        let (layer, _) = name.rsplit_once('/').unwrap_or(("", name));
        of_layer.entry(layer).or_default().push(name);
    }
    // A separable convolution is two nodes, but one layer of Keras.
    let mut constants: BTreeMap<&str, Vec<(Role, TensorId)>> = BTreeMap::new();
    for layer in layers {
        let name = layer.node.name.as_str();
        let name = name.strip_suffix("/depthwise").unwrap_or(name);
        constants.entry(name).or_default().extend(&layer.constants);
    }
    let mut found = Found::new();
    for (layer, constants) in constants {
        let arrays = of_layer.remove(layer);
        let arrays = arrays.or_else(|| of_layer.remove(keras_layer(&graph.name, layer)?.as_str()));
        let Some(mut arrays) = arrays else { continue };
        if arrays.iter().any(|name| is_keras_name(variable(name, '/'))) {
            for (role, id) in constants {
                let array = arrays.iter().position(|name| role.keras_names().contains(&variable(name, '/')));
                if let Some(array) = array {
                    found.insert(id, arrays.remove(array));
                }
            }
        } else if arrays.len() == constants.len() {
            found.extend(constants.into_iter().map(|(_, id)| id).zip(arrays));
        }
    }
    found
}

fn by_torch_name<'w>(graph: &Graph, layers: &[Layer<'_>], weights: &'w Weights) -> Found<'w> {
    let names: BTreeMap<&str, &'w str> = weights.iter().map(|(name, _)| (name, name)).collect();
    let mut found = Found::new();
    for layer in layers {
        let table = torch_module(&graph.name, &layer.node.name);
        for &(role, id) in &layer.constants {
            let modules = [table.as_deref(), Some(layer.node.name.as_str())];
            let mut candidates =
                modules.into_iter().flatten().map(|module| format!("{module}.{}", role.torch_name()));
            let tensor = graph.tensor(id).name.as_str();
            let array = names.get(tensor).or_else(|| candidates.find_map(|name| names.get(name.as_str())));
            if let Some(array) = array {
                found.insert(id, *array);
            }
        }
    }
    found
}

fn by_own_name<'w>(graph: &Graph, layers: &[Layer<'_>], weights: &'w Weights) -> Found<'w> {
    let floats = weights.iter().filter(|(_, array)| array.element == Element::F32);
    let names: BTreeMap<&str, &'w str> = floats.map(|(name, _)| (name, name)).collect();
    let constants = layers.iter().flat_map(|layer| &layer.constants);
    constants.filter_map(|&(_, id)| Some((id, *names.get(graph.tensor(id).name.as_str())?))).collect()
}

/// Modules and layers side by side, if they are as many.
fn in_order<'w>(layers: &[Layer<'_>], weights: &'w Weights) -> Found<'w> {
    let mut modules: Vec<(&str, Vec<&'w str>)> = Vec::new();
    for (name, _) in weights.iter() {
        let (module, _) = name.rsplit_once('.').unwrap_or(("", name));
        match modules.last_mut() {
            Some((last, arrays)) if *last == module => arrays.push(name),
            Some(_) | None => modules.push((module, vec![name])),
        }
    }
    if modules.len() != layers.len() {
        return Found::new();
    }
    let mut found = Found::new();
    for (layer, (_, arrays)) in layers.iter().zip(&modules) {
        for &(role, id) in &layer.constants {
            if let Some(array) = arrays.iter().find(|name| variable(name, '.') == role.torch_name()) {
                found.insert(id, array);
            }
        }
    }
    found
}

/// The last part of an array's name.
fn variable(name: &str, separator: char) -> &str {
    name.rsplit(separator).next().unwrap_or(name)
}

/// Whether a role has this name, so that it means that role and no other.
fn is_keras_name(name: &str) -> bool {
    const ROLES: [Role; 7] =
        [Role::Kernel, Role::Bias, Role::Gamma, Role::Beta, Role::Mean, Role::Variance, Role::Slopes];
    ROLES.iter().any(|role| role.keras_names().contains(&name))
}

impl Role {
    fn keras_names(self) -> &'static [&'static str] {
        match self {
            Self::Kernel => &["depthwise_kernel", "pointwise_kernel", "kernel"],
            Self::Bias => &["bias"],
            Self::Gamma => &["gamma"],
            Self::Beta => &["beta"],
            Self::Mean => &["moving_mean"],
            Self::Variance => &["moving_variance"],
            Self::Slopes => &["alpha"],
        }
    }

    fn torch_name(self) -> &'static str {
        match self {
            Self::Kernel | Self::Gamma | Self::Slopes => "weight",
            Self::Bias | Self::Beta => "bias",
            Self::Mean => "running_mean",
            Self::Variance => "running_var",
        }
    }
}

/// The elements of an array in the order of the constant that they are for.
fn converted(
    graph: &Graph,
    node: &Node,
    role: Role,
    id: TensorId,
    (name, array): (&str, &Array),
    layout: Layout,
) -> Result<Vec<f32>> {
    let expected = graph.tensor(id).shape.with_batch(1);
    let (sizes, values) = match (&node.op, role, layout, &array.sizes[..]) {
        (Op::Conv2d(conv), Role::Kernel, Layout::Keras, &[height, width, inputs, outputs]) => {
            if conv.groups == inputs && conv.groups > 1 && expected.last() == Some(&1) {
                let channels = inputs.saturating_mul(outputs);
                (vec![channels, height, width, 1], array.permuted([2, 3, 0, 1]))
            } else {
                (vec![outputs, height, width, inputs], array.permuted([3, 0, 1, 2]))
            }
        }
        // Dense on every pixel.
        (Op::Conv2d(_), Role::Kernel, Layout::Keras, &[inputs, outputs]) => {
            (vec![outputs, 1, 1, inputs], array.permuted([1, 0]))
        }
        (Op::Conv2d(_), Role::Kernel, Layout::Torch, &[outputs, inputs, height, width]) => {
            (vec![outputs, height, width, inputs], array.permuted([0, 2, 3, 1]))
        }
        (Op::ConvTranspose2d(_), Role::Kernel, Layout::Keras, &[height, width, outputs, inputs]) => {
            (vec![outputs, height, width, inputs], array.permuted([2, 0, 1, 3]))
        }
        (Op::ConvTranspose2d(_), Role::Kernel, Layout::Torch, &[inputs, outputs, height, width]) => {
            (vec![outputs, height, width, inputs], array.permuted([1, 2, 3, 0]))
        }
        (Op::FullyConnected(_), Role::Kernel, Layout::Keras, &[inputs, outputs]) => {
            (vec![outputs, inputs], array.permuted([1, 0]))
        }
        // A convolution of one pixel.
        (Op::FullyConnected(_), Role::Kernel, Layout::Keras, &[1, 1, inputs, outputs]) => {
            (vec![outputs, inputs], array.permuted([3, 0, 1, 2]))
        }
        (Op::FullyConnected(_), Role::Kernel, Layout::Torch, &[outputs, inputs]) => {
            (vec![outputs, inputs], flattened_channels_last(graph, node, array))
        }
        // Keras keeps the axes along which slopes are shared, with size 1.
        (Op::Prelu, Role::Slopes, Layout::Keras, &[.., channels]) if channels == array.values.len() => {
            (vec![channels], array.values.clone())
        }
        (_, _, _, sizes) => (sizes.to_vec(), array.values.clone()),
    };
    if sizes == expected {
        return Ok(values);
    }
    Err(FormatError::invalid(
        format!("array `{name}`"),
        format!("expected {expected:?} for `{}`, found {sizes:?} in its order", graph.tensor(id).name),
    ))
}

/// A matrix on what PyTorch flattens channels first, for what a graph flattens channels last.
fn flattened_channels_last(graph: &Graph, node: &Node, array: &Array) -> Vec<f32> {
    let flatten = node.inputs.first().and_then(|&x| graph.producer(x)).map(|id| graph.node(id));
    let image = flatten
        .filter(|node| matches!(node.op, Op::Flatten))
        .and_then(|node| graph.tensor(*node.inputs.first()?).shape.image());
    match (image, array.sizes[..].first_chunk()) {
        (Some([height, width, channels]), Some(&[outputs, inputs]))
            if [width, channels].iter().try_fold(height, |product, &size| product.checked_mul(size))
                == Some(inputs) =>
        {
            let sizes = vec![outputs, channels, height, width];
            let image = Array { sizes, element: array.element, values: array.values.clone() };
            image.permuted([0, 2, 3, 1])
        }
        _ => array.values.clone(),
    }
}
