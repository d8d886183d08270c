//! Image files: foreign bytes become grey or colour pixels.
//!
//! The format is told by the first bytes, never by the name. JPEG is decoded by scalar integer code alone, so that every
//! CPU gives the same pixels. Neither colour profiles nor an orientation in the metadata are applied, transparency is
//! dropped, and of several frames the first counts: as Pillow's `Image.open(…).convert(…)` does it.

use std::io::{BufRead, Cursor, Seek};

use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use zune_core::bytestream::ZByteReaderTrait;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::dataset::ImageShape;
use crate::error::ImageError;

/// The most pixels on a side.
const MAX_SIDE: u32 = 1 << 14;

/// The most pixels of an image, so that a small file cannot ask for much memory.
const MAX_PIXELS: u64 = 1 << 26;

/// The most bytes that a decoder may take: eight for each pixel.
const MAX_ALLOCATION: u64 = MAX_PIXELS * 8;

/// One decoded image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    /// With 1 channel (grey) or 3 (red, green, blue).
    pub(crate) shape: ImageShape,
    /// `[H][W][C]`.
    pub(crate) bytes: Vec<u8>,
}

/// The shape of an image file by its header: 1 channel if it is grey, else 3.
pub(crate) fn header(mut reader: impl BufRead + Seek) -> Result<ImageShape, ImageError> {
    let format = Format::of(reader.fill_buf().map_err(ImageError::Io)?)?;
    match format {
        Format::Jpeg => {
            let mut decoder = JpegDecoder::new_with_options(reader, jpeg_options());
            jpeg_header(&mut decoder).map(|(shape, _)| shape)
        }
        Format::Other(format) => {
            let mut reader = ImageReader::with_format(reader, format);
            reader.limits(limits());
            let decoder = reader.into_decoder().map_err(broken)?;
            let (width, height) = image::ImageDecoder::dimensions(&decoder);
            let channels = if image::ImageDecoder::color_type(&decoder).has_color() { 3 } else { 1 };
            sized(height, width, channels)
        }
    }
}

/// Decodes the bytes of an image file to 1 channel (grey) or 3 (red, green, blue).
///
/// Colours become grey by Rec. 601, `0.299 R + 0.587 G + 0.114 B`; a JPEG's own luma, which is the same, is taken as it is.
pub(crate) fn decode(file: &[u8], channels: usize) -> Result<Pixels, ImageError> {
    let decoded = match Format::of(file)? {
        Format::Jpeg => decode_jpeg(file, channels)?,
        Format::Other(format) => {
            let mut reader = ImageReader::with_format(Cursor::new(file), format);
            reader.limits(limits());
            let image = reader.decode().map_err(broken)?;
            of_image(image, channels)?
        }
    };
    Ok(match (decoded.shape.channels, channels) {
        (3, 1) => grey(&decoded),
        (1, 3) => coloured(&decoded),
        _ => decoded,
    })
}

/// Which decoder reads a file.
enum Format {
    Jpeg,
    /// PNG, BMP or WebP.
    Other(ImageFormat),
}

