//! Functions of two operands, with sizes of 1 broadcast.

use super::Fused;

/// Functions of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// `max(a, b)`; a NaN on either side gives NaN.
    Maximum,
    /// `min(a, b)`; a NaN on either side gives NaN.
    Minimum,
}

impl Binary {
    /// The function of two values.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Maximum => {
                if a > b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
            Self::Minimum => {
                if a < b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
        }
    }
}

/// A function of two operands, and the nonlinearity behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elementwise {
    function: Binary,
    fused: Fused,
    broadcast: Broadcast,
}

/// How two operands meet value by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// Outermost first; never empty.
    axes: Vec<Axis>,
}

/// An axis of the output, or several that both inputs treat alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    size: usize,
    /// Elements of `[a, b]` from one index to the next; 0 where the input is broadcast.
    steps: [usize; 2],
}

impl Broadcast {
    /// For operands of the sizes `a` and `b`, which have one rank and are equal or 1 at each axis.
    pub(crate) fn new(a: &[usize], b: &[usize]) -> Self {
        let mut axes: Vec<Axis> = Vec::new();
        let mut steps = [1, 1];
        for (&a, &b) in a.iter().zip(b).rev() {
            let size = a.max(b);
            let moves = [a, b].map(|own| own == size);
            match axes.last_mut() {
                Some(inner) if inner.steps.map(|step| step > 0) == moves || size == 1 => inner.size *= size,
                Some(_) | None => {
                    let steps = std::array::from_fn(|side| if moves[side] { steps[side] } else { 0 });
                    axes.push(Axis { size, steps });
                }
            }
            steps = [steps[0] * a, steps[1] * b];
        }
        if axes.is_empty() {
            axes.push(Axis { size: 1, steps: [1, 1] });
        }
        axes.reverse();
        Self { axes }
    }

    /// Computes `y` from `a` and `b`, value by value.
    pub(crate) fn run<A: Copy, B: Copy, Y: Copy>(
        &self,
        a: &[A],
        b: &[B],
        y: &mut [Y],
        function: impl Fn(A, B) -> Y,
    ) {
        walk(&self.axes, a, b, y, &function);
    }
}

impl Elementwise {
    /// For operands of the sizes `a` and `b`, which have one rank and are equal or 1 at each axis.
    #[must_use]
    pub fn new(function: Binary, fused: Fused, a: &[usize], b: &[usize]) -> Self {
        Self { function, fused, broadcast: Broadcast::new(a, b) }
    }

    /// Computes `y` from `a` and `b`.
    pub fn run(&self, a: &[f32], b: &[f32], y: &mut [f32]) {
        match self.function {
            Binary::Add => self.walk(a, b, y, |a, b| Binary::Add.apply(a, b)),
            Binary::Subtract => self.walk(a, b, y, |a, b| Binary::Subtract.apply(a, b)),
            Binary::Multiply => self.walk(a, b, y, |a, b| Binary::Multiply.apply(a, b)),
            Binary::Divide => self.walk(a, b, y, |a, b| Binary::Divide.apply(a, b)),
            Binary::Maximum => self.walk(a, b, y, |a, b| Binary::Maximum.apply(a, b)),
            Binary::Minimum => self.walk(a, b, y, |a, b| Binary::Minimum.apply(a, b)),
        }
    }

    /// Keeps the choice of the function out of the loop.
    fn walk(&self, a: &[f32], b: &[f32], y: &mut [f32], function: impl Fn(f32, f32) -> f32) {
        self.broadcast.run(a, b, y, |a, b| self.fused.apply(function(a, b)));
    }
}

fn walk<A: Copy, B: Copy, Y: Copy>(
    axes: &[Axis],
    a: &[A],
    b: &[B],
    y: &mut [Y],
    function: &impl Fn(A, B) -> Y,
) {
    match axes {
        [] => {}
        [Axis { size, steps }] => {
            let y = &mut y[..*size];
            match steps {
                [0, 0] => y.fill(function(a[0], b[0])),
                [0, _] => y.iter_mut().zip(b).for_each(|(y, &b)| *y = function(a[0], b)),
                [_, 0] => y.iter_mut().zip(a).for_each(|(y, &a)| *y = function(a, b[0])),
                [_, _] => y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = function(a, b)),
            }
        }
        [Axis { size, steps }, inner @ ..] => {
            let len = y.len() / size;
            for (index, y) in y.chunks_exact_mut(len).enumerate() {
                walk(inner, &a[index * steps[0]..], &b[index * steps[1]..], y, function);
            }
        }
    }
}
