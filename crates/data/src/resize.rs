//! Resizing, bit for bit as Pillow's `Image.resize(…, BILINEAR)`.
//!
//! A triangle filter, as wide as two pixels of the coarser of the two images: linear interpolation when enlarging, an
//! average of all pixels when shrinking. Columns first, then rows, each in fixed point and rounded to bytes
//! (`src/libImaging/Resample.c` of Pillow).

use crate::dataset::ImageShape;
use crate::decode::Pixels;

/// Binary places of a weight: 8 bits of a pixel and 2 of headroom are left of 32.
const PLACES: u32 = 22;

/// The image stretched to the height and width of `target`; the channels stay.
pub(crate) fn resize(pixels: Pixels, target: ImageShape) -> Vec<u8> {
    let ImageShape { height, width, channels } = pixels.shape;
    let mut bytes = pixels.bytes;
    if width != target.width {
        let taps = taps(width, target.width);
        let mut narrow = Vec::with_capacity(height * target.width * channels);
        for row in bytes.chunks_exact(width * channels) {
            for tap in &taps {
                let source = &row[tap.first * channels..];
                for channel in 0..channels {
                    let values = source[channel..].iter().step_by(channels);
                    narrow.push(rounded(values.zip(&tap.weights).map(|(&v, &w)| i32::from(v) * w).sum()));
                }
            }
        }
        bytes = narrow;
    }
    if height != target.height {
        let stride = target.width * channels;
        let mut low = Vec::with_capacity(target.height * stride);
        let mut sums = vec![0; stride];
        for tap in taps(height, target.height) {
            sums.fill(0);
            for (row, &weight) in bytes[tap.first * stride..].chunks_exact(stride).zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(value) * weight;
                }
            }
            low.extend(sums.iter().map(|&sum| rounded(sum)));
        }
        bytes = low;
    }
    bytes
}

/// The pixels that one pixel of the result is made of.
struct Tap {
    first: usize,
    /// With [`PLACES`] binary places; their sum is 1 but for rounding.
    weights: Vec<i32>,
}

fn taps(source: usize, target: usize) -> Vec<Tap> {
    let scale = source as f64 / target as f64;
    let support = scale.max(1.0);
    (0..target)
        .map(|position| {
            let centre = (position as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(source);
            let weight = |pixel: usize| {
                let distance = ((pixel as f64 - centre + 0.5) / support).abs();
                (1.0 - distance).max(0.0)
            };
            let sum: f64 = (first..end).map(weight).sum();
            let fixed = |pixel| (weight(pixel) / sum * f64::from(1 << PLACES) + 0.5) as i32;
            Tap { first, weights: (first..end).map(fixed).collect() }
        })
        .collect()
}

fn rounded(sum: i32) -> u8 {
    let value = (sum + (1 << (PLACES - 1))) >> PLACES;
    u8::try_from(value.clamp(0, 255)).expect("a clamped value is a byte")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fmt::Write as _;

    fn shape([height, width, channels]: [usize; 3]) -> ImageShape {
        ImageShape { height, width, channels }
    }

    fn resized(from: [usize; 3], to: [usize; 2]) -> Vec<u8> {
        let bytes = (0..shape(from).elements()).map(|i| ((i * i * 7 + i * 13) % 251) as u8).collect();
        resize(Pixels { shape: shape(from), bytes }, shape([to[0], to[1], from[2]]))
    }

    /// What Pillow 13.0 gives: `Image.fromarray(a).resize((w, h), Image.BILINEAR)`, where element `i` of `a` is
    /// `(7·i² + 13·i) % 251`.
    #[test]
    fn is_pillows_bilinear() {
        fn check(from: [usize; 3], to: [usize; 2], expected: &[u8]) {
            assert_eq!(resized(from, to), expected, "{from:?} to {to:?}");
        }
        check([5, 7, 1], [3, 4], &[60, 89, 168, 143, 80, 176, 176, 80, 143, 168, 89, 60]);
        check([9, 4, 1], [2, 4], &[111, 154, 95, 135, 95, 154, 111, 153]);
        check([3, 3, 1], [1, 1], &[112]);
        check([1, 1, 1], [2, 2], &[0, 0, 0, 0]);
        check(
            [4, 9, 3],
            [4, 2],
            &[
                98, 125, 138, 127, 130, 136, 91, 76, 123, 126, 114, 42, 145, 160, 77, 149, 77, 108, 95, 156,
                161, 144, 90, 155,
            ],
        );
        check(
            [2, 3, 3],
            [4, 5],
            &[
                0, 20, 54, 41, 78, 128, 102, 164, 240, 88, 175, 126, 79, 183, 50, 46, 34, 100, 74, 80, 136,
                117, 147, 192, 84, 178, 135, 63, 198, 97, 137, 63, 191, 140, 83, 153, 146, 114, 96, 76, 183,
                152, 30, 228, 190, 182, 77, 237, 173, 85, 161, 160, 97, 48, 72, 185, 161, 13, 243, 236,
            ],
        );
        let photograph = Sha256::digest(resized([480, 640, 3], [224, 224]));
        let hexadecimal = photograph.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        assert_eq!(hexadecimal, "62c1f970ca890e37608ad0df59be30d990c18c3cae402b98146ac4ab16497ba1");
    }
}
