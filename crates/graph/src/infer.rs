//! Shape inference: what a node writes, from what it reads.

use crate::error::{GraphError, Result};
use crate::graph::{Graph, Node};
use crate::op::{ArgMax, ConvTranspose2d, FakeQuantize, Op, Padding, StridedSlice};
use crate::shape::{Dim, Shape};
use crate::tensor::{DType, Tensor};

/// Shape and element type of a node's only output.
///
/// The batch stays symbolic. The element type is that of the first input, unless the operator says otherwise.
///
/// # Errors
/// If the inputs do not fit the operator, or the operator is opaque.
pub fn infer_output(graph: &Graph, node: &Node) -> Result<(Shape, DType)> {
    let context = Context { graph, node };
    let x = context.input(0, "x")?;
    let shape = match &node.op {
        Op::Conv2d(conv) => {
            context.arity(2, 3)?;
            let [height, width, channels] = context.image(x)?;
            let [out_channels, kernel_h, kernel_w, in_channels] = context.sizes(1, "weights")?;
            let group = context.channels_per_group(conv.groups, [channels, out_channels])?;
            context.equal("input channels of the weights", group, in_channels)?;
            context.bias(out_channels)?;
            let window = Window {
                kernel: [kernel_h, kernel_w],
                stride: conv.stride,
                dilation: conv.dilation,
                padding: conv.padding,
            };
            let [out_h, out_w] = context.slide([height, width], window)?;
            Shape::new(vec![x.shape.dims()[0], out_h.into(), out_w.into(), out_channels.into()])
        }
        Op::ConvTranspose2d(conv) => {
            context.arity(2, 3)?;
            let [height, width, channels] = context.image(x)?;
            let [out_channels, kernel_h, kernel_w, in_channels] = context.sizes(1, "weights")?;
            context.equal("input channels of the weights", channels, in_channels)?;
            context.bias(out_channels)?;
            let [out_h, out_w] = context.spread([height, width], [kernel_h, kernel_w], conv)?;
            Shape::new(vec![x.shape.dims()[0], out_h.into(), out_w.into(), out_channels.into()])
        }
        Op::FullyConnected(_) => {
            context.arity(2, 3)?;
            let [batch, Dim::Fixed(features)] = *x.shape.dims() else {
                return Err(context.invalid(format!("expected an input [N, I], found {}", x.shape)));
            };
            let [out_features, in_features] = context.sizes(1, "weights")?;
            context.equal("input features of the weights", features, in_features)?;
            context.bias(out_features)?;
            Shape::new(vec![batch, out_features.into()])
        }
        Op::BatchNorm(_) => {
            context.arity(5, 5)?;
            let channels = context.channels(x)?;
            for (position, role) in [(1, "gamma"), (2, "beta"), (3, "mean"), (4, "variance")] {
                let [size] = context.sizes(position, role)?;
                context.equal(role, channels, size)?;
            }
            x.shape.clone()
        }
        Op::Activation { .. } => {
            context.arity(1, 1)?;
            x.shape.clone()
        }
        Op::Prelu => {
            context.arity(2, 2)?;
            let [slopes] = context.sizes(1, "slopes")?;
            context.equal("slopes", context.channels(x)?, slopes)?;
            x.shape.clone()
        }
        Op::Elementwise(_) => {
            context.arity(2, 2)?;
            let b = context.input(1, "b")?;
            context.one_type()?;
            match (&x.data, &b.data) {
                (None, None) => context.broadcast(x, &b.shape, b)?,
                (None, Some(_)) => context.broadcast(x, &context.serving_all(b, x)?, b)?,
                (Some(_), None) => context.broadcast(b, &context.serving_all(x, b)?, x)?,
                (Some(_), Some(_)) => {
                    let names = format!("the constants `{}` and `{}`", x.name, b.name);
                    return Err(context.invalid(format!("expected an activation, found {names}")));
                }
            }
        }
        Op::Concat(concat) => {
            context.activations()?;
            context.join(x, concat.axis)?
        }
        Op::Pad(pad) => {
            context.arity(1, 1)?;
            let [height, width, channels] = context.image(x)?;
            if !pad.value.is_finite() {
                return Err(context.invalid(format!("expected a finite border, found {}", pad.value)));
            }
            let [out_h, out_w] = context.padded([height, width], pad.padding)?;
            Shape::new(vec![x.shape.dims()[0], out_h.into(), out_w.into(), channels.into()])
        }
        Op::Resize2d(resize) => {
            context.arity(1, 1)?;
            let [_, _, channels] = context.image(x)?;
            let [out_h, out_w] = resize.size;
            if out_h == 0 || out_w == 0 {
                return Err(
                    context.invalid(format!("expected a size of at least 1, found {:?}", resize.size))
                );
            }
            Shape::new(vec![x.shape.dims()[0], out_h.into(), out_w.into(), channels.into()])
        }
        Op::Dropout(dropout) => {
            context.arity(1, 1)?;
            if !(0.0..1.0).contains(&dropout.rate) {
                return Err(
                    context.invalid(format!("expected a rate from 0 to below 1, found {}", dropout.rate))
                );
            }
            x.shape.clone()
        }
        Op::FakeQuantize(FakeQuantize { bits }) => {
            context.arity(3, 3)?;
            for (position, role) in [(1, "minimum"), (2, "maximum")] {
                let [size] = context.sizes(position, role)?;
                context.equal(role, 1, size)?;
            }
            if !(2..=16).contains(bits) {
                return Err(context.invalid(format!("expected 2 to 16 bits, found {bits}")));
            }
            x.shape.clone()
        }
        Op::Softmax(_) => {
            context.arity(1, 1)?;
            context.channels(x)?;
            x.shape.clone()
        }
        Op::Pool2d(pool) => {
            context.arity(1, 1)?;
            let [height, width, channels] = context.image(x)?;
            let window =
                Window { kernel: pool.window, stride: pool.stride, dilation: [1, 1], padding: pool.padding };
            let hangs_free = pool.padding.top >= pool.window[0]
                || pool.padding.bottom >= pool.window[0]
                || pool.padding.left >= pool.window[1]
                || pool.padding.right >= pool.window[1];
            if hangs_free {
                return Err(context.invalid("expected padding smaller than the pooling window".to_owned()));
            }
            let [out_h, out_w] = context.slide([height, width], window)?;
            Shape::new(vec![x.shape.dims()[0], out_h.into(), out_w.into(), channels.into()])
        }
        Op::GlobalPool2d { .. } => {
            context.arity(1, 1)?;
            let [_, _, channels] = context.image(x)?;
            Shape::new(vec![x.shape.dims()[0], 1.into(), 1.into(), channels.into()])
        }
        Op::Flatten => {
            context.arity(1, 1)?;
            let Some((batch, rest)) = x.shape.dims().split_first() else {
                return Err(context.invalid("expected an input with a batch, found a scalar".to_owned()));
            };
            let features = Shape::new(rest.to_vec())
                .sizes()
                .and_then(|sizes| sizes.into_iter().try_fold(1usize, usize::checked_mul))
                .ok_or_else(|| context.invalid(format!("cannot flatten {}", x.shape)))?;
            Shape::new(vec![*batch, features.into()])
        }
        Op::Reshape { shape } => {
            context.arity(1, 1)?;
            let Some((&batch, rest)) = x.shape.dims().split_first() else {
                return Err(context.invalid("expected an input with a batch, found a scalar".to_owned()));
            };
            let reshaped = Shape::fixed(shape);
            let count = |shape: &Shape| shape.sizes().and_then(|_| shape.elements(1));
            if count(&reshaped).is_none() || count(&Shape::new(rest.to_vec())) != count(&reshaped) {
                return Err(context.invalid(format!(
                    "expected sizes of as many elements as {} has behind the batch, found {reshaped}",
                    x.shape
                )));
            }
            Shape::new(std::iter::once(batch).chain(reshaped.dims().iter().copied()).collect())
        }
        Op::StridedSlice(StridedSlice { axes }) => {
            context.arity(1, 1)?;
            let mut dims = context.filled(x)?;
            if !axes.is_sorted_by(|a, b| a.axis < b.axis) {
                return Err(context.invalid("expected each axis once, in ascending order".to_owned()));
            }
            for part in axes {
                let size = context.behind_batch(x, part.axis)?;
                let last = part.count.checked_sub(1).and_then(|steps| steps.checked_mul(part.step));
                let last = last.and_then(|last| last.checked_add(part.start)).filter(|_| part.step > 0);
                if last.is_none_or(|last| last >= size) {
                    return Err(context.invalid(format!(
                        "expected at least one index below {size} and a step of at least 1 along axis {}, found {} \
                         from {} in steps of {}",
                        part.axis, part.count, part.start, part.step
                    )));
                }
                dims[part.axis] = part.count.into();
            }
            Shape::new(dims)
        }
        Op::Tile { repeats } => {
            context.arity(1, 1)?;
            let mut dims = context.filled(x)?;
            context.equal("repeats", dims.len() - 1, repeats.len())?;
            for (axis, &repeats) in (1..).zip(repeats) {
                let size = context.behind_batch(x, axis)?.checked_mul(repeats).filter(|&size| size > 0);
                let size = size.ok_or_else(|| {
                    context.invalid(format!(
                        "expected {} to stand at least once along axis {axis} and to fit in memory, found {repeats} times",
                        x.shape
                    ))
                })?;
                dims[axis] = size.into();
            }
            Shape::new(dims)
        }
        Op::ArgMax(ArgMax { axis, dtype }) => {
            context.arity(1, 1)?;
            let mut dims = context.filled(x)?;
            let size = context.behind_batch(x, *axis)?;
            let greatest = match dtype {
                DType::I32 | DType::I64 => dtype.integer_range().map(|(_, greatest)| greatest),
                DType::F32 | DType::I8 | DType::U8 | DType::I16 => None,
            };
            if !greatest.is_some_and(|greatest| i64::try_from(size).is_ok_and(|size| size <= greatest)) {
                return Err(context.invalid(format!(
                    "expected i32 or i64 that hold the indices of {size} values, found {dtype}"
                )));
            }
            dims.remove(*axis);
            return Ok((Shape::new(dims), *dtype));
        }
        Op::Quantize { dtype } => {
            context.arity(1, 1)?;
            if dtype.integer_range().is_none() {
                return Err(
                    context.invalid(format!("expected an integer type to quantize to, found {dtype}"))
                );
            }
            return Ok((x.shape.clone(), *dtype));
        }
        Op::Opaque(_) => {
            return Err(GraphError::UnsupportedNode {
                node: node.name.clone(),
                op: node.op.name().to_owned(),
                message: "the output of an opaque operator cannot be inferred".to_owned(),
            });
        }
    };
    Ok((shape, x.dtype))
}

