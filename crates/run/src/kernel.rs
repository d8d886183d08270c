//! What a step runs: a kernel with its packed weights.

use crate::memory::{Arena, Memory};
use crate::plan::Place;
use std::ops::Range;
use taper_kernels::int8::{self, Affine, Integer};
use taper_kernels::nhwc::{self, Fused, PoolShape};

/// Types of elements that arenas hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    I8,
    U8,
    /// Only scratch of integer kernels.
    I16,
}

impl Element {
    pub(crate) const ALL: [Self; 4] = [Self::F32, Self::I8, Self::U8, Self::I16];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
        }
    }
}

/// What a node runs.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// Nothing: the output stands where the input stands.
    View,
    /// Floats to floats.
    F32(F32Kernel),
    /// Integers to integers of the same type.
    Integer(IntegerKernel),
    /// Floats to integers.
    Quantize(Affine),
    /// Integers to integers of any type.
    Rescale(int8::Rescale),
}

/// A kernel over floats.
#[derive(Debug)]
pub(crate) enum F32Kernel {
    Conv(Box<nhwc::Conv>),
    BatchNorm(nhwc::BatchNorm),
    Activate(Fused),
    MaxPool(PoolShape),
    AveragePool(PoolShape),
    Softmax { channels: usize, beta: f32 },
}

/// A kernel over integers of one type.
#[derive(Debug)]
pub(crate) enum IntegerKernel {
    Conv(Box<int8::Conv>),
    MaxPool(PoolShape),
    AveragePool(PoolShape),
    GlobalAverage(int8::GlobalAverage),
    Softmax(int8::Softmax),
}

impl Kernel {
    /// Type and number of elements of scratch, if any.
    pub(crate) fn scratch(&self) -> Option<(Element, usize)> {
        let (element, len) = match self {
            Self::F32(F32Kernel::Conv(conv)) => (Element::F32, conv.scratch_len()),
            Self::Integer(IntegerKernel::Conv(conv)) => (Element::I16, conv.scratch_len()),
            Self::View | Self::F32(_) | Self::Integer(_) | Self::Quantize(_) | Self::Rescale(_) => {
                return None;
            }
        };
        (len > 0).then_some((element, len))
    }

    /// Bytes of packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::F32(F32Kernel::Conv(conv)) => conv.weight_bytes(),
            Self::F32(F32Kernel::BatchNorm(norm)) => norm.bytes(),
            Self::Integer(IntegerKernel::Conv(conv)) => conv.weight_bytes(),
            Self::View | Self::F32(_) | Self::Integer(_) | Self::Quantize(_) | Self::Rescale(_) => 0,
        }
    }

    pub(crate) fn run(
        &self,
        memory: &mut Memory,
        x: &Place,
        scratch: Range<usize>,
        y: &Place,
        threads: usize,
    ) {
        use Element::{F32, I8, I16, U8};
        let (from, to) = (x.range.clone(), y.range.clone());
        match (self, x.element, y.element) {
            (Self::View, _, _) => {}
            (Self::F32(kernel), F32, F32) => {
                let [x, scratch, y] = memory.f32.split([from, scratch, to]);
                kernel.run(x, scratch, y, threads);
            }
            (Self::Integer(kernel), I8, I8) => {
                let [x, y] = memory.i8.split([from, to]);
                kernel.run(x, memory.i16.write(scratch), y, threads);
            }
            (Self::Integer(kernel), U8, U8) => {
                let [x, y] = memory.u8.split([from, to]);
                kernel.run(x, memory.i16.write(scratch), y, threads);
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
                Self::F32(_) | Self::Integer(_) | Self::Quantize(_) | Self::Rescale(_),
                F32 | I8 | U8 | I16,
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

impl F32Kernel {
    fn run(&self, x: &[f32], scratch: &mut [f32], y: &mut [f32], threads: usize) {
        match self {
            Self::Conv(conv) => conv.run(x, scratch, y, threads),
            Self::BatchNorm(norm) => norm.run(x, y),
            Self::Activate(fused) => nhwc::activate(*fused, x, y),
            Self::MaxPool(shape) => nhwc::max_pool(shape, x, y),
            Self::AveragePool(shape) => nhwc::average_pool(shape, x, y),
            Self::Softmax { channels, beta } => nhwc::softmax(*channels, *beta, x, y),
        }
    }
}

impl IntegerKernel {
    fn run<T: Integer>(&self, x: &[T], scratch: &mut [i16], y: &mut [T], threads: usize) {
        match self {
            Self::Conv(conv) => conv.run(x, scratch, y, threads),
            Self::MaxPool(shape) => int8::max_pool(shape, x, y),
            Self::AveragePool(shape) => int8::average_pool(shape, x, y),
            Self::GlobalAverage(average) => average.run(x, y),
            Self::Softmax(softmax) => softmax.run(x, y),
        }
    }
}
