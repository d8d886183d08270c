//! Functions of two operands, value by value, with broadcasting; and the sum of gradients.

use rayon::prelude::*;

use super::activation::ELEMENTS_PER_TASK;
use super::{Activation, LANES, Lanes, blocks, parallel::grain, valid_lanes};
use crate::cpu::{Isa, Simd, WithSimd};

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryFunction {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `a / b`. Where the gradient of the quotient is 0, so are those of `a` and `b`, whatever they are.
    Divide,
    /// The larger of `a` and `b`; NaN if either is. Its gradient goes to `a` where `a ≥ b`, else to `b`.
    Maximum,
    /// The smaller of `a` and `b`; NaN if either is. Its gradient goes to `a` where `a ≤ b`, else to `b`.
    Minimum,
}

/// One of the two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The first.
    A,
    /// The second.
    B,
}

impl BinaryFunction {
    /// Whether the gradient of `operand` is computed from the values of `a` and of `b`.
    pub fn gradient_reads(self, operand: Operand) -> [bool; 2] {
        match (self, operand) {
            (BinaryFunction::Add | BinaryFunction::Subtract, _) => [false, false],
            (BinaryFunction::Multiply | BinaryFunction::Divide, Operand::A) => [false, true],
            (BinaryFunction::Multiply, Operand::B) => [true, false],
            (BinaryFunction::Divide, Operand::B) | (BinaryFunction::Maximum | BinaryFunction::Minimum, _) => {
                [true, true]
            }
        }
    }
}

/// A function of two operands of given shapes: activations, or an activation and values that serve all images.
///
/// Shapes are `[C, H, W]`, of vectors `[features, 1, 1]`. Where one operand has size 1 along an axis, its values
/// serve all coordinates of the other's.
#[derive(Clone, Copy, Debug)]
pub struct Binary {
    function: BinaryFunction,
    isa: Isa,
    batch: usize,
    shape: [usize; 3],
    lengths: [usize; 3],
    axes: Axes,
}

/// The axes of an output, outermost first.
type Axes = [Axis; 4];

/// An axis of the output: its size, and the distances in lanes between neighbours in the output, in `a` and in `b`: 0
/// in an operand that is broadcast.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    strides: [usize; 3],
}

impl Axis {
    const UNIT: Axis = Axis { size: 1, strides: [1; 3] };
}

impl Binary {
    /// Plans a function of activations of `batch` images of shapes `a` and `b`.
    ///
    /// # Panics
    ///
    /// Panics if a size is 0, or if sizes differ and neither is 1.
    pub fn new(function: BinaryFunction, batch: usize, a: [usize; 3], b: [usize; 3], isa: Isa) -> Self {
        Self::plan(function, batch, [a, b], [true; 2], isa)
    }

    /// As [`Binary::new`], but `constant` is an operand `[C][H][W]` that serves all images, each of its values in all
    /// lanes.
    ///
    /// # Panics
    ///
    /// As [`Binary::new`].
    pub fn with_constant(
        function: BinaryFunction,
        batch: usize,
        a: [usize; 3],
        b: [usize; 3],
        constant: Operand,
        isa: Isa,
    ) -> Self {
        let of_images = match constant {
            Operand::A => [false, true],
            Operand::B => [true, false],
        };
        Self::plan(function, batch, [a, b], of_images, isa)
    }

    /// An operand that is not `of_images` has the same values for every block of images.
    fn plan(
        function: BinaryFunction,
        batch: usize,
        [a, b]: [[usize; 3]; 2],
        of_images: [bool; 2],
        isa: Isa,
    ) -> Self {
        let fits = |(&a, &b): (&usize, &usize)| a > 0 && b > 0 && (a == b || a == 1 || b == 1);
        assert!(a.iter().zip(&b).all(fits), "shapes {a:?} and {b:?} cannot be broadcast to one");
        let shape = [0, 1, 2].map(|axis| a[axis].max(b[axis]));
        let axes = [0, 1, 2, 3].map(|axis: usize| match axis.checked_sub(1) {
            None => (blocks(batch), [true, of_images[0], of_images[1]]),
            Some(axis) => (shape[axis], [true, a[axis] == shape[axis], b[axis] == shape[axis]]),
        });
        let blocks = |of_images: bool| if of_images { blocks(batch) } else { 1 };
        let lengths = [(true, shape), (of_images[0], a), (of_images[1], b)]
            .map(|(of_images, shape)| blocks(of_images) * shape.iter().product::<usize>());
        Self { function, isa, batch, shape, lengths, axes: merged(axes) }
    }

