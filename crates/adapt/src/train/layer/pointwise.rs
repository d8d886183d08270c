//! Nonlinearities that stand alone, and the change from a map to a vector.

use super::{Call, Layer, Map, Needs, Site, apart, lane_activation};
use taper_graph::Activation;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{self, activation_backward, activation_forward, flatten as to_vector, unflatten};

struct Rectifier {
    function: lanes::Activation,
    isa: Isa,
}

struct Flatten(Map);

/// A layer for a nonlinearity.
pub(super) fn activation(site: &Site<'_>, function: Activation) -> Box<dyn Layer> {
    Box::new(Rectifier { function: lane_activation(Some(function)), isa: site.isa })
}

/// A layer for flattening.
pub(super) fn flatten(site: &Site<'_>) -> Box<dyn Layer> {
    Box::new(Flatten(site.map(0)))
}

impl Layer for Rectifier {
    fn needs(&self) -> Needs {
        Needs { input: false, output: true }
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = [call.x(0), call.y()];
        let [x, y] = apart(call.arena, [x, y]);
        activation_forward(self.isa, self.function, x, y);
    }

    fn backward(&self, call: &mut Call<'_>) {
        let [y, dy] = [call.y(), call.dy()];
        let [y, dy] = apart(call.arena, [y, dy]);
        activation_backward(self.isa, self.function, y, dy);
    }
}

impl Layer for Flatten {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = [call.x(0), call.y()];
        let [x, y] = apart(call.arena, [x, y]);
        to_vector(x, self.0.channels, self.0.pixels(), y);
    }

    fn backward(&self, call: &mut Call<'_>) {
        let Some(dx) = call.dx(0) else { return };
        let dy = call.dy();
        let [dy, dx] = apart(call.arena, [dy, dx]);
        unflatten(dy, self.0.channels, self.0.pixels(), dx);
    }
}
