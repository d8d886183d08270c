//! Resizing of images to the nearest pixel or linearly, with the coordinates of TFLite's reference kernels.

/// Which coordinate of the input output pixel `i` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// `i · input / output`.
    Asymmetric,
    /// `i · (input − 1) / (output − 1)`.
    AlignCorners,
    /// `(i + ½) · input / output − ½`.
    HalfPixel,
}

impl Coordinates {
    /// Input pixels per output pixel.
    fn scale(self, input: usize, output: usize) -> f32 {
        match self {
            Self::AlignCorners if output > 1 => (input - 1) as f32 / (output - 1) as f32,
            Self::AlignCorners | Self::Asymmetric | Self::HalfPixel => input as f32 / output as f32,
        }
    }

    /// The pixel nearest to output pixel `index` of an axis: rounded down, or to nearest with aligned corners. With
    /// half pixels it is the one whose area holds the output pixel's middle.
    #[must_use]
    pub fn nearest(self, index: usize, input: usize, output: usize) -> usize {
        let scale = self.scale(input, output);
        let at = match self {
            Self::Asymmetric => (index as f32 * scale).floor(),
            Self::AlignCorners => (index as f32 * scale).round(),
            Self::HalfPixel => ((index as f32 + 0.5) * scale).floor(),
        };
        (at as usize).min(input - 1)
    }

    /// The pixels on both sides of output pixel `index` of an axis, and the share of the second.
    #[must_use]
    pub fn between(self, index: usize, input: usize, output: usize) -> Between {
        let scale = self.scale(input, output);
        let at = match self {
            Self::Asymmetric | Self::AlignCorners => index as f32 * scale,
            Self::HalfPixel => (index as f32 + 0.5) * scale - 0.5,
        };
        let first = (at.floor().max(0.0) as usize).min(input - 1);
        let second = (at.ceil().max(0.0) as usize).min(input - 1);
        Between { first, second, share: at - first as f32 }
    }
}

/// A place between two pixels of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Between {
    /// The pixel before it.
    pub first: usize,
    /// The pixel behind it; at the border, the same.
    pub second: usize,
    /// What the second counts; the first counts the rest.
    pub share: f32,
}

/// A resize of images `[N,H,W,C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Height, width and channels of an input image; none is 0.
    pub input: [usize; 3],
    /// Height and width of an output image; none is 0.
    pub output: [usize; 2],
    /// Which point of the input an output pixel stands for.
    pub coordinates: Coordinates,
}

impl Resize {
    /// Each pixel of `y` becomes the pixel of `x` that is nearest to it.
    pub fn nearest<T: Copy>(&self, x: &[T], y: &mut [T]) {
        let place = |axis: usize, index| self.coordinates.nearest(index, self.input[axis], self.output[axis]);
        self.each_pixel(x, y, place, |pixel, row, column, y| y.copy_from_slice(pixel([row, column])));
    }

    /// Each pixel of `y` becomes what lies between the four pixels of `x` around it, linear in both directions.
    pub fn bilinear(&self, x: &[f32], y: &mut [f32]) {
        let place = |axis: usize, index| self.coordinates.between(index, self.input[axis], self.output[axis]);
        self.each_pixel(x, y, place, |pixel, row: Between, column: Between, y| {
            let corners =
                [row.first, row.second].map(|row| [pixel([row, column.first]), pixel([row, column.second])]);
            blend(row.share, column.share, corners, y);
        });
    }

    /// Calls `write(pixels of the image, row's place, column's place, output pixel)` for each output pixel.
    #[inline(always)]
    pub(crate) fn each_pixel<'x, T, P: Copy>(
        &self,
        x: &'x [T],
        y: &mut [T],
        place: impl Fn(usize, usize) -> P,
        write: impl Fn(&dyn Fn([usize; 2]) -> &'x [T], P, P, &mut [T]),
    ) {
        let [height, width, channels] = self.input;
        let [out_h, out_w] = self.output;
        let images = x.chunks_exact(height * width * channels);
        for (x, y) in images.zip(y.chunks_exact_mut(out_h * out_w * channels)) {
            let pixel = |[row, column]: [usize; 2]| &x[(row * width + column) * channels..][..channels];
            for (row, y) in y.chunks_exact_mut(out_w * channels).enumerate() {
                let row = place(0, row);
                for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                    write(&pixel, row, place(1, column), y);
                }
            }
        }
    }
}

/// The mean of four pixels, `[above, below]` of `[left, right]`, by the shares of those below and to the right.
fn blend(below: f32, right: f32, corners: [[&[f32]; 2]; 2], y: &mut [f32]) {
    let [[above_left, above_right], [below_left, below_right]] = corners;
    let shares = [(1.0 - below) * (1.0 - right), below * (1.0 - right), (1.0 - below) * right, below * right];
    for (channel, y) in y.iter_mut().enumerate() {
        *y = above_left[channel] * shares[0]
            + below_left[channel] * shares[1]
            + above_right[channel] * shares[2]
            + below_right[channel] * shares[3];
    }
}
