//! Convolutions and fully connected layers.

use super::Site;
use super::activation::{self, Function};
use crate::error::Result;
use crate::keras::config::{Layer, Switch};
use crate::keras::network::Builder;
use crate::keras::wrong_layer;
use crate::weights::Array;
use taper_graph::{Activation, Conv2d, ConvTranspose2d, FullyConnected, Op, Padding, TensorId};

/// Conv2D: `[KH, KW, I/groups, O]` becomes `[O, KH, KW, I/groups]`.
pub(super) fn full(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let weights = site.constant("weights", |builder, layer| {
        let (kernel, [height, width, inputs, outputs]) = kernel(builder, layer, "kernel")?;
        Ok((vec![outputs, height, width, inputs], kernel.permuted([3, 0, 1, 2])))
    })?;
    let groups = site.layer.count("groups")?.unwrap_or(1);
    let function = activation::of_option(site)?;
    let op = Op::Conv2d(sliding(site, x, weights, groups, function.fused())?);
    let inputs = with_bias(site, x, weights)?;
    let y = site.node(op, &inputs)?;
    activation::apart(site, y, function)
}

/// DepthwiseConv2D: `[KH, KW, C, multiplier]` becomes `[C · multiplier, KH, KW, 1]`.
pub(super) fn depthwise(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let weights = site.constant("weights", depthwise_weights)?;
    let [_, _, channels] = site.image(x)?;
    let function = activation::of_option(site)?;
    let op = Op::Conv2d(sliding(site, x, weights, channels, function.fused())?);
    let inputs = with_bias(site, x, weights)?;
    let y = site.node(op, &inputs)?;
    activation::apart(site, y, function)
}

/// SeparableConv2D: a depthwise convolution, then a pointwise one that bears the layer's name, bias and activation.
pub(super) fn separable(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let depthwise = site.constant("depthwise/weights", depthwise_weights)?;
    let [_, _, channels] = site.image(x)?;
    let op = Op::Conv2d(sliding(site, x, depthwise, channels, None)?);
    let x = site.part("depthwise", op, &[x, depthwise])?;
    let weights = site.constant("weights", |builder, layer| {
        let (kernel, [height, width, inputs, outputs]) = kernel(builder, layer, "pointwise_kernel")?;
        Ok((vec![outputs, height, width, inputs], kernel.permuted([3, 0, 1, 2])))
    })?;
    let function = activation::of_option(site)?;
    let op = Op::Conv2d(pointwise(function.fused()));
    let inputs = with_bias(site, x, weights)?;
    let y = site.node(op, &inputs)?;
    activation::apart(site, y, function)
}

/// Conv2DTranspose: `[KH, KW, O, I]` becomes `[O, KH, KW, I]`.
///
/// Without `output_padding`, the output is as large as what a convolution of the same `padding` would make the input from.
/// Source: `_convert_conv_transpose_padding_args_from_keras_to_jax` in `keras/src/backend/common/backend_utils.py`.
pub(super) fn transposed(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    if site.layer.pair("dilation_rate")?.is_some_and(|dilation| dilation != [1, 1]) {
        return Err(site.layer.unexpected("dilation_rate", "1"));
    }
    let weights = site.constant("weights", |builder, layer| {
        let (kernel, [height, width, outputs, inputs]) = kernel(builder, layer, "kernel")?;
        Ok((vec![outputs, height, width, inputs], kernel.permuted([2, 0, 1, 3])))
    })?;
    let window = window(site, weights)?;
    let stride = site.layer.pair("strides")?.unwrap_or([1, 1]);
    let more = site.layer.pair("output_padding")?;
    let same = match site.layer.text("padding") {
        Some("same") => true,
        Some("valid") | None => false,
        Some(_) => return Err(site.layer.unexpected("padding", "same or valid")),
    };
    // Keras counts the zeros around the spread input, of which at most `window − 1` lie before it.
    let ends = [0, 1].map(|axis| {
        let (window, stride, more) = (window[axis].max(1), stride[axis], more.map(|more| more[axis]));
        let zeros = match (same, more) {
            (true, None) => (window + stride).saturating_sub(2),
            (true, Some(more)) => (window + window % 2 + more).saturating_sub(2),
            (false, None) => window + window.max(stride) - 2,
            (false, Some(more)) => 2 * (window - 1) + more,
        };
        let before = zeros.div_ceil(2).min(window - 1);
        (window - 1, before, zeros - before)
    });
    let [(rows, top, bottom), (columns, left, right)] = ends;
    let padding = Padding {
        top: rows - top,
        bottom: rows.saturating_sub(bottom),
        left: columns - left,
        right: columns.saturating_sub(right),
    };
    let output_padding = ends.map(|(all, _, behind)| behind.saturating_sub(all));
    let function = activation::of_option(site)?;
    let activation = function.fused();
    let op = Op::ConvTranspose2d(ConvTranspose2d { stride, padding, output_padding, activation });
    let inputs = with_bias(site, x, weights)?;
    let y = site.node(op, &inputs)?;
    activation::apart(site, y, function)
}

