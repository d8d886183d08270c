//! One file per operator family.

pub(super) mod activation;
mod binary;
mod convolution;
mod dense;
mod normalisation;
mod padding;
mod parameters;
mod pooling;
mod qlinear;
pub(super) mod quantization;
mod resize;
mod shape;
mod slice;
mod softmax;
mod transposed;
mod window;

use super::constant::Constant;
use super::emitter::Emitter;
use super::external::Folder;
use super::fold::{Folded, Number};
use super::importer::{Activation, Importer, Value};
use super::operation::Operation;
use crate::error::{FormatError, Result};
use taper_graph::{Activation as Function, Binary, Node, Op, PoolKind, TensorId};

/// Reads a node: what its only output stands for.
pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    match operation.kind() {
        "Add" => binary::read(importer, operation, Binary::Add),
        "ArgMax" => slice::read_arg_max(importer, operation),
        "AveragePool" => pooling::read(importer, operation, PoolKind::Average),
        "BatchNormalization" => normalisation::read(importer, operation),
        "Cast" => shape::read_cast(importer, operation),
        "Clip" => activation::read_clip(importer, operation),
        "Concat" => binary::read_concat(importer, operation),
        "Constant" => read_constant(importer, operation),
        "Conv" => convolution::read(importer, operation),
        "ConvTranspose" => transposed::read(importer, operation),
        "DequantizeLinear" => quantization::read_dequantize(importer, operation),
        "Div" => binary::read(importer, operation, Binary::Divide),
        "Dropout" => normalisation::read_dropout(importer, operation),
        "Elu" => activation::read_elu(importer, operation),
        "Expand" => shape::read_expand(importer, operation),
        "Flatten" => shape::read_flatten(importer, operation),
        "Gemm" => dense::read_gemm(importer, operation),
        "GlobalAveragePool" => pooling::read_global(importer, operation, PoolKind::Average),
        "GlobalMaxPool" => pooling::read_global(importer, operation, PoolKind::Max),
        "HardSigmoid" => activation::read_hard_sigmoid(importer, operation),
        "HardSwish" => activation::read(importer, operation, Function::HardSwish),
        "Identity" => shape::read_identity(importer, operation),
        "LeakyRelu" => activation::read_leaky_relu(importer, operation),
        "MatMul" => dense::read_matmul(importer, operation),
        "Max" => binary::read(importer, operation, Binary::Maximum),
        "MaxPool" => pooling::read(importer, operation, PoolKind::Max),
        "Min" => binary::read(importer, operation, Binary::Minimum),
        "Mul" => binary::read(importer, operation, Binary::Multiply),
        "PRelu" => activation::read_prelu(importer, operation),
        "Pad" => padding::read(importer, operation),
        "QLinearConv" => qlinear::read_convolution(importer, operation),
        "QLinearMatMul" => qlinear::read_matmul(importer, operation),
        "QuantizeLinear" => quantization::read_quantize(importer, operation),
        "ReduceMax" => pooling::read_reduction(importer, operation, PoolKind::Max),
        "ReduceMean" => pooling::read_reduction(importer, operation, PoolKind::Average),
        "Relu" => activation::read(importer, operation, Function::Relu),
        "Reshape" => shape::read_reshape(importer, operation),
        "Resize" | "Upsample" => resize::read(importer, operation),
        "Sigmoid" => activation::read(importer, operation, Function::Sigmoid),
        "Slice" => shape::read_slice(importer, operation),
        "Softmax" => softmax::read(importer, operation),
        "Squeeze" => shape::read_squeeze(importer, operation),
        "Sub" => binary::read(importer, operation, Binary::Subtract),
        "Tanh" => activation::read(importer, operation, Function::Tanh),
        "Tile" => slice::read_tile(importer, operation),
        "Transpose" => shape::read_transpose(importer, operation),
        "Unsqueeze" => shape::read_unsqueeze(importer, operation),
        _ => Err(operation.unsupported("expected an operator that Taper knows")),
    }
}

