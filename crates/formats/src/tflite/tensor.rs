//! Tensors between the file and the graph: type, shape, quantization, data.

use super::build::{Builder, Offset, Value};
use super::flat::Table;
use super::ops::to_i32;
use super::schema::{self, quantization as quantization_fields, tensor as fields};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use taper_graph::{DType, Dim, Quantization, Shape, Tensor, TensorData};

/// The dimension that the scales of a whole tensor are said to run along; the Edge TPU's compiler wants 0.
const NO_AXIS: i32 = 0;

/// What a tensor is to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A constant, or a value that an operator writes.
    Plain,
    /// The state of an operator: kept from one run to the next.
    Variable,
}

/// Writes a tensor whose data, if any, stands in the buffer at position `buffer`.
pub(super) fn write(builder: &mut Builder, tensor: &Tensor, buffer: u32, role: Role) -> Result<Offset> {
    let size = |dim: &Dim| to_i32(dim.with_batch(1), &format!("tensor `{}`", tensor.name));
    let shape: Vec<i32> = tensor.shape.dims().iter().map(size).collect::<Result<_>>()?;
    let mut row = vec![
        (fields::SHAPE, builder.vector(&shape)),
        (fields::TYPE, Value::I8(schema::tensor_type(tensor.dtype))),
        (fields::BUFFER, Value::U32(buffer)),
        (fields::NAME, builder.string(&tensor.name)),
    ];
    if let Some(quantization) = &tensor.quantization {
        row.push((fields::QUANTIZATION, Value::Offset(write_quantization(builder, tensor, quantization)?)));
    }
    match role {
        Role::Plain => {}
        Role::Variable => row.push((fields::IS_VARIABLE, Value::Flag(true))),
    }
    if tensor.shape.sizes().is_none() {
        // An open batch is a batch of 1 with −1 in its signature. The Edge TPU's compiler has
        // taken such files: LibrEdgeTPU's `dense_1024` is one.
        let signature: Vec<i32> = tensor
            .shape
            .dims()
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(_) => size(dim),
                Dim::Batch(_) => Ok(-1),
            })
            .collect::<Result<_>>()?;
        row.push((fields::SHAPE_SIGNATURE, builder.vector(&signature)));
    }
    Ok(builder.table(row))
}

fn write_quantization(builder: &mut Builder, tensor: &Tensor, quantization: &Quantization) -> Result<Offset> {
    let (scales, zero_points, axis) = match quantization {
        Quantization::PerTensor { scale, zero_point } => {
            (vec![*scale], vec![i64::from(*zero_point)], NO_AXIS)
        }
        Quantization::PerAxis { axis, scales } => {
            (scales.clone(), vec![0; scales.len()], to_i32(*axis, &format!("tensor `{}`", tensor.name))?)
        }
    };
    let row = [
        (quantization_fields::SCALE, builder.vector(&scales)),
        (quantization_fields::ZERO_POINT, builder.vector(&zero_points)),
        (quantization_fields::QUANTIZED_DIMENSION, Value::I32(axis)),
    ];
    Ok(builder.table(row))
}

/// Reads the tensor at `position`; `data` gives the bytes of a buffer, empty for an activation's.
pub(super) fn read<'a>(
    table: &Table<'a>,
    position: usize,
    data: impl Fn(u32) -> Result<&'a [u8]>,
    budget: &mut Budget,
) -> Result<Tensor> {
    let name = match table.string(fields::NAME)? {
        Some(name) if !name.is_empty() => name.to_owned(),
        Some(_) | None => format!("tensor_{position}"),
    };
    let subject = format!("tensor `{name}`");
    budget.spend(size_of::<Tensor>() + 3 * name.len(), &subject)?;
    let tensor_type = table.scalar(fields::TYPE, 0)?;
    let dtype = schema::dtype(tensor_type).ok_or_else(|| {
        FormatError::unsupported(
            &subject,
            format!("expected elements of f32, i8, u8, i16, i32 or i64, found TensorType {tensor_type}"),
        )
    })?;
    if table.table(fields::SPARSITY)?.is_some() {
        return Err(FormatError::unsupported(&subject, "sparse tensors are not supported"));
    }
    let bytes = data(table.scalar(fields::BUFFER, 0)?)?;
    let sizes = read_shape(table, &subject, budget)?;
    let data = (!bytes.is_empty()).then(|| read_data(bytes, dtype, &sizes, &subject, budget)).transpose()?;
    let shape = match data {
        Some(_) => Shape::fixed(&sizes),
        None => with_signature(table, &sizes, &subject)?,
    };
    let quantization = match dtype.integer_range() {
        Some(_) => read_quantization(table, &subject, budget)?,
        // Ranges seen in training may stand beside floats; they mean nothing to a runtime.
        None => None,
    };
    Ok(Tensor { name, shape, dtype, quantization, data })
}

