//! How other frameworks' networks name the layers of Taper's zoo, which are named as Keras's of today but for one.
//!
//! Sources: `keras.applications`, and before it fchollet/deep-learning-models; torchvision's `models/vgg.py` and `models/resnet.py`; for MobileNet, which torchvision lacks, the common
//! `model.N.M` of blocks in sequence (marvis/pytorch-mobilenet).

/// Another name that the layer of the zoo's node `node` has in Keras's `network`: MobileNet ends in a convolution of one
/// pixel, and the first ResNet50 had names of its own.
pub(super) fn keras_layer(network: &str, node: &str) -> Option<String> {
    match network {
        "mobilenet-v1" => (node == "predictions").then(|| "conv_preds".to_owned()),
        "resnet50" => first_resnet50(node),
        _ => None,
    }
}

/// `convS_blockB_K_conv` was `resSB_branch2K` with letters for B and K, and the shortcut's `0` was `branch1`.
fn first_resnet50(node: &str) -> Option<String> {
    match node {
        "conv1_conv" => return Some("conv1".to_owned()),
        "conv1_bn" => return Some("bn_conv1".to_owned()),
        "predictions" => return Some("fc1000".to_owned()),
        _ => {}
    }
    let (stage, rest) = node.strip_prefix("conv")?.split_once("_block")?;
    let [block, layer, kind] = rest.split('_').collect::<Vec<_>>().try_into().ok()?;
    let letter = |number: &str| "abcdef".chars().nth(number.parse::<usize>().ok()?.checked_sub(1)?);
    let kind = match kind {
        "conv" => "res",
        "bn" => "bn",
        _ => return None,
    };
    let branch = match layer {
        "0" => "1".to_owned(),
        _ => format!("2{}", letter(layer)?),
    };
    Some(format!("{kind}{stage}{}_branch{branch}", letter(block)?))
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
    fn layers_have_the_names_of_the_first_resnet50() {
        for (node, layer) in [
            ("conv1_bn", "bn_conv1"),
            ("conv2_block1_0_conv", "res2a_branch1"),
            ("conv4_block6_3_bn", "bn4f_branch2c"),
            ("predictions", "fc1000"),
        ] {
            assert_eq!(keras_layer("resnet50", node).as_deref(), Some(layer), "{node}");
        }
        assert_eq!(keras_layer("resnet50", "conv2_block1_out"), None);
        assert_eq!(keras_layer("vgg16", "predictions"), None);
    }

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