fn read_constant<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    let known = ["value", "value_float", "value_floats", "value_int", "value_ints"];
    operation.expect(0..=0, &known)?;
    let [attribute] = &operation.0.attribute[..] else {
        return Err(operation.invalid("expected one value, found none or several"));
    };
    let scalar = |number| Folded { dims: Vec::new(), numbers: vec![number] };
    Ok(match attribute.name.as_str() {
        "value_float" => Value::Folded(scalar(Number::Real(attribute.f.unwrap_or(0.0)))),
        "value_int" => Value::Folded(scalar(Number::Integer(attribute.i.unwrap_or(0)))),
        "value_floats" => {
            Value::Folded(Folded::list(attribute.floats.iter().copied().map(Number::Real).collect()))
        }
        "value_ints" => {
            Value::Folded(Folded::list(attribute.ints.iter().copied().map(Number::Integer).collect()))
        }
        _ => {
            let mut tensor = attribute
                .t
                .clone()
                .ok_or_else(|| operation.invalid("expected a tensor as value, found none"))?;
            tensor.name = operation.0.output.first().cloned().unwrap_or_default();
            Value::Constant(Constant::load(tensor, &mut Folder::new(None), &mut importer.budget)?)
        }
    })
}

/// The value that lies in `y` as `x` does in its tensor.
fn viewed(y: TensorId, x: &Activation) -> Value {
    Value::Activation(Activation { tensor: y, view: x.view.clone() })
}

/// Height and width of a tensor of images.
fn pixels(importer: &Importer<'_>, operation: Operation<'_>, x: TensorId) -> Result<[usize; 2]> {
    let shape = importer.shape(x);
    let image = shape.image().filter(|sizes| !sizes.contains(&0));
    image.map(|[height, width, _]| [height, width]).ok_or_else(|| {
        operation.unsupported(format!("expected images in the graph as [N, H, W, C], found {shape}"))
    })
}

/// A tensor of images, and the order in which it has the model's axes.
fn image<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    x: &Activation,
) -> Result<(TensorId, Vec<usize>)> {
    match x.view.rank() {
        4 => importer.laid_out(operation, x),
        rank => Err(operation.unsupported(format!("expected images, found {rank} dimensions"))),
    }
}

/// Writes a node.
pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node) -> Result<()> {
    match &node.op {
        Op::Conv2d(conv) => convolution::write(emitter, node, conv),
        Op::ConvTranspose2d(conv) => transposed::write(emitter, node, conv),
        Op::FullyConnected(_) => dense::write(emitter, node),
        Op::BatchNorm(norm) => normalisation::write(emitter, node, norm),
        Op::Activation { function } => {
            let (x, y) = (emitter.input(node, 0)?, emitter.output(node));
            activation::write(emitter, &node.name, *function, x, y)
        }
        Op::Prelu => activation::write_prelu(emitter, node),
        Op::Elementwise(elementwise) => binary::write(emitter, node, elementwise.function),
        Op::Concat(concat) => binary::write_concat(emitter, node, concat),
        Op::Pad(pad) => padding::write(emitter, node, pad),
        Op::Resize2d(resize) => resize::write(emitter, node, resize),
        Op::Pool2d(pool) => pooling::write(emitter, node, pool),
        Op::GlobalPool2d { kind } => pooling::write_global(emitter, node, *kind),
        Op::Flatten => shape::write_flatten(emitter, node),
        Op::Reshape { shape } => shape::write_reshape(emitter, node, shape),
        Op::StridedSlice(attributes) => slice::write(emitter, node, attributes),
        Op::Tile { repeats } => slice::write_tile(emitter, node, repeats),
        Op::ArgMax(arg_max) => slice::write_arg_max(emitter, node, arg_max),
        Op::Softmax(softmax) => softmax::write(emitter, node, softmax),
        Op::Dropout(dropout) => normalisation::write_dropout(emitter, node, dropout),
        Op::FakeQuantize(_) => Err(refusal(node, "quantize the network")),
        Op::Quantize { .. } => quantization::write(emitter, node),
        Op::Opaque(_) => Err(refusal(node, "the operator is not known to Taper")),
    }
}

fn refusal(node: &Node, reason: &str) -> FormatError {
    FormatError::unsupported(
        format!("node `{}`", node.name),
        format!("expected an operator that ONNX has, found {}: {reason}", node.op.name()),
    )
}