fn read_shape(table: &Table<'_>, subject: &str, budget: &mut Budget) -> Result<Vec<usize>> {
    let Some(sizes) = table.scalars::<i32>(fields::SHAPE)? else {
        return Ok(Vec::new());
    };
    budget.spend(sizes.len() * (size_of::<usize>() + size_of::<Dim>()), subject)?;
    sizes
        .map(|size| {
            usize::try_from(size).map_err(|_| {
                FormatError::invalid(subject, format!("expected sizes of at least 0, found {size}"))
            })
        })
        .collect()
}

fn read_data(
    bytes: &[u8],
    dtype: DType,
    sizes: &[usize],
    subject: &str,
    budget: &mut Budget,
) -> Result<TensorData> {
    let expected = sizes.iter().try_fold(dtype.bytes(), |product, &size| product.checked_mul(size));
    if expected != Some(bytes.len()) {
        return Err(FormatError::invalid(
            subject,
            format!("expected data for {dtype} {}, found {} bytes", Shape::fixed(sizes), bytes.len()),
        ));
    }
    budget.spend(bytes.len(), subject)?;
    TensorData::from_le_bytes(dtype, bytes)
        .ok_or_else(|| FormatError::invalid(subject, "expected whole elements, found a part of one"))
}

/// The shape with its batch open where the signature says so.
fn with_signature(table: &Table<'_>, sizes: &[usize], subject: &str) -> Result<Shape> {
    let fixed = Shape::fixed(sizes);
    let Some(signature) = table.scalars::<i32>(fields::SHAPE_SIGNATURE)? else {
        return Ok(fixed);
    };
    if signature.len() != sizes.len() {
        return Ok(fixed);
    }
    let dims = signature.zip(sizes).enumerate().map(|(axis, (signed, &size))| match (axis, signed) {
        (0, -1) => Ok(Dim::BATCH),
        (_, -1) => Err(FormatError::unsupported(
            subject,
            format!("expected only the batch to be open, found axis {axis} open"),
        )),
        _ => Ok(Dim::Fixed(size)),
    });
    Ok(Shape::new(dims.collect::<Result<_>>()?))
}

fn read_quantization(table: &Table<'_>, subject: &str, budget: &mut Budget) -> Result<Option<Quantization>> {
    let Some(parameters) = table.table(fields::QUANTIZATION)? else {
        return Ok(None);
    };
    if parameters.scalar::<u8>(quantization_fields::DETAILS_TYPE, 0)? != 0 {
        return Err(FormatError::unsupported(subject, "custom quantization is not supported"));
    }
    let Some(scales) = parameters.scalars::<f32>(quantization_fields::SCALE)? else {
        return Ok(None);
    };
    budget.spend(scales.len() * size_of::<f32>(), subject)?;
    let scales: Vec<f32> = scales.collect();
    let mut zero_points = parameters.scalars::<i64>(quantization_fields::ZERO_POINT)?.into_iter().flatten();
    match scales[..] {
        [] => Ok(None),
        [scale] => {
            let zero_point = zero_points.next().unwrap_or(0);
            let zero_point = i32::try_from(zero_point).map_err(|_| {
                FormatError::invalid(subject, format!("expected a zero point of 32 bits, found {zero_point}"))
            })?;
            Ok(Some(Quantization::PerTensor { scale, zero_point }))
        }
        [..] => {
            if let Some(zero_point) = zero_points.find(|&zero_point| zero_point != 0) {
                return Err(FormatError::unsupported(
                    subject,
                    format!("expected zero points of 0 along an axis, found {zero_point}"),
                ));
            }
            let axis = parameters.scalar::<i32>(quantization_fields::QUANTIZED_DIMENSION, 0)?;
            let axis = usize::try_from(axis).map_err(|_| {
                FormatError::invalid(
                    subject,
                    format!("expected a quantized dimension of at least 0, found {axis}"),
                )
            })?;
            Ok(Some(Quantization::PerAxis { axis, scales }))
        }
    }
}
