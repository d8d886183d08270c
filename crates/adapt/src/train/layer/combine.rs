//! Functions of several operands: sums, products, maxima and the like, concatenation.

use super::{Call, Gradients, Layer, Map, Needs, Site, apart, fused};
use crate::error::Result;
use taper_graph::{Binary, Concat, Elementwise};
use taper_kernels::cpu::Isa;
use taper_kernels::cpu::LANES;
use taper_kernels::lanes::{self, Activation, Axis, BinaryFunction, Lanes, Operand, activation_backward};

struct Pair {
    kernel: lanes::Binary,
    function: BinaryFunction,
    /// Neither side is broadcast.
    same: bool,
    activation: Activation,
    isa: Isa,
}

/// A function of an activation and a constant that does not learn.
struct WithConstant {
    kernel: lanes::Binary,
    function: BinaryFunction,
    /// Which operand the activation is.
    activation_is: Operand,
    /// Each value in all lanes.
    constant: Vec<Lanes>,
    /// The constant does not make the activation larger.
    same: bool,
    activation: Activation,
    isa: Isa,
}

struct SideBySide {
    kernel: lanes::Concat,
    /// The first coordinate of each input along the axis.
    offsets: Vec<usize>,
}

/// A layer for a function of two operands.
///
/// # Errors
/// If an operand is neither an image nor a vector, or the nonlinearity is no rectifier.
pub(super) fn elementwise(site: &Site<'_>, elementwise: &Elementwise) -> Result<Box<dyn Layer>> {
    let function = match elementwise.function {
        Binary::Add => BinaryFunction::Add,
        Binary::Subtract => BinaryFunction::Subtract,
        Binary::Multiply => BinaryFunction::Multiply,
        Binary::Divide => BinaryFunction::Divide,
        Binary::Maximum => BinaryFunction::Maximum,
        Binary::Minimum => BinaryFunction::Minimum,
    };
    let shape = |Map { height, width, channels }: Map| [channels, height, width];
    if let Some(position) = (0..2).find(|&position| site.parameter(position).is_ok()) {
        return with_constant(site, elementwise, function, position);
    }
    let (a, b) = (site.channels_of(0)?, site.channels_of(1)?);
    Ok(Box::new(Pair {
        kernel: lanes::Binary::new(function, site.images, shape(a), shape(b), site.isa),
        function,
        same: a == b,
        activation: fused(site, elementwise.activation)?,
        isa: site.isa,
    }))
}

/// A layer for a function of an activation and the constant at input `position`.
fn with_constant(
    site: &Site<'_>,
    elementwise: &Elementwise,
    function: BinaryFunction,
    position: usize,
) -> Result<Box<dyn Layer>> {
    let Map { height, width, channels } = site.channels_of(0)?;
    let activation = [channels, height, width];
    // Of [H, W, C] or [C]: sizes that the constant lacks are 1.
    let mut sizes = site.sizes(position).into_iter().rev();
    let mut next = || sizes.next().unwrap_or(1);
    let [channels, width, height] = [next(), next(), next()];
    let shape = if site.program.shape(site.graph, site.step.output).rank() == 4 {
        [channels, height, width]
    } else {
        [channels, 1, 1]
    };
    let values = site.parameters.value(site.parameter(position)?);
    let pixels = shape[1] * shape[2];
    let planar = (0..channels * pixels).map(|at| values[at % pixels * channels + at / pixels]);
    let constant = planar.map(|value| Lanes([value; LANES])).collect();
    let (shapes, constant_is, activation_is) = match position {
        0 => ([shape, activation], Operand::A, Operand::B),
        _ => ([activation, shape], Operand::B, Operand::A),
    };
    let [a, b] = shapes;
    let kernel = lanes::Binary::with_constant(function, site.images, a, b, constant_is, site.isa);
    Ok(Box::new(WithConstant {
        same: kernel.output_shape() == activation,
        kernel,
        function,
        activation_is,
        constant,
        activation: fused(site, elementwise.activation)?,
        isa: site.isa,
    }))
}

/// Whether the gradient of `operand` is that of the output, unless it was broadcast.
fn hands_on(function: BinaryFunction, operand: Operand) -> bool {
    match function {
        BinaryFunction::Add => true,
        BinaryFunction::Subtract => operand == Operand::A,
        BinaryFunction::Multiply
        | BinaryFunction::Divide
        | BinaryFunction::Maximum
        | BinaryFunction::Minimum => false,
    }
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
        let reads = [Operand::A, Operand::B].map(|operand| self.function.gradient_reads(operand));
        Needs { input: reads.as_flattened().contains(&true), output: self.activation != Activation::None }
    }

    fn passes(&self, input: usize) -> bool {
        hands_on(self.function, if input == 0 { Operand::A } else { Operand::B }) && self.same
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

impl WithConstant {
    /// Both operands, in their order.
    fn operands<'a>(&'a self, activation: &'a [Lanes]) -> [&'a [Lanes]; 2] {
        match self.activation_is {
            Operand::A => [activation, &self.constant],
            Operand::B => [&self.constant, activation],
        }
    }
}

impl Layer for WithConstant {
    fn needs(&self) -> Needs {
        let [a, b] = self.function.gradient_reads(self.activation_is);
        let input = match self.activation_is {
            Operand::A => a,
            Operand::B => b,
        };
        Needs { input, output: self.activation != Activation::None }
    }

    fn passes(&self, _input: usize) -> bool {
        hands_on(self.function, self.activation_is) && self.same
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        let [a, b] = self.operands(x);
        self.kernel.forward(a, b, self.activation, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let [x, y, dy] = [call.x(0), call.y(), call.dy()];
        if self.activation != Activation::None {
            let [y, dy] = apart(call.arena, [y, dy.clone()]);
            activation_backward(self.isa, self.activation, y, dy);
        }
        let Some(dx) = call.dx(0) else { return };
        let [x, dy, dx] = match self.needs().input {
            true => apart(call.arena, [x, dy, dx]),
            false => apart(call.arena, [0..0, dy, dx]),
        };
        let [a, b] = self.operands(x);
        self.kernel.backward(self.activation_is, a, b, dy, dx);
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
