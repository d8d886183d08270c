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
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    input: [usize; 3],
    output: [usize; 2],
    places: Places,
}

/// Where the rows and columns of the output lie in the input.
#[derive(Debug, Clone, PartialEq)]
enum Places {
    Nearest([Vec<usize>; 2]),
    Bilinear([Vec<Between>; 2]),
}

impl Resize {
    /// To the nearest pixel. `input` is height, width and channels, `output` height and width; none is 0.
    #[must_use]
    pub fn nearest(input: [usize; 3], output: [usize; 2], coordinates: Coordinates) -> Self {
        let places = [0, 1].map(|axis| {
            (0..output[axis]).map(|index| coordinates.nearest(index, input[axis], output[axis])).collect()
        });
        Self { input, output, places: Places::Nearest(places) }
    }

    /// Linear in both directions. Sizes as in [`Resize::nearest`].
    #[must_use]
    pub fn bilinear(input: [usize; 3], output: [usize; 2], coordinates: Coordinates) -> Self {
        let places = [0, 1].map(|axis| {
            (0..output[axis]).map(|index| coordinates.between(index, input[axis], output[axis])).collect()
        });
        Self { input, output, places: Places::Bilinear(places) }
    }

    /// Resizes each image of `x` into `y`.
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        let [height, width, channels] = self.input;
        let image = self.output[0] * self.output[1] * channels;
        for (x, y) in x.chunks_exact(height * width * channels).zip(y.chunks_exact_mut(image)) {
            let pixel = |row: usize, column: usize| &x[(row * width + column) * channels..][..channels];
            let mut pixels = y.chunks_exact_mut(channels);
            match &self.places {
                Places::Nearest([rows, columns]) => {
                    for &row in rows {
                        for (&column, y) in columns.iter().zip(&mut pixels) {
                            y.copy_from_slice(pixel(row, column));
                        }
                    }
                }
                Places::Bilinear([rows, columns]) => {
                    for row in rows {
                        for (column, y) in columns.iter().zip(&mut pixels) {
                            let corners = [row.first, row.second]
                                .map(|row| [pixel(row, column.first), pixel(row, column.second)]);
                            blend(row.share, column.share, corners, y);
                        }
                    }
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