/// Dense: `[I, O]` becomes `[O, I]`. On images it is a convolution of single pixels.
pub(super) fn dense(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let rank = site.rank(x);
    let weights = site.constant("weights", |builder, layer| {
        let kernel = builder.variable(layer, "kernel")?;
        match (rank, &kernel.sizes[..]) {
            (2, &[inputs, outputs]) => Ok((vec![outputs, inputs], kernel.permuted([1, 0]))),
            (4, &[inputs, outputs]) => Ok((vec![outputs, 1, 1, inputs], kernel.permuted([1, 0]))),
            (_, sizes) => Err(wrong_layer(
                layer,
                format!(
                    "expected a kernel [I, O] on an input of rank 2 or 4, found {sizes:?} on rank {rank}"
                ),
            )),
        }
    })?;
    let function = activation::of_option(site)?;
    let op = match rank {
        2 => Op::FullyConnected(FullyConnected { activation: function.fused() }),
        _ => Op::Conv2d(pointwise(function.fused())),
    };
    let inputs = with_bias(site, x, weights)?;
    let y = site.node(op, &inputs)?;
    activation::apart(site, y, function)
}

fn depthwise_weights(builder: &mut Builder<'_>, layer: &Layer) -> Result<(Vec<usize>, Vec<f32>)> {
    let (kernel, [height, width, channels, multiplier]) = kernel(builder, layer, "depthwise_kernel")?;
    Ok((vec![channels.saturating_mul(multiplier), height, width, 1], kernel.permuted([2, 3, 0, 1])))
}

fn kernel(builder: &mut Builder<'_>, layer: &Layer, name: &str) -> Result<(Array, [usize; 4])> {
    let array = builder.variable(layer, name)?;
    match array.sizes[..] {
        [height, width, inputs, outputs] => Ok((array, [height, width, inputs, outputs])),
        _ => Err(wrong_layer(layer, format!("expected a `{name}` of rank 4, found {:?}", array.sizes))),
    }
}

fn with_bias(site: &mut Site<'_, '_>, x: TensorId, weights: TensorId) -> Result<Vec<TensorId>> {
    let mut inputs = vec![x, weights];
    if site.layer.flag("use_bias", Switch::On) {
        inputs.push(site.vector("bias", "bias")?);
    }
    Ok(inputs)
}

fn pointwise(activation: Option<Activation>) -> Conv2d {
    Conv2d { stride: [1, 1], dilation: [1, 1], padding: Padding::default(), groups: 1, activation }
}

/// The attributes of a convolution of `x` with `weights [O, KH, KW, I/groups]`.
fn sliding(
    site: &Site<'_, '_>,
    x: TensorId,
    weights: TensorId,
    groups: usize,
    activation: Option<Activation>,
) -> Result<Conv2d> {
    let stride = site.layer.pair("strides")?.unwrap_or([1, 1]);
    let dilation = site.layer.pair("dilation_rate")?.unwrap_or([1, 1]);
    let padding = super::spatial::padding(site, x, window(site, weights)?, stride, dilation)?;
    Ok(Conv2d { stride, dilation, padding, groups, activation })
}

/// Height and width of weights `[O, KH, KW, I]`.
fn window(site: &Site<'_, '_>, weights: TensorId) -> Result<[usize; 2]> {
    let sizes = site.builder.graph.tensor(weights).shape.with_batch(1);
    match sizes[..] {
        [_, height, width, _] => Ok([height, width]),
        _ => Err(site.wrong(format!("expected weights of rank 4, found {sizes:?}"))),
    }
}

impl Function {
    /// The nonlinearity to be fused into the layer before it.
    fn fused(self) -> Option<Activation> {
        match self {
            Self::Graph(function @ (Activation::Relu | Activation::Relu6)) => Some(function),
            Self::Linear | Self::Softmax | Self::Graph(_) => None,
        }
    }
}
