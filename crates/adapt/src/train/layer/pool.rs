//! Pooling.

use super::{Call, Gradients, Layer, Needs, Site, apart, lane_padding};
use taper_graph::{Pool2d, PoolKind};
use taper_kernels::lanes::{AveragePool2d, MaxPool2d, PoolGeometry};

struct Max(MaxPool2d);

struct Average(AveragePool2d);

/// A layer for pooling over windows.
pub(super) fn pool(site: &Site<'_>, attributes: &Pool2d) -> Box<dyn Layer> {
    let Pool2d { kind, window, stride, padding } = attributes;
    let padding = lane_padding(*padding);
    layer(site, *kind, PoolGeometry { window: *window, stride: *stride, padding, ..whole_map(site) })
}

/// A layer for pooling over the whole map.
pub(super) fn global_pool(site: &Site<'_>, kind: PoolKind) -> Box<dyn Layer> {
    layer(site, kind, whole_map(site))
}

fn whole_map(site: &Site<'_>) -> PoolGeometry {
    let map = site.map(0);
    PoolGeometry::global(site.images, map.channels, map.height, map.width)
}

fn layer(site: &Site<'_>, kind: PoolKind, geometry: PoolGeometry) -> Box<dyn Layer> {
    match kind {
        PoolKind::Max => Box::new(Max(MaxPool2d::new(geometry, site.isa))),
        PoolKind::Average => Box::new(Average(AveragePool2d::new(geometry, site.isa))),
    }
}

impl Layer for Max {
    fn needs(&self) -> Needs {
        Needs { input: true, output: true }
    }

    fn forward(&self, call: &mut Call<'_>) {
        let [x, y] = call.x_and_y();
        self.0.forward(x, y);
    }

    fn backward(&self, call: &mut Call<'_>, _gradients: &mut Gradients<'_>) {
        let Some(dx) = call.dx(0) else { return };
        let [x, y, dy] = [call.x(0), call.y(), call.dy()];
        let [x, y, dy, dx] = apart(call.arena, [x, y, dy, dx]);
        self.0.backward(x, y, dy, dx);
    }
}

impl Layer for Average {
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
