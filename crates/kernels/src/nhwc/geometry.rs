//! Where a sliding window reads: shapes, and the convolution's form that kernels run.
//!
//! A convolution is brought into one form at preparation: *positions* (output pixels, or groups of neighbouring
//! ones), each of which multiplies the same *runs* of contiguous input by packed weights.
//!
//! - The input is copied into a buffer with its padding around it, so that no position is special. Rows and columns
//!   of the kernel that never touch the image are dropped.
//! - A layer narrower than the lanes is *folded*: `fold` neighbouring pixels of a row become one position with
//!   `fold · O` output channels, whose kernel is `fold − 1` strides wider and holds zeros where a pixel does not
//!   reach. In NHWC the outputs of a position are contiguous as they stand, so folding is a matter of packing only.

use std::ops::Range;

/// How many output channels a vector holds.
pub const LANES: usize = crate::cpu::LANES;

/// Shape of a convolution over NHWC images. Height comes before width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Height, width and channels of an input image.
    pub input: [usize; 3],
    /// Height, width and channels of an output image.
    pub output: [usize; 3],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one output position to the next.
    pub stride: [usize; 2],
    /// Pixels from one kernel tap to the next.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the image.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// The shape of a fully connected layer, which is a convolution over images of one pixel.
    #[must_use]
    pub fn fully_connected(batch: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            batch,
            input: [1, 1, inputs],
            output: [1, 1, outputs],
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
        }
    }

    /// The shape of each of `groups` convolutions that the channels fall into.
    #[must_use]
    pub fn of_group(mut self, groups: usize) -> Self {
        self.input[2] /= groups;
        self.output[2] /= groups;
        self
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.input.iter().product::<usize>()
    }

    /// Elements of the output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.batch * self.output.iter().product::<usize>()
    }

    /// Elements of the weights, `[O, KH, KW, I]`.
    #[must_use]
    pub fn weights_len(&self) -> usize {
        self.output[2] * self.kernel[0] * self.kernel[1] * self.input[2]
    }

    /// Multiply–accumulates, those over padding included.
    #[must_use]
    pub fn macs(&self) -> usize {
        self.output_len().saturating_mul(self.weights_len() / self.output[2])
    }
}

/// Shape of a pooling over NHWC images. Height comes before width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Number of images.
    pub batch: usize,
    /// Height, width and channels of an input image.
    pub input: [usize; 3],
    /// Height and width of an output image.
    pub output: [usize; 2],
    /// Height and width of the window.
    pub window: [usize; 2],
    /// Pixels from one output position to the next.
    pub stride: [usize; 2],
    /// Rows above and columns left of the image.
    pub padding: [usize; 2],
}

impl PoolShape {
    /// The shape of a pooling over the whole of each image.
    #[must_use]
    pub fn global(batch: usize, input: [usize; 3]) -> Self {
        Self { batch, input, output: [1, 1], window: [input[0], input[1]], stride: [1, 1], padding: [0, 0] }
    }

    /// The input rows or columns that output position `position` sees along `axis`.
    #[must_use]
    pub fn span(&self, axis: usize, position: usize) -> Range<usize> {
        let start = position * self.stride[axis];
        let end = (start + self.window[axis]).saturating_sub(self.padding[axis]).min(self.input[axis]);
        start.saturating_sub(self.padding[axis]).min(end)..end
    }

    /// Calls `visit(output_pixel, window)` for each output pixel, in order.
    #[inline(always)]
    pub fn for_each_window(&self, mut visit: impl FnMut(usize, &Window)) {
        let [height, width, _] = self.input;
        let mut pixel = 0;
        for image in 0..self.batch {
            for row in 0..self.output[0] {
                for column in 0..self.output[1] {
                    let window = Window {
                        first: image * height * width,
                        width,
                        rows: self.span(0, row),
                        columns: self.span(1, column),
                    };
                    visit(pixel, &window);
                    pixel += 1;
                }
            }
        }
    }
}

/// The part of a pooling window that lies inside the image.
#[derive(Debug, Clone)]
pub struct Window {
    first: usize,
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Window {
    /// Positions of the window's pixels in the batch, row-major.
    #[inline(always)]
    pub fn pixels(&self) -> impl Iterator<Item = usize> {
        self.rows
            .clone()
            .flat_map(move |y| self.columns.clone().map(move |x| self.first + y * self.width + x))
    }

    /// Number of pixels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Whether the window has no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value that starts at a cache line, so that reading a vector of it touches one line only.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Aligned<V>(pub(crate) V);

/// Contiguous input that every position multiplies, relative to the position's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First element, counted from the position's first element.
    pub(crate) offset: usize,
    /// Number of elements.
    pub(crate) len: usize,
}

/// A convolution in the form that kernels run.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) shape: ConvShape,
    /// Output pixels per position.
    pub(crate) fold: usize,
    /// Positions per output row.
    pub(crate) positions: usize,
    /// Height and width of the buffer that positions read.
    pub(crate) padded: [usize; 2],
    /// Whether that buffer is the input itself.
    pub(crate) in_place: bool,
    /// What each position multiplies, in the order of the packed weights.
    pub(crate) runs: Vec<Run>,
    /// Kernel rows that touch the image.
    rows: Vec<usize>,
    /// Column offsets that touch the image, ascending.
    columns: Vec<usize>,
}

impl Lowered {
    pub(crate) fn new(shape: ConvShape) -> Self {
        let most = (LANES / shape.output[2]).clamp(1, shape.output[1].max(1));
        let cost = |fold: usize| shape.output[1].div_ceil(fold) * live_columns(&shape, fold).len();
        let fold = (1..=most).min_by_key(|&fold| cost(fold)).unwrap_or(1);
        Self::folded(shape, fold)
    }

