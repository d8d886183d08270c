//! CONV_2D.

use super::padding::{self, Window};
use super::{Arithmetic, Emitter, Options, Reading, Source, Versions, to_i32};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::schema::{self, builtin, conv_2d_options as fields, options};
use taper_graph::{Conv2d, DType, Node, Op, Quantization, Shape, Tensor, TensorData};

const VERSIONS: Versions = Versions::new(1, [1, 5, 0], 3, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, conv: &Conv2d) -> Result<()> {
    let version = VERSIONS.of(emitter.of_layer(node)?);
    let weights = emitter.tensor(node, 1)?.shape.sizes().unwrap_or_default();
    let window = Window {
        kernel: [weights[1], weights[2]],
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
    let fields = vec![
        (fields::PADDING, Value::I8(padding)),
        (fields::STRIDE_W, Value::I32(to_i32(conv.stride[1], "stride")?)),
        (fields::STRIDE_H, Value::I32(to_i32(conv.stride[0], "stride")?)),
        (fields::ACTIVATION, Value::I8(schema::activation_type(conv.activation))),
        (fields::DILATION_W, Value::I32(to_i32(conv.dilation[1], "dilation")?)),
        (fields::DILATION_H, Value::I32(to_i32(conv.dilation[0], "dilation")?)),
    ];
    let options = Options::Fields { options_type: options::CONV_2D, fields };
    emitter.with_inputs(node, builtin::CONV_2D, version, inputs, options)
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
    let Some(options) = source.options(options::CONV_2D)? else {
        return Ok(None);
    };
    let [x, weights] = [inputs[0], inputs[1]].map(|id| &source.tensors[id.0]);
    let bias = inputs.get(2).map(|id| &source.tensors[id.0]);
    let Some([height, width, channels]) = x.shape.image() else {
        return Ok(None);
    };
    let Some([kernel_h, kernel_w, in_channels]) = weights.shape.image() else {
        return Ok(None);
    };
    let Some(activation) = schema::activation(options.scalar(fields::ACTIVATION, 0)?) else {
        return Ok(None);
    };
    // Weights with fewer input channels are a grouped convolution.
    if channels != in_channels || Arithmetic::of_layer(x, weights, bias, y).is_none() {
        return Ok(None);
    }
    let stride =
        [source.pixels(&options, fields::STRIDE_H, 0)?, source.pixels(&options, fields::STRIDE_W, 0)?];
    let dilation =
        [source.pixels(&options, fields::DILATION_H, 1)?, source.pixels(&options, fields::DILATION_W, 1)?];
    let scheme = options.scalar(fields::PADDING, schema::padding::SAME)?;
    let padding = padding::read(scheme, [height, width], [kernel_h, kernel_w], stride, dilation)?;
    Ok(Some((Op::Conv2d(Conv2d { stride, dilation, padding, activation }), inputs)))
}