impl Format {
    fn of(file: &[u8]) -> Result<Self, ImageError> {
        match image::guess_format(file) {
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(format @ (ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP)) => Ok(Self::Other(format)),
            Ok(_) | Err(_) => Err(ImageError::Format { found: file.iter().take(4).copied().collect() }),
        }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    limits
}

/// Strict, because a lenient decoder paints what is missing grey.
fn jpeg_options() -> DecoderOptions {
    DecoderOptions::new_safe().set_use_unsafe(false).set_strict_mode(true)
}

fn jpeg_header<R: ZByteReaderTrait>(
    decoder: &mut JpegDecoder<R>,
) -> Result<(ImageShape, ColorSpace), ImageError> {
    decoder.decode_headers().map_err(broken)?;
    let (Some((width, height)), Some(space)) = (decoder.dimensions(), decoder.input_colorspace()) else {
        return Err(ImageError::Broken { reason: "there is no size".to_owned() });
    };
    let channels = if space == ColorSpace::Luma { 1 } else { 3 };
    let [height, width] = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    Ok((sized(height, width, channels)?, space))
}

fn decode_jpeg(file: &[u8], channels: usize) -> Result<Pixels, ImageError> {
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(file), jpeg_options());
    let (mut shape, space) = jpeg_header(&mut decoder)?;
    let target = match space {
        ColorSpace::Luma => ColorSpace::Luma,
        ColorSpace::YCbCr if channels == 1 => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    shape.channels = if target == ColorSpace::Luma { 1 } else { 3 };
    decoder.set_options(jpeg_options().jpeg_set_out_colorspace(target));
    let bytes = decoder.decode().map_err(broken)?;
    // Within a scan neither marker occurs, so that the last of the two tells whether the last scan is whole. Without this
    // the decoder would not notice that its last rows are missing.
    let last = file.windows(2).rev().find(|pair| matches!(pair, [0xff, 0xd9 | 0xda]));
    if last != Some(&[0xff, 0xd9]) {
        return Err(ImageError::Broken { reason: "the end of the JPEG is missing".to_owned() });
    }
    checked(shape, bytes)
}

fn of_image(image: DynamicImage, channels: usize) -> Result<Pixels, ImageError> {
    let (height, width) = (image.height(), image.width());
    if channels == 1 && !image.color().has_color() {
        checked(sized(height, width, 1)?, image.into_luma8().into_raw())
    } else {
        checked(sized(height, width, 3)?, image.into_rgb8().into_raw())
    }
}

/// A shape within the bounds.
fn sized(height: u32, width: u32, channels: usize) -> Result<ImageShape, ImageError> {
    let pixels = u64::from(height) * u64::from(width);
    let within = (1..=MAX_PIXELS).contains(&pixels) && height.max(width) <= MAX_SIDE;
    match (usize::try_from(height), usize::try_from(width)) {
        (Ok(height), Ok(width)) if within => Ok(ImageShape { height, width, channels }),
        _ => Err(ImageError::Size { height, width, most: MAX_PIXELS, side: MAX_SIDE }),
    }
}

fn checked(shape: ImageShape, bytes: Vec<u8>) -> Result<Pixels, ImageError> {
    if bytes.len() == shape.elements() {
        return Ok(Pixels { shape, bytes });
    }
    let reason = format!("expected {} bytes for {shape}, found {}", shape.elements(), bytes.len());
    Err(ImageError::Broken { reason })
}

fn broken(error: impl std::fmt::Display) -> ImageError {
    ImageError::Broken { reason: error.to_string().trim().to_owned() }
}

/// Rec. 601 in fixed point with 16 binary places, rounded, as Pillow computes it.
fn grey(pixels: &Pixels) -> Pixels {
    let (colours, _) = pixels.bytes.as_chunks::<3>();
    let luma = |&[red, green, blue]: &[u8; 3]| {
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        ((sum + (1 << 15)) >> 16).to_le_bytes()[0]
    };
    let shape = ImageShape { channels: 1, ..pixels.shape };
    Pixels { shape, bytes: colours.iter().map(luma).collect() }
}

fn coloured(pixels: &Pixels) -> Pixels {
    let shape = ImageShape { channels: 3, ..pixels.shape };
    Pixels { shape, bytes: pixels.bytes.iter().flat_map(|&value| [value; 3]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
    use proptest::prelude::*;

    const FORMATS: [ImageFormat; 4] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP];

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|i| ((i * i * 7 + i * 13) % 251) as u8).collect()
    }

    fn colours(height: u32, width: u32) -> DynamicImage {
        let count = (height * width * 3) as usize;
        RgbImage::from_raw(width, height, bytes(count)).unwrap().into()
    }

