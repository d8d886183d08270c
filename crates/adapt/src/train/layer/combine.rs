//! Functions of several activations: sums, products, maxima, concatenation.

use super::{Call, Gradients, Layer, Map, Needs, Site, apart, fused};
use crate::error::Result;
use taper_graph::{Binary, Concat, Elementwise};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, Activation, Axis, BinaryFunction, Operand, activation_backward};

struct Pair {
    kernel: lanes::Binary,
    function: BinaryFunction,
    /// Neither side is broadcast.
    same: bool,
    activation: Activation,
    isa: Isa,
}

struct SideBySide {
    kernel: lanes::Concat,
    /// The first coordinate of each input along the axis.
    offsets: Vec<usize>,
}

/// A layer for a function of two activations.
///
/// # Errors
/// If an operand is a constant, or the nonlinearity is no rectifier.
pub(super) fn elementwise(site: &Site<'_>, elementwise: &Elementwise) -> Result<Box<dyn Layer>> {
    if site.step.inputs.len() != 2 {
        return Err(site.unsupported("has a constant operand: only functions of two activations are trained"));
    }
    let function = match elementwise.function {
        Binary::Add => BinaryFunction::Add,
        Binary::Multiply => BinaryFunction::Multiply,
        Binary::Maximum => BinaryFunction::Maximum,
    };
    let (a, b) = (site.channels_of(0)?, site.channels_of(1)?);
    let shape = |Map { height, width, channels }: Map| [channels, height, width];
    Ok(Box::new(Pair {
        kernel: lanes::Binary::new(function, site.images, shape(a), shape(b), site.isa),
        function,
        same: a == b,
        activation: fused(site, elementwise.activation)?,
        isa: site.isa,
    }))
}

/// A layer for a concatenation.
///
/// # Errors
/// If an input is a constant.
pub(super) fn concat(site: &Site<'_>, concat: &Concat) -> Result<Box<dyn Layer>> {
    if site.step.inputs.len() != site.node.inputs.len() {
        return Err(site.unsupported("has a constant input: only activations are trained"));
    }
    let shape = site.program.shape(site.graph, site.step.output);
    let (output, rank) = (Map::of(shape), shape.dims().len());
    let axis = match rank - concat.axis {
        1 => Axis::Channels,
        2 => Axis::Width,
        _ => Axis::Height,
    };
    let mut offsets = Vec::new();
    let mut offset = 0;
    for input in 0..site.step.inputs.len() {
        let Map { height, width, channels } = site.channels_of(input)?;
        offsets.push(offset);
        offset += match axis {
            Axis::Channels => channels,
            Axis::Width => width,
            Axis::Height => height,
        };
    }
    let shape = [output.channels, output.height, output.width];
    Ok(Box::new(SideBySide { kernel: lanes::Concat::new(site.images, shape, axis), offsets }))
}

impl Layer for Pair {
    fn needs(&self) -> Needs {
        let input = self.function != BinaryFunction::Add;
        Needs { input, output: self.activation != Activation::None }
    }

    fn passes(&self, _input: usize) -> bool {
        self.function == BinaryFunction::Add && self.same
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [a, b, y] = [call.x(0), call.x(1), call.y()];
        if a == b {
            let [a, y] = apart(call.arena, [a, y]);
            return self.kernel.forward(a, a, self.activation, y);
        }
        let [a, b, y] = apart(call.arena, [a, b, y]);
        self.kernel.forward(a, b, self.activation, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let [a, b, y, dy] = [call.x(0), call.x(1), call.y(), call.dy()];
        if self.activation != Activation::None {
            let [y, dy] = apart(call.arena, [y, dy.clone()]);
            activation_backward(self.isa, self.activation, y, dy);
        }
        for (input, operand) in [Operand::A, Operand::B].into_iter().enumerate() {
            let Some(gradient) = call.dx(input) else { continue };
            let (dy, arena) = (dy.clone(), &mut call.arena[..]);
            if !self.needs().input {
                let [dy, gradient] = apart(arena, [dy, gradient]);
                self.kernel.backward(operand, &[], &[], dy, gradient);
            } else if a == b {
                let [a, dy, gradient] = apart(arena, [a.clone(), dy, gradient]);
                self.kernel.backward(operand, a, a, dy, gradient);
            } else {
                let [a, b, dy, gradient] = apart(arena, [a.clone(), b.clone(), dy, gradient]);
                self.kernel.backward(operand, a, b, dy, gradient);
            }
        }
    }
}

impl Layer for SideBySide {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        for (input, &offset) in self.offsets.iter().enumerate() {
            let [x, y] = [call.x(input), call.y()];
            let [x, y] = apart(call.arena, [x, y]);
            self.kernel.forward(offset, x, y);
        }
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        for (input, &offset) in self.offsets.iter().enumerate() {
            let Some(dx) = call.dx(input) else { continue };
            let dy = call.dy();
            let [dy, dx] = apart(call.arena, [dy, dx]);
            self.kernel.backward(offset, dy, dx);
        }
    }
}
