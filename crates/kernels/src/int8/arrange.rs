//! Concatenation of integers of different quantizations, and bilinear resizing.

use super::{Affine, Integer};
use crate::nhwc::{ConcatPart, Coordinates, Resize};

/// One input of a concatenation whose quantization may differ from the output's: TFLite's `ConcatenationWithScaling`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaledPart {
    part: ConcatPart,
    /// Factor and addend of each integer before it is rounded, and the output's zero point; `None` if integers stay.
    change: Option<(f32, f32, i32)>,
}

impl ScaledPart {
    /// An input of the quantization `x` that goes to its place in an output of `y`.
    #[must_use]
    pub fn new(part: ConcatPart, x: Affine, y: Affine) -> Self {
        let scale = x.scale * (1.0 / y.scale);
        let change = (x != y).then_some((scale, -x.zero_point as f32 * scale, y.zero_point));
        Self { part, change }
    }

    /// Writes the input `x` to its place in `y`.
    pub fn run<T: Integer>(&self, x: &[T], y: &mut [T]) {
        let Some((scale, addend, zero)) = self.change else { return self.part.run(x, y) };
        self.part.each_row(x, y, |x, y| {
            for (y, x) in y.iter_mut().zip(x) {
                let rounded = (x.widen() as f32 * scale + addend).round() as i32;
                *y = T::saturate(rounded.saturating_add(zero));
            }
        });
    }
}

/// Each pixel of `y` becomes what lies between the four pixels of `x` around it: TFLite's `ResizeBilinear` over integers,
/// which for `u8` computes in floats and rounds half up, and for `i8` in fixed point with 10 bits behind the point.
pub fn bilinear<T: Integer>(resize: &Resize, x: &[T], y: &mut [T]) {
    if T::MIN == 0 { bilinear_in_floats(resize, x, y) } else { bilinear_in_fixed_point(resize, x, y) }
}

fn bilinear_in_floats<T: Integer>(resize: &Resize, x: &[T], y: &mut [T]) {
    let place =
        |axis: usize, index| resize.coordinates.between(index, resize.input[axis], resize.output[axis]);
    resize.each_pixel(x, y, place, |pixel, row, column, y| {
        let [above, below] = [row.first, row.second];
        let corners =
            [[above, column.first], [below, column.first], [above, column.second], [below, column.second]]
                .map(pixel);
        let (down, right) = (row.share, column.share);
        for (channel, y) in y.iter_mut().enumerate() {
            let [above_left, below_left, above_right, below_right] =
                corners.map(|corner| corner[channel].widen() as f32);
            // Each product and sum in TFLite's order, so that every rounding is the same.
            let sum = above_left * (1.0 - down) * (1.0 - right)
                + below_left * down * (1.0 - right)
                + above_right * (1.0 - down) * right
                + below_right * down * right;
            *y = T::saturate((sum + 0.5) as i32);
        }
    });
}

/// Bits behind the point of coordinates.
const POINT: u32 = 10;

/// A place between two pixels of an axis, and what each counts, in `2^−10`.
#[derive(Clone, Copy)]
struct FixedBetween {
    pixels: [usize; 2],
    shares: [i64; 2],
}

fn bilinear_in_fixed_point<T: Integer>(resize: &Resize, x: &[T], y: &mut [T]) {
    let place = |axis: usize, index| fixed_between(resize, axis, index);
    resize.each_pixel(x, y, place, |pixel, row: FixedBetween, column: FixedBetween, y| {
        let corners = row.pixels.map(|row| column.pixels.map(|column| pixel([row, column])));
        for (channel, y) in y.iter_mut().enumerate() {
            let mut sum = 0i64;
            for (down, corners) in row.shares.iter().zip(corners) {
                for (right, corner) in column.shares.iter().zip(corners) {
                    sum += i64::from(corner[channel].widen()) * down * right;
                }
            }
            let one = 1i64 << (2 * POINT);
            let half = if sum > 0 { one / 2 } else { -one / 2 };
            *y = T::saturate(((sum + half) / one) as i32);
        }
    });
}

fn fixed_between(resize: &Resize, axis: usize, index: usize) -> FixedBetween {
    let [input, output, index] = [resize.input[axis], resize.output[axis], index].map(|size| size as i64);
    let one = 1i64 << POINT;
    let scale = match resize.coordinates {
        Coordinates::AlignCorners if output > 1 => (one * (input - 1) + (output - 1) / 2) / (output - 1),
        Coordinates::AlignCorners | Coordinates::Asymmetric | Coordinates::HalfPixel => {
            (one * input + output / 2) / output
        }
    };
    let at = match resize.coordinates {
        Coordinates::HalfPixel => index * scale + scale / 2 - one / 2,
        Coordinates::AlignCorners | Coordinates::Asymmetric => index * scale,
    };
    let first = (at / one).max(0).min(input - 1);
    let second = ((at + one - 1) / one).clamp(0, input - 1);
    let share = at - first * one;
    FixedBetween { pixels: [first as usize, second as usize], shares: [one - share, share] }
}
