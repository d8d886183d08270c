//! QuantizeLinear and DequantizeLinear.
//!
//! A graph computes with integers whose tensors say what they mean. In a model each such operator stands between a
//! DequantizeLinear and a QuantizeLinear. Reading takes what an operator writes for integers whose meaning is not known
//! yet, until QuantizeLinear tells it; DequantizeLinear changes nothing.

use super::window;
use crate::error::{FormatError, Result};
use crate::onnx::constant::Constant;
use crate::onnx::emitter::Emitter;
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::meaning;
use crate::onnx::operation::Operation;
use taper_graph::{
    Activation as Function, DType, Node, Op, Pool2d, PoolKind, Quantization, Resize2d, ResizeMethod, Tensor,
};

/// What the output of an operator on integers means.
pub(in crate::onnx) enum Meaning {
    /// The same as its input, whose values it moves or chooses from: so it may stand before or behind a QuantizeLinear.
    Moved,
    /// The same as its input.
    OfInput,
    /// What TFLite's specification fixes.
    Fixed(Quantization),
    /// What a QuantizeLinear says.
    Told,
}

/// What the output of an operator on integers of type `dtype` means, by TFLite's quantization specification.
pub(in crate::onnx) fn meaning_of(op: &Op, dtype: DType) -> Meaning {
    let zero = if dtype == DType::I8 { [-128, 0] } else { [0, 128] };
    let fixed = |scale, zero_point| Meaning::Fixed(Quantization::PerTensor { scale, zero_point });
    match op {
        Op::Flatten
        | Op::Reshape { .. }
        | Op::Dropout(_)
        | Op::StridedSlice(_)
        | Op::Tile { .. }
        | Op::Pool2d(Pool2d { kind: PoolKind::Max, .. })
        | Op::GlobalPool2d { kind: PoolKind::Max }
        | Op::Resize2d(Resize2d { method: ResizeMethod::Nearest, .. }) => Meaning::Moved,
        Op::Pool2d(Pool2d { kind: PoolKind::Average, .. })
        | Op::Resize2d(Resize2d { method: ResizeMethod::Bilinear, .. })
        | Op::Pad(_) => Meaning::OfInput,
        Op::Softmax(_) | Op::Activation { function: Function::Sigmoid } => fixed(1.0 / 256.0, zero[0]),
        Op::Activation { function: Function::Tanh } => fixed(1.0 / 128.0, zero[1]),
        Op::Conv2d(_)
        | Op::ConvTranspose2d(_)
        | Op::FullyConnected(_)
        | Op::BatchNorm(_)
        | Op::Activation { .. }
        | Op::Prelu
        | Op::Elementwise(_)
        | Op::Concat(_)
        | Op::ArgMax(_)
        | Op::GlobalPool2d { kind: PoolKind::Average }
        | Op::FakeQuantize(_)
        | Op::Quantize { .. }
        | Op::Opaque(_) => Meaning::Told,
    }
}

pub(super) fn read_quantize<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=3, &["axis", "saturate", "block_size", "output_dtype", "precision"])?;
    let scales = Scales::read(importer, operation, [1, 2])?;
    let Some(dtype) = scales.dtype(DType::U8).filter(|_| operation.integer("output_dtype").unwrap_or(0) == 0)
    else {
        return Err(operation.unsupported("expected integers of 8 bits, as the zero point's type says"));
    };
    match importer.value(operation, 0)?.clone() {
        Value::Activation(x) => {
            let (dtype, quantization) = scales.of_tensor(operation, dtype, importer.facts.signed)?;
            quantized(importer, operation, x, dtype, quantization).map(Value::Activation)
        }
        Value::Constant(_) | Value::Folded(_) => {
            let constant = importer.required(operation, 0)?;
            let quantization = scales.of_constant(operation, &constant.dims, 0)?;
            importer.spend_on_floats(&constant)?;
            importer.budget.spend(
                constant.elements().saturating_mul(size_of::<f32>() + dtype.bytes()),
                &operation.subject(),
            )?;
            let mut integers = meaning::integers(&constant, dtype, &quantization);
            integers.quantization = None;
            Ok(Value::Constant(integers))
        }
    }
}

pub(super) fn read_dequantize<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(2..=3, &["axis", "block_size", "output_dtype"])?;
    let scales = Scales::read(importer, operation, [1, 2])?;
    match importer.value(operation, 0)?.clone() {
        Value::Activation(x) => {
            dequantized(importer, operation, &x, &scales)?;
            signed(importer, operation, x).map(Value::Activation)
        }
        Value::Constant(_) | Value::Folded(_) => {
            let constant = importer.required(operation, 0)?;
            weights(importer, operation, &constant, &scales).map(Value::Constant)
        }
    }
}