    fn folded(shape: ConvShape, fold: usize) -> Self {
        let [out_h, out_w, _] = shape.output;
        let [in_h, in_w, channels] = shape.input;
        let positions = out_w.div_ceil(fold);
        let reach = |axis: usize, positions: usize| {
            (positions.max(1) - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis] + 1
        };
        let needed = [reach(0, out_h), reach(1, positions * fold)];
        let in_place = shape.padding == [0, 0] && needed[0] <= in_h && needed[1] <= in_w;
        let padded = if in_place { [in_h, in_w] } else { needed };
        let rows: Vec<usize> = (0..shape.kernel[0])
            .filter(|row| touches(&shape, 0, row * shape.dilation[0], (out_h, 1)))
            .collect();
        let columns = live_columns(&shape, fold);
        let mut runs = Vec::new();
        for row in &rows {
            for run in columns.chunk_by(|left, right| left + 1 == *right) {
                let offset = (row * shape.dilation[0] * padded[1] + run[0]) * channels;
                runs.push(Run { offset, len: run.len() * channels });
            }
        }
        Self { shape, fold, positions, padded, in_place, runs, rows, columns }
    }

    /// Elements of the buffer that positions read.
    pub(crate) fn padded_len(&self) -> usize {
        self.shape.batch * self.padded[0] * self.padded[1] * self.shape.input[2]
    }

    /// Vectors of output channels of a position.
    pub(crate) fn blocks(&self) -> usize {
        (self.fold * self.shape.output[2]).div_ceil(LANES)
    }

    /// Input elements that a position multiplies.
    pub(crate) fn depth(&self) -> usize {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Start of position `position` of output row `row`, rows counted over all images.
    #[inline(always)]
    pub(crate) fn base(&self, row: usize, position: usize) -> usize {
        let (image, row) = (row / self.shape.output[0], row % self.shape.output[0]);
        let [padded_h, padded_w] = self.padded;
        let y = image * padded_h + row * self.shape.stride[0];
        (y * padded_w + position * self.fold * self.shape.stride[1]) * self.shape.input[2]
    }

    /// The output channel of lane `lane` of block `block`; `None` past the last one.
    pub(crate) fn channel(&self, block: usize, lane: usize) -> Option<usize> {
        let index = block * LANES + lane;
        (index < self.fold * self.shape.output[2]).then(|| index % self.shape.output[2])
    }

    /// Calls `visit(block, element, lane, weight)` for each weight that is not zero by construction: where it
    /// stands in the packed order `[block][element of the runs][lane]`, and its index in `[O, KH, KW, I]`.
    pub(crate) fn for_each_weight(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let [kernel_h, kernel_w] = self.shape.kernel;
        let channels = self.shape.input[2];
        let outputs = self.shape.output[2];
        for index in 0..self.fold * outputs {
            let (pixel, output) = (index / outputs, index % outputs);
            let mut element = 0;
            for row in &self.rows {
                for column in &self.columns {
                    if let Some(tap) = self.tap(pixel, *column) {
                        let weight = ((output * kernel_h + row) * kernel_w + tap) * channels;
                        for channel in 0..channels {
                            visit(index / LANES, element + channel, index % LANES, weight + channel);
                        }
                    }
                    element += channels;
                }
            }
        }
    }

    /// The kernel column with which pixel `pixel` of a position sees column offset `column`.
    fn tap(&self, pixel: usize, column: usize) -> Option<usize> {
        let offset = column.checked_sub(pixel * self.shape.stride[1])?;
        let dilation = self.shape.dilation[1];
        (offset.is_multiple_of(dilation) && offset / dilation < self.shape.kernel[1])
            .then(|| offset / dilation)
    }

    /// Copies the input into `padded`, which has [`Lowered::padded_len`] elements.
    pub(crate) fn pad<T: Copy, U: Copy>(&self, x: &[T], padded: &mut [U], zero: U, convert: impl Fn(T) -> U) {
        let [in_h, in_w, channels] = self.shape.input;
        let [padded_h, padded_w] = self.padded;
        let [top, left] = self.shape.padding;
        let kept = in_w.min(padded_w.saturating_sub(left)) * channels;
        for (image, padded) in padded.chunks_exact_mut(padded_h * padded_w * channels).enumerate() {
            for (y, row) in padded.chunks_exact_mut(padded_w * channels).enumerate() {
                let Some(source) = y.checked_sub(top).filter(|&y| y < in_h) else {
                    row.fill(zero);
                    continue;
                };
                let (before, rest) = row.split_at_mut((left * channels).min(padded_w * channels));
                let (inside, after) = rest.split_at_mut(kept);
                before.fill(zero);
                let start = (image * in_h + source) * in_w * channels;
                for (to, from) in inside.iter_mut().zip(&x[start..start + kept]) {
                    *to = convert(*from);
                }
                after.fill(zero);
            }
        }
    }
}

/// The column offsets, ascending, with which positions of `fold` pixels see the image.
fn live_columns(shape: &ConvShape, fold: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..fold)
        .flat_map(|pixel| {
            (0..shape.kernel[1]).map(move |tap| pixel * shape.stride[1] + tap * shape.dilation[1])
        })
        .filter(|&offset| touches(shape, 1, offset, (shape.output[1].div_ceil(fold), fold)))
        .collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Whether any of `positions` (count, pixels each) lands in the image with kernel offset `offset` along `axis`.
fn touches(shape: &ConvShape, axis: usize, offset: usize, positions: (usize, usize)) -> bool {
    let (count, fold) = positions;
    (0..count).any(|position| {
        let at = position * fold * shape.stride[axis] + offset;
        (shape.padding[axis]..shape.padding[axis] + shape.input[axis]).contains(&at)
    })
}
