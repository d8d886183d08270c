//! RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR.

use super::{Arithmetic, Emitter, Options, Reading, Source, Version, Versions, to_i32};
use crate::error::Result;
use crate::tflite::build::Value;
use crate::tflite::flat::Field;
use crate::tflite::schema::{builtin, options, resize_bilinear_options, resize_nearest_options};
use taper_graph::{Node, Op, Resize2d, ResizeCoordinates, ResizeMethod};

const BILINEAR: Versions = Versions::new(1, [1, 7, 0], 2, [1, 14, 0]);
const NEAREST: Versions = Versions::new(1, [1, 13, 1], 2, [1, 14, 0]);
const HALF_PIXEL_BILINEAR: Version = Version { number: 3, since: [2, 2, 0] };
/// With half pixels or aligned corners.
const PLACED_NEAREST: Version = Version { number: 3, since: [2, 3, 0] };

/// What tells the methods apart in a file: the options' type and the fields of aligned corners and half pixels.
fn layout(method: ResizeMethod) -> (u8, [Field; 2]) {
    match method {
        ResizeMethod::Nearest => (
            options::RESIZE_NEAREST_NEIGHBOR,
            [resize_nearest_options::ALIGN_CORNERS, resize_nearest_options::HALF_PIXEL_CENTERS],
        ),
        ResizeMethod::Bilinear => (
            options::RESIZE_BILINEAR,
            [resize_bilinear_options::ALIGN_CORNERS, resize_bilinear_options::HALF_PIXEL_CENTERS],
        ),
    }
}

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, resize: &Resize2d) -> Result<()> {
    emitter.same_quantization(node)?;
    let arithmetic = emitter.of_activations(node)?;
    let (builtin, version) = match (resize.method, resize.coordinates) {
        (ResizeMethod::Nearest, ResizeCoordinates::Asymmetric) => {
            (builtin::RESIZE_NEAREST_NEIGHBOR, NEAREST.of(arithmetic))
        }
        (ResizeMethod::Nearest, ResizeCoordinates::AlignCorners | ResizeCoordinates::HalfPixel) => {
            (builtin::RESIZE_NEAREST_NEIGHBOR, PLACED_NEAREST)
        }
        (ResizeMethod::Bilinear, ResizeCoordinates::HalfPixel) => {
            (builtin::RESIZE_BILINEAR, HALF_PIXEL_BILINEAR)
        }
        (ResizeMethod::Bilinear, ResizeCoordinates::Asymmetric | ResizeCoordinates::AlignCorners) => {
            (builtin::RESIZE_BILINEAR, BILINEAR.of(arithmetic))
        }
    };
    let size = resize.size.iter().map(|&pixels| to_i32(pixels, "size")).collect::<Result<_>>()?;
    let size = emitter.add_i32(format!("{}/size", node.name), &[2], size)?;
    let mut inputs = emitter.positions(&node.inputs)?;
    inputs.push(size);
    let (options_type, [align_corners, half_pixels]) = layout(resize.method);
    let fields = vec![
        (align_corners, Value::Flag(resize.coordinates == ResizeCoordinates::AlignCorners)),
        (half_pixels, Value::Flag(resize.coordinates == ResizeCoordinates::HalfPixel)),
    ];
    emitter.with_inputs(node, builtin, version, inputs, Options::Fields { options_type, fields })
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let method = match source.code.builtin {
        builtin::RESIZE_BILINEAR => ResizeMethod::Bilinear,
        _ => ResizeMethod::Nearest,
    };
    let (options_type, [align_corners, half_pixels]) = layout(method);
    let Some(options) = source.options(options_type)? else {
        return Ok(None);
    };
    let coordinates = match (options.flag(align_corners)?, options.flag(half_pixels)?) {
        (false, false) => ResizeCoordinates::Asymmetric,
        (true, false) => ResizeCoordinates::AlignCorners,
        (false, true) => ResizeCoordinates::HalfPixel,
        (true, true) => return Ok(None),
    };
    let Some(&[height, width]) = source.i32_values(1) else {
        return Ok(None);
    };
    let [Some(height), Some(width)] =
        [height, width].map(|pixels| usize::try_from(pixels).ok().filter(|&pixels| pixels > 0))
    else {
        return Ok(None);
    };
    let image = x.shape.image().is_some_and(|sizes| !sizes.contains(&0));
    let same = Arithmetic::of_activations(x, y).is_some() && x.quantization == y.quantization;
    let op = Op::Resize2d(Resize2d { size: [height, width], method, coordinates });
    Ok((image && same && source.inputs.len() == 2).then_some((op, inputs)))
}
