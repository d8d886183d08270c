//! ResNet-50 (He et al., 2015), as Keras builds it: the first 1×1 convolution of a stage has its stride, and
//! convolutions have biases although batch normalisation follows them.

use crate::Task;
use crate::builder::{Bias, Border, Builder, Convolution};
use taper_graph::{Activation, Binary, Elementwise, Graph, Op, Result, TensorId};

/// Added to variances, as in `keras.applications.resnet`.
const EPSILON: f32 = 1.001e-5;

/// ResNet-50: 25,636,712 parameters for 3 channels and 1000 classes, with the statistics of batch normalisation.
///
/// # Errors
/// If the images are empty.
pub fn resnet50(task: Task) -> Result<Graph> {
    let (mut builder, image) = Builder::new("resnet50", task);
    let stem = Convolution { kernel: 7, padding: Border::Even(3), ..pointwise(64, 2) };
    let mut x = normalised(&mut builder, "conv1", image, stem)?;
    x = builder.activation("conv1_relu", x, Activation::Relu)?;
    x = builder.max_pool("pool1_pool", x, 3, 2, Border::Even(1))?;
    for (stage, width, blocks, stride) in [(2, 64, 3, 1), (3, 128, 4, 2), (4, 256, 6, 2), (5, 512, 3, 2)] {
        for block in 1..=blocks {
            let name = format!("conv{stage}_block{block}");
            let shortcut = if block > 1 {
                x
            } else {
                normalised(&mut builder, &format!("{name}_0"), x, pointwise(4 * width, stride))?
            };
            let stride = if block > 1 { 1 } else { stride };
            x = bottleneck(&mut builder, &name, [x, shortcut], width, stride)?;
        }
    }
    x = builder.mean("avg_pool", x)?;
    builder.classifier(x, task.classes)
}

/// A 1×1, a 3×3 and a 1×1 convolution of `[x, shortcut]`'s first, and the sum with its second.
fn bottleneck(
    builder: &mut Builder,
    name: &str,
    [x, shortcut]: [TensorId; 2],
    width: usize,
    stride: usize,
) -> Result<TensorId> {
    let square = Convolution { kernel: 3, padding: Border::Same, ..pointwise(width, 1) };
    let x = normalised(builder, &format!("{name}_1"), x, pointwise(width, stride))?;
    let x = builder.activation(&format!("{name}_1_relu"), x, Activation::Relu)?;
    let x = normalised(builder, &format!("{name}_2"), x, square)?;
    let x = builder.activation(&format!("{name}_2_relu"), x, Activation::Relu)?;
    let x = normalised(builder, &format!("{name}_3"), x, pointwise(4 * width, 1))?;
    let sum = Op::Elementwise(Elementwise { function: Binary::Add, activation: None });
    let x = builder.add(&format!("{name}_add"), sum, &[shortcut, x])?;
    builder.activation(&format!("{name}_out"), x, Activation::Relu)
}

fn pointwise(width: usize, stride: usize) -> Convolution {
    let (padding, bias) = (Border::Even(0), Bias::Learned);
    Convolution { width, kernel: 1, stride, padding, bias, activation: None }
}

/// A convolution with batch normalisation behind it.
fn normalised(builder: &mut Builder, name: &str, x: TensorId, layer: Convolution) -> Result<TensorId> {
    let x = builder.convolution(&format!("{name}_conv"), x, layer)?;
    builder.batch_norm(&format!("{name}_bn"), x, EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet50_has_the_parameters_that_keras_publishes() {
        let graph = resnet50(Task { input: [224, 224, 3], classes: 1000 }).expect("fits");
        let cost = taper_graph::cost(&graph);
        assert_eq!(cost.parameters, 25_636_712);
        let statistics = graph
            .tensors
            .iter()
            .filter(|tensor| tensor.name.ends_with("/mean") || tensor.name.ends_with("/variance"));
        assert_eq!(statistics.map(|tensor| tensor.shape.elements(1).expect("small")).sum::<usize>(), 53_120);
        let map =
            graph.tensors.iter().find(|tensor| tensor.name == "conv5_block3_out").expect("the last map");
        assert_eq!(map.shape.image(), Some([7, 7, 2048]));
    }

    #[test]
    fn a_stage_is_one_group_of_channels() {
        let graph = resnet50(Task { input: [32, 32, 1], classes: 10 }).expect("fits");
        let groups = taper_graph::ChannelGroups::of(&graph);
        let stage = groups.get("conv3_block1_0_conv").expect("the stage's stream");
        assert_eq!((stage.units.len(), stage.layers.len(), stage.kept.as_ref()), (512, 5, None));
    }

    #[test]
    fn any_image_size_builds() {
        for side in [1, 2, 5, 28, 128] {
            resnet50(Task { input: [side, side, 1], classes: 10 }).expect("fits");
        }
    }
}
