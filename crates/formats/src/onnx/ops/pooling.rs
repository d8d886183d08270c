//! MaxPool and AveragePool; over the whole map, GlobalMaxPool, GlobalAveragePool, ReduceMax and ReduceMean.

use super::window::{self, Window};
use crate::error::Result;
use crate::onnx::emitter::Emitter;
use crate::onnx::importer::{Activation, Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{Node, Op, Pad, Padding, Pool2d, PoolKind};

pub(super) fn read<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    kind: PoolKind,
) -> Result<Value> {
    operation.expect(
        1..=1,
        &[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "storage_order",
            "strides",
        ],
    )?;
    let mut x = importer.image(operation, 0)?;
    let input = super::pixels(importer, operation, x)?;
    let window = Window::read(operation, input, operation.pair("kernel_shape", 0)?)?;
    if window.dilation != [1, 1] {
        return Err(operation.unsupported(format!("expected a dilation of 1, found {:?}", window.dilation)));
    }
    let Window { kernel, stride, padding: around, overhang, .. } = window;
    let mut padding = window.with_overhang();
    // Zeros that count are laid around the image; what hangs over behind them does not count.
    if kind == PoolKind::Average && operation.flag("count_include_pad") && around != Padding::default() {
        let border = Op::Pad(Pad { padding: around, value: 0.0 });
        x = importer.add_helper(operation, "pad", border, &[x])?;
        padding = Padding { bottom: overhang[0], right: overhang[1], ..Padding::default() };
    }
    let y = importer.add(operation, Op::Pool2d(Pool2d { kind, window: kernel, stride, padding }), &[x])?;
    Ok(importer.channels_last(y))
}

pub(super) fn read_global<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    kind: PoolKind,
) -> Result<Value> {
    operation.expect(1..=1, &[])?;
    let x = importer.image(operation, 0)?;
    let y = importer.add(operation, Op::GlobalPool2d { kind }, &[x])?;
    Ok(importer.channels_last(y))
}

pub(super) fn read_reduction<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    kind: PoolKind,
) -> Result<Value> {
    operation.expect(1..=2, &["axes", "keepdims", "noop_with_empty_axes"])?;
    let x = importer.activation(operation, 0)?;
    let rank = x.view.rank();
    let axes = match operation.integers("axes") {
        Some(axes) => axes.to_vec(),
        None => importer.integers(operation, 1)?.unwrap_or_default(),
    };
    let axes = operation.axes(&axes, rank)?;
    let mut reduced: Vec<usize> = axes.iter().flat_map(|&axis| x.view.axes(axis)).copied().collect();
    reduced.sort_unstable();
    let shape = importer.shape(x.tensor);
    let map = shape.image().map(|[height, width, _]| {
        [(1, height), (2, width)].into_iter().filter(|(_, size)| *size != 1).map(|(axis, _)| axis)
    });
    let over_map = map.is_some_and(|map| map.eq(reduced.iter().copied()));
    if axes.is_empty() || !over_map {
        return Err(operation.unsupported(format!(
            "expected a reduction over height and width, found one over {axes:?} of `{}` {shape}",
            importer.graph.tensor(x.tensor).name
        )));
    }
    let y = importer.add(operation, Op::GlobalPool2d { kind }, &[x.tensor])?;
    let view = x.view.reduced(&axes);
    let keeps = operation.integer("keepdims").unwrap_or(1) != 0;
    let view = if keeps { view } else { view.squeezed(&axes) };
    Ok(Value::Activation(Activation { tensor: y, view }))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, pool: &Pool2d) -> Result<()> {
    let kind = match pool.kind {
        PoolKind::Max => "MaxPool",
        PoolKind::Average => "AveragePool",
    };
    let fields = vec![
        ("kernel_shape", window::pixels(&pool.window)?),
        ("pads", window::pads(pool.padding)?),
        ("strides", window::pixels(&pool.stride)?),
    ];
    let inputs = vec![emitter.input(node, 0)?];
    emitter.layer(node, kind, inputs, fields)
}

pub(super) fn write_global(emitter: &mut Emitter<'_>, node: &Node, kind: PoolKind) -> Result<()> {
    let kind = match kind {
        PoolKind::Max => "GlobalMaxPool",
        PoolKind::Average => "GlobalAveragePool",
    };
    let inputs = vec![emitter.input(node, 0)?];
    emitter.layer(node, kind, inputs, Vec::new())
}
