//! Execution of a float graph by the reference kernels, each activation in memory of its own.

use std::collections::BTreeMap;
use taper_graph::{Activation, Graph, Op, Pool2d, PoolKind, ResizeCoordinates, ResizeMethod, TensorId};
use taper_kernels::nhwc::{Binary, ConvShape, Coordinates, Curve, FakeQuantize, Fused, PoolShape, reference};

/// Every activation of `graph` for the batch `input`.
pub(crate) fn naive(graph: &Graph, batch: usize, input: &[f32]) -> BTreeMap<TensorId, Vec<f32>> {
    let mut values = BTreeMap::from([(graph.inputs[0], input.to_vec())]);
    for node in &graph.nodes {
        for id in &node.inputs {
            if let Some(data) = graph.tensor(*id).f32_data() {
                values.entry(*id).or_insert_with(|| data.to_vec());
            }
        }
        let x = &values[&node.inputs[0]];
        let constant =
            |position: usize| node.inputs.get(position).and_then(|id| graph.tensor(*id).f32_data());
        let image = |id: TensorId| graph.tensor(id).shape.image().expect("an image");
        let output = graph.tensor(node.outputs[0]);
        let mut y = vec![f32::NAN; output.shape.elements(batch).expect("small")];
        let mut pool = |pool: &Pool2d| {
            let input = image(node.inputs[0]);
            let [height, width, _] = image(node.outputs[0]);
            let padding = [pool.padding.top, pool.padding.left];
            let shape = PoolShape {
                batch,
                input,
                output: [height, width],
                window: pool.window,
                stride: pool.stride,
                padding,
            };
            match pool.kind {
                PoolKind::Max => reference::max_pool(&shape, x, &mut y),
                PoolKind::Average => reference::average_pool(&shape, x, &mut y),
            }
        };
        match &node.op {
            Op::Conv2d(conv) => {
                let sizes = graph.tensor(node.inputs[1]).shape.sizes().expect("fixed");
                let shape = ConvShape {
                    batch,
                    input: image(node.inputs[0]),
                    output: image(node.outputs[0]),
                    kernel: [sizes[1], sizes[2]],
                    stride: conv.stride,
                    dilation: conv.dilation,
                    padding: [conv.padding.top, conv.padding.left],
                };
                let weights = constant(1).expect("floats");
                reference::conv(&shape, conv.groups, x, weights, constant(2), Fused::Identity, &mut y);
                activate(conv.activation, &mut y);
            }
            Op::ConvTranspose2d(conv) => {
                let sizes = graph.tensor(node.inputs[1]).shape.sizes().expect("fixed");
                let shape = ConvShape {
                    batch,
                    input: image(node.inputs[0]),
                    output: image(node.outputs[0]),
                    kernel: [sizes[1], sizes[2]],
                    stride: conv.stride,
                    dilation: [1, 1],
                    padding: [conv.padding.top, conv.padding.left],
                };
                let weights = constant(1).expect("floats");
                reference::conv_transpose(&shape, x, weights, constant(2), Fused::Identity, &mut y);
                activate(conv.activation, &mut y);
            }
            Op::FullyConnected(dense) => {
                let sizes = graph.tensor(node.inputs[1]).shape.sizes().expect("fixed");
                let shape = ConvShape::fully_connected(batch, sizes[1], sizes[0]);
                let weights = constant(1).expect("floats");
                reference::conv(&shape, 1, x, weights, constant(2), Fused::Identity, &mut y);
                activate(dense.activation, &mut y);
            }
            Op::BatchNorm(norm) => {
                let [gamma, beta, mean, variance] =
                    [1, 2, 3, 4].map(|position| constant(position).expect("floats"));
                for (index, (y, x)) in y.iter_mut().zip(x).enumerate() {
                    let c = index % gamma.len();
                    *y = gamma[c] * (x - mean[c]) / (variance[c] + norm.epsilon).sqrt() + beta[c];
                }
            }
            Op::Activation { function } => {
                y.copy_from_slice(x);
                activate(Some(*function), &mut y);
            }
            Op::Prelu => {
                let slopes = constant(1).expect("floats");
                for (index, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                    *y = if x > 0.0 { x } else { slopes[index % slopes.len()] * x };
                }
            }
            Op::Elementwise(elementwise) => {
                let function = match elementwise.function {
                    taper_graph::Binary::Add => Binary::Add,
                    taper_graph::Binary::Subtract => Binary::Subtract,
                    taper_graph::Binary::Multiply => Binary::Multiply,
                    taper_graph::Binary::Divide => Binary::Divide,
                    taper_graph::Binary::Maximum => Binary::Maximum,
                    taper_graph::Binary::Minimum => Binary::Minimum,
                };
                let sizes = |side: usize| {
                    let sizes = graph.tensor(node.inputs[side]).shape.with_batch(batch);
                    [vec![1; output.shape.rank() - sizes.len()], sizes].concat()
                };
                let (a, b, other) = (sizes(0), sizes(1), &values[&node.inputs[1]]);
                reference::elementwise(function, Fused::Identity, [&a, &b], x, other, &mut y);
                activate(elementwise.activation, &mut y);
            }
            Op::Concat(concat) => {
                let row = |id: TensorId| {
                    graph.tensor(id).shape.with_batch(batch)[concat.axis..].iter().product::<usize>()
                };
                let rows = y.len() / row(node.outputs[0]);
                y = (0..rows)
                    .flat_map(|index| {
                        let part = |id: &TensorId| values[id][index * row(*id)..][..row(*id)].to_vec();
                        node.inputs.iter().flat_map(part).collect::<Vec<_>>()
                    })
                    .collect();
            }
            Op::Pad(pad) => {
                let ([in_h, in_w, channels], [out_h, out_w, _]) =
                    (image(node.inputs[0]), image(node.outputs[0]));
                for (index, y) in y.iter_mut().enumerate() {
                    let (pixel, channel) = (index / channels, index % channels);
                    let (picture, row, column) =
                        (pixel / out_w / out_h, pixel / out_w % out_h, pixel % out_w);
                    let row = row.checked_sub(pad.padding.top).filter(|&row| row < in_h);
                    let column = column.checked_sub(pad.padding.left).filter(|&column| column < in_w);
                    *y = match (row, column) {
                        (Some(row), Some(column)) => {
                            x[((picture * in_h + row) * in_w + column) * channels + channel]
                        }
                        _ => pad.value,
                    };
                }
            }
            Op::Resize2d(resize) => {
                let coordinates = match resize.coordinates {
                    ResizeCoordinates::Asymmetric => Coordinates::Asymmetric,
                    ResizeCoordinates::AlignCorners => Coordinates::AlignCorners,
                    ResizeCoordinates::HalfPixel => Coordinates::HalfPixel,
                };
                let input = image(node.inputs[0]);
                match resize.method {
                    ResizeMethod::Nearest => reference::nearest(input, resize.size, coordinates, x, &mut y),
                    ResizeMethod::Bilinear => reference::bilinear(input, resize.size, coordinates, x, &mut y),
                }
            }
            Op::Pool2d(attributes) => pool(attributes),
            Op::GlobalPool2d { kind } => {
                let [height, width, _] = image(node.inputs[0]);
                let padding = taper_graph::Padding::default();
                pool(&Pool2d { kind: *kind, window: [height, width], stride: [1, 1], padding });
            }
            Op::Flatten | Op::Reshape { .. } | Op::Dropout(_) => y.copy_from_slice(x),
            Op::FakeQuantize(fake) => {
                let [min, max] = [1, 2].map(|position| constant(position).expect("floats")[0]);
                FakeQuantize::new(min, max, fake.bits).expect("a range").run(x, &mut y);
            }
            Op::Softmax(softmax) => {
                let channels = output.shape.channels().expect("fixed");
                for (x, y) in x.chunks(channels).zip(y.chunks_mut(channels)) {
                    let sum: f32 = x.iter().map(|x| (softmax.beta * x).exp()).sum();
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = (softmax.beta * x).exp() / sum);
                }
            }
            Op::StridedSlice(_) | Op::Tile { .. } | Op::ArgMax(_) | Op::Quantize { .. } | Op::Opaque(_) => {
                unreachable!("no such node in these networks")
            }
        }
        values.insert(node.outputs[0], y);
    }
    values.retain(|id, _| graph.tensor(*id).data.is_none());
    values
}

fn activate(activation: Option<Activation>, values: &mut [f32]) {
    let function: &dyn Fn(f32) -> f32 = match activation {
        None => &|x| x,
        Some(Activation::Relu) => &|x| Fused::Relu.apply(x),
        Some(Activation::Relu6) => &|x| Fused::Relu6.apply(x),
        Some(Activation::LeakyRelu { slope }) => &move |x| Curve::LeakyRelu { slope }.apply(x),
        Some(Activation::Sigmoid) => &|x| Curve::Sigmoid.apply(x),
        Some(Activation::Tanh) => &|x| Curve::Tanh.apply(x),
        Some(Activation::HardSwish) => &|x| Curve::HardSwish.apply(x),
        Some(Activation::HardSigmoid) => &|x| Curve::HardSigmoid.apply(x),
        Some(Activation::Elu { alpha }) => &move |x| Curve::Elu { alpha }.apply(x),
        Some(Activation::Silu) => &|x| Curve::Silu.apply(x),
        Some(Activation::ReluN1To1) => &|x| Curve::ReluN1To1.apply(x),
    };
    values.iter_mut().for_each(|value| *value = function(*value));
}
