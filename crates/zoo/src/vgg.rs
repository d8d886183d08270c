//! VGG (Simonyan & Zisserman, 2014): blocks of 3×3 convolutions, each block closed by 2×2 max pooling.

use crate::Task;
use crate::builder::{Bias, Border, Builder, Convolution};
use taper_graph::{Activation, Graph, Op, Result, TensorId};

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

/// Five convolutions of 32 to 128 channels with batch normalisation: 160,298 parameters for 28×28×1 images and 10 classes.
/// It learns in minutes on a CPU.
///
/// # Errors
/// If the images are empty.
pub fn vgg_small(task: Task) -> Result<Graph> {
    let blocks = vec![vec![32; 2], vec![64; 2], vec![128]];
    Vgg { name: "vgg-small".to_owned(), blocks, normalisation: Normalisation::Batch }.build(task)
}

impl Vgg {
    /// The network for `task`. Pooling rounds up, so that any image size works.
    ///
    /// # Errors
    /// If the images are empty.
    pub fn build(&self, task: Task) -> Result<Graph> {
        let (mut builder, mut x) = Builder::new(&self.name, task);
        for (block, widths) in (1..).zip(&self.blocks) {
            for (layer, &width) in (1..).zip(widths) {
                x = self.convolution(&mut builder, &format!("block{block}_conv{layer}"), x, width)?;
            }
            x = builder.max_pool(&format!("block{block}_pool"), x, 2, 2, Border::Same)?;
        }
        x = builder.add("flatten", Op::Flatten, &[x])?;
        builder.classifier(x, task.classes)
    }

    fn convolution(&self, builder: &mut Builder, name: &str, x: TensorId, width: usize) -> Result<TensorId> {
        let (padding, relu) = (Border::Even(1), Activation::Relu);
        let layer = |bias, activation| Convolution { width, kernel: 3, stride: 1, padding, bias, activation };
        match self.normalisation {
            Normalisation::None => builder.convolution(name, x, layer(Bias::Learned, Some(relu))),
            Normalisation::Batch => {
                let x = builder.convolution(name, x, layer(Bias::Absent, None))?;
                let x = builder.batch_norm(&format!("{name}_bn"), x, 1e-5)?;
                builder.activation(&format!("{name}_relu"), x, relu)
            }
        }
    }
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
    fn small_networks_have_the_parameters_that_they_tell() {
        let parameters = |graph: Result<Graph>| taper_graph::cost(&graph.expect("fits")).parameters;
        assert_eq!(parameters(vgg16_pruned(DIGITS)), 11_962);
        assert_eq!(parameters(vgg_small(DIGITS)), 160_298);
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
