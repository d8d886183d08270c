//! How other frameworks' networks name the layers of Taper's zoo, which are named as Keras's but for one.
//!
//! Sources: torchvision's `models/vgg.py` and `models/resnet.py`; for MobileNet, which torchvision lacks, the common
//! `model.N.M` of blocks in sequence (marvis/pytorch-mobilenet).

/// The layer of Keras's `network` that the zoo's node `node` stands for, if it has another name there: MobileNet of
/// `keras.applications` ends in a convolution of one pixel.
pub(super) fn keras_layer(network: &str, node: &str) -> Option<&'static str> {
    (network == "mobilenet-v1" && node == "predictions").then_some("conv_preds")
}

/// The module of network `network` that the zoo's node `node` stands for; `None` where there is no table or no such layer.
pub(super) fn torch_module(network: &str, node: &str) -> Option<String> {
    match network {
        "vgg16" => vgg16(node, 1, 1),
        "vgg16-bn" => vgg16(node, 2, 1),
        "resnet50" => resnet50(node),
        "mobilenet-v1" => mobilenet(node),
        _ => None,
    }
}

/// `blockB_convK` is a position in `features`: each convolution is followed by its normalisation, if there is one, and a
/// rectifier, each block by its pooling.
fn vgg16(node: &str, of_convolution: usize, of_block: usize) -> Option<String> {
    const CONVOLUTIONS: [usize; 5] = [2, 2, 3, 3, 3];
    let (layer, within) = node.strip_suffix("_bn").map_or((node, 0), |layer| (layer, 1));
    let (block, layer) = layer.strip_prefix("block")?.split_once("_conv")?;
    let (block, layer): (usize, usize) = (block.parse().ok()?, layer.parse().ok()?);
    let before = CONVOLUTIONS.get(..block.checked_sub(1)?)?;
    let convolutions = before.iter().sum::<usize>().checked_add(layer.checked_sub(1)?)?;
    let position = convolutions.checked_mul(of_convolution + 1)? + before.len() * of_block + within;
    Some(format!("features.{position}"))
}

/// `convS_blockB_K_conv` is `layer(S−1).(B−1).convK`, and the shortcut's `0` is `downsample`.
fn resnet50(node: &str) -> Option<String> {
    match node {
        "conv1_conv" => return Some("conv1".to_owned()),
        "conv1_bn" => return Some("bn1".to_owned()),
        "predictions" => return Some("fc".to_owned()),
        _ => {}
    }
    let mut parts = node.split('_');
    let stage: usize = parts.next()?.strip_prefix("conv")?.parse().ok()?;
    let block: usize = parts.next()?.strip_prefix("block")?.parse().ok()?;
    let (layer, kind) = (parts.next()?, parts.next()?);
    let module = match (layer, kind) {
        ("0", "conv") => "downsample.0".to_owned(),
        ("0", "bn") => "downsample.1".to_owned(),
        (_, "conv" | "bn") => format!("{kind}{layer}"),
        _ => return None,
    };
    Some(format!("layer{}.{}.{module}", stage.checked_sub(1)?, block.checked_sub(1)?))
}

/// `conv_dw_B` and `conv_pw_B` are places 0 and 3 of `model.B`, their normalisations the places behind.
fn mobilenet(node: &str) -> Option<String> {
    if node == "predictions" {
        return Some("fc".to_owned());
    }
    let (layer, within) = node.strip_suffix("_bn").map_or((node, 0), |layer| (layer, 1));
    let (block, first) = match layer {
        "conv1" => ("0", 0),
        _ => match layer.strip_prefix("conv_dw_") {
            Some(block) => (block, 0),
            None => (layer.strip_prefix("conv_pw_")?, 3),
        },
    };
    Some(format!("model.{block}.{}", first + within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_names_of_torchvision() {
        for (network, node, module) in [
            ("vgg16", "block1_conv1", "features.0"),
            ("vgg16", "block2_conv1", "features.5"),
            ("vgg16", "block5_conv3", "features.28"),
            ("vgg16-bn", "block1_conv1_bn", "features.1"),
            ("vgg16-bn", "block2_conv1", "features.7"),
            ("vgg16-bn", "block5_conv3_bn", "features.41"),
            ("resnet50", "conv1_conv", "conv1"),
            ("resnet50", "conv2_block1_0_bn", "layer1.0.downsample.1"),
            ("resnet50", "conv4_block6_3_conv", "layer3.5.conv3"),
            ("mobilenet-v1", "conv1_bn", "model.0.1"),
            ("mobilenet-v1", "conv_pw_13", "model.13.3"),
        ] {
            assert_eq!(torch_module(network, node).as_deref(), Some(module), "{network} {node}");
        }
        assert_eq!(torch_module("vgg-small", "block1_conv1"), None);
        assert_eq!(torch_module("vgg16", "block0_conv1"), None);
    }
}
