//! CONV_2D, grouped too, and DEPTHWISE_CONV_2D.

use super::padding::{self, Window};
use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions, to_i32};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::flat::Field;
use crate::tflite::schema::{
    self, builtin, conv_2d_options as fields, depthwise_conv_2d_options as depthwise_fields, options,
};
use taper_graph::{Conv2d, ConvKind, DType, Node, Op, Quantization, Shape, Tensor, TensorData};

const FULL: Versions = Versions::new(1, [1, 5, 0], 3, [1, 14, 0]);
const GROUPED: Version = Version { number: 6, since: [2, 9, 0] };
const DEPTHWISE: Versions = Versions::new(1, [1, 5, 0], 3, [1, 14, 0]);
const DILATED_DEPTHWISE: Version = Version { number: 2, since: [1, 12, 0] };

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, conv: &Conv2d) -> Result<()> {
    let arithmetic = emitter.of_layer(node)?;
    let channels = emitter.tensor(node, 0)?.shape.channels().unwrap_or_default();
    let weights = emitter.tensor(node, 1)?;
    let sizes = weights.shape.sizes().unwrap_or_default();
    let fused = emitter.fused(node, conv.activation)?;
    let window = Window {
        kernel: [sizes[1], sizes[2]],
        stride: conv.stride,
        dilation: conv.dilation,
        padding: conv.padding,
    };
    let (x, padding) = padding::write(emitter, node, window)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs[0] = x;
    if inputs.len() == 2 {
        inputs.push(zero_bias(emitter, node)?);
    }
    let kind = conv.kind(channels);
    let (builtin, version, layout) = match (kind, arithmetic) {
        (ConvKind::Full, _) => (builtin::CONV_2D, FULL.of(arithmetic), &FULL_LAYOUT),
        (ConvKind::Grouped, _) => (builtin::CONV_2D, GROUPED, &FULL_LAYOUT),
        (ConvKind::Depthwise, Arithmetic::Float | Arithmetic::Uint8) if conv.dilation != [1, 1] => {
            (builtin::DEPTHWISE_CONV_2D, DILATED_DEPTHWISE, &DEPTHWISE_LAYOUT)
        }
        (ConvKind::Depthwise, _) => (builtin::DEPTHWISE_CONV_2D, DEPTHWISE.of(arithmetic), &DEPTHWISE_LAYOUT),
    };
    let mut fields = vec![
        (layout.padding, Value::I8(padding)),
        (layout.stride[1], Value::I32(to_i32(conv.stride[1], "stride")?)),
        (layout.stride[0], Value::I32(to_i32(conv.stride[0], "stride")?)),
        (layout.activation, Value::I8(fused)),
        (layout.dilation[1], Value::I32(to_i32(conv.dilation[1], "dilation")?)),
        (layout.dilation[0], Value::I32(to_i32(conv.dilation[0], "dilation")?)),
    ];
    if kind == ConvKind::Depthwise {
        inputs[1] = emitter.lay_out(node.inputs[1], depthwise_layout(weights))?;
        let multiplier = to_i32(sizes[0] / channels, "depth multiplier")?;
        fields.push((depthwise_fields::DEPTH_MULTIPLIER, Value::I32(multiplier)));
    }
    let options = Options::Fields { options_type: layout.options_type, fields };
    emitter.with_inputs(node, builtin, version, inputs, options)
}

/// Weights `[O,KH,KW,1]` as `[1,KH,KW,O]`.
fn depthwise_layout(weights: &Tensor) -> Tensor {
    let sizes = weights.shape.sizes().unwrap_or_default();
    let taps = sizes[1] * sizes[2];
    Tensor {
        shape: Shape::fixed(&[1, sizes[1], sizes[2], sizes[0]]),
        quantization: with_axis(&weights.quantization, 3),
        data: weights.data.as_ref().map(|data| data.transposed(taps)),
        ..weights.clone()
    }
}

/// Weights `[1,KH,KW,O]` as the graph has them: `[O,KH,KW,1]`.
pub(super) fn adopt_depthwise_weights(weights: &mut Tensor) {
    if let Some([kernel_h, kernel_w, outputs]) = weights.shape.image() {
        weights.shape = Shape::fixed(&[outputs, kernel_h, kernel_w, 1]);
        weights.quantization = with_axis(&weights.quantization, 0);
        weights.data = weights.data.as_ref().map(|data| data.transposed(outputs));
    }
}

/// The quantization with its scales, if there are several, along another axis.
fn with_axis(quantization: &Option<Quantization>, axis: usize) -> Option<Quantization> {
    quantization.clone().map(|quantization| match quantization {
        Quantization::PerTensor { .. } => quantization,
        Quantization::PerAxis { scales, .. } => Quantization::PerAxis { axis, scales },
    })
}

