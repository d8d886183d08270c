//! From nodes to kernels: checks what the kernels take for granted, and packs weights.

mod layer;
mod maps;

use crate::error::{Result, RunError};
use crate::kernel::{F32Kernel, IntegerKernel, Kernel, Move};
use taper_graph::{
    Activation, BatchNorm, DType, Graph, GraphError, Node, Op, Pool2d, PoolKind, Quantization, Tensor,
    TensorData, TensorId,
};
use taper_kernels::cpu::Isa;
use taper_kernels::int8::{self, Affine};
use taper_kernels::nhwc::{self, Curve, Fused, PoolShape};

/// The kernel of one node of a verified graph.
pub(crate) fn lower(graph: &Graph, node: &Node, batch: usize, isa: Isa) -> Result<Kernel> {
    let context = Context { graph, node, batch, isa };
    match &node.op {
        Op::Conv2d(conv) => context.conv(conv),
        Op::ConvTranspose2d(conv) => context.conv_transpose(conv),
        Op::FullyConnected(dense) => context.fully_connected(dense.activation),
        Op::BatchNorm(norm) => context.batch_norm(norm),
        Op::Activation { function } => context.activation(*function),
        Op::Prelu => context.prelu(),
        Op::Elementwise(elementwise) => context.elementwise(elementwise),
        Op::Concat(concat) => context.concat(concat),
        Op::Pad(pad) => context.pad(pad),
        Op::Resize2d(resize) => context.resize(resize),
        Op::Pool2d(pool) => context.pool(pool),
        Op::GlobalPool2d { kind } => context.global_pool(*kind),
        Op::Flatten | Op::Reshape { .. } | Op::Dropout(_) => context.view(),
        Op::StridedSlice(slice) => context.strided_slice(slice),
        Op::Tile { repeats } => context.tile(repeats),
        Op::ArgMax(arg_max) => context.arg_max(arg_max),
        Op::Softmax(softmax) => context.softmax(softmax.beta),
        Op::FakeQuantize(fake) => context.fake_quantize(fake.bits),
        Op::Quantize { .. } => context.quantize(),
        Op::Opaque(_) => Err(context.unsupported("the CPU does not know this operator".to_owned())),
    }
}

/// Scale and zero point of a whole tensor.
pub(crate) fn affine(graph: &Graph, id: TensorId) -> Result<Affine> {
    let tensor = graph.tensor(id);
    let found = match &tensor.quantization {
        Some(Quantization::PerTensor { scale, zero_point }) => {
            return Ok(Affine { scale: *scale, zero_point: *zero_point });
        }
        Some(Quantization::PerAxis { .. }) => "one scale per channel",
        None => "none",
    };
    Err(GraphError::InvalidTensor {
        tensor: tensor.name.clone(),
        message: format!("expected one scale and zero point for the {} values, found {found}", tensor.dtype),
    }
    .into())
}

struct Context<'a> {
    graph: &'a Graph,
    node: &'a Node,
    batch: usize,
    isa: Isa,
}

impl<'a> Context<'a> {
    fn batch_norm(&self, norm: &BatchNorm) -> Result<Kernel> {
        self.float_only(|| {
            Ok(F32Kernel::BatchNorm(nhwc::BatchNorm::new(
                self.floats(1)?,
                self.floats(2)?,
                self.floats(3)?,
                self.floats(4)?,
                norm.epsilon,
            )))
        })
    }

    fn activation(&self, function: Activation) -> Result<Kernel> {
        let float = match nonlinearity(Some(function)) {
            (fused, None) => F32Kernel::Activate(fused),
            (_, Some(curve)) => F32Kernel::Curve(curve),
        };
        let integer_fused = || self.integer_fused(Some(function));
        self.by_dtype(
            || Ok(Kernel::F32(float)),
            |x, y| Ok(Kernel::Rescale(int8::Rescale::activation::<i8>(integer_fused()?, x, y))),
            |x, y| Ok(Kernel::Rescale(int8::Rescale::activation::<u8>(integer_fused()?, x, y))),
        )
    }

    fn prelu(&self) -> Result<Kernel> {
        self.float_only(|| Ok(F32Kernel::Prelu(self.floats(1)?.to_vec())))
    }

    fn fake_quantize(&self, bits: u8) -> Result<Kernel> {
        self.float_only(|| {
            let (min, max) = (self.floats(1)?[0], self.floats(2)?[0]);
            let fake = nhwc::FakeQuantize::new(min, max, bits);
            let fake = fake.ok_or_else(|| {
                self.unsupported(format!(
                    "expected a finite minimum below the maximum, found {min} and {max}"
                ))
            });
            Ok(F32Kernel::FakeQuantize(fake?))
        })
    }

