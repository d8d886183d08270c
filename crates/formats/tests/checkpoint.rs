//! Checkpoints: round trips, determinism, the reference reader, and hostile bytes.

use proptest::prelude::*;
use std::collections::BTreeMap;
use taper_formats::{Checkpoint, ErrorKind, ExtraTensor};
use taper_graph::{DType, Graph, TensorData};
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};

/// A checkpoint with something of everything.
fn checkpoint(seed: u64, numbers: Numbers) -> Checkpoint {
    let mask = ExtraTensor { sizes: vec![2, 2], data: TensorData::U8(vec![1, 0, 1, 1]) };
    let moment = ExtraTensor { sizes: vec![3], data: TensorData::F32(vec![0.5, f32::NEG_INFINITY, 1e-45]) };
    Checkpoint {
        graph: graphs::random(seed, numbers),
        extra_tensors: BTreeMap::from([("mask".to_owned(), mask), ("adam/m".to_owned(), moment)]),
        extra: BTreeMap::from([
            ("iteration".to_owned(), "3".to_owned()),
            ("law".to_owned(), "β·P".to_owned()),
        ]),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(seed: u64, numbers in proptest::sample::select(Numbers::ALL.to_vec())) {
        let checkpoint = checkpoint(seed, numbers);
        let bytes = checkpoint.to_bytes().expect("writes");
        let again = Checkpoint::from_bytes(&bytes).expect("reads");
        prop_assert_eq!(&again, &checkpoint);
        prop_assert_eq!(again.to_bytes().expect("writes"), bytes);
    }

    #[test]
    fn branches_read_back_equal(seed: u64) {
        let written = Checkpoint { graph: branches::random(seed, &Block::ALL), ..checkpoint(0, Numbers::Float) };
        let bytes = written.to_bytes().expect("writes");
        prop_assert!(Checkpoint::from_bytes(&bytes).expect("reads") == written);
    }

    #[test]
    fn changed_bits_never_panic(seed in 0u64..20, position: prop::sample::Index, bit in 0u32..8) {
        let mut bytes = checkpoint(seed, Numbers::Int8).to_bytes().expect("writes");
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(checkpoint) = Checkpoint::from_bytes(&bytes) {
            checkpoint.graph.verify().expect("what is read is sound");
        }
    }
}

#[test]
fn the_reference_reader_finds_the_same_tensors() {
    let checkpoint = checkpoint(5, Numbers::Int8);
    let bytes = checkpoint.to_bytes().expect("writes");
    let reference = safetensors::SafeTensors::deserialize(&bytes).expect("the reference reads it");
    let constants =
        checkpoint.graph.tensors.iter().filter_map(|tensor| Some((&tensor.name, tensor.data.as_ref()?)));
    let extras = checkpoint.extra_tensors.iter().map(|(name, extra)| (name, &extra.data));
    for (name, data) in constants.chain(extras) {
        assert_eq!(reference.tensor(name).expect("is there").data(), data.to_le_bytes(), "{name}");
    }
    let (header, _) = safetensors::SafeTensors::read_metadata(&bytes).expect("the reference reads it");
    assert_eq!(header % 8, 0, "data is aligned");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = checkpoint(2, Numbers::Float).to_bytes().expect("writes");
    for part in 0..64 {
        let error = Checkpoint::from_bytes(&bytes[..bytes.len() * part / 64]).expect_err("a part is no file");
        assert_ne!(error.kind(), ErrorKind::Io, "{error}");
    }
}

/// A checkpoint's header after an edit of its text, with the data behind it.
fn edited(from: &str, to: &str) -> Vec<u8> {
    let mut graph = Graph::new("tiny");
    let weights = graph.add_constant("weights", &[2], TensorData::F32(vec![1.0, 2.0]));
    graph.outputs.push(weights);
    let bytes = Checkpoint::new(graph).to_bytes().expect("writes");
    let (header, data) = bytes[8..].split_at(bytes.len() - 8 - 2 * DType::F32.bytes());
    let header = String::from_utf8(header.to_vec()).expect("text");
    assert!(header.contains(from), "{header}");
    let header = header.replace(from, to);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (
            r#"format_version":"1""#,
            r#"format_version":"9""#,
            "taper.format_version: expected version 1, found `9`",
        ),
        (
            r#""weights":{"#,
            r#""weight":{"#,
            "tensor `weights`: expected its data in the checkpoint, found none",
        ),
        (
            r#""shape":[2]"#,
            r#""shape":[1,2]"#,
            "tensor `weights`: expected f32 [2] as the graph says, found f32 [1, 2]",
        ),
        (
            r#""dtype":"F32""#,
            r#""dtype":"I32""#,
            "tensor `weights`: expected f32 [2] as the graph says, found i32 [2]",
        ),
        ("[0,8]", "[0,4]", "data: expected 4 bytes as the header says, found 8"),
        ("[0,8]", "[4,8]", "tensor `weights`: expected its data from byte 0 of 8, found offsets 4 to 8"),
        (r#""shape":[2]"#, r#""shape":[3]"#, "tensor `weights`: expected data for f32 [3], found 8 bytes"),
        (
            "taper.graph",
            "taper.graf",
            "taper.graph: expected this entry in the metadata of a Taper checkpoint, found none",
        ),
        (
            r#""taper.constants":"[0]""#,
            r#""taper.constants":"[7]""#,
            "taper.constants: expected positions below 1, found 7",
        ),
    ];
    for (from, to, expected) in cases {
        let error = Checkpoint::from_bytes(&edited(from, to)).expect_err("refuses");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn names_that_clash_are_refused() {
    let mut clash = checkpoint(1, Numbers::Float);
    let name =
        clash.graph.tensors.iter().find(|tensor| tensor.data.is_some()).expect("has constants").name.clone();
    let extra = clash.extra_tensors["mask"].clone();
    clash.extra_tensors.insert(name.clone(), extra);
    let message = clash.to_bytes().expect_err("refuses").to_string();
    assert!(message.contains(&name), "{message}");
}