    /// `[C, H, W]` of the output.
    pub fn output_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// `y = activation(function(a, b))`.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that its shape asks for.
    pub fn forward(&self, a: &[Lanes], b: &[Lanes], activation: Activation, y: &mut [Lanes]) {
        assert_eq!([y.len(), a.len(), b.len()], self.lengths, "lengths of the output and of both operands");
        let tasks = y.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).enumerate();
        tasks.for_each(|(task, y)| {
            self.isa.dispatch(Forward { plan: self, activation, a, b, first: task * ELEMENTS_PER_TASK, y });
        });
        if self.function == BinaryFunction::Divide {
            self.clear_padding(y);
        }
    }

    /// Zeroes the lanes past the last image. What is divided there may be 0 by 0, and gradients of weights behind rely on
    /// numbers whose product with 0 is 0.
    fn clear_padding(&self, y: &mut [Lanes]) {
        let Some(last) = blocks(self.batch).checked_sub(1) else { return };
        let valid = valid_lanes(self.batch, last);
        if valid < LANES {
            let block = self.shape.iter().product::<usize>();
            let padding = y[last * block..].iter_mut().map(|y| &mut y.0[valid..]);
            padding.for_each(|lanes| lanes.fill(0.0));
        }
    }

    /// Overwrites `gradient` with that of `operand`, given that of the output (before its activation): summed over
    /// the axes along which the operand is broadcast. An operand that [`BinaryFunction::gradient_reads`] does not
    /// name may be empty.
    ///
    /// # Panics
    ///
    /// Panics if a slice does not have the length that its shape asks for.
    pub fn backward(&self, operand: Operand, a: &[Lanes], b: &[Lanes], dy: &[Lanes], gradient: &mut [Lanes]) {
        let [output, operands @ ..] = self.lengths;
        let reads = self.function.gradient_reads(operand);
        for ((values, length), read) in [a, b].into_iter().zip(operands).zip(reads) {
            assert!(!read || values.len() == length, "length {} of an operand of {length}", values.len());
        }
        let length = match operand {
            Operand::A => operands[0],
            Operand::B => operands[1],
        };
        assert_eq!([dy.len(), gradient.len()], [output, length], "lengths of the gradients");
        let per_task = (ELEMENTS_PER_TASK * length / output.max(1)).max(1);
        gradient.par_chunks_mut(per_task).with_min_len(grain()).enumerate().for_each(|(task, gradient)| {
            let first = task * per_task;
            self.isa.dispatch(Backward { plan: self, operand, a, b, dy, first, gradient });
        });
    }
}

/// `to += from`: the gradient of an activation that several nodes read.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn accumulate(isa: Isa, from: &[Lanes], to: &mut [Lanes]) {
    assert_eq!(from.len(), to.len(), "summands differ in length");
    let tasks =
        to.par_chunks_mut(ELEMENTS_PER_TASK).with_min_len(grain()).zip(from.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(to, from)| isa.dispatch(Accumulate { from, to }));
}

/// The axes of the output, each a size and whether the output and both operands have it, with neighbours merged that are
/// broadcast alike, so that runs along the last are long; units fill up in front.
fn merged(sizes: [(usize, [bool; 3]); 4]) -> Axes {
    let mut axes = [Axis::UNIT; 4];
    let mut outermost = axes.len();
    let mut strides = [1; 3];
    let mut before = None;
    for (size, has) in sizes.into_iter().rev() {
        if size == 1 {
            continue;
        }
        if before == Some(has) {
            axes[outermost].size *= size;
        } else {
            outermost -= 1;
            let strides = [0, 1, 2].map(|n| if has[n] { strides[n] } else { 0 });
            axes[outermost] = Axis { size, strides };
            before = Some(has);
        }
        for (stride, has) in strides.iter_mut().zip(has) {
            *stride *= if has { size } else { 1 };
        }
    }
    axes
}

/// How many coordinates the axes have together.
fn count(axes: &Axes) -> usize {
    axes.iter().map(|axis| axis.size).product()
}

