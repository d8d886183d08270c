//! Constants beside an activation: floats beside floats, integers beside integers.

use crate::error::Result;
use crate::onnx::constant::Constant;
use crate::onnx::importer::Importer;
use crate::onnx::meaning;
use crate::onnx::operation::Operation;
use taper_graph::{DType, Quantization, TensorId};

/// The constant as an operand beside `x`.
///
/// # Errors
/// If `x` holds integers and the constant floats, for which no scale is known.
pub(super) fn operand<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: TensorId,
    constant: &Constant,
) -> Result<TensorId> {
    operand_of(importer, operation, x, constant, &constant.dims)
}

/// The constant as an operand beside `x`, with other sizes of as many elements.
pub(super) fn operand_of<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: TensorId,
    constant: &Constant,
    sizes: &[usize],
) -> Result<TensorId> {
    if importer.graph.tensor(x).dtype == DType::F32 {
        return importer.real_parameter(constant, sizes);
    }
    match constant.dtype() {
        DType::I8 | DType::U8 if constant.quantization.is_some() => importer.parameter_of(constant, sizes),
        dtype @ (DType::F32 | DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64) => Err(operation
            .unsupported(format!(
                "expected quantized 8-bit constants beside the quantized `{}`, found {dtype} in `{}`",
                importer.graph.tensor(x).name,
                constant.stored.name
            ))),
    }
}

/// Weights of a layer, their outputs along axis 0, and its bias if it has one, behind the layer's input `x`.
///
/// Beside integers, a bias becomes 32-bit integers of the scale that the products of inputs and weights have.
pub(super) fn layer<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: TensorId,
    (weights, sizes): (&Constant, &[usize]),
    bias: Option<&Constant>,
) -> Result<Vec<TensorId>> {
    let weights = operand_of(importer, operation, x, weights, sizes)?;
    let mut inputs = vec![x, weights];
    if let Some(constant) = bias {
        inputs.push(self::bias(importer, operation, [x, weights], constant)?);
    }
    Ok(inputs)
}

/// The bias of a layer with this input and these weights.
pub(super) fn bias<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    [x, weights]: [TensorId; 2],
    constant: &Constant,
) -> Result<TensorId> {
    if importer.graph.tensor(x).dtype == DType::F32 {
        return importer.real_parameter(constant, &constant.dims);
    }
    let Some(Quantization::PerTensor { scale: input, .. }) = importer.graph.tensor(x).quantization else {
        return Err(operation.unsupported(format!(
            "expected `{}` to be quantized before it is read, found it not to be",
            importer.graph.tensor(x).name
        )));
    };
    let products = match &importer.graph.tensor(weights).quantization {
        Some(Quantization::PerTensor { scale, .. }) => {
            Quantization::PerTensor { scale: input * scale, zero_point: 0 }
        }
        Some(Quantization::PerAxis { scales, .. }) => {
            Quantization::PerAxis { axis: 0, scales: scales.iter().map(|scale| input * scale).collect() }
        }
        None => {
            return Err(operation.unsupported(format!(
                "expected quantized weights, found `{}`",
                importer.graph.tensor(weights).name
            )));
        }
    };
    if constant.dtype() == DType::I32 {
        match &constant.quantization {
            Some(quantization) if !close(quantization, &products) => {}
            Some(_) => return importer.parameter(constant),
            // Operators on integers do not tell the scale of their bias: it is that of the products.
            None => {
                return importer.parameter(&constant.clone().meaning(products));
            }
        }
    }
    importer.spend_on_floats(constant)?;
    importer.parameter(&meaning::integers(constant, DType::I32, &products))
}

/// Whether the scales of a bias are those of the products, but for rounding; one scale may stand for all.
fn close(bias: &Quantization, products: &Quantization) -> bool {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
    let of = |quantization: &Quantization| match quantization {
        Quantization::PerTensor { scale, zero_point: 0 } => Some(vec![*scale]),
        Quantization::PerTensor { .. } => None,
        Quantization::PerAxis { scales, .. } => Some(scales.clone()),
    };
    match (of(bias), of(products)) {
        (Some(bias), Some(products)) => {
            let count = bias.len().max(products.len());
            let (bias, products) = (bias.iter().cycle(), products.iter().cycle());
            bias.zip(products).take(count).all(|(&bias, &product)| near(bias, product))
        }
        (Some(_) | None, Some(_) | None) => false,
    }
}
