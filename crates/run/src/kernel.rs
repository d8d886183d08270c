//! What a step runs: a kernel with its packed weights.

use crate::memory::{Arena, Memory};
use crate::plan::Place;
use std::ops::Range;
use taper_kernels::int8::{self, Affine, Integer, ScaledPart};
use taper_kernels::nhwc::{self, ArgMax, AxisCopies, AxisRange, ConcatPart, Curve, Fused, PoolShape};

/// Types of elements that arenas hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    I8,
    U8,
    /// Only scratch of integer kernels.
    I16,
    /// Only indices.
    I32,
    /// Only indices.
    I64,
}

impl Element {
    pub(crate) const ALL: [Self; 6] = [Self::F32, Self::I8, Self::U8, Self::I16, Self::I32, Self::I64];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::I16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// What a node runs.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// Nothing: the output stands where the input stands.
    View,
    /// Values of any type to other places.
    Move(Move),
    /// Values of any type to the index of the greatest.
    ArgMax(ArgMax),
    /// Floats to floats.
    F32(F32Kernel),
    /// Integers to integers of the same type.
    Integer(IntegerKernel),
    /// Floats to integers.
    Quantize(Affine),
    /// Integers to integers of any type.
    Rescale(int8::Rescale),
}

/// A kernel that only moves values.
#[derive(Debug)]
pub(crate) enum Move {
    /// With the place of each input.
    Concat(Vec<ConcatPart>),
    Slice(Vec<AxisRange>),
    Tile(Vec<AxisCopies>),
    Nearest(nhwc::Resize),
}

/// A kernel over floats.
#[derive(Debug)]
pub(crate) enum F32Kernel {
    Conv(Box<nhwc::Conv>),
    Depthwise(Box<nhwc::Depthwise>),
    GroupedConv(Box<nhwc::GroupedConv>),
    ConvTranspose(Box<nhwc::ConvTranspose>),
    BatchNorm(nhwc::BatchNorm),
    Activate(Fused),
    Curve(Curve),
    /// With the slopes.
    Prelu(Vec<f32>),
    /// With the values of each operand that is constant.
    Elementwise(nhwc::Elementwise, [Option<Vec<f32>>; 2]),
    /// With what the border holds.
    Pad(nhwc::Pad, f32),
    Bilinear(nhwc::Resize),
    MaxPool(PoolShape),
    AveragePool(PoolShape),
    Softmax {
        channels: usize,
        beta: f32,
    },
    FakeQuantize(nhwc::FakeQuantize),
    /// Another kernel, and a nonlinearity of what it wrote.
    Then(Box<F32Kernel>, Curve),
}

/// A kernel over integers of one type.
#[derive(Debug)]
pub(crate) enum IntegerKernel {
    Conv(Box<int8::Conv>),
    Depthwise(Box<int8::Depthwise>),
    /// With the values of each operand that is constant.
    Elementwise(int8::Elementwise, [Option<Vec<i16>>; 2]),
    Concat(Vec<ScaledPart>),
    /// With what the border holds.
    Pad(nhwc::Pad, i32),
    Bilinear(nhwc::Resize),
    MaxPool(PoolShape),
    AveragePool(PoolShape),
    GlobalAverage(int8::GlobalAverage),
    Softmax(int8::Softmax),
}

impl Kernel {
    /// Type and number of elements of scratch, if any.
    pub(crate) fn scratch(&self) -> Option<(Element, usize)> {
        let (element, len) = match self {
            Self::F32(kernel) => (Element::F32, kernel.scratch_len()),
            Self::Integer(IntegerKernel::Conv(conv)) => (Element::I16, conv.scratch_len()),
            Self::View
            | Self::Move(_)
            | Self::ArgMax(_)
            | Self::Integer(_)
            | Self::Quantize(_)
            | Self::Rescale(_) => {
                return None;
            }
        };
        (len > 0).then_some((element, len))
    }