/// Where coordinate `index` of the axes, counted along the last first, lies in the output, in `a` and in `b`.
#[inline(always)]
fn offsets(axes: &Axes, mut index: usize) -> [usize; 3] {
    let mut offsets = [0; 3];
    for axis in axes.iter().rev() {
        let coordinate = index % axis.size;
        index /= axis.size;
        for (offset, stride) in offsets.iter_mut().zip(axis.strides) {
            *offset += coordinate * stride;
        }
    }
    offsets
}

/// Values along the last axis.
#[derive(Clone, Copy)]
enum Run<'a> {
    /// One for each coordinate.
    Each(&'a [Lanes]),
    /// One for all of them.
    All(&'a Lanes),
}

impl<'a> Run<'a> {
    #[inline(always)]
    fn new(values: &'a [Lanes], offset: usize, stride: usize, length: usize) -> Self {
        match stride {
            0 => Run::All(&values[offset]),
            _ => Run::Each(&values[offset..][..length]),
        }
    }
}

/// Calls `f` on each target and the operands' values there.
#[inline(always)]
fn for_each<T>(targets: impl Iterator<Item = T>, a: Run, b: Run, mut f: impl FnMut(T, &Lanes, &Lanes)) {
    match (a, b) {
        (Run::Each(a), Run::Each(b)) => targets.zip(a).zip(b).for_each(
            #[inline(always)]
            |((target, a), b)| f(target, a, b),
        ),
        (Run::Each(a), Run::All(b)) => targets.zip(a).for_each(
            #[inline(always)]
            |(target, a)| f(target, a, b),
        ),
        (Run::All(a), Run::Each(b)) => targets.zip(b).for_each(
            #[inline(always)]
            |(target, b)| f(target, a, b),
        ),
        (Run::All(a), Run::All(b)) => targets.for_each(
            #[inline(always)]
            |target| f(target, a, b),
        ),
    }
}

struct Forward<'a> {
    plan: &'a Binary,
    activation: Activation,
    a: &'a [Lanes],
    b: &'a [Lanes],
    /// The place of `y` in the whole output.
    first: usize,
    y: &'a mut [Lanes],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.plan.function {
            BinaryFunction::Add => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.add(a, b),
            ),
            BinaryFunction::Subtract => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.sub(a, b),
            ),
            BinaryFunction::Multiply => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.mul(a, b),
            ),
            BinaryFunction::Divide => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.div(a, b),
            ),
            BinaryFunction::Maximum => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.select_eq(a, a, simd.max(a, b), a),
            ),
            BinaryFunction::Minimum => self.compute(
                simd,
                #[inline(always)]
                |a, b| simd.select_eq(a, a, simd.min(a, b), a),
            ),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, function: impl Fn(S::Vector, S::Vector) -> S::Vector) {
        let Forward { plan: Binary { axes, .. }, activation, a, b, mut first, mut y } = self;
        let inner = axes[3];
        while !y.is_empty() {
            let length = y.len().min(inner.size - first % inner.size);
            let [_, at_a, at_b] = offsets(axes, first);
            let (run, rest) = y.split_at_mut(length);
            let [_, stride_a, stride_b] = inner.strides;
            let [a, b] = [Run::new(a, at_a, stride_a, length), Run::new(b, at_b, stride_b, length)];
            for_each(
                run.iter_mut(),
                a,
                b,
                #[inline(always)]
                |y, a, b| {
                    let value = function(simd.load(&a.0), simd.load(&b.0));
                    simd.store(activation.apply(simd, value), &mut y.0);
                },
            );
            (first, y) = (first + length, rest);
        }
    }
}