/// A bias of zeros, as TFLite demands a bias of every convolution.
fn zero_bias<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<i32> {
    let (x, weights) = (emitter.tensor(node, 0)?, emitter.tensor(node, 1)?);
    let channels = weights.shape.sizes().unwrap_or_default()[0];
    let quantization = match (&x.quantization, &weights.quantization) {
        (Some(Quantization::PerTensor { scale: x, .. }), Some(Quantization::PerTensor { scale, .. })) => {
            Some(Quantization::PerTensor { scale: x * scale, zero_point: 0 })
        }
        (Some(Quantization::PerTensor { scale: x, .. }), Some(Quantization::PerAxis { scales, .. })) => {
            let scales = scales.iter().map(|scale| x * scale).collect();
            Some(Quantization::PerAxis { axis: 0, scales })
        }
        _ => None,
    };
    let data = match x.dtype {
        DType::F32 => TensorData::F32(vec![0.0; channels]),
        DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64 => TensorData::I32(vec![0; channels]),
    };
    emitter.add(Tensor {
        name: format!("{}/bias", node.name),
        shape: Shape::fixed(&[channels]),
        dtype: data.dtype(),
        quantization,
        data: Some(data),
    })
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(y)) = (source.layer_inputs(), source.output()) else {
        return Ok(None);
    };
    let depthwise = source.code.builtin == builtin::DEPTHWISE_CONV_2D;
    let layout = if depthwise { &DEPTHWISE_LAYOUT } else { &FULL_LAYOUT };
    let Some(options) = source.options(layout.options_type)? else {
        return Ok(None);
    };
    let [x, weights] = [inputs[0], inputs[1]].map(|id| &source.tensors[id.0]);
    let bias = inputs.get(2).map(|id| &source.tensors[id.0]);
    let Some([height, width, channels]) = x.shape.image() else {
        return Ok(None);
    };
    let Some([kernel_h, kernel_w, innermost]) = weights.shape.image() else {
        return Ok(None);
    };
    let Some(activation) = schema::activation(options.scalar(layout.activation, 0)?) else {
        return Ok(None);
    };
    let outermost = weights.shape.dims()[0].with_batch(1);
    let groups = if depthwise {
        let adoptable = outermost == 1 && source.is_own(inputs[1]) && scaled_along(weights, 3);
        adoptable.then_some(channels).filter(|&groups| groups > 0 && innermost.is_multiple_of(groups))
    } else {
        // Weights with fewer input channels are a grouped convolution.
        let fits = innermost > 0 && channels.is_multiple_of(innermost);
        fits.then(|| channels / innermost).filter(|&groups| groups > 0 && outermost.is_multiple_of(groups))
    };
    let Some(groups) = groups.filter(|_| Arithmetic::of_layer(x, weights, bias, y).is_some()) else {
        return Ok(None);
    };
    let stride =
        [source.pixels(&options, layout.stride[0], 0)?, source.pixels(&options, layout.stride[1], 0)?];
    let dilation =
        [source.pixels(&options, layout.dilation[0], 1)?, source.pixels(&options, layout.dilation[1], 1)?];
    let scheme = options.scalar(layout.padding, schema::padding::SAME)?;
    let padding = padding::read(scheme, [height, width], [kernel_h, kernel_w], stride, dilation)?;
    Ok(Some((Op::Conv2d(Conv2d { stride, dilation, padding, groups, activation }), inputs)))
}

/// Whether several scales, if there are, run along this axis.
fn scaled_along(weights: &Tensor, along: usize) -> bool {
    match &weights.quantization {
        Some(Quantization::PerAxis { axis, .. }) => *axis == along,
        Some(Quantization::PerTensor { .. }) | None => true,
    }
}

/// Where the options of a convolution stand; height before width.
struct Layout {
    options_type: u8,
    padding: Field,
    stride: [Field; 2],
    dilation: [Field; 2],
    activation: Field,
}

const FULL_LAYOUT: Layout = Layout {
    options_type: options::CONV_2D,
    padding: fields::PADDING,
    stride: [fields::STRIDE_H, fields::STRIDE_W],
    dilation: [fields::DILATION_H, fields::DILATION_W],
    activation: fields::ACTIVATION,
};

const DEPTHWISE_LAYOUT: Layout = Layout {
    options_type: options::DEPTHWISE_CONV_2D,
    padding: depthwise_fields::PADDING,
    stride: [depthwise_fields::STRIDE_H, depthwise_fields::STRIDE_W],
    dilation: [depthwise_fields::DILATION_H, depthwise_fields::DILATION_W],
    activation: depthwise_fields::ACTIVATION,
};