    fn pool(&self, pool: &Pool2d) -> Result<Kernel> {
        let [batch, in_h, in_w, channels] = self.sizes(self.x())?;
        let [_, out_h, out_w, _] = self.sizes(self.y())?;
        self.window_pool(
            pool.kind,
            PoolShape {
                batch,
                input: [in_h, in_w, channels],
                output: [out_h, out_w],
                window: pool.window,
                stride: pool.stride,
                padding: [pool.padding.top, pool.padding.left],
            },
        )
    }

    fn window_pool(&self, kind: PoolKind, shape: PoolShape) -> Result<Kernel> {
        let integer = |x: Affine, y: Affine| {
            self.same_quantization(x, y)?;
            Ok(Kernel::Integer(match kind {
                PoolKind::Max => IntegerKernel::MaxPool(shape),
                PoolKind::Average => IntegerKernel::AveragePool(shape),
            }))
        };
        let float = match kind {
            PoolKind::Max => F32Kernel::MaxPool(shape),
            PoolKind::Average => F32Kernel::AveragePool(shape),
        };
        self.by_dtype(|| Ok(Kernel::F32(float)), integer, integer)
    }

    fn global_pool(&self, kind: PoolKind) -> Result<Kernel> {
        let [batch, height, width, channels] = self.sizes(self.x())?;
        let image = [height, width, channels];
        let mean = |x: Affine, y: Affine| {
            let average = int8::GlobalAverage::new(batch, image, x, y);
            Ok(Kernel::Integer(IntegerKernel::GlobalAverage(average)))
        };
        let shape = PoolShape::global(batch, image);
        match kind {
            PoolKind::Max => self.window_pool(kind, shape),
            PoolKind::Average => self.by_dtype(|| Ok(Kernel::F32(F32Kernel::AveragePool(shape))), mean, mean),
        }
    }

    fn view(&self) -> Result<Kernel> {
        let integer = |x: Affine, y: Affine| {
            self.same_quantization(x, y)?;
            Ok(Kernel::View)
        };
        match self.tensor(self.x()).dtype {
            // Indices have no scale that could change.
            DType::I32 | DType::I64 => Ok(Kernel::View),
            DType::F32 | DType::I8 | DType::U8 | DType::I16 => {
                self.by_dtype(|| Ok(Kernel::View), integer, integer)
            }
        }
    }

    fn softmax(&self, beta: f32) -> Result<Kernel> {
        let channels = self.tensor(self.x()).shape.channels().unwrap_or_default();
        let integer = |x: Affine, y: Affine, expected: Affine| {
            if y != expected {
                return Err(self.unsupported(format!(
                    "expected an output of scale {} and zero point {}, found {} and {}",
                    expected.scale, expected.zero_point, y.scale, y.zero_point
                )));
            }
            let softmax = int8::Softmax::new(channels, x.scale, beta).ok_or_else(|| {
                self.unsupported(format!("beta {beta} and scale {} are too small for integers", x.scale))
            })?;
            Ok(Kernel::Integer(IntegerKernel::Softmax(softmax)))
        };
        self.by_dtype(
            || Ok(Kernel::F32(F32Kernel::Softmax { channels, beta })),
            |x, y| integer(x, y, int8::Softmax::output::<i8>()),
            |x, y| integer(x, y, int8::Softmax::output::<u8>()),
        )
    }

