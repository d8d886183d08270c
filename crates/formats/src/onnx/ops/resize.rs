//! Resize and Upsample.
//!
//! ONNX has more ways to place pixels than a graph. What counts is which pixels they come to for the sizes at hand, so each
//! way of the graph is tried on both axes, and the first that comes to the same is taken.

use crate::error::Result;
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::{GREATEST_COUNT, Operation};
use taper_graph::{Dim, Node, Op, Resize2d, ResizeCoordinates, ResizeMethod, TensorId};

/// The axis of an image along which pixels are placed: sizes, and the factor between them if the model gives that
/// instead.
struct Axis {
    input: usize,
    output: usize,
    factor: Option<f64>,
}

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    let attributes = [
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "height_scale",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
        "scales",
        "width_scale",
    ];
    operation.expect(1..=4, &attributes)?;
    let x = importer.activation(operation, 0)?;
    let (tensor, order) = super::image(importer, operation, &x)?;
    let [height, width] = super::pixels(importer, operation, tensor)?;
    let policy = operation.text("keep_aspect_ratio_policy", "stretch")?;
    if policy != "stretch" {
        return Err(operation.unsupported(format!("expected the aspect to be stretched, found `{policy}`")));
    }
    let targets = targets(importer, operation, tensor, &order)?;
    let axis = |input: usize, target: Target| target.axis(operation, input);
    let axes = [axis(height, targets[0])?, axis(width, targets[1])?];
    if operation.flag("antialias") && axes.iter().any(|axis| axis.output < axis.input) {
        return Err(operation.unsupported("expected no antialiasing"));
    }
    let method = match operation.text("mode", "nearest")? {
        "nearest" => ResizeMethod::Nearest,
        "linear" | "bilinear" => ResizeMethod::Bilinear,
        other => {
            return Err(operation.unsupported(format!("expected mode nearest or linear, found `{other}`")));
        }
    };
    let coordinates = coordinates(importer, operation, method, &axes)?;
    let size = [axes[0].output, axes[1].output];
    let y = importer.add(operation, Op::Resize2d(Resize2d { size, method, coordinates }), &[tensor])?;
    Ok(importer.ordered(y, &order))
}

/// What the model says of an axis.
#[derive(Clone, Copy)]
enum Target {
    Size(i64),
    Factor(f32),
    Kept,
}

impl Target {
    fn axis(self, operation: Operation<'_>, input: usize) -> Result<Axis> {
        #[expect(clippy::cast_precision_loss, reason = "sizes of images are exact as floats")]
        let real = |size: usize| size as f64;
        match self {
            Self::Kept => Ok(Axis { input, output: input, factor: None }),
            Self::Size(size) => {
                let output = operation.count("sizes", size)?;
                Ok(Axis { input, output, factor: None })
            }
            Self::Factor(factor) => {
                let factor = f64::from(factor);
                let size = (real(input) * factor).floor();
                #[expect(clippy::cast_precision_loss, reason = "the bound is exact as a float")]
                let fits = factor > 0.0 && size <= GREATEST_COUNT as f64;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the size is whole and within the bound"
                )]
                match fits {
                    true => Ok(Axis { input, output: size as usize, factor: Some(factor) }),
                    false => Err(operation.unsupported(format!("expected a positive scale, found {factor}"))),
                }
            }
        }
    }
}