/// A window that slides over an image; height before width.
#[derive(Clone, Copy)]
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

/// A node with its graph: reads inputs, and words errors in the node's name.
struct Context<'a> {
    graph: &'a Graph,
    node: &'a Node,
}

impl<'a> Context<'a> {
    fn invalid(&self, message: String) -> GraphError {
        GraphError::InvalidNode { node: self.node.name.clone(), op: self.node.op.name().to_owned(), message }
    }

    fn arity(&self, least: usize, most: usize) -> Result<()> {
        let found = self.node.inputs.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(self.invalid(format!("expected {expected} inputs, found {found}")))
    }

    fn input(&self, position: usize, role: &str) -> Result<&'a Tensor> {
        self.node
            .inputs
            .get(position)
            .and_then(|id| self.graph.tensors.get(id.0))
            .ok_or_else(|| self.invalid(format!("expected an input {position} ({role}), found none")))
    }

    fn sizes<const RANK: usize>(&self, position: usize, role: &str) -> Result<[usize; RANK]> {
        let tensor = self.input(position, role)?;
        let sizes: Option<[usize; RANK]> = tensor.shape.sizes().and_then(|sizes| sizes.try_into().ok());
        match sizes {
            Some(sizes) if sizes.iter().all(|&size| size > 0) => Ok(sizes),
            Some(_) | None => Err(self.invalid(format!(
                "expected {role} `{}` with {RANK} fixed non-zero dimensions, found {}",
                tensor.name, tensor.shape
            ))),
        }
    }

    fn image(&self, x: &Tensor) -> Result<[usize; 3]> {
        match x.shape.image() {
            Some(sizes) if sizes.iter().all(|&size| size > 0) => Ok(sizes),
            Some(_) | None => Err(self.invalid(format!("expected an input [N, H, W, C], found {}", x.shape))),
        }
    }

    /// The dimensions of an input with a batch and something in it.
    fn filled(&self, x: &Tensor) -> Result<Vec<Dim>> {
        let dims = x.shape.dims();
        if dims.is_empty() || dims.contains(&Dim::Fixed(0)) {
            return Err(
                self.invalid(format!("expected an input with a batch and no size of 0, found {}", x.shape))
            );
        }
        Ok(dims.to_vec())
    }

    /// The size of an axis other than the batch.
    fn behind_batch(&self, x: &Tensor, axis: usize) -> Result<usize> {
        match x.shape.dims().get(axis) {
            Some(Dim::Fixed(size)) if axis > 0 => Ok(*size),
            Some(Dim::Fixed(_) | Dim::Batch(_)) | None => {
                Err(self
                    .invalid(format!("expected an axis of {} other than the batch, found {axis}", x.shape)))
            }
        }
    }

    fn channels(&self, x: &Tensor) -> Result<usize> {
        x.shape
            .channels()
            .filter(|&channels| channels > 0)
            .ok_or_else(|| self.invalid(format!("expected an input with channels, found {}", x.shape)))
    }

    /// Input channels that each output channel of a convolution sees. Both `[inputs, outputs]` must fall into `groups`.
    fn channels_per_group(&self, groups: usize, channels: [usize; 2]) -> Result<usize> {
        let [inputs, outputs] = channels;
        if groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
            return Ok(inputs / groups);
        }
        Err(self.invalid(format!(
            "expected groups that divide {inputs} input and {outputs} output channels, found {groups}"
        )))
    }

    /// Checks that every input is an activation, and of the type of the first.
    fn activations(&self) -> Result<()> {
        for position in 0..self.node.inputs.len() {
            let tensor = self.input(position, "x")?;
            if tensor.data.is_some() {
                return Err(
                    self.invalid(format!("expected activations, found the constant `{}`", tensor.name))
                );
            }
        }
        self.one_type()
    }

    /// Checks that every input is of the type of the first.
    fn one_type(&self) -> Result<()> {
        let first = self.input(0, "x")?;
        for position in 0..self.node.inputs.len() {
            let tensor = self.input(position, "x")?;
            if tensor.dtype != first.dtype {
                return Err(self.invalid(format!(
                    "expected `{}` to be {} like `{}`, found {}",
                    tensor.name, first.dtype, first.name, tensor.dtype
                )));
            }
        }
        Ok(())
    }

    /// The shape of a constant operand with the sizes that it lacks to stand beside `activation`.
    fn serving_all(&self, constant: &Tensor, activation: &Tensor) -> Result<Shape> {
        let sizes = constant.shape.dims();
        let lacking = activation.shape.rank().checked_sub(sizes.len());
        match (lacking, sizes.first()) {
            (Some(0), Some(Dim::Fixed(1)) | None) => Ok(constant.shape.clone()),
            (Some(lacking @ 1..), _) => {
                let ones = std::iter::repeat_n(Dim::Fixed(1), lacking);
                Ok(Shape::new(ones.chain(sizes.iter().copied()).collect()))
            }
            (Some(0), Some(Dim::Fixed(_) | Dim::Batch(_))) | (None, _) => Err(self.invalid(format!(
                "expected one `{}` for all images of `{}` {}, found {}",
                constant.name, activation.name, activation.shape, constant.shape
            ))),
        }
    }

    /// The shape in which `a` and `b`, seen as `b_shape`, meet: equal sizes stay, and a size of 1 takes the other's.
    fn broadcast(&self, a: &Tensor, b_shape: &Shape, b: &Tensor) -> Result<Shape> {
        let unequal = || {
            self.invalid(format!(
                "expected inputs of one rank with equal sizes, or sizes of 1, found {} and {}",
                a.shape, b.shape
            ))
        };
        if a.shape.rank() != b_shape.rank() {
            return Err(unequal());
        }
        let dims = a.shape.dims().iter().zip(b_shape.dims()).map(|(&a, &b)| match (a, b) {
            _ if a == b => Ok(a),
            (Dim::Fixed(1), _) => Ok(b),
            (_, Dim::Fixed(1)) => Ok(a),
            (Dim::Fixed(_) | Dim::Batch(_), Dim::Fixed(_) | Dim::Batch(_)) => Err(unequal()),
        });
        dims.collect::<Result<_>>().map(Shape::new)
    }

    /// The shape of all inputs side by side along `axis`.
    fn join(&self, x: &Tensor, axis: usize) -> Result<Shape> {
        let mut dims = x.shape.dims().to_vec();
        self.behind_batch(x, axis)?;
        let mut total = 0usize;
        for position in 0..self.node.inputs.len() {
            let part = self.input(position, "x")?;
            let fits = part.shape.rank() == dims.len()
                && (0..dims.len()).all(|at| at == axis || part.shape.dims()[at] == dims[at]);
            let size = match part.shape.dims().get(axis) {
                Some(Dim::Fixed(size)) if fits => total.checked_add(*size),
                Some(Dim::Fixed(_) | Dim::Batch(_)) | None => None,
            };
            total = size.ok_or_else(|| {
                self.invalid(format!(
                    "expected inputs that equal {} but for axis {axis}, found `{}` {}",
                    x.shape, part.name, part.shape
                ))
            })?;
        }
        dims[axis] = total.into();
        Ok(Shape::new(dims))
    }

    /// Height and width with the padding around them.
    fn padded(&self, input: [usize; 2], padding: Padding) -> Result<[usize; 2]> {
        let sum = |size: usize, pads: [usize; 2]| {
            pads.iter().try_fold(size, |sum, &pad| sum.checked_add(pad)).ok_or_else(|| {
                self.invalid(format!("padding {padding:?} of {input:?} exceeds what can be counted"))
            })
        };
        Ok([sum(input[0], [padding.top, padding.bottom])?, sum(input[1], [padding.left, padding.right])?])
    }

    fn bias(&self, out_channels: usize) -> Result<()> {
        if self.node.inputs.len() > 2 {
            let [size] = self.sizes(2, "bias")?;
            self.equal("bias", out_channels, size)?;
        }
        Ok(())
    }

    fn equal(&self, role: &str, expected: usize, found: usize) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        Err(self.invalid(format!("expected {role} of size {expected}, found {found}")))
    }

    /// Height and width of a transposed convolution's output.
    fn spread(&self, input: [usize; 2], kernel: [usize; 2], conv: &ConvTranspose2d) -> Result<[usize; 2]> {
        let ConvTranspose2d { stride, padding, output_padding, .. } = conv;
        let cut = [[padding.top, padding.bottom], [padding.left, padding.right]];
        let mut output = [0; 2];
        for axis in 0..2 {
            if output_padding[axis] >= stride[axis] {
                return Err(self.invalid(format!(
                    "expected a stride of at least 1 and an output padding below it, found {stride:?} and \
                     {output_padding:?}"
                )));
            }
            let covered = (input[axis] - 1)
                .checked_mul(stride[axis])
                .and_then(|size| size.checked_add(kernel[axis]))
                .and_then(|size| size.checked_add(output_padding[axis]));
            let left = covered.and_then(|size| size.checked_sub(cut[axis][0])?.checked_sub(cut[axis][1]));
            output[axis] = left.filter(|&size| size > 0).ok_or_else(|| {
                self.invalid(format!(
                    "expected {padding:?} to leave something of windows {kernel:?} with stride {stride:?} over {input:?}"
                ))
            })?;
        }
        Ok(output)
    }

    /// Output height and width: `(input + padding − extent) / stride + 1`.
    fn slide(&self, input: [usize; 2], window: Window) -> Result<[usize; 2]> {
        let Window { kernel, stride, dilation, padding } = window;
        let padded = self.padded(input, padding)?;
        let mut output = [0; 2];
        for axis in 0..2 {
            if kernel[axis] == 0 || stride[axis] == 0 || dilation[axis] == 0 {
                return Err(self.invalid(format!(
                    "expected kernel, stride and dilation of at least 1, found {kernel:?}, {stride:?} and {dilation:?}"
                )));
            }
            let extent = (kernel[axis] - 1).checked_mul(dilation[axis]).and_then(|span| span.checked_add(1));
            output[axis] = match extent {
                Some(extent) if padded[axis] >= extent => (padded[axis] - extent) / stride[axis] + 1,
                Some(_) | None => {
                    return Err(self.invalid(format!(
                        "kernel {kernel:?} with dilation {dilation:?} does not fit in the padded input {input:?}"
                    )));
                }
            };
        }
        Ok(output)
    }
}