/// A constant of integers with the meaning that scales give it.
pub(super) fn weights<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    constant: &Constant,
    scales: &Scales,
) -> Result<Constant> {
    let shift = constant.dtype() == DType::U8 && importer.facts.signed;
    let quantization = scales.of_constant(operation, &constant.dims, if shift { -128 } else { 0 })?;
    let constant = match constant.dtype() {
        DType::U8 if shift => {
            importer.budget.spend(3 * constant.elements(), &operation.subject())?;
            meaning::signed(constant)
        }
        DType::I8 | DType::U8 | DType::I32 => constant.clone(),
        dtype @ (DType::F32 | DType::I16 | DType::I64) => {
            return Err(operation.unsupported(format!("expected integers of 8 or 32 bits, found {dtype}")));
        }
    };
    Ok(constant.meaning(quantization))
}

/// Checks that a node on integers says of input 0, in its inputs 1 and 2, what is known of it.
pub(super) fn check_known<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<()> {
    let scales = Scales::read(importer, operation, [1, 2])?;
    let x = importer.activation(operation, 0)?;
    dequantized(importer, operation, &x, &scales)?;
    if importer.graph.tensor(x.tensor).dtype == DType::U8 && importer.facts.signed {
        return Err(
            operation.unsupported("expected signed integers beside signed weights, found unsigned ones")
        );
    }
    Ok(())
}

/// Gives `x` the meaning that a QuantizeLinear behind it says, or adds a node that quantizes it.
pub(super) fn quantized<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: Activation,
    dtype: DType,
    quantization: Quantization,
) -> Result<Activation> {
    let tensor = importer.graph.tensor(x.tensor);
    if tensor.dtype == dtype && tensor.quantization.as_ref() == Some(&quantization) {
        return Ok(x);
    }
    if tensor.dtype != DType::F32 && tensor.quantization.is_none() {
        let read = operation.input(0).unwrap_or_default();
        if tensor.dtype != dtype
            || !importer.facts.only_quantized(read) && operation.kind() == "QuantizeLinear"
        {
            return Err(operation.unsupported(format!(
                "expected nothing but a QuantizeLinear to {dtype} to read `{read}`, found another node or type"
            )));
        }
        importer.tell_meaning(x.tensor, &quantization);
        return Ok(x);
    }
    let y = importer.add(operation, Op::Quantize { dtype }, &[x.tensor])?;
    importer.graph.tensor_mut(y).quantization = Some(quantization);
    Ok(Activation { tensor: y, view: x.view })
}

/// Checks that a DequantizeLinear says of `x` what is known of it, or takes its word.
fn dequantized<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: &Activation,
    scales: &Scales,
) -> Result<()> {
    let tensor = importer.graph.tensor(x.tensor);
    let (name, dtype, known) = (&tensor.name, tensor.dtype, tensor.quantization.clone());
    if dtype == DType::F32 {
        return Err(operation.invalid(format!("expected integers, found floats in `{name}`")));
    }
    let told = |shift| {
        scales.of_tensor(operation, if shift { DType::U8 } else { dtype }, shift).map(|(_, told)| told)
    };
    let unsigned = scales.dtype(dtype) == Some(DType::U8);
    // Without a zero point, nothing tells whether signed integers were unsigned ones in the model.
    let expected =
        match (unsigned && dtype == DType::I8, scales.zero_points.is_none() && importer.facts.signed) {
            (true, _) => vec![told(true)?],
            (false, true) => vec![told(false)?, told(true)?],
            (false, false) => vec![told(false)?],
        };
    match known {
        None if importer.graph.inputs.contains(&x.tensor) => {
            importer.graph.tensor_mut(x.tensor).quantization = Some(told(false)?);
            Ok(())
        }
        Some(known) if expected.contains(&known) => Ok(()),
        Some(_) | None => Err(operation.unsupported(format!(
            "expected the scale and zero point with which `{name}` was quantized, found others"
        ))),
    }
}

/// Signed integers for unsigned ones, where a graph computes with those.
fn signed<'m>(importer: &mut Importer<'m>, operation: Operation<'m>, x: Activation) -> Result<Activation> {
    let tensor = importer.graph.tensor(x.tensor);
    let Some(Quantization::PerTensor { scale, zero_point }) = tensor.quantization else {
        return Ok(x);
    };
    if tensor.dtype != DType::U8 || !importer.facts.signed {
        return Ok(x);
    }
    let y = importer.add(operation, Op::Quantize { dtype: DType::I8 }, &[x.tensor])?;
    let quantization = Quantization::PerTensor { scale, zero_point: zero_point - 128 };
    importer.graph.tensor_mut(y).quantization = Some(quantization);
    Ok(Activation { tensor: y, view: x.view })
}