    /// Bytes of packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::F32(kernel) => kernel.weight_bytes(),
            Self::Integer(kernel) => kernel.weight_bytes(),
            Self::View | Self::Move(_) | Self::ArgMax(_) | Self::Quantize(_) | Self::Rescale(_) => 0,
        }
    }

    /// Computes `y` from the activations `xs`, of which there is at least one.
    pub(crate) fn run(
        &self,
        memory: &mut Memory,
        xs: &[Place],
        scratch: Range<usize>,
        y: &Place,
        threads: usize,
    ) {
        use Element::{F32, I8, I16, I32, I64, U8};
        let (from, to) = (xs[0].range.clone(), y.range.clone());
        match (self, xs[0].element, y.element) {
            (Self::View, _, _) => {}
            (Self::F32(kernel), F32, F32) => kernel.run(&mut memory.f32, xs, scratch, to, threads),
            (Self::Move(kernel), F32, F32) => kernel.run(&mut memory.f32, xs, to),
            (Self::Move(kernel), I8, I8) => kernel.run(&mut memory.i8, xs, to),
            (Self::Move(kernel), U8, U8) => kernel.run(&mut memory.u8, xs, to),
            (Self::ArgMax(kernel), F32, I32) => {
                kernel.run(memory.f32.read(from), memory.i32.write(to), |index| index as i32);
            }
            (Self::ArgMax(kernel), F32, I64) => {
                kernel.run(memory.f32.read(from), memory.i64.write(to), |index| index as i64);
            }
            (Self::ArgMax(kernel), I8, I32) => {
                kernel.run(memory.i8.read(from), memory.i32.write(to), |index| index as i32);
            }
            (Self::ArgMax(kernel), I8, I64) => {
                kernel.run(memory.i8.read(from), memory.i64.write(to), |index| index as i64);
            }
            (Self::ArgMax(kernel), U8, I32) => {
                kernel.run(memory.u8.read(from), memory.i32.write(to), |index| index as i32);
            }
            (Self::ArgMax(kernel), U8, I64) => {
                kernel.run(memory.u8.read(from), memory.i64.write(to), |index| index as i64);
            }
            (Self::Integer(kernel), I8, I8) => {
                kernel.run(&mut memory.i8, xs, memory.i16.write(scratch), to, threads);
            }
            (Self::Integer(kernel), U8, U8) => {
                kernel.run(&mut memory.u8, xs, memory.i16.write(scratch), to, threads);
            }
            (Self::Quantize(affine), F32, I8) => quantize(*affine, &memory.f32, from, &mut memory.i8, to),
            (Self::Quantize(affine), F32, U8) => quantize(*affine, &memory.f32, from, &mut memory.u8, to),
            (Self::Rescale(rescale), I8, I8) => {
                let [x, y] = memory.i8.split([from, to]);
                rescale.run(x, y);
            }
            (Self::Rescale(rescale), U8, U8) => {
                let [x, y] = memory.u8.split([from, to]);
                rescale.run(x, y);
            }
            (Self::Rescale(rescale), I8, U8) => rescale.run(memory.i8.read(from), memory.u8.write(to)),
            (Self::Rescale(rescale), U8, I8) => rescale.run(memory.u8.read(from), memory.i8.write(to)),
            (
                Self::Move(_)
                | Self::ArgMax(_)
                | Self::F32(_)
                | Self::Integer(_)
                | Self::Quantize(_)
                | Self::Rescale(_),
                F32 | I8 | U8 | I16 | I32 | I64,
                _,
            ) => {
                unreachable!("lowering chose the kernel by the types of input and output")
            }
        }
    }
}

fn quantize<T: Integer>(
    to: Affine,
    reals: &Arena<f32>,
    x: Range<usize>,
    integers: &mut Arena<T>,
    y: Range<usize>,
) {
    int8::quantize(to, reals.read(x), integers.write(y));
}

/// A kernel with one input: `x`, scratch, `y`.
type OneInput<'k> = dyn Fn(&[f32], &mut [f32], &mut [f32]) + 'k;

impl F32Kernel {
    /// The kernel with a nonlinearity behind it, if there is one.
    pub(crate) fn then(self, curve: Option<Curve>) -> Self {
        match curve {
            Some(curve) => Self::Then(Box::new(self), curve),
            None => self,
        }
    }

