//! Windows that slide over images: kernel, stride, dilation and padding of convolutions and pooling.

use crate::error::Result;
use crate::onnx::emitter::{Field, integers};
use crate::onnx::operation::{GREATEST_COUNT, Operation};
use taper_graph::Padding;

/// A window; height before width.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
    /// Pixels by which the last windows hang over the padding below and on the right: `ceil_mode`.
    pub(super) overhang: [usize; 2],
}

impl Window {
    /// Reads a window over images of `[height, width]`.
    pub(super) fn read(operation: Operation<'_>, input: [usize; 2], kernel: [usize; 2]) -> Result<Self> {
        let (stride, dilation) = (operation.pair("strides", 1)?, operation.pair("dilations", 1)?);
        let counts = [input, kernel, stride, dilation].concat();
        if counts.contains(&0) || counts.iter().any(|&count| count > GREATEST_COUNT) {
            return Err(operation.invalid(format!(
                "expected sizes from 1 to {GREATEST_COUNT}, found {kernel:?} pixels with stride {stride:?} and \
                 dilation {dilation:?} over {input:?}"
            )));
        }
        let padding = padding(operation, input, kernel, stride, dilation)?;
        let overhang = match operation.flag("ceil_mode") {
            true => overhang(input, kernel, stride, dilation, padding),
            false => [0; 2],
        };
        Ok(Self { kernel, stride, dilation, padding, overhang })
    }

    /// The padding with what hangs over.
    pub(super) fn with_overhang(&self) -> Padding {
        let Padding { top, bottom, left, right } = self.padding;
        Padding { top, bottom: bottom + self.overhang[0], left, right: right + self.overhang[1] }
    }
}

fn padding(
    operation: Operation<'_>,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<Padding> {
    let same = || Padding::same(input, kernel, stride, dilation);
    match operation.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" => explicit(operation),
        "VALID" => Ok(Padding::default()),
        "SAME_UPPER" => Ok(same()),
        "SAME_LOWER" => {
            let Padding { top, bottom, left, right } = same();
            Ok(Padding { top: bottom, bottom: top, left: right, right: left })
        }
        other => Err(operation.invalid(format!(
            "expected an auto_pad of NOTSET, VALID, SAME_UPPER or SAME_LOWER, found `{other}`"
        ))),
    }
}

/// The attribute `pads`.
pub(super) fn explicit(operation: Operation<'_>) -> Result<Padding> {
    let count = |value| operation.count("pads", value);
    match operation.integers("pads") {
        None => Ok(Padding::default()),
        Some(&[top, left, bottom, right]) => {
            Ok(Padding { top: count(top)?, bottom: count(bottom)?, left: count(left)?, right: count(right)? })
        }
        Some(other) => {
            Err(operation.unsupported(format!("expected pads of two dimensions, found {other:?}")))
        }
    }
}

/// How far windows reach over the padding if their number is rounded up. A window that would start behind the image and
/// its padding in front is left out.
fn overhang(
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
) -> [usize; 2] {
    let pads = [[padding.top, padding.bottom], [padding.left, padding.right]];
    [0, 1].map(|axis| {
        let [before, behind] = pads[axis];
        let padded = input[axis] + before + behind;
        let extent = (kernel[axis] - 1) * dilation[axis] + 1;
        let Some(room) = padded.checked_sub(extent) else {
            return 0;
        };
        let mut steps = room.div_ceil(stride[axis]);
        if steps * stride[axis] >= input[axis] + before {
            steps = steps.saturating_sub(1);
        }
        (steps * stride[axis] + extent).saturating_sub(padded)
    })
}

/// Padding as `pads`: rows above, columns on the left, rows below, columns on the right.
pub(super) fn pads(padding: Padding) -> Result<Field<'static>> {
    let Padding { top, bottom, left, right } = padding;
    pixels(&[top, left, bottom, right])
}

/// Counts of pixels as an attribute.
pub(super) fn pixels(counts: &[usize]) -> Result<Field<'static>> {
    integers(counts).map(Field::Integers)
}

/// A count as an attribute.
pub(super) fn count(count: usize) -> Result<Field<'static>> {
    let value = integers(&[count])?;
    Ok(Field::Integer(value[0]))
}
