//! What is computed value by value: nonlinearities, dropout, fake quantization.

use super::{Call, Gradients, Layer, Mode, Needs, Site, apart};
use crate::error::Result;
use crate::train::parameter::ParameterId;
use taper_graph::{Activation, Dropout, FakeQuantize};
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, GradientFrom, Nonlinearity, activation_backward, activation_forward};

struct Rectifier {
    function: lanes::Activation,
    isa: Isa,
}

struct Smooth {
    function: Nonlinearity,
    isa: Isa,
}

struct Prelu {
    kernel: lanes::Prelu,
    slopes: ParameterId,
    learns: bool,
}

struct Drop(lanes::Dropout);

struct Quantized {
    bits: u32,
    range: [ParameterId; 2],
    learns: bool,
    isa: Isa,
}

/// A layer for a nonlinearity.
pub(super) fn activation(site: &Site<'_>, function: Activation) -> Box<dyn Layer> {
    let isa = site.isa;
    let rectifier = |function| Box::new(Rectifier { function, isa }) as Box<dyn Layer>;
    let smooth = |function| Box::new(Smooth { function, isa }) as Box<dyn Layer>;
    match function {
        Activation::Relu => rectifier(lanes::Activation::Relu),
        Activation::Relu6 => rectifier(lanes::Activation::Relu6),
        Activation::LeakyRelu { slope } => smooth(Nonlinearity::LeakyRelu { slope }),
        Activation::Sigmoid => smooth(Nonlinearity::Sigmoid),
        Activation::Tanh => smooth(Nonlinearity::Tanh),
        Activation::HardSwish => smooth(Nonlinearity::HardSwish),
        Activation::HardSigmoid => smooth(Nonlinearity::HardSigmoid),
        Activation::Elu { alpha } => smooth(Nonlinearity::Elu { alpha }),
        Activation::Silu => smooth(Nonlinearity::Silu),
        Activation::ReluN1To1 => smooth(Nonlinearity::ReluN1To1),
    }
}

/// A layer for a rectifier with learned slopes.
///
/// # Errors
/// If the slopes are no constant.
pub(super) fn prelu(site: &Site<'_>) -> Result<Box<dyn Layer>> {
    let map = site.channels_of(0)?;
    let kernel =
        lanes::Prelu { batch: site.images, channels: map.channels, pixels: map.pixels(), isa: site.isa };
    Ok(Box::new(Prelu { kernel, slopes: site.parameter(1)?, learns: site.step.learns }))
}

/// A layer for dropout. Its mask follows from the seed, the node, the step and the place.
pub(super) fn dropout(site: &Site<'_>, dropout: &Dropout) -> Box<dyn Layer> {
    let map = site.map(0);
    Box::new(Drop(lanes::Dropout {
        values: map.channels * map.pixels(),
        rate: dropout.rate,
        seed: taper_data::Rng::keyed(site.seed, &[site.step.node.0 as u64]).next_u64(),
        isa: site.isa,
    }))
}

/// A layer for fake quantization.
///
/// # Errors
/// If the range is no constant.
pub(super) fn fake_quantize(site: &Site<'_>, quantize: &FakeQuantize) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Quantized {
        bits: u32::from(quantize.bits),
        range: [site.parameter(1)?, site.parameter(2)?],
        learns: site.step.learns,
        isa: site.isa,
    }))
}

impl Layer for Rectifier {
    fn needs(&self) -> Needs {
        Needs { input: false, output: true }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        activation_forward(self.isa, self.function, x, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let [y, dy] = [call.y(), call.dy()];
        let [y, dy] = apart(call.arena, [y, dy]);
        activation_backward(self.isa, self.function, y, dy);
    }
}

impl Layer for Smooth {
    fn needs(&self) -> Needs {
        let output = self.function.gradient_from() == GradientFrom::Output;
        Needs { input: !output, output }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        self.function.forward(self.isa, x, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let kept = match self.function.gradient_from() {
            GradientFrom::Input => call.x(0),
            GradientFrom::Output => call.y(),
        };
        let dy = call.dy();
        let [kept, dy] = apart(call.arena, [kept, dy]);
        self.function.backward(self.isa, kept, dy);
    }
}

impl Layer for Prelu {
    fn needs(&self) -> Needs {
        Needs { input: true, output: false }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let slopes = call.parameters.value(self.slopes);
        let [x, y] = call.x_and_y();
        self.kernel.forward(x, slopes, y);
    }

    fn backward(&self, call: &mut Call<'_>, gradients: &mut Gradients<'_>) {
        let [x, dy] = [call.x(0), call.dy()];
        let Call { arena, parameters, workspace, .. } = call;
        let [x, dy] = apart(arena, [x, dy]);
        let slopes = parameters.value(self.slopes);
        if self.learns {
            gradients.write([self.slopes], |[gradient]| {
                self.kernel.backward(x, slopes, dy, Some(gradient), workspace);
            });
        } else {
            self.kernel.backward(x, slopes, dy, None, workspace);
        }
    }
}

impl Layer for Drop {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let (mode, step, first_image) = (call.mode, call.step, call.first_image);
        let [x, y] = call.x_and_y();
        match mode {
            Mode::Train => self.0.forward(step, first_image, x, y),
            Mode::Evaluate => y.copy_from_slice(x),
        }
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let dy = call.dy();
        self.0.backward(call.step, call.first_image, &mut call.arena[dy]);
    }
}

impl Quantized {
    fn kernel(&self, call: &Call<'_>) -> lanes::FakeQuantize {
        let [min, max] = self.range.map(|id| call.parameters.value(id)[0]);
        lanes::FakeQuantize::new(self.bits, min, max, self.isa)
    }
}

impl Layer for Quantized {
    fn needs(&self) -> Needs {
        Needs { input: true, output: false }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let kernel = self.kernel(call);
        let [x, y] = call.x_and_y();
        kernel.forward(x, y);
    }

    fn backward(&self, call: &mut Call<'_>, gradients: &mut Gradients<'_>) {
        let kernel = self.kernel(call);
        let [x, dy] = [call.x(0), call.dy()];
        let Call { arena, workspace, .. } = call;
        let [x, dy] = apart(arena, [x, dy]);
        let [of_min, of_max] = kernel.backward(x, dy, workspace);
        if self.learns {
            gradients.write(self.range, |[min, max]| (min[0], max[0]) = (of_min, of_max));
        }
    }
}