    fn scratch_len(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.scratch_len(),
            Self::GroupedConv(conv) => conv.scratch_len(),
            Self::Then(kernel, _) => kernel.scratch_len(),
            Self::Depthwise(_)
            | Self::ConvTranspose(_)
            | Self::BatchNorm(_)
            | Self::Activate(_)
            | Self::Curve(_)
            | Self::Prelu(_)
            | Self::Elementwise(..)
            | Self::Pad(..)
            | Self::Bilinear(_)
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::Softmax { .. }
            | Self::FakeQuantize(_) => 0,
        }
    }

    fn weight_bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.weight_bytes(),
            Self::Depthwise(conv) => conv.weight_bytes(),
            Self::GroupedConv(conv) => conv.weight_bytes(),
            Self::ConvTranspose(conv) => conv.weight_bytes(),
            Self::BatchNorm(norm) => norm.bytes(),
            Self::Prelu(slopes) => size_of_val(&slopes[..]),
            Self::Elementwise(_, constants) => {
                constants.iter().flatten().map(|values| size_of_val(&values[..])).sum()
            }
            Self::Then(kernel, _) => kernel.weight_bytes(),
            Self::Activate(_)
            | Self::Curve(_)
            | Self::Pad(..)
            | Self::Bilinear(_)
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::Softmax { .. }
            | Self::FakeQuantize(_) => 0,
        }
    }

    fn run(
        &self,
        arena: &mut Arena<f32>,
        xs: &[Place],
        scratch: Range<usize>,
        y: Range<usize>,
        threads: usize,
    ) {
        let read = |position: usize| xs[position].range.clone();
        let mut one = |kernel: &OneInput<'_>| {
            let [x, scratch, y] = arena.split([read(0), scratch.clone(), y.clone()]);
            kernel(x, scratch, y);
        };
        match self {
            Self::Conv(conv) => one(&|x, scratch, y| conv.run(x, scratch, y, threads)),
            Self::Depthwise(conv) => one(&|x, _, y| conv.run(x, y, threads)),
            Self::GroupedConv(conv) => one(&|x, scratch, y| conv.run(x, scratch, y, threads)),
            Self::ConvTranspose(conv) => one(&|x, _, y| conv.run(x, y, threads)),
            Self::BatchNorm(norm) => one(&|x, _, y| norm.run(x, y)),
            Self::Activate(fused) => one(&|x, _, y| nhwc::activate(*fused, x, y)),
            Self::Curve(curve) => one(&|x, _, y| curve.run(x, y)),
            Self::Prelu(slopes) => one(&|x, _, y| nhwc::prelu(slopes, x, y)),
            Self::Pad(pad, value) => one(&|x, _, y| pad.run(*value, x, y)),
            Self::Bilinear(resize) => one(&|x, _, y| resize.bilinear(x, y)),
            Self::MaxPool(shape) => one(&|x, _, y| nhwc::max_pool(shape, x, y)),
            Self::AveragePool(shape) => one(&|x, _, y| nhwc::average_pool(shape, x, y)),
            Self::Softmax { channels, beta } => one(&|x, _, y| nhwc::softmax(*channels, *beta, x, y)),
            Self::FakeQuantize(fake) => one(&|x, _, y| fake.run(x, y)),
            Self::Elementwise(elementwise, constants) => {
                let (others, y) = arena.around(y);
                let [a, b] = match constants {
                    [None, None] => [others.read(read(0)), others.read(read(1))],
                    [Some(a), None] => [&a[..], others.read(read(0))],
                    [None, Some(b)] => [others.read(read(0)), &b[..]],
                    [Some(a), Some(b)] => [&a[..], &b[..]],
                };
                elementwise.run(a, b, y);
            }
            Self::Then(kernel, curve) => {
                kernel.run(arena, xs, scratch, y.clone(), threads);
                curve.run_in_place(arena.write(y));
            }
        }
    }
}

impl IntegerKernel {
    fn weight_bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.weight_bytes(),
            Self::Depthwise(conv) => conv.weight_bytes(),
            Self::Elementwise(_, constants) => {
                constants.iter().flatten().map(|values| size_of_val(&values[..])).sum()
            }
            Self::Concat(_)
            | Self::Pad(..)
            | Self::Bilinear(_)
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::GlobalAverage(_)
            | Self::Softmax(_) => 0,
        }
    }

    fn run<T: Integer>(
        &self,
        arena: &mut Arena<T>,
        xs: &[Place],
        scratch: &mut [i16],
        y: Range<usize>,
        threads: usize,
    ) {
        let (others, y) = arena.around(y);
        let read = |position: usize| others.read(xs[position].range.clone());
        match self {
            Self::Conv(conv) => conv.run(read(0), scratch, y, threads),
            Self::Depthwise(conv) => conv.run(read(0), y, threads),
            Self::Elementwise(elementwise, constants) => match constants {
                [None, None] => elementwise.run(read(0), read(1), y),
                [Some(a), None] => elementwise.run(a, read(0), y),
                [None, Some(b)] => elementwise.run(read(0), b, y),
                [Some(a), Some(b)] => elementwise.run(a, b, y),
            },
            Self::Concat(parts) => {
                for (position, part) in parts.iter().enumerate() {
                    part.run(read(position), y);
                }
            }
            Self::Pad(pad, value) => pad.run(T::saturate(*value), read(0), y),
            Self::Bilinear(resize) => int8::bilinear(resize, read(0), y),
            Self::MaxPool(shape) => int8::max_pool(shape, read(0), y),
            Self::AveragePool(shape) => int8::average_pool(shape, read(0), y),
            Self::GlobalAverage(average) => average.run(read(0), y),
            Self::Softmax(softmax) => softmax.run(read(0), y),
        }
    }
}

impl Move {
    fn run<T: Copy + Default>(&self, arena: &mut Arena<T>, xs: &[Place], y: Range<usize>) {
        let (others, y) = arena.around(y);
        let read = |position: usize| others.read(xs[position].range.clone());
        match self {
            Self::Concat(parts) => {
                for (position, part) in parts.iter().enumerate() {
                    part.run(read(position), y);
                }
            }
            Self::Slice(axes) => nhwc::strided_slice(axes, read(0), y),
            Self::Tile(axes) => nhwc::tile(axes, read(0), y),
            Self::Nearest(resize) => resize.nearest(read(0), y),
        }
    }
}