/// Targets of height and width.
fn targets<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    tensor: TensorId,
    order: &[usize],
) -> Result<[Target; 2]> {
    let old = operation.kind() == "Upsample" || importer.opset < 11;
    let [scales_at, sizes_at] = if old { [1, usize::MAX] } else { [2, 3] };
    let scales = match operation.attribute("scales") {
        Some(attribute) => Some(attribute.floats.clone()),
        None => match importer.numbers(operation, scales_at)? {
            Some(numbers) => numbers.floats().filter(|scales| !scales.is_empty()),
            None => None,
        },
    };
    let targets: Vec<Target> = match scales {
        Some(scales) => scales.into_iter().map(Target::Factor).collect(),
        None => {
            let sizes = importer
                .numbers(operation, sizes_at)?
                .ok_or_else(|| operation.unsupported("expected constant scales or sizes, found neither"))?;
            let target = |number| match number {
                crate::onnx::fold::Number::Integer(size) => Ok(Target::Size(size)),
                crate::onnx::fold::Number::Batch => Ok(Target::Kept),
                crate::onnx::fold::Number::Real(size) => {
                    Err(operation.invalid(format!("expected integers as sizes, found {size}")))
                }
            };
            sizes.numbers.into_iter().map(target).collect::<Result<_>>()?
        }
    };
    let axes = match operation.integers("axes") {
        Some(axes) => operation.axes(axes, order.len())?,
        None => (0..order.len()).collect(),
    };
    if axes.len() != targets.len() {
        return Err(operation.invalid(format!(
            "expected a scale or size for each of {} axes, found {}",
            axes.len(),
            targets.len()
        )));
    }
    let target = |place: usize| {
        let of = axes.iter().position(|&axis| axis == order[place]);
        of.map_or(Target::Kept, |position| targets[position])
    };
    let channels = importer.shape(tensor).channels();
    for place in [0, 3] {
        let kept = match target(place) {
            Target::Kept => true,
            Target::Factor(factor) => factor == 1.0,
            Target::Size(size) => place == 0 || usize::try_from(size).ok() == channels,
        };
        if !kept {
            return Err(operation.unsupported("expected batch and channels to keep their sizes"));
        }
    }
    Ok([target(1), target(2)])
}

/// The coordinates of the graph that come to the same pixels as the model's.
fn coordinates<'m>(
    importer: &Importer<'m>,
    operation: Operation<'m>,
    method: ResizeMethod,
    axes: &[Axis; 2],
) -> Result<ResizeCoordinates> {
    let old = operation.kind() == "Upsample" || importer.opset < 11;
    let default = if old { "asymmetric" } else { "half_pixel" };
    let mode = operation.text("coordinate_transformation_mode", default)?;
    let rounding = operation.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?;
    let same = |coordinates: &ResizeCoordinates| {
        axes.iter().all(|axis| {
            (0..axis.output).all(|index| {
                let Some(wanted) = axis.coordinate(mode, index) else {
                    return false;
                };
                match method {
                    ResizeMethod::Nearest => {
                        axis.rounded(rounding, wanted) == Some(axis.graph_nearest(*coordinates, index))
                    }
                    ResizeMethod::Bilinear => {
                        let found = axis.clamped(axis.graph_coordinate(*coordinates, index));
                        (axis.clamped(wanted) - found).abs() < 1e-5
                    }
                }
            })
        })
    };
    let all = [ResizeCoordinates::Asymmetric, ResizeCoordinates::HalfPixel, ResizeCoordinates::AlignCorners];
    all.into_iter().find(same).ok_or_else(|| {
        operation.unsupported(format!(
            "expected pixels placed as TFLite does, found `{mode}` with `{rounding}` from {:?} to {:?}",
            [axes[0].input, axes[1].input],
            [axes[0].output, axes[1].output]
        ))
    })
}