/// Scales and zero points as a node has them.
pub(super) struct Scales {
    scales: Vec<f32>,
    zero_points: Option<(DType, Vec<i64>)>,
    /// The axis along which several scales run.
    axis: i64,
}

impl Scales {
    /// Reads scales and zero points from these inputs.
    pub(super) fn read<'m>(
        importer: &mut Importer<'m>,
        operation: Operation<'m>,
        [scales_at, zero_points_at]: [usize; 2],
    ) -> Result<Self> {
        if operation.integer("block_size").unwrap_or(0) != 0 {
            return Err(
                operation.unsupported("expected scales for an axis or a tensor, found them for blocks")
            );
        }
        let scales = importer.numbers(operation, scales_at)?.and_then(|numbers| numbers.floats());
        let scales = scales.ok_or_else(|| operation.invalid("expected constant scales, found none"))?;
        if let Some(unsound) = scales.iter().find(|scale| !scale.is_finite() || **scale <= 0.0) {
            return Err(operation.invalid(format!("expected positive finite scales, found {unsound}")));
        }
        let zero_points = match importer.constant(operation, zero_points_at)? {
            Some(constant) => {
                let numbers = importer.integers(operation, zero_points_at)?.unwrap_or_default();
                if numbers.len() != scales.len() && numbers.len() != 1 {
                    return Err(operation.invalid(format!(
                        "expected as many zero points as scales, found {} and {}",
                        numbers.len(),
                        scales.len()
                    )));
                }
                Some((constant.dtype(), numbers))
            }
            None => None,
        };
        Ok(Self { scales, zero_points, axis: operation.integer("axis").unwrap_or(1) })
    }

    /// Scales along another axis.
    pub(super) fn along(self, axis: i64) -> Self {
        Self { axis, ..self }
    }

    /// The 8-bit type of the zero points; `None` if they have another.
    pub(super) fn dtype(&self, default: DType) -> Option<DType> {
        let dtype = self.zero_points.as_ref().map_or(default, |(dtype, _)| *dtype);
        matches!(dtype, DType::I8 | DType::U8).then_some(dtype)
    }

    /// What they say of an activation's integers of type `dtype`, and the type that those have in a graph whose integers
    /// are all `signed` or as they are.
    pub(super) fn of_tensor(
        &self,
        operation: Operation<'_>,
        dtype: DType,
        signed: bool,
    ) -> Result<(DType, Quantization)> {
        let [scale] = self.scales[..] else {
            return Err(operation
                .unsupported(format!("expected one scale for an activation, found {}", self.scales.len())));
        };
        let shift = signed && dtype == DType::U8;
        let zero_point = self.zero_point(operation, if shift { -128 } else { 0 })?;
        let dtype = if shift { DType::I8 } else { dtype };
        Ok((dtype, Quantization::PerTensor { scale, zero_point }))
    }

    /// What they say of a constant of these dimensions, with `shift` added to the zero points.
    pub(super) fn of_constant(
        &self,
        operation: Operation<'_>,
        dims: &[usize],
        shift: i32,
    ) -> Result<Quantization> {
        let zero_point = self.zero_point(operation, shift)?;
        if let [scale] = self.scales[..] {
            return Ok(Quantization::PerTensor { scale, zero_point });
        }
        let axis = operation.axis(self.axis, dims.len())?;
        if dims[axis] != self.scales.len() {
            return Err(operation.invalid(format!(
                "expected one scale for each index of axis {axis} of {dims:?}, found {}",
                self.scales.len()
            )));
        }
        if zero_point != 0 {
            return Err(operation.unsupported(format!(
                "expected integers along an axis that are symmetric around 0, found a zero point of {zero_point}"
            )));
        }
        Ok(Quantization::PerAxis { axis, scales: self.scales.clone() })
    }

    /// The only zero point, with `shift` added.
    fn zero_point(&self, operation: Operation<'_>, shift: i32) -> Result<i32> {
        let zero_points = self.zero_points.as_ref().map_or(&[0][..], |(_, zero_points)| zero_points);
        let first = zero_points.first().copied().unwrap_or(0);
        if let Some(other) = zero_points.iter().find(|&&zero_point| zero_point != first) {
            return Err(operation.unsupported(format!("expected one zero point, found {first} and {other}")));
        }
        i32::try_from(first)
            .ok()
            .and_then(|zero_point| zero_point.checked_add(shift))
            .ok_or_else(|| operation.invalid(format!("expected a zero point of 32 bits, found {first}")))
    }
}

