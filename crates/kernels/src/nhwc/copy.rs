//! Operators that only move values: concatenation and padding.

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
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(self.len).zip(y.chunks_exact_mut(self.stride)) {
            y[self.offset..][..self.len].copy_from_slice(x);
        }
    }
}

/// A border around images `[N,H,W,C]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pad {
    /// Height, width and channels of an input image.
    pub input: [usize; 3],
    /// Height and width of an output image.
    pub output: [usize; 2],
    /// Rows above and columns left of the input.
    pub before: [usize; 2],
    /// What the border holds.
    pub value: f32,
}

impl Pad {
    /// Copies the images of `x` into the midst of those of `y`.
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        let [height, width, channels] = self.input;
        let row = self.output[1] * channels;
        y.fill(self.value);
        for (x, y) in x.chunks_exact(height * width * channels).zip(y.chunks_exact_mut(self.output[0] * row))
        {
            let inside = y.chunks_exact_mut(row).skip(self.before[0]);
            for (x, y) in x.chunks_exact(width * channels).zip(inside) {
                y[self.before[1] * channels..][..width * channels].copy_from_slice(x);
            }
        }
    }
}
