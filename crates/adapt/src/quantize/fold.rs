//! Folding: batch normalisation into the layer before it, nonlinearities into the operator before them, dropout away.
//!
//! TFLite has no operator for batch normalisation nor dropout, and an integer nonlinearity that stands alone costs a
//! rounding.

use crate::error::{AdaptError, Result};
use taper_graph::{Activation, BatchNorm, Binary, Graph, Node, NodeId, Op, TensorData, TensorId};

/// The same network without batch normalisation and dropout, with nonlinearities fused where TFLite's operators can
/// hold them.
///
/// # Errors
/// If a batch normalisation does not directly follow a convolution or fully connected layer that only it reads.
pub fn fold(graph: &Graph) -> Result<Graph> {
    let mut folded = graph.clone();
    folded.remove_dropout();
    while let Some(position) = folded.nodes.iter().position(|node| matches!(node.op, Op::BatchNorm(_))) {
        fold_batch_norm(&mut folded, NodeId(position))?;
    }
    while let Some((layer, nonlinearity)) = fusable(&folded) {
        fuse(&mut folded, layer, nonlinearity);
    }
    folded.remove_unused_tensors();
    folded.verify()?;
    Ok(folded)
}

fn fold_batch_norm(graph: &mut Graph, id: NodeId) -> Result<()> {
    let norm = graph.node(id).clone();
    let unsupported = |message: String| AdaptError::Unsupported {
        pass: "fold batch normalisation in",
        network: graph.name.clone(),
        message: format!("`{}` {message}", norm.name),
    };
    let Op::BatchNorm(BatchNorm { epsilon }) = norm.op else { return Ok(()) };
    let layer = bare_before(graph, norm.inputs[0]).filter(|id| is_layer(&graph.node(*id).op)).ok_or_else(|| {
        unsupported(
            "does not directly follow a convolution or fully connected layer without a nonlinearity that only it reads"
                .to_owned(),
        )
    })?;
    let constant = |position: usize| {
        let tensor = graph.tensor(norm.inputs[position]);
        tensor
            .f32_data()
            .ok_or_else(|| unsupported(format!("expected `{}` to be constant floats", tensor.name)))
    };
    let (gamma, beta, mean, variance) = (constant(1)?, constant(2)?, constant(3)?, constant(4)?);
    let factors: Vec<f32> =
        gamma.iter().zip(variance).map(|(gamma, variance)| gamma / (variance + epsilon).sqrt()).collect();

    let node = graph.node(layer);
    let weights = graph.tensor(node.inputs[1]);
    let values = weights
        .f32_data()
        .ok_or_else(|| unsupported(format!("expected `{}` to be constant floats", weights.name)))?;
    let bias = match node.inputs.get(2).map(|bias| graph.tensor(*bias)) {
        None => vec![0.0; factors.len()],
        Some(bias) => bias
            .f32_data()
            .ok_or_else(|| unsupported(format!("expected `{}` to be constant floats", bias.name)))?
            .to_vec(),
    };
    let per_channel = values.len() / factors.len();
    let folded_weights: Vec<f32> =
        values.chunks(per_channel).zip(&factors).flat_map(|(w, f)| w.iter().map(move |w| w * f)).collect();
    let folded_bias: Vec<f32> =
        (0..factors.len()).map(|c| (bias[c] - mean[c]) * factors[c] + beta[c]).collect();

    let (weights, name) = (node.inputs[1], node.name.clone());
    // A constant that another layer reads too must not change under it: fold into copies.
    let own_weights =
        own(graph, weights, layer, TensorData::F32(folded_weights), &format!("{name}/folded_weights"));
    let bias = graph.node(layer).inputs.get(2).copied();
    let data = TensorData::F32(folded_bias);
    let own_bias = match bias {
        Some(bias) => own(graph, bias, layer, data, &format!("{name}/folded_bias")),
        None => graph.add_constant(unused_name(graph, &format!("{name}/bias")), &[factors.len()], data),
    };
    let node = &mut graph.nodes[layer.0];
    node.inputs = vec![node.inputs[0], own_weights, own_bias];
    node.outputs = norm.outputs;
    graph.nodes.remove(id.0);
    Ok(())
}

/// The constant with new data: in place if only `layer` reads it, else a copy.
fn own(graph: &mut Graph, id: TensorId, layer: NodeId, data: TensorData, copy_name: &str) -> TensorId {
    if graph.consumers(id).all(|reader| reader == layer) {
        graph.tensor_mut(id).data = Some(data);
        return id;
    }
    let sizes = graph.tensor(id).shape.with_batch(1);
    graph.add_constant(unused_name(graph, copy_name), &sizes, data)
}

fn unused_name(graph: &Graph, wanted: &str) -> String {
    let taken = |name: &str| graph.tensors.iter().any(|tensor| tensor.name == name);
    let candidates = std::iter::once(wanted.to_owned()).chain((2..).map(|n| format!("{wanted}_{n}")));
    candidates.into_iter().find(|name| !taken(name)).expect("there are more candidates than tensors")
}

/// The operator that writes `tensor` for one reader only, and can hold a nonlinearity but holds none.
fn bare_before(graph: &Graph, tensor: TensorId) -> Option<NodeId> {
    let before = graph.producer(tensor)?;
    let bare = graph.node(before).op.fused_activation() == Some(None);
    let lone = graph.consumers(tensor).count() == 1 && !graph.outputs.contains(&tensor);
    (bare && lone).then_some(before)
}

/// An operator and the nonlinearity behind it that TFLite lets it hold.
fn fusable(graph: &Graph) -> Option<(NodeId, NodeId)> {
    graph.nodes_with_ids().find_map(|(id, node)| {
        let Op::Activation { function: Activation::Relu | Activation::Relu6 } = node.op else { return None };
        let before = bare_before(graph, node.inputs[0])?;
        may_hold(&graph.node(before).op).then_some((before, id))
    })
}

/// Whether TFLite's form of an operator can hold relu and relu6.
fn may_hold(op: &Op) -> bool {
    match op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) => true,
        Op::Elementwise(elementwise) => match elementwise.function {
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => true,
            Binary::Maximum | Binary::Minimum => false,
        },
        Op::BatchNorm(_)
        | Op::Activation { .. }
        | Op::Prelu
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
        | Op::Opaque(_) => false,
    }
}

/// Whether an operator has weights with a row for each output channel, and a bias.
fn is_layer(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_))
}

fn fuse(graph: &mut Graph, before: NodeId, nonlinearity: NodeId) {
    let Node { op, outputs, .. } = graph.nodes.remove(nonlinearity.0);
    let Op::Activation { function } = op else { return };
    let node = &mut graph.nodes[before.0];
    if let Some(fused) = node.op.fused_activation_mut() {
        *fused = Some(function);
    }
    node.outputs = outputs;
}