    #[test]
    fn lossless_formats_keep_every_byte() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let file = encoded(&colours(3, 5), format);
            let shape = ImageShape { height: 3, width: 5, channels: 3 };
            assert_eq!(header(Cursor::new(&file)).unwrap(), shape);
            assert_eq!(decode(&file, 3).unwrap(), Pixels { shape, bytes: bytes(45) });
        }
        let grey = GrayImage::from_raw(5, 3, bytes(15)).unwrap();
        let file = encoded(&grey.into(), ImageFormat::Png);
        let shape = ImageShape { height: 3, width: 5, channels: 1 };
        assert_eq!(header(Cursor::new(&file)).unwrap(), shape);
        assert_eq!(decode(&file, 1).unwrap(), Pixels { shape, bytes: bytes(15) });
        let tripled: Vec<u8> = bytes(15).into_iter().flat_map(|value| [value; 3]).collect();
        assert_eq!(decode(&file, 3).unwrap().bytes, tripled);
    }

    /// What Pillow 13.0 gives for `Image.fromarray(a).convert("L")`.
    #[test]
    fn colours_become_grey_as_in_pillow() {
        let file = encoded(&colours(2, 3), ImageFormat::Png);
        assert_eq!(decode(&file, 1).unwrap().bytes, [18, 154, 137, 127, 110, 173]);
    }

    #[test]
    fn transparency_is_dropped() {
        let colour = RgbaImage::from_raw(1, 1, vec![1, 2, 3, 0]).unwrap();
        assert_eq!(decode(&encoded(&colour.into(), ImageFormat::Png), 3).unwrap().bytes, [1, 2, 3]);
        let grey = GrayAlphaImage::from_raw(1, 1, vec![7, 0]).unwrap();
        assert_eq!(decode(&encoded(&grey.into(), ImageFormat::Png), 1).unwrap().bytes, [7]);
    }

    #[test]
    fn a_jpeg_is_close_to_what_it_was_made_of() {
        let smooth = RgbImage::from_fn(40, 24, |x, y| image::Rgb([6 * x as u8, 10 * y as u8, 128]));
        let expected = smooth.as_raw().clone();
        let file = encoded(&smooth.into(), ImageFormat::Jpeg);
        let found = decode(&file, 3).unwrap();
        assert_eq!(found.shape, header(Cursor::new(&file)).unwrap());
        assert!(found.bytes.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) < 24));
        let luma = decode(&file, 1).unwrap();
        assert!(luma.bytes.iter().zip(&grey(&found).bytes).all(|(a, b)| a.abs_diff(*b) < 4));
    }

    #[test]
    fn says_what_is_wrong() {
        fn check(file: &[u8], expected: &str) {
            for error in [header(Cursor::new(file)).unwrap_err(), decode(file, 3).unwrap_err()] {
                assert_eq!(error.to_string(), expected);
            }
        }
        check(b"", "expected a PNG, JPEG, BMP or WebP image, found a file that starts with []");
        check(
            b"GIF89a",
            "expected a PNG, JPEG, BMP or WebP image, found a file that starts with [47, 49, 46, 38]",
        );
        check(
            &encoded(&colours(3, 3), ImageFormat::Png)[..20],
            "expected an intact image, found: unexpected end of file",
        );
        // The sizes in the header of a JPEG are those of its frame, behind the marker ff c0 and four bytes.
        let mut huge = encoded(&colours(3, 3), ImageFormat::Jpeg);
        let frame = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        huge[frame + 5..frame + 9].copy_from_slice(&[0x3f, 0xff, 0x3f, 0xff]);
        check(&huge, "expected 1 to 67108864 pixels, at most 16384 on a side, found 16383×16383");
    }

    #[test]
    fn every_truncation_is_an_error() {
        for format in FORMATS {
            let file = encoded(&colours(20, 20), format);
            for length in 0..file.len() {
                // Behind the pixels a PNG has only its end mark, and a lossless WebP at most a byte that evens its length.
                let complete = match format {
                    ImageFormat::Png => file.len() - 12,
                    ImageFormat::WebP => file.len() - 1,
                    _ => file.len(),
                };
                let found = decode(&file[..length], 3);
                assert!(found.is_err() || length >= complete, "{format:?}: {length} of {}", file.len());
            }
        }
    }

    proptest! {
        #[test]
        fn mangled_files_never_panic(
            format in prop::sample::select(FORMATS.as_slice()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut file = encoded(&colours(9, 17), format);
            for (place, byte) in changes {
                let place = place.index(file.len());
                file[place] = byte;
            }
            for file in [&file[..], &file[..cut.index(file.len())]] {
                for channels in [1, 3] {
                    let header = header(Cursor::new(file));
                    if let Ok(pixels) = decode(file, channels) {
                        prop_assert_eq!(pixels.shape.channels, channels);
                        prop_assert_eq!(pixels.bytes.len(), pixels.shape.elements());
                        prop_assert!(header.is_ok());
                    }
                }
            }
        }
    }
}