struct Backward<'a> {
    plan: &'a Binary,
    operand: Operand,
    a: &'a [Lanes],
    b: &'a [Lanes],
    dy: &'a [Lanes],
    /// The place of `gradient` in the operand's whole gradient.
    first: usize,
    gradient: &'a mut [Lanes],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match (self.plan.function, self.operand) {
            (BinaryFunction::Add, _) | (BinaryFunction::Subtract, Operand::A) => self.compute(
                simd,
                #[inline(always)]
                |dy, _, _| dy,
            ),
            (BinaryFunction::Subtract, Operand::B) => self.compute(
                simd,
                #[inline(always)]
                |dy, _, _| simd.sub(simd.zero(), dy),
            ),
            (BinaryFunction::Multiply, Operand::A) => self.compute(
                simd,
                #[inline(always)]
                |dy, _, b| simd.mul(dy, b),
            ),
            (BinaryFunction::Multiply, Operand::B) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, _| simd.mul(dy, a),
            ),
            (BinaryFunction::Divide, Operand::A) => self.compute(
                simd,
                #[inline(always)]
                |dy, _, b| simd.select_eq(dy, simd.zero(), dy, simd.div(dy, b)),
            ),
            (BinaryFunction::Divide, Operand::B) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, b| {
                    let slope = simd.div(simd.sub(simd.zero(), simd.div(a, b)), b);
                    simd.select_eq(dy, simd.zero(), dy, simd.mul(dy, slope))
                },
            ),
            (BinaryFunction::Maximum, Operand::A) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, b| simd.select_gt(b, a, simd.zero(), dy),
            ),
            (BinaryFunction::Maximum, Operand::B) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, b| simd.select_gt(b, a, dy, simd.zero()),
            ),
            (BinaryFunction::Minimum, Operand::A) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, b| simd.select_gt(a, b, simd.zero(), dy),
            ),
            (BinaryFunction::Minimum, Operand::B) => self.compute(
                simd,
                #[inline(always)]
                |dy, a, b| simd.select_gt(a, b, dy, simd.zero()),
            ),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, slope: impl Fn(S::Vector, S::Vector, S::Vector) -> S::Vector) {
        let place = match self.operand {
            Operand::A => 1,
            Operand::B => 2,
        };
        let axes = &self.plan.axes;
        let broadcast = |axis: Axis| axis.strides[place] == 0;
        let kept = axes.map(|axis| if broadcast(axis) { Axis::UNIT } else { axis });
        let [outer @ .., inner] = axes.map(|axis| if broadcast(axis) { axis } else { Axis::UNIT });
        let summed = [outer[0], outer[1], outer[2], Axis::UNIT];
        let (mut first, mut gradient) = (self.first, self.gradient);
        let reads = self.plan.function.gradient_reads(self.operand);
        while !gradient.is_empty() {
            let run = gradient.len().min(kept[3].size - first % kept[3].size);
            let (run, rest) = gradient.split_at_mut(run);
            let start = offsets(&kept, first);
            for sum in 0..count(&summed) {
                let at = offsets(&summed, sum);
                let [at_dy, at_a, at_b] = [0, 1, 2].map(|n| start[n] + at[n]);
                let length = run.len() * inner.size;
                let values = |values, read, at, stride| match read {
                    true => Run::new(values, at, stride, length),
                    false => Run::All(&Lanes::ZERO),
                };
                let a = values(self.a, reads[0], at_a, axes[3].strides[1]);
                let b = values(self.b, reads[1], at_b, axes[3].strides[2]);
                let dy = &self.dy[at_dy..][..length];
                let slope = |dy: &Lanes, a: &Lanes, b: &Lanes| {
                    slope(simd.load(&dy.0), simd.load(&a.0), simd.load(&b.0))
                };
                if broadcast(axes[3]) {
                    let mut total = if sum == 0 { simd.zero() } else { simd.load(&run[0].0) };
                    for_each(
                        dy.iter(),
                        a,
                        b,
                        #[inline(always)]
                        |dy, a, b| total = simd.add(total, slope(dy, a, b)),
                    );
                    simd.store(total, &mut run[0].0);
                } else {
                    for_each(
                        run.iter_mut().zip(dy),
                        a,
                        b,
                        #[inline(always)]
                        |(to, dy), a, b| {
                            let value = slope(dy, a, b);
                            let total = if sum == 0 { value } else { simd.add(simd.load(&to.0), value) };
                            simd.store(total, &mut to.0);
                        },
                    );
                }
            }
            (first, gradient) = (first + run.len(), rest);
        }
    }
}

struct Accumulate<'a> {
    from: &'a [Lanes],
    to: &'a mut [Lanes],
}

impl WithSimd for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (from, to) in self.from.iter().zip(self.to) {
            simd.store(simd.add(simd.load(&to.0), simd.load(&from.0)), &mut to.0);
        }
    }
}
