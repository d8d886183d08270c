//! What each class of layer is in a graph.

mod activation;
mod convolution;
mod merge;
mod normalisation;
mod spatial;

use super::config::Layer;
use super::network::{Builder, Operand};
use super::wrong_layer;
use crate::error::Result;
use crate::weights::Array;
use taper_graph::{Binary, Elementwise, Op, TensorId};

/// One call of a layer.
pub(super) struct Site<'s, 'a> {
    pub(super) builder: &'s mut Builder<'a>,
    pub(super) layer: &'s Layer,
    /// The name of its node.
    pub(super) name: String,
}

/// The output of a layer on `operands`.
pub(super) fn emit(site: &mut Site<'_, '_>, operands: &[Operand]) -> Result<TensorId> {
    if site.layer.text("data_format") == Some("channels_first") {
        return Err(site.wrong("expected images with channels last, found `data_format` channels_first"));
    }
    match site.layer.class.as_str() {
        "Conv2D" => convolution::full(site, site.one(operands)?),
        "DepthwiseConv2D" => convolution::depthwise(site, site.one(operands)?),
        "SeparableConv2D" => convolution::separable(site, site.one(operands)?),
        "Conv2DTranspose" => convolution::transposed(site, site.one(operands)?),
        "Dense" => convolution::dense(site, site.one(operands)?),
        "BatchNormalization" => normalisation::batch(site, site.one(operands)?),
        "Normalization" => normalisation::by_statistics(site, site.one(operands)?),
        "Rescaling" => normalisation::rescale(site, site.one(operands)?),
        "Activation" => {
            let x = site.one(operands)?;
            activation::behind(site, x, activation::Place::Alone)
        }
        "ReLU" | "LeakyReLU" | "ELU" | "PReLU" | "Softmax" => activation::layer(site, site.one(operands)?),
        "Relu" | "Relu6" | "Sigmoid" | "Tanh" | "HardSilu" | "HardSwish" | "HardSigmoid" | "Silu" | "Elu"
        | "LeakyRelu" => activation::operation(site, site.one(operands)?),
        "Add" => merge::elementwise(site, Binary::Add, operands),
        "Subtract" => merge::elementwise(site, Binary::Subtract, operands),
        "Multiply" => merge::elementwise(site, Binary::Multiply, operands),
        "Divide" | "TrueDivide" => merge::elementwise(site, Binary::Divide, operands),
        "Maximum" => merge::elementwise(site, Binary::Maximum, operands),
        "Minimum" => merge::elementwise(site, Binary::Minimum, operands),
        "Average" => merge::average(site, operands),
        "TFOpLambda" => merge::function(site, operands),
        "Concatenate" => merge::concatenate(site, operands),
        "ZeroPadding2D" => spatial::pad(site, site.one(operands)?),
        "MaxPooling2D" | "AveragePooling2D" => spatial::pool(site, site.one(operands)?),
        "GlobalMaxPooling2D" | "GlobalAveragePooling2D" => spatial::global_pool(site, site.one(operands)?),
        "UpSampling2D" => spatial::enlarge(site, site.one(operands)?),
        "Resizing" => spatial::resize(site, site.one(operands)?),
        "Flatten" => {
            let x = site.one(operands)?;
            site.node(Op::Flatten, &[x])
        }
        "Reshape" => spatial::reshape(site, site.one(operands)?),
        "Dropout" => spatial::dropout(site, site.one(operands)?),
        // Nothing at inference.
        "SpatialDropout1D"
        | "SpatialDropout2D"
        | "GaussianDropout"
        | "GaussianNoise"
        | "AlphaDropout"
        | "ActivityRegularization"
        | "Identity"
        | "RandomFlip"
        | "RandomRotation"
        | "RandomTranslation"
        | "RandomZoom"
        | "RandomContrast"
        | "RandomBrightness"
        | "RandomHeight"
        | "RandomWidth"
        | "RandomShear"
        | "RandomHue"
        | "RandomSaturation"
        | "RandomGrayscale"
        | "RandomErasing"
        | "RandomInvert"
        | "RandomPosterization"
        | "RandomSharpness"
        | "RandomColorJitter"
        | "RandomColorDegeneration"
        | "RandomGaussianBlur"
        | "RandomElasticTransform"
        | "RandomPerspective" => site.one(operands),
        _ => Err(site.wrong("expected a layer of convolutional networks that Taper knows")),
    }
}

/// A function of two operands with nothing behind it.
fn binary(function: Binary) -> Op {
    Op::Elementwise(Elementwise { function, activation: None })
}

impl Site<'_, '_> {
    /// The only operand.
    fn one(&self, operands: &[Operand]) -> Result<TensorId> {
        match *operands {
            [Operand::Tensor(x)] => Ok(x),
            _ => Err(self.wrong(format!("expected one input, found {}", operands.len()))),
        }
    }

    /// The node that bears the layer's name.
    fn node(&mut self, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        self.builder.node(self.name.clone(), op, inputs)
    }

    /// A further node of the layer.
    fn part(&mut self, part: &str, op: Op, inputs: &[TensorId]) -> Result<TensorId> {
        self.builder.node(format!("{}/{part}", self.name), op, inputs)
    }

    /// The node that bears the layer's name, a function of two operands.
    fn binary(&mut self, function: Binary, operands: [TensorId; 2]) -> Result<TensorId> {
        self.node(binary(function), &operands)
    }

    /// The constant in `role`, of sizes and values that `make` gives.
    fn constant(
        &mut self,
        role: &'static str,
        make: impl FnOnce(&mut Builder<'_>, &Layer) -> Result<(Vec<usize>, Vec<f32>)>,
    ) -> Result<TensorId> {
        let layer = self.layer;
        self.builder.constant(layer, (&self.name, role), |builder| make(builder, layer))
    }

    /// The variable `name` as it is stored, which must be a vector, as constant `role`.
    fn vector(&mut self, role: &'static str, name: &str) -> Result<TensorId> {
        self.constant(role, |builder, layer| {
            let Array { sizes, values, .. } = builder.variable(layer, name)?;
            match sizes[..] {
                [_] => Ok((sizes, values)),
                _ => Err(wrong_layer(layer, format!("expected a vector `{name}`, found {sizes:?}"))),
            }
        })
    }

    /// Height, width and channels of an image.
    fn image(&self, x: TensorId) -> Result<[usize; 3]> {
        /// Beyond this, products of sizes could not be counted.
        const LARGEST: usize = 1 << 31;
        let shape = &self.builder.graph.tensor(x).shape;
        let image = shape.image().filter(|sizes| sizes.iter().all(|&size| size <= LARGEST));
        image.ok_or_else(|| self.wrong(format!("expected an image [N, H, W, C], found {shape}")))
    }

    fn rank(&self, x: TensorId) -> usize {
        self.builder.graph.tensor(x).shape.rank()
    }

    fn wrong(&self, message: impl Into<String>) -> crate::FormatError {
        wrong_layer(self.layer, message)
    }
}
