//! Layers that change the size of an image.

use super::Site;
use crate::error::Result;
use crate::keras::config::{Switch, count};
use serde_json::Value;
use taper_graph::{
    Dropout, Op, Pad, Padding, Pool2d, PoolKind, Resize2d, ResizeCoordinates, ResizeMethod, Shape, TensorId,
};

/// Zeros around the image, as the option `padding` says.
pub(super) fn padding(
    site: &Site<'_, '_>,
    x: TensorId,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<Padding> {
    let [height, width, _] = site.image(x)?;
    match site.layer.text("padding") {
        Some("same") => Ok(Padding::same([height, width], kernel, stride, dilation)),
        Some("valid") | None => Ok(Padding::default()),
        Some(_) => Err(site.layer.unexpected("padding", "same or valid")),
    }
}

pub(super) fn pad(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let [top, bottom, left, right] = site.layer.border("padding")?;
    let padding = Padding { top, bottom, left, right };
    site.node(Op::Pad(Pad { padding, value: 0.0 }), &[x])
}

pub(super) fn pool(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let kind = match site.layer.class.as_str() {
        "MaxPooling2D" => PoolKind::Max,
        _ => PoolKind::Average,
    };
    let window = site.layer.pair("pool_size")?.unwrap_or([2, 2]);
    let stride = site.layer.pair("strides")?.unwrap_or(window);
    let padding = padding(site, x, window, stride, [1, 1])?;
    site.node(Op::Pool2d(Pool2d { kind, window, stride, padding }), &[x])
}

/// The maximum or mean of each channel, as a vector unless `keepdims` is set.
pub(super) fn global_pool(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let kind = match site.layer.class.as_str() {
        "GlobalMaxPooling2D" => PoolKind::Max,
        _ => PoolKind::Average,
    };
    let y = site.node(Op::GlobalPool2d { kind }, &[x])?;
    if site.layer.flag("keepdims", Switch::Off) {
        return Ok(y);
    }
    site.part("flatten", Op::Flatten, &[y])
}

/// UpSampling2D: each pixel repeated, or what lies linearly between pixels.
pub(super) fn enlarge(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let [height, width, _] = site.image(x)?;
    let [rows, columns] = site.layer.pair("size")?.unwrap_or([2, 2]);
    let size = height.checked_mul(rows).zip(width.checked_mul(columns));
    let size = size.map(|(height, width)| [height, width]);
    let size =
        size.ok_or_else(|| site.layer.unexpected("size", "factors of an image that can be counted"))?;
    resized(site, x, size)
}

pub(super) fn resize(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    for option in ["crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"] {
        if site.layer.flag(option, Switch::Off) {
            return Err(site.layer.unexpected(option, "false"));
        }
    }
    match site.layer.count("height")?.zip(site.layer.count("width")?) {
        Some((height, width)) => resized(site, x, [height, width]),
        None => Err(site.wrong("expected a `height` and a `width`, found none")),
    }
}

/// Keras's images resize by the centres of pixels.
fn resized(site: &mut Site<'_, '_>, x: TensorId, size: [usize; 2]) -> Result<TensorId> {
    let method = match site.layer.text("interpolation") {
        Some("nearest") => ResizeMethod::Nearest,
        None if site.layer.class == "UpSampling2D" => ResizeMethod::Nearest,
        Some("bilinear") | None => ResizeMethod::Bilinear,
        Some(_) => return Err(site.layer.unexpected("interpolation", "nearest or bilinear")),
    };
    let coordinates = ResizeCoordinates::HalfPixel;
    site.node(Op::Resize2d(Resize2d { size, method, coordinates }), &[x])
}

/// Reshape: one size may be −1, for what is left.
pub(super) fn reshape(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let wrong = || site.layer.unexpected("target_shape", "sizes, of which one may be -1");
    let target = site.layer.option("target_shape").and_then(Value::as_array).ok_or_else(wrong)?;
    let sizes =
        target.iter().map(|size| if size.as_i64() == Some(-1) { Some(None) } else { count(size).map(Some) });
    let sizes: Vec<Option<usize>> = sizes.collect::<Option<_>>().ok_or_else(wrong)?;
    let known = sizes.iter().flatten().try_fold(1usize, |product, &size| product.checked_mul(size));
    let dims = site.builder.graph.tensor(x).shape.dims();
    let all = Shape::new(dims.iter().skip(1).copied().collect()).elements(1);
    let left = known.zip(all).and_then(|(known, all)| all.checked_div(known));
    let shape: Vec<usize> =
        sizes.iter().map(|size| size.or(left)).collect::<Option<_>>().ok_or_else(wrong)?;
    site.node(Op::Reshape { shape }, &[x])
}

pub(super) fn dropout(site: &mut Site<'_, '_>, x: TensorId) -> Result<TensorId> {
    let rate = site.layer.number("rate")?.unwrap_or(0.0);
    site.node(Op::Dropout(Dropout { rate }), &[x])
}