#[expect(clippy::cast_precision_loss, reason = "sizes of images are exact as floats")]
impl Axis {
    /// The coordinate of the input that output pixel `index` stands for; `None` for an unknown mode.
    fn coordinate(&self, mode: &str, index: usize) -> Option<f64> {
        let (at, input, output) = (index as f64, self.input as f64, self.output as f64);
        // Multiplied first, whole numbers stay exact, and so do the halves that rounding decides on.
        let placed = |at: f64| self.factor.map_or(at * input / output, |factor| at / factor);
        Some(match mode {
            "asymmetric" => placed(at),
            "align_corners" if self.output == 1 => 0.0,
            "align_corners" => at * (input - 1.0) / (output - 1.0),
            "pytorch_half_pixel" if self.output == 1 => 0.0,
            "half_pixel" | "pytorch_half_pixel" => placed(at + 0.5) - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = self.factor.map_or(1.0, |factor| output / (input * factor));
                let centre = input / 2.0;
                centre * (1.0 - adjustment) + placed(at + 0.5) - 0.5
            }
            "tf_half_pixel_for_nn" => placed(at + 0.5),
            _ => return None,
        })
    }

    /// The pixel that a rounding comes to; `None` for an unknown one.
    fn rounded(&self, rounding: &str, coordinate: f64) -> Option<f64> {
        let rounded = match rounding {
            "round_prefer_floor" => (coordinate - 0.5).ceil(),
            "round_prefer_ceil" => (coordinate + 0.5).floor(),
            "floor" => coordinate.floor(),
            "ceil" => coordinate.ceil(),
            _ => return None,
        };
        Some(self.clamped(rounded))
    }

    fn clamped(&self, coordinate: f64) -> f64 {
        coordinate.clamp(0.0, self.input as f64 - 1.0)
    }

    /// The coordinate as [`ResizeCoordinates`] documents it.
    fn graph_coordinate(&self, coordinates: ResizeCoordinates, index: usize) -> f64 {
        let (at, input, output) = (index as f64, self.input as f64, self.output as f64);
        match coordinates {
            ResizeCoordinates::AlignCorners if self.output > 1 => at * (input - 1.0) / (output - 1.0),
            ResizeCoordinates::Asymmetric | ResizeCoordinates::AlignCorners => at * input / output,
            ResizeCoordinates::HalfPixel => (at + 0.5) * input / output - 0.5,
        }
    }

    /// The pixel as [`ResizeMethod::Nearest`] documents it.
    fn graph_nearest(&self, coordinates: ResizeCoordinates, index: usize) -> f64 {
        let at = self.graph_coordinate(coordinates, index);
        self.clamped(match coordinates {
            ResizeCoordinates::Asymmetric => at.floor(),
            ResizeCoordinates::AlignCorners | ResizeCoordinates::HalfPixel => (at + 0.5).floor(),
        })
    }
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, resize: &Resize2d) -> Result<()> {
    let channels = emitter.tensor(node, 0).shape.channels().unwrap_or(1);
    let (mode, rounding) = match (resize.method, resize.coordinates) {
        (ResizeMethod::Bilinear, _) => ("linear", "floor"),
        (ResizeMethod::Nearest, ResizeCoordinates::Asymmetric) => ("nearest", "floor"),
        (ResizeMethod::Nearest, ResizeCoordinates::AlignCorners | ResizeCoordinates::HalfPixel) => {
            ("nearest", "round_prefer_ceil")
        }
    };
    let coordinates = match resize.coordinates {
        ResizeCoordinates::Asymmetric => "asymmetric",
        ResizeCoordinates::AlignCorners => "align_corners",
        ResizeCoordinates::HalfPixel => "half_pixel",
    };
    let x = emitter.input(node, 0)?;
    // The sizes name all axes; where the batch is open, its size is taken from the input.
    let [height, width] = resize.size;
    let sizes = match emitter.tensor(node, 0).shape.dims()[0] {
        Dim::Fixed(batch) => emitter.list(node, "sizes", &[batch, channels, height, width])?,
        Dim::Batch(_) => {
            let shape = emitter.helper(node, "shape", "Shape", vec![x.clone()], Vec::new());
            let first = emitter.list(node, "first", &[0])?;
            let batch = emitter.helper(node, "batch", "Gather", vec![shape, first], Vec::new());
            let rest = emitter.list(node, "image", &[channels, height, width])?;
            let axis = vec![("axis", Field::Integer(0))];
            emitter.helper(node, "sizes", "Concat", vec![batch, rest], axis)
        }
    };
    let fields = vec![
        ("coordinate_transformation_mode", Field::Text(coordinates)),
        ("mode", Field::Text(mode)),
        ("nearest_mode", Field::Text(rounding)),
    ];
    emitter.layer(node, "Resize", vec![x, String::new(), String::new(), sizes], fields)
}
