//! Operators without weights that join maps, or change their size or the places of their values.

use super::{Context, affine, nonlinearity};
use crate::error::Result;
use crate::kernel::{F32Kernel, IntegerKernel, Kernel, Move};
use taper_graph::{
    ArgMax, Binary, Concat, DType, Elementwise, Pad, Resize2d, ResizeCoordinates, ResizeMethod, StridedSlice,
    TensorData, TensorId,
};
use taper_kernels::int8::{self, Affine, Integer, IntegerBinary, ScaledPart};
use taper_kernels::nhwc::{self, AxisCopies, AxisRange, ConcatPart, Coordinates};

impl Context<'_> {
    pub(super) fn elementwise(&self, elementwise: &Elementwise) -> Result<Kernel> {
        match self.tensor(self.y()).dtype {
            DType::F32 => self.float_elementwise(elementwise),
            DType::I8 => self.integer_elementwise::<i8>(elementwise),
            DType::U8 => self.integer_elementwise::<u8>(elementwise),
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }

    fn float_elementwise(&self, elementwise: &Elementwise) -> Result<Kernel> {
        let function = match elementwise.function {
            Binary::Add => nhwc::Binary::Add,
            Binary::Subtract => nhwc::Binary::Subtract,
            Binary::Multiply => nhwc::Binary::Multiply,
            Binary::Divide => nhwc::Binary::Divide,
            Binary::Maximum => nhwc::Binary::Maximum,
            Binary::Minimum => nhwc::Binary::Minimum,
        };
        let [a, b] = [0, 1].map(|input| self.aligned_sizes(self.node.inputs[input]));
        let (fused, curve) = nonlinearity(elementwise.activation);
        let kernel = nhwc::Elementwise::new(function, fused, &a, &b);
        let constant = |position: usize| {
            let is_constant = self.tensor(self.node.inputs[position]).data.is_some();
            is_constant.then(|| self.floats(position).map(<[f32]>::to_vec)).transpose()
        };
        Ok(Kernel::F32(F32Kernel::Elementwise(kernel, [constant(0)?, constant(1)?]).then(curve)))
    }

    fn integer_elementwise<T: Integer>(&self, elementwise: &Elementwise) -> Result<Kernel> {
        let [a, b] = [affine(self.graph, self.node.inputs[0])?, affine(self.graph, self.node.inputs[1])?];
        let y = affine(self.graph, self.y())?;
        let extreme = |function| -> Result<IntegerBinary> {
            self.same_quantization(a, y)?;
            self.same_quantization(b, y)?;
            Ok(function)
        };
        let function = match elementwise.function {
            Binary::Add => IntegerBinary::Add,
            Binary::Subtract => IntegerBinary::Subtract,
            Binary::Multiply => IntegerBinary::Multiply,
            Binary::Maximum => extreme(IntegerBinary::Maximum)?,
            Binary::Minimum => extreme(IntegerBinary::Minimum)?,
            Binary::Divide => return Err(self.unsupported_dtype(self.tensor(self.y()).dtype)),
        };
        let fused = self.integer_fused(elementwise.activation)?;
        let sizes = [0, 1].map(|input| self.aligned_sizes(self.node.inputs[input]));
        let kernel = int8::Elementwise::new::<T>(function, fused, [&sizes[0], &sizes[1]], [a, b], y);
        let constants = [self.widened(0)?, self.widened(1)?];
        Ok(Kernel::Integer(IntegerKernel::Elementwise(kernel, constants)))
    }

    /// The integers of an operand that is constant.
    fn widened(&self, position: usize) -> Result<Option<Vec<i16>>> {
        match &self.tensor(self.node.inputs[position]).data {
            None => Ok(None),
            Some(TensorData::I8(values)) => Ok(Some(values.iter().copied().map(i16::from).collect())),
            Some(TensorData::U8(values)) => Ok(Some(values.iter().copied().map(i16::from).collect())),
            Some(TensorData::F32(_) | TensorData::I16(_) | TensorData::I32(_) | TensorData::I64(_)) => {
                Err(self.wrong_data(position, "i8 or u8"))
            }
        }
    }

    /// The sizes of an operand, with the ones in front that a constant may lack.
    fn aligned_sizes(&self, operand: TensorId) -> Vec<usize> {
        let sizes = self.tensor(operand).shape.with_batch(self.batch);
        let lacking = self.tensor(self.y()).shape.rank().saturating_sub(sizes.len());
        std::iter::repeat_n(1, lacking).chain(sizes).collect()
    }

    pub(super) fn concat(&self, concat: &Concat) -> Result<Kernel> {
        let row = |sizes: Vec<usize>| sizes[concat.axis..].iter().product::<usize>();
        let stride = row(self.tensor(self.y()).shape.with_batch(self.batch));
        let mut offset = 0;
        let parts = self.node.inputs.iter().map(|&input| {
            let len = row(self.tensor(input).shape.with_batch(self.batch));
            offset += len;
            ConcatPart { len, offset: offset - len, stride }
        });
        let parts: Vec<ConcatPart> = parts.collect();
        match self.tensor(self.y()).dtype {
            DType::F32 => Ok(Kernel::Move(Move::Concat(parts))),
            DType::I8 => {
                // TFLite gives all inputs of an `i8` concatenation the output's scale.
                let y = affine(self.graph, self.y())?;
                for &input in &self.node.inputs {
                    self.same_quantization(affine(self.graph, input)?, y)?;
                }
                Ok(Kernel::Move(Move::Concat(parts)))
            }
            DType::U8 => {
                let y = affine(self.graph, self.y())?;
                let scaled = parts
                    .into_iter()
                    .zip(&self.node.inputs)
                    .map(|(part, &input)| Ok(ScaledPart::new(part, affine(self.graph, input)?, y)));
                Ok(Kernel::Integer(IntegerKernel::Concat(scaled.collect::<Result<_>>()?)))
            }
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }

    pub(super) fn pad(&self, pad: &Pad) -> Result<Kernel> {
        let [_, in_h, in_w, channels] = self.sizes(self.x())?;
        let [_, out_h, out_w, _] = self.sizes(self.y())?;
        let kernel = nhwc::Pad {
            input: [in_h, in_w, channels],
            output: [out_h, out_w],
            before: [pad.padding.top, pad.padding.left],
        };
        let integers = |x: Affine, y: Affine, value: i32| {
            self.same_quantization(x, y)?;
            Ok(Kernel::Integer(IntegerKernel::Pad(kernel, value)))
        };
        self.by_dtype(
            || Ok(Kernel::F32(F32Kernel::Pad(kernel, pad.value))),
            |x, y| integers(x, y, y.quantize::<i8>(pad.value).widen()),
            |x, y| integers(x, y, y.quantize::<u8>(pad.value).widen()),
        )
    }

    pub(super) fn resize(&self, resize: &Resize2d) -> Result<Kernel> {
        let [_, height, width, channels] = self.sizes(self.x())?;
        let coordinates = match resize.coordinates {
            ResizeCoordinates::Asymmetric => Coordinates::Asymmetric,
            ResizeCoordinates::AlignCorners => Coordinates::AlignCorners,
            ResizeCoordinates::HalfPixel => Coordinates::HalfPixel,
        };
        let kernel = nhwc::Resize { input: [height, width, channels], output: resize.size, coordinates };
        let bilinear = |x: Affine, y: Affine| {
            self.same_quantization(x, y)?;
            Ok(Kernel::Integer(IntegerKernel::Bilinear(kernel)))
        };
        match resize.method {
            ResizeMethod::Nearest => self.moving(Move::Nearest(kernel)),
            ResizeMethod::Bilinear => {
                self.by_dtype(|| Ok(Kernel::F32(F32Kernel::Bilinear(kernel))), bilinear, bilinear)
            }
        }
    }

    pub(super) fn strided_slice(&self, slice: &StridedSlice) -> Result<Kernel> {
        let sizes = self.tensor(self.x()).shape.with_batch(self.batch);
        // What lies behind the last axis that is cut is one run of values.
        let last = slice.axes.last().map_or(0, |part| part.axis + 1);
        let mut ranges: Vec<AxisRange> =
            sizes[..last].iter().map(|&size| AxisRange { size, start: 0, step: 1, count: size }).collect();
        for part in &slice.axes {
            let range = &mut ranges[part.axis];
            *range = AxisRange { start: part.start, step: part.step, count: part.count, ..*range };
        }
        self.moving(Move::Slice(ranges))
    }

    pub(super) fn tile(&self, repeats: &[usize]) -> Result<Kernel> {
        let sizes = self.tensor(self.x()).shape.with_batch(self.batch);
        let copies = std::iter::once(1).chain(repeats.iter().copied());
        // What lies behind the last axis that stands several times is one run of values.
        let last = repeats.iter().rposition(|&copies| copies > 1).map_or(0, |position| position + 2);
        let axes = sizes.into_iter().zip(copies).take(last).map(|(size, copies)| AxisCopies { size, copies });
        self.moving(Move::Tile(axes.collect()))
    }

    pub(super) fn arg_max(&self, arg_max: &ArgMax) -> Result<Kernel> {
        let sizes = self.tensor(self.x()).shape.with_batch(self.batch);
        let inner = sizes[arg_max.axis + 1..].iter().product();
        match self.tensor(self.x()).dtype {
            DType::F32 | DType::I8 | DType::U8 => {
                Ok(Kernel::ArgMax(nhwc::ArgMax { size: sizes[arg_max.axis], inner }))
            }
            dtype @ (DType::I16 | DType::I32 | DType::I64) => Err(self.unsupported_dtype(dtype)),
        }
    }
}
