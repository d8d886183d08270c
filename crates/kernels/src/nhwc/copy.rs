//! Operators that only move values, of any type: concatenation, padding, slices and copies.

/// One input of a concatenation: where its values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcatPart {
    /// Elements of the input for each index of the axes in front.
    pub len: usize,
    /// Elements of the output that stand before them.
    pub offset: usize,
    /// Elements of the output for each index of the axes in front.
    pub stride: usize,
}

impl ConcatPart {
    /// Copies the input `x` to its place in `y`.
    pub fn run<T: Copy>(&self, x: &[T], y: &mut [T]) {
        self.each_row(x, y, |x, y| y.copy_from_slice(x));
    }

    /// Calls `write` with each row of the input and its place in `y`.
    pub(crate) fn each_row<T>(&self, x: &[T], y: &mut [T], write: impl Fn(&[T], &mut [T])) {
        for (x, y) in x.chunks_exact(self.len).zip(y.chunks_exact_mut(self.stride)) {
            write(x, &mut y[self.offset..][..self.len]);
        }
    }
}

/// A border around images `[N,H,W,C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pad {
    /// Height, width and channels of an input image.
    pub input: [usize; 3],
    /// Height and width of an output image.
    pub output: [usize; 2],
    /// Rows above and columns left of the input.
    pub before: [usize; 2],
}

impl Pad {
    /// Copies the images of `x` into the midst of those of `y`, whose borders hold `value`.
    pub fn run<T: Copy>(&self, value: T, x: &[T], y: &mut [T]) {
        let [height, width, channels] = self.input;
        let row = self.output[1] * channels;
        y.fill(value);
        for (x, y) in x.chunks_exact(height * width * channels).zip(y.chunks_exact_mut(self.output[0] * row))
        {
            let inside = y.chunks_exact_mut(row).skip(self.before[0]);
            for (x, y) in x.chunks_exact(width * channels).zip(inside) {
                y[self.before[1] * channels..][..width * channels].copy_from_slice(x);
            }
        }
    }
}

/// What a slice takes of an axis: the indices `start`, `start + step`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisRange {
    /// Size of the input; not 0.
    pub size: usize,
    /// The first index.
    pub start: usize,
    /// From one index to the next.
    pub step: usize,
    /// Size of the output; not 0.
    pub count: usize,
}

/// Copies the part of `x` that `axes`, outermost first, take of it. Axes behind them stay whole.
pub fn strided_slice<T: Copy>(axes: &[AxisRange], x: &[T], y: &mut [T]) {
    let [axis, inner @ ..] = axes else { return y.copy_from_slice(x) };
    let len = x.len() / axis.size;
    let taken = x.chunks_exact(len).skip(axis.start).step_by(axis.step);
    for (x, y) in taken.zip(y.chunks_exact_mut(y.len() / axis.count)) {
        strided_slice(inner, x, y);
    }
}

/// How often an input stands along an axis of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisCopies {
    /// Size of the input; not 0.
    pub size: usize,
    /// The number of copies; not 0.
    pub copies: usize,
}

/// Copies `x` side by side along `axes`, outermost first. Axes behind them stay as they are.
pub fn tile<T: Copy>(axes: &[AxisCopies], x: &[T], y: &mut [T]) {
    let [axis, inner @ ..] = axes else { return y.copy_from_slice(x) };
    let len = y.len() / axis.copies;
    let first = y[..len].chunks_exact_mut(len / axis.size);
    for (x, y) in x.chunks_exact(x.len() / axis.size).zip(first) {
        tile(inner, x, y);
    }
    for copy in 1..axis.copies {
        y.copy_within(..len, copy * len);
    }
}