/// Writes a QuantizeLinear; what follows it is written by [`write_meaning`].
pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = emitter.input(node, 0)?;
    emitter.stands_for(node.outputs[0], x);
    Ok(())
}

/// Whether a tensor is of integers that stand for real numbers: neither of floats nor of indices.
pub(in crate::onnx) fn has_meaning(tensor: &Tensor) -> bool {
    match tensor.dtype {
        DType::F32 => false,
        DType::I8 | DType::U8 | DType::I16 => true,
        DType::I32 | DType::I64 => tensor.quantization.is_some(),
    }
}

/// Writes, behind the operator of a node, the QuantizeLinear and DequantizeLinear that make its output what it means.
pub(in crate::onnx) fn write_meaning(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let id = node.outputs[0];
    let tensor = emitter.graph.tensor(id);
    if !has_meaning(tensor) {
        return Ok(());
    }
    let real = emitter.inside_name(id)?.to_owned();
    let is_output = emitter.graph.outputs.contains(&id);
    let named = is_output && tensor.shape.rank() != 4;
    let quantized =
        if named { tensor.name.clone() } else { emitter.value_name(&format!("{}/quantized", tensor.name)) };
    let name = if matches!(node.op, Op::Quantize { .. }) {
        node.name.clone()
    } else {
        emitter.node_name(&format!("{}/quantize", node.name))
    };
    let (scales, _) = scales(emitter, tensor, None)?;
    let inputs = std::iter::once(real).chain(scales).collect();
    emitter.push(name, "QuantizeLinear", inputs, quantized.clone(), Vec::new());
    emitter.quantized.insert(id, quantized.clone());
    if is_output && emitter.graph.consumers(id).next().is_none() {
        return Ok(());
    }
    let real = dequantize(emitter, tensor, quantized, None)?;
    emitter.stands_for(id, real);
    Ok(())
}

/// Writes a DequantizeLinear of what the model calls `quantized`, the integers of `tensor`, whose scales run along `axis`
/// if it is given; gives the name of its output.
pub(in crate::onnx) fn dequantize(
    emitter: &mut Emitter<'_>,
    tensor: &Tensor,
    quantized: String,
    axis: Option<usize>,
) -> Result<String> {
    let real = emitter.value_name(&format!("{}/dequantized", tensor.name));
    let name = emitter.node_name(&real);
    let (scales, axis) = scales(emitter, tensor, axis)?;
    let fields =
        axis.map(|axis| window::count(axis).map(|axis| ("axis", axis))).into_iter().collect::<Result<_>>()?;
    let inputs = std::iter::once(quantized).chain(scales).collect();
    emitter.push(name, "DequantizeLinear", inputs, real.clone(), fields);
    Ok(real)
}

/// Scales and zero points of a tensor as constants, and the axis along which they run if they are several.
fn scales(
    emitter: &mut Emitter<'_>,
    tensor: &Tensor,
    axis: Option<usize>,
) -> Result<(Vec<String>, Option<usize>)> {
    let (scales, zero_points, axis) = match &tensor.quantization {
        Some(Quantization::PerTensor { scale, zero_point }) => {
            (emitter.scalar(*scale)?, vec![*zero_point], None)
        }
        Some(Quantization::PerAxis { axis: own, scales }) => {
            let name = format!("{}/scales", tensor.name);
            (emitter.vector(&name, scales)?, vec![0; scales.len()], Some(axis.unwrap_or(*own)))
        }
        None => {
            return Err(FormatError::unsupported(
                format!("tensor `{}`", tensor.name),
                format!("expected floats or quantized integers, found {} without a scale", tensor.dtype),
            ));
        }
    };
    match (tensor.dtype, &zero_points[..]) {
        (DType::I8 | DType::U8, _) => {
            let zero_points = emitter.zero_points(tensor, &zero_points)?;
            Ok((vec![scales, zero_points], axis))
        }
        // ONNX gives integers of 32 bits no zero point.
        (DType::I32, zero_points) if zero_points.iter().all(|&zero_point| zero_point == 0) => {
            Ok((vec![scales], axis))
        }
        (DType::F32 | DType::I16 | DType::I32 | DType::I64, _) => Err(FormatError::unsupported(
            format!("tensor `{}`", tensor.name),
            format!("expected integers of 8 bits, or of 32 around 0, found {}", tensor.dtype),
        )),
    }
}
