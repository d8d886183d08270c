//! Weights in every container, and values that a PyTorch dictionary keeps.

use super::array::View;
use super::*;
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/keras").join(name)
}

fn sizes(weights: &Weights) -> Vec<(&str, &[usize])> {
    weights.iter().map(|(name, array)| (name, array.sizes.as_slice())).collect()
}

#[test]
fn all_of_keras_containers_hold_the_same_arrays() {
    let listed = load(&golden("small.h5")).expect("reads");
    let expected: [(&str, &[usize]); 8] = [
        ("conv/kernel", &[3, 3, 1, 2]),
        ("conv/bias", &[2]),
        ("bn/gamma", &[2]),
        ("bn/beta", &[2]),
        ("bn/moving_mean", &[2]),
        ("bn/moving_variance", &[2]),
        ("dense/kernel", &[8, 2]),
        ("dense/bias", &[2]),
    ];
    assert_eq!(sizes(&listed), expected);
    for name in ["small.keras", "small.weights.h5"] {
        let numbered = load(&golden(name)).expect("reads");
        assert_eq!((numbered.len(), numbered.layout()), (listed.len(), Layout::Keras));
        for (role, place) in
            [("conv/kernel", "conv/0"), ("bn/moving_variance", "bn/3"), ("dense/bias", "dense/1")]
        {
            assert_eq!(numbered.get(place), listed.get(role), "{name}");
        }
    }
}

#[test]
fn all_of_pytorchs_containers_hold_the_same_tensors() {
    let archive = load(&golden("small.pth")).expect("reads");
    let names: Vec<&str> = archive.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "0.weight",
            "0.bias",
            "1.weight",
            "1.bias",
            "1.running_mean",
            "1.running_var",
            "1.num_batches_tracked",
            "2.weight",
            "2.bias"
        ]
    );
    let half = archive.get("2.weight").expect("is there");
    assert_eq!((half.element, &half.sizes[..]), (Element::F16, &[4, 2][..]));
    for name in ["legacy.pth", "checkpoint.pth"] {
        assert_eq!(load(&golden(name)).expect("reads"), archive, "{name}");
    }
}

#[test]
fn safetensors_hold_what_they_hold() {
    let header = br#"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"a":{"dtype":"I64","shape":[],"data_offsets":[4,12]}}"#;
    let mut bytes = u64::try_from(header.len()).expect("short").to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&[0x80, 0x3f, 0x00, 0xc0]);
    bytes.extend_from_slice(&7i64.to_le_bytes());
    let weights = read(bytes).expect("reads");
    let found: Vec<_> =
        weights.iter().map(|(name, array)| (name, array.element, array.values.as_slice())).collect();
    assert_eq!(found, [("b", Element::BF16, &[1.0, -2.0][..]), ("a", Element::I64, &[7.0][..])]);
}

#[test]
fn a_view_is_gathered_along_its_strides() {
    let bytes: Vec<u8> = (0..6u8).collect();
    let view = View { offset: 0, sizes: &[3, 2], strides: &[1, 3] };
    let array = Array::gather("x", Element::U8, &bytes, &view, &mut Budget::of(0)).expect("fits");
    assert_eq!(array.values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(array.permuted([1, 0]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    for (offset, strides) in [(1, [1, 3]), (0, [1, 4]), (usize::MAX, [1, 3]), (0, [usize::MAX, 3])] {
        let view = View { offset, sizes: &[3, 2], strides: &strides };
        assert!(Array::gather("x", Element::U8, &bytes, &view, &mut Budget::of(0)).is_err());
    }
}
