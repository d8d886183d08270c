//! What moves values without computing: flattening, other shapes, borders, and maps of another size.

use super::{Call, Gradients, Layer, Map, Needs, Site, lane_padding};
use taper_graph::{Pad, Resize2d, ResizeCoordinates, ResizeMethod};
use taper_kernels::lanes::{self, Pad2d, ResizeGeometry, flatten as to_vector, unflatten};

struct Flatten(Map);

struct Reshape {
    from: Map,
    to: Map,
}

struct Border(Pad2d);

struct Resize(lanes::Resize2d);

/// A layer for flattening.
pub(super) fn flatten(site: &Site<'_>) -> Box<dyn Layer> {
    Box::new(Flatten(site.map(0)))
}

/// A layer for a reshape. What is no image stands in memory as it is flattened.
pub(super) fn reshape(site: &Site<'_>) -> Box<dyn Layer> {
    let to = Map::of(site.program.shape(site.graph, site.step.output));
    Box::new(Reshape { from: site.map(0), to })
}

/// A layer for padding.
pub(super) fn pad(site: &Site<'_>, pad: &Pad) -> Box<dyn Layer> {
    let Map { height, width, channels } = site.map(0);
    Box::new(Border(Pad2d {
        batch: site.images,
        channels,
        in_height: height,
        in_width: width,
        padding: lane_padding(pad.padding),
        value: pad.value,
    }))
}

/// A layer for a resize.
pub(super) fn resize(site: &Site<'_>, resize: &Resize2d) -> Box<dyn Layer> {
    let Map { height, width, channels } = site.map(0);
    let geometry = ResizeGeometry {
        batch: site.images,
        channels,
        in_height: height,
        in_width: width,
        out_height: resize.size[0],
        out_width: resize.size[1],
        method: match resize.method {
            ResizeMethod::Nearest => lanes::ResizeMethod::Nearest,
            ResizeMethod::Bilinear => lanes::ResizeMethod::Bilinear,
        },
        coordinates: match resize.coordinates {
            ResizeCoordinates::Asymmetric => lanes::ResizeCoordinates::Asymmetric,
            ResizeCoordinates::AlignCorners => lanes::ResizeCoordinates::AlignCorners,
            ResizeCoordinates::HalfPixel => lanes::ResizeCoordinates::HalfPixel,
        },
    };
    Box::new(Resize(lanes::Resize2d::new(geometry, site.isa)))
}

impl Layer for Flatten {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        to_vector(x, self.0.channels, self.0.pixels(), y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let Some([dy, dx]) = call.dy_and_dx() else { return };
        unflatten(dy, self.0.channels, self.0.pixels(), dx);
    }
}

impl Layer for Reshape {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let Self { from, to } = self;
        let [x, y] = call.x_and_y();
        lanes::reshape(x, [from.channels, from.pixels()], to.channels, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let Self { from, to } = self;
        let Some([dy, dx]) = call.dy_and_dx() else { return };
        lanes::reshape(dy, [to.channels, to.pixels()], from.channels, dx);
    }
}

impl Layer for Border {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        self.0.forward(x, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let Some([dy, dx]) = call.dy_and_dx() else { return };
        self.0.backward(dy, dx);
    }
}

impl Layer for Resize {
    fn needs(&self) -> Needs {
        Needs { input: false, output: false }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        self.0.forward(x, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let Some([dy, dx]) = call.dy_and_dx() else { return };
        self.0.backward(dy, dx);
    }
}
