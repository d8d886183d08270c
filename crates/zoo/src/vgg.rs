//! VGG (Simonyan & Zisserman, 2014): blocks of 3×3 convolutions, each block closed by 2×2 max pooling.

use crate::Task;
use taper_graph::{
    Activation, BatchNorm, Conv2d, DType, FullyConnected, Graph, Op, Padding, Pool2d, PoolKind, Result,
    Shape, Softmax, TensorData, TensorId,
};

/// What stands between a convolution and its nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// Nothing.
    None,
    /// Batch normalisation, as in torchvision's `vgg16_bn`.
    Batch,
}

/// The widths of a VGG's convolutions, block by block.
#[derive(Debug, Clone)]
pub struct Vgg {
    /// Name of the network.
    pub name: String,
    /// Output channels of each convolution of each block.
    pub blocks: Vec<Vec<usize>>,
    /// What stands behind each convolution.
    pub normalisation: Normalisation,
}

/// VGG-16's thirteen convolutions and one fully connected layer, as the source uses it: 14,718,666 parameters for
/// 28×28×1 images and 10 classes without batch normalisation.
///
/// # Errors
/// If the images are empty.
pub fn vgg16(task: Task, normalisation: Normalisation) -> Result<Graph> {
    let blocks = vec![vec![64; 2], vec![128; 2], vec![256; 3], vec![512; 3], vec![512; 3]];
    let name = match normalisation {
        Normalisation::None => "vgg16",
        Normalisation::Batch => "vgg16-bn",
    };
    Vgg { name: name.to_owned(), blocks, normalisation }.build(task)
}

/// A VGG-16 with the widths that pruning leaves, 5 to 16 channels: a benchmark of narrow layers, with 12 thousand
/// parameters for 28×28×1 images and 10 classes.
///
/// # Errors
/// If the images are empty.
pub fn vgg16_pruned(task: Task) -> Result<Graph> {
    let blocks = vec![vec![7, 9], vec![12, 11], vec![16, 13, 10], vec![14, 9, 8], vec![6, 5, 12]];
    Vgg { name: "vgg16-pruned".to_owned(), blocks, normalisation: Normalisation::None }.build(task)
}

impl Vgg {
    /// The network for `task`. Pooling rounds up, so that any image size works.
    ///
    /// # Errors
    /// If the images are empty.
    pub fn build(&self, task: Task) -> Result<Graph> {
        let mut graph = Graph::new(&self.name);
        let mut x = graph.add_input("image", Shape::batched(&task.input), DType::F32);
        for (block, widths) in self.blocks.iter().enumerate() {
            for (layer, &width) in widths.iter().enumerate() {
                x =
                    self.convolution(&mut graph, &format!("block{}_conv{}", block + 1, layer + 1), x, width)?;
            }
            let [height, width, _] = graph.tensor(x).shape.image().unwrap_or_default();
            let pool = Pool2d {
                kind: PoolKind::Max,
                window: [2, 2],
                stride: [2, 2],
                padding: Padding::same([height, width], [2, 2], [2, 2], [1, 1]),
            };
            x = graph.add_node(format!("block{}_pool", block + 1), Op::Pool2d(pool), &[x])?;
        }
        x = graph.add_node("flatten", Op::Flatten, &[x])?;
        let features = graph.tensor(x).shape.channels().unwrap_or_default();
        let weights = zeros(&mut graph, "predictions/weights", &[task.classes, features]);
        let bias = zeros(&mut graph, "predictions/bias", &[task.classes]);
        x = graph.add_node(
            "predictions",
            Op::FullyConnected(FullyConnected::default()),
            &[x, weights, bias],
        )?;
        x = graph.add_node("softmax", Op::Softmax(Softmax { beta: 1.0 }), &[x])?;
        graph.outputs.push(x);
        graph.verify()?;
        Ok(graph)
    }

    fn convolution(&self, graph: &mut Graph, name: &str, x: TensorId, width: usize) -> Result<TensorId> {
        let channels = graph.tensor(x).shape.channels().unwrap_or_default();
        let weights = zeros(graph, &format!("{name}/weights"), &[width, 3, 3, channels]);
        let conv = |activation| {
            Op::Conv2d(Conv2d {
                stride: [1, 1],
                dilation: [1, 1],
                padding: Padding { top: 1, bottom: 1, left: 1, right: 1 },
                activation,
            })
        };
        match self.normalisation {
            Normalisation::None => {
                let bias = zeros(graph, &format!("{name}/bias"), &[width]);
                graph.add_node(name, conv(Some(Activation::Relu)), &[x, weights, bias])
            }
            Normalisation::Batch => {
                let y = graph.add_node(name, conv(None), &[x, weights])?;
                let constants =
                    [("gamma", 1.0), ("beta", 0.0), ("mean", 0.0), ("variance", 1.0)].map(|(role, value)| {
                        graph.add_constant(
                            format!("{name}_bn/{role}"),
                            &[width],
                            TensorData::F32(vec![value; width]),
                        )
                    });
                let inputs: Vec<_> = std::iter::once(y).chain(constants).collect();
                let norm = BatchNorm { epsilon: 1e-5 };
                let y = graph.add_node(format!("{name}_bn"), Op::BatchNorm(norm), &inputs)?;
                let relu = Op::Activation { function: Activation::Relu };
                graph.add_node(format!("{name}_relu"), relu, &[y])
            }
        }
    }
}

fn zeros(graph: &mut Graph, name: &str, sizes: &[usize]) -> TensorId {
    graph.add_constant(name, sizes, TensorData::F32(vec![0.0; sizes.iter().product()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: Task = Task { input: [28, 28, 1], classes: 10 };

    #[test]
    fn vgg16_has_the_parameters_of_the_source() {
        let graph = vgg16(DIGITS, Normalisation::None).expect("fits");
        assert_eq!(taper_graph::cost(&graph).parameters, 14_718_666);
    }

    #[test]
    fn any_image_size_builds() {
        for side in [1, 2, 5, 28, 32, 33] {
            for normalisation in [Normalisation::None, Normalisation::Batch] {
                vgg16(Task { input: [side, side, 3], classes: 4 }, normalisation).expect("fits");
            }
        }
    }
}
