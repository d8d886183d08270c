//! QLinearConv and QLinearMatMul: layers that are told what their integers mean.

use super::convolution::{self, convolve};
use super::dense::fully_connected;
use super::quantization::{self, Scales};
use crate::error::Result;
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::DType;

/// Inputs: x, its scale and zero point, weights, theirs, scale and zero point of the output, bias.
pub(super) fn read_convolution<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(8..=9, &convolution::ATTRIBUTES)?;
    quantization::check_known(importer, operation)?;
    let scales = Scales::read(importer, operation, [4, 5])?.along(0);
    let weights = importer.required(operation, 3)?;
    let weights = quantization::weights(importer, operation, &weights, &scales)?;
    let bias = importer.constant(operation, 8)?;
    let y = convolve(importer, operation, &weights, bias.as_ref())?;
    told(importer, operation, y)
}

/// Inputs: a, its scale and zero point, b, its, those of the output.
pub(super) fn read_matmul<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(8..=8, &[])?;
    quantization::check_known(importer, operation)?;
    let scales = Scales::read(importer, operation, [4, 5])?.along(1);
    let weights = importer.required(operation, 3)?;
    if weights.dims.len() != 2 {
        return Err(operation.unsupported(format!("expected a matrix of weights, found {:?}", weights.dims)));
    }
    let weights = quantization::weights(importer, operation, &weights, &scales)?.transposed(&[1, 0]);
    let y = fully_connected(importer, operation, &weights, None)?;
    told(importer, operation, y)
}

/// The output with the meaning that the node tells.
fn told<'m>(importer: &mut Importer<'m>, operation: Operation<'m>, y: Value) -> Result<Value> {
    let scales = Scales::read(importer, operation, [6, 7])?;
    let dtype = scales.dtype(DType::U8);
    let dtype = dtype.ok_or_else(|| operation.unsupported("expected an output of 8-bit integers"))?;
    let (dtype, meaning) = scales.of_tensor(operation, dtype, importer.facts.signed)?;
    match y {
        Value::Activation(y) => {
            quantization::quantized(importer, operation, y, dtype, meaning).map(Value::Activation)
        }
        constant @ (Value::Constant(_) | Value::Folded(_)) => Ok(constant),
    }
}