    fn quantize(&self) -> Result<Kernel> {
        let output = affine(self.graph, self.y())?;
        let requantize = |input: Affine| match self.tensor(self.y()).dtype {
            DType::I8 => Ok(Kernel::Rescale(int8::Rescale::requantize::<i8>(input, output))),
            DType::U8 => Ok(Kernel::Rescale(int8::Rescale::requantize::<u8>(input, output))),
            dtype @ (DType::F32 | DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        };
        match self.tensor(self.y()).dtype {
            DType::I8 | DType::U8 => {}
            dtype @ (DType::F32 | DType::I16 | DType::I32 | DType::I64) => {
                return Err(self.unsupported_dtype(dtype));
            }
        }
        self.by_dtype(|| Ok(Kernel::Quantize(output)), |x, _| requantize(x), |x, _| requantize(x))
    }

    /// Chooses by the input's type; integers with the quantization of input and output.
    fn by_dtype(
        &self,
        float: impl FnOnce() -> Result<Kernel>,
        signed: impl FnOnce(Affine, Affine) -> Result<Kernel>,
        unsigned: impl FnOnce(Affine, Affine) -> Result<Kernel>,
    ) -> Result<Kernel> {
        let quantization =
            || Ok::<_, RunError>((affine(self.graph, self.x())?, affine(self.graph, self.y())?));
        match self.tensor(self.x()).dtype {
            DType::F32 => float(),
            DType::I8 => quantization().and_then(|(x, y)| signed(x, y)),
            DType::U8 => quantization().and_then(|(x, y)| unsigned(x, y)),
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }

    /// A kernel that leaves values as they are.
    fn moving(&self, kernel: Move) -> Result<Kernel> {
        let kernel = Kernel::Move(kernel);
        match self.tensor(self.x()).dtype {
            DType::F32 => Ok(kernel),
            DType::I8 | DType::U8 => {
                self.same_quantization(affine(self.graph, self.x())?, affine(self.graph, self.y())?)?;
                Ok(kernel)
            }
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }

    fn float_only(&self, kernel: impl FnOnce() -> Result<F32Kernel>) -> Result<Kernel> {
        match self.tensor(self.x()).dtype {
            DType::F32 => Ok(Kernel::F32(kernel()?)),
            dtype @ (DType::I8 | DType::U8 | DType::I16 | DType::I32 | DType::I64) => {
                Err(self.unsupported_dtype(dtype))
            }
        }
    }

    /// A nonlinearity that limits the range of integers.
    fn integer_fused(&self, activation: Option<Activation>) -> Result<Fused> {
        match nonlinearity(activation) {
            (fused, None) => Ok(fused),
            (_, Some(curve)) => {
                Err(self.unsupported(format!("the CPU does not run {curve:?} over integers")))
            }
        }
    }

    fn same_quantization(&self, x: Affine, y: Affine) -> Result<()> {
        if x == y {
            return Ok(());
        }
        Err(self.unsupported(format!(
            "expected the same quantization of input and output, found {x:?} and {y:?}"
        )))
    }

    fn x(&self) -> TensorId {
        self.node.inputs[0]
    }

    fn y(&self) -> TensorId {
        self.node.outputs[0]
    }

    fn tensor(&self, id: TensorId) -> &'a Tensor {
        self.graph.tensor(id)
    }

    fn sizes<const RANK: usize>(&self, id: TensorId) -> Result<[usize; RANK]> {
        let tensor = self.tensor(id);
        let sizes = tensor.shape.with_batch(self.batch).try_into();
        sizes.map_err(|_| self.invalid(format!("expected `{}` of rank {RANK}", tensor.name)))
    }

    fn constant(&self, position: usize) -> Result<&'a TensorData> {
        let tensor = self.tensor(self.node.inputs[position]);
        tensor.data.as_ref().ok_or_else(|| {
            self.unsupported(format!("expected a constant as input {position}, found `{}`", tensor.name))
        })
    }

    fn floats(&self, position: usize) -> Result<&'a [f32]> {
        match self.constant(position)? {
            TensorData::F32(values) => Ok(values),
            TensorData::I8(_)
            | TensorData::U8(_)
            | TensorData::I16(_)
            | TensorData::I32(_)
            | TensorData::I64(_) => Err(self.wrong_data(position, "f32")),
        }
    }

    fn wrong_data(&self, position: usize, expected: &str) -> RunError {
        let tensor = self.tensor(self.node.inputs[position]);
        self.unsupported(format!("expected {expected} in `{}`, found {}", tensor.name, tensor.dtype))
    }

    fn unsupported_dtype(&self, dtype: DType) -> RunError {
        self.unsupported(format!("the CPU does not run it over {dtype}"))
    }

    fn unsupported(&self, message: String) -> RunError {
        let (node, op) = (self.node.name.clone(), self.node.op.name().to_owned());
        GraphError::UnsupportedNode { node, op, message }.into()
    }

    fn invalid(&self, message: String) -> RunError {
        let (node, op) = (self.node.name.clone(), self.node.op.name().to_owned());
        GraphError::InvalidNode { node, op, message }.into()
    }
}

/// A nonlinearity as kernels know it: what they fuse, then what follows in place.
fn nonlinearity(activation: Option<Activation>) -> (Fused, Option<Curve>) {
    match activation {
        None => (Fused::Identity, None),
        Some(Activation::Relu) => (Fused::Relu, None),
        Some(Activation::Relu6) => (Fused::Relu6, None),
        Some(Activation::LeakyRelu { slope }) => (Fused::Identity, Some(Curve::LeakyRelu { slope })),
        Some(Activation::Sigmoid) => (Fused::Identity, Some(Curve::Sigmoid)),
        Some(Activation::Tanh) => (Fused::Identity, Some(Curve::Tanh)),
        Some(Activation::HardSwish) => (Fused::Identity, Some(Curve::HardSwish)),
        Some(Activation::HardSigmoid) => (Fused::Identity, Some(Curve::HardSigmoid)),
        Some(Activation::Elu { alpha }) => (Fused::Identity, Some(Curve::Elu { alpha })),
        Some(Activation::Silu) => (Fused::Identity, Some(Curve::Silu)),
        Some(Activation::ReluN1To1) => (Fused::Identity, Some(Curve::ReluN1To1)),
    }
}
