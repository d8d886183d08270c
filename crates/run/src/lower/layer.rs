//! Layers with weights: convolutions and fully connected layers.

use super::{Context, affine, nonlinearity};
use crate::error::Result;
use crate::kernel::{F32Kernel, IntegerKernel, Kernel};
use taper_graph::{Activation, Conv2d, ConvKind, ConvTranspose2d, DType, Padding, Quantization, TensorData};
use taper_kernels::int8::{self, ConvQuantization, Factors, Integer, Multiplier, real_factor};
use taper_kernels::nhwc::{self, ConvShape};

/// What a layer with weights does, once its shape is known.
struct Layer {
    shape: ConvShape,
    groups: usize,
    activation: Option<Activation>,
    kind: LayerKind,
}

/// The two kinds of layers, which TFLite scales differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LayerKind {
    Convolution,
    FullyConnected,
}

impl Context<'_> {
    pub(super) fn conv(&self, conv: &Conv2d) -> Result<Kernel> {
        let [batch, in_h, in_w, in_c] = self.sizes(self.x())?;
        let [_, out_h, out_w, out_c] = self.sizes(self.y())?;
        let [_, kernel_h, kernel_w, _] = self.sizes(self.node.inputs[1])?;
        let Padding { top, bottom, left, right } = conv.padding;
        let padded = [in_h + top + bottom, in_w + left + right, in_c, batch];
        if padded.iter().try_fold(size_of::<f32>(), |bytes, &size| bytes.checked_mul(size)).is_none() {
            return Err(self.unsupported(format!("the padded input {padded:?} is larger than memory")));
        }
        self.layer(Layer {
            shape: ConvShape {
                batch,
                input: [in_h, in_w, in_c],
                output: [out_h, out_w, out_c],
                kernel: [kernel_h, kernel_w],
                stride: conv.stride,
                dilation: conv.dilation,
                padding: [top, left],
            },
            groups: conv.groups,
            activation: conv.activation,
            kind: LayerKind::Convolution,
        })
    }

    pub(super) fn conv_transpose(&self, conv: &ConvTranspose2d) -> Result<Kernel> {
        let [batch, in_h, in_w, in_c] = self.sizes(self.x())?;
        let [_, out_h, out_w, out_c] = self.sizes(self.y())?;
        let [_, kernel_h, kernel_w, _] = self.sizes(self.node.inputs[1])?;
        self.float_only(|| {
            let shape = ConvShape {
                batch,
                input: [in_h, in_w, in_c],
                output: [out_h, out_w, out_c],
                kernel: [kernel_h, kernel_w],
                stride: conv.stride,
                dilation: [1, 1],
                padding: [conv.padding.top, conv.padding.left],
            };
            let (weights, bias) = (self.floats(1)?, self.bias()?);
            let (fused, curve) = nonlinearity(conv.activation);
            let kernel = nhwc::ConvTranspose::new(self.isa, shape, weights, bias, fused);
            Ok(F32Kernel::ConvTranspose(Box::new(kernel)).then(curve))
        })
    }

    /// The bias, if there is one.
    fn bias(&self) -> Result<Option<&[f32]>> {
        (self.node.inputs.len() > 2).then(|| self.floats(2)).transpose()
    }

    pub(super) fn fully_connected(&self, activation: Option<Activation>) -> Result<Kernel> {
        let [batch, inputs] = self.sizes(self.x())?;
        let [_, outputs] = self.sizes(self.y())?;
        let shape = ConvShape::fully_connected(batch, inputs, outputs);
        self.layer(Layer { shape, groups: 1, activation, kind: LayerKind::FullyConnected })
    }

    fn layer(&self, layer: Layer) -> Result<Kernel> {
        match self.tensor(self.x()).dtype {
            DType::F32 => self.float_layer(&layer),
            DType::I8 => {
                let TensorData::I8(weights) = self.constant(1)? else {
                    return Err(self.wrong_data(1, "i8"));
                };
                self.integer_layer::<i8, i8>(&layer, weights)
            }
            DType::U8 => {
                let TensorData::U8(weights) = self.constant(1)? else {
                    return Err(self.wrong_data(1, "u8"));
                };
                self.integer_layer::<u8, u8>(&layer, weights)
            }
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }

    fn float_layer(&self, layer: &Layer) -> Result<Kernel> {
        let Layer { shape, groups, activation, .. } = *layer;
        let weights = self.floats(1)?;
        let bias = self.bias()?;
        let (fused, curve) = nonlinearity(activation);
        let [inputs, outputs] = [shape.input[2], shape.output[2]];
        let kernel = match ConvKind::of(groups, inputs) {
            ConvKind::Full => {
                F32Kernel::Conv(Box::new(nhwc::Conv::new(self.isa, shape, weights, bias, fused)))
            }
            ConvKind::Depthwise if inputs == outputs => {
                F32Kernel::Depthwise(Box::new(nhwc::Depthwise::new(self.isa, shape, weights, bias, fused)))
            }
            ConvKind::Depthwise | ConvKind::Grouped => {
                let conv = nhwc::GroupedConv::new(self.isa, shape, groups, weights, bias, fused);
                F32Kernel::GroupedConv(Box::new(conv))
            }
        };
        Ok(Kernel::F32(kernel.then(curve)))
    }

    fn integer_layer<T: Integer, W: Integer>(&self, layer: &Layer, weights: &[W]) -> Result<Kernel> {
        let kind = ConvKind::of(layer.groups, layer.shape.input[2]);
        if kind == ConvKind::Grouped {
            return Err(self.unsupported(format!(
                "expected one group, or one for each input channel, of integers, found {}",
                layer.groups
            )));
        }
        let (input, output) = (affine(self.graph, self.x())?, affine(self.graph, self.y())?);
        let (scales, weights_zero) = self.weight_scales(layer)?;
        if W::MIN < 0 && weights_zero != 0 {
            return Err(
                self.unsupported(format!("expected i8 weights with zero point 0, found {weights_zero}"))
            );
        }
        let bias = match self.node.inputs.get(2) {
            None => None,
            Some(_) => match self.constant(2)? {
                TensorData::I32(bias) => Some(&bias[..]),
                TensorData::F32(_)
                | TensorData::I8(_)
                | TensorData::U8(_)
                | TensorData::I16(_)
                | TensorData::I64(_) => {
                    return Err(self.wrong_data(2, "i32"));
                }
            },
        };
        let scales = scales.iter().copied().cycle().take(layer.shape.output[2]);
        let fixed = |multiplier: fn(f32, f32, f32) -> Multiplier| {
            Factors::Fixed(scales.clone().map(|scale| multiplier(input.scale, scale, output.scale)).collect())
        };
        let factors = match layer.kind {
            LayerKind::Convolution if W::MIN < 0 => fixed(Multiplier::of_layer),
            LayerKind::Convolution => fixed(Multiplier::of_layer_f32),
            LayerKind::FullyConnected => {
                Factors::Real(scales.map(|scale| real_factor(input.scale, scale, output.scale)).collect())
            }
        };
        let quantization = ConvQuantization {
            input_zero: input.zero_point,
            weights_zero,
            output_zero: output.zero_point,
            factors,
            range: output.range::<T>(self.integer_fused(layer.activation)?),
        };
        let (isa, shape) = (self.isa, layer.shape);
        Ok(Kernel::Integer(if kind == ConvKind::Depthwise {
            let conv = int8::Depthwise::new(isa, shape, &quantization, weights, bias);
            IntegerKernel::Depthwise(Box::new(conv))
        } else {
            IntegerKernel::Conv(Box::new(int8::Conv::new(isa, shape, &quantization, weights, bias)))
        }))
    }

    /// The weights' scales (one, or one per output channel) and their zero point.
    fn weight_scales(&self, layer: &Layer) -> Result<(Vec<f32>, i32)> {
        let weights = self.tensor(self.node.inputs[1]);
        match &weights.quantization {
            Some(Quantization::PerTensor { scale, zero_point }) => Ok((vec![*scale], *zero_point)),
            Some(Quantization::PerAxis { axis: 0, scales }) if scales.len() == layer.shape.output[2] => {
                if weights.dtype == DType::U8 {
                    return Err(self.unsupported("expected one scale for all u8 weights".to_owned()));
                }
                Ok((scales.clone(), 0))
            }
            Some(Quantization::PerAxis { axis, .. }) => {
                Err(self
                    .unsupported(format!("expected scales along axis 0 of the weights, found axis {axis}")))
            }
            None => {
                Err(self.invalid(format!("expected quantized weights, found none for `{}`", weights.name)))
            }
        }
    }
}
