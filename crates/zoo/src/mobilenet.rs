//! MobileNet (Howard et al., 2017), as Keras builds it, but with a fully connected layer at its end.

use crate::Task;
use crate::builder::{Bias, Border, Builder, Convolution};
use taper_graph::{Activation, Graph, Result, TensorId};

/// Added to variances: the default of Keras's batch normalisation.
const EPSILON: f32 = 1e-3;

/// Output channels and stride of each depthwise separable block.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// MobileNet with a width of 1: 4,253,864 parameters for 3 channels and 1000 classes, with the statistics of batch
/// normalisation.
///
/// # Errors
/// If the images are empty.
pub fn mobilenet_v1(task: Task) -> Result<Graph> {
    let (mut builder, image) = Builder::new("mobilenet-v1", task);
    let layer = |width, kernel, stride| {
        let (padding, bias) = (Border::Same, Bias::Absent);
        Convolution { width, kernel, stride, padding, bias, activation: None }
    };
    let x = builder.convolution("conv1", image, layer(32, 3, 2))?;
    let mut x = normalised(&mut builder, "conv1", x)?;
    for (block, (width, stride)) in (1..).zip(BLOCKS) {
        let name = format!("conv_dw_{block}");
        x = builder.depthwise(&name, x, layer(width, 3, stride))?;
        x = normalised(&mut builder, &name, x)?;
        let name = format!("conv_pw_{block}");
        x = builder.convolution(&name, x, layer(width, 1, 1))?;
        x = normalised(&mut builder, &name, x)?;
    }
    x = builder.mean("global_average_pooling", x)?;
    x = builder.dropout("dropout", x, 1e-3)?;
    builder.classifier(x, task.classes)
}

fn normalised(builder: &mut Builder, name: &str, x: TensorId) -> Result<TensorId> {
    let x = builder.batch_norm(&format!("{name}_bn"), x, EPSILON)?;
    builder.activation(&format!("{name}_relu"), x, Activation::Relu6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mobilenet_has_the_parameters_that_keras_publishes() {
        let graph = mobilenet_v1(Task { input: [224, 224, 3], classes: 1000 }).expect("fits");
        assert_eq!(taper_graph::cost(&graph).parameters, 4_253_864);
        let map = graph.tensors.iter().find(|tensor| tensor.name == "conv_pw_13_relu").expect("the last map");
        assert_eq!(map.shape.image(), Some([7, 7, 1024]));
    }

    #[test]
    fn every_layer_but_the_last_may_lose_channels() {
        let graph = mobilenet_v1(Task { input: [32, 32, 1], classes: 10 }).expect("fits");
        let groups = taper_graph::ChannelGroups::of(&graph);
        let kept = groups.0.iter().filter(|group| group.kept.is_some()).map(|group| group.name.as_str());
        assert_eq!((groups.0.len(), kept.collect::<Vec<_>>()), (15, vec!["predictions"]));
    }

    #[test]
    fn any_image_size_builds() {
        for side in [1, 2, 5, 28, 128] {
            mobilenet_v1(Task { input: [side, side, 1], classes: 10 }).expect("fits");
        }
    }
}
