//! Small sound files of each format.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use taper_formats::{Checkpoint, onnx, tflite as format};
use taper_testing::branches::{self, Block};
use taper_testing::graphs::{self, Numbers};

/// Chains and branches in every arithmetic.
pub fn tflite() -> Vec<Vec<u8>> {
    let chains = (0..4).flat_map(|seed| Numbers::ALL.map(|numbers| graphs::random(seed, numbers)));
    let branches = (0..6).map(|seed| branches::random(seed, &Block::OF_TFLITE));
    chains.chain(branches).map(|graph| format::write(&graph).expect("writes")).collect()
}

/// Files of several exporters, and what Taper writes in every arithmetic.
pub fn onnx() -> Vec<Vec<u8>> {
    let exports =
        ["vgg-fixed", "senet-script", "unet-dynamo", "keras-tf2onnx", "quantized-signed", "quantized-mixed"];
    let names = exports.map(|name| format!("{name}.onnx"));
    let chains = (0..2).flat_map(|seed| Numbers::ALL.map(|numbers| graphs::random(seed, numbers)));
    let blocks: Vec<Block> = Block::ALL.into_iter().filter(|block| *block != Block::FakeQuantize).collect();
    let branches = (0..4).map(|seed| branches::random(seed, &blocks));
    let written = chains.chain(branches).map(|graph| onnx::write(&graph).expect("writes"));
    golden("onnx", &names.each_ref().map(String::as_str)).into_iter().chain(written).collect()
}

/// The same in Taper's own format.
pub fn checkpoint() -> Vec<Vec<u8>> {
    let graphs = (0..2).flat_map(|seed| Numbers::ALL.map(|numbers| graphs::random(seed, numbers)));
    graphs.map(|graph| Checkpoint::new(graph).to_bytes().expect("writes")).collect()
}

/// A model in each of Keras's containers.
pub fn keras() -> Vec<Vec<u8>> {
    golden("keras", &["small.keras", "small.h5"])
}

/// Weights in each container but safetensors, which checkpoints are.
pub fn weights() -> Vec<Vec<u8>> {
    let names = ["small.keras", "small.h5", "small.weights.h5", "small.pth", "legacy.pth", "checkpoint.pth"];
    golden("keras", &names)
}

fn golden(folder: &str, names: &[&str]) -> Vec<Vec<u8>> {
    // Tests and fuzz targets are both built one folder below the root.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(folder);
    names.iter().map(|name| std::fs::read(folder.join(name)).expect("is in the repository")).collect()
}

/// Six images of 1 × 2 pixels.
pub fn idx() -> Vec<Vec<u8>> {
    vec![[&[0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2][..], &(0..12).collect::<Vec<u8>>()].concat()]
}

/// The labels of the images of [`idx`].
pub fn idx_labels() -> Vec<u8> {
    vec![0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 0, 1, 2]
}

/// The options of a compiled model that caches 96 bytes of parameters and streams 32.
pub fn package() -> Vec<Vec<u8>> {
    let executables = [executable(1, 96), executable(2, 32)];
    let mut builder = FlatBufferBuilder::new();
    let parts: Vec<_> = executables.iter().map(|bytes| builder.create_vector(bytes)).collect();
    let parts = builder.create_vector(&parts).as_union_value();
    let root = table(&mut builder, &[(4, Value::Offset(parts))]);
    builder.finish(root, None);
    let multi_executable = builder.finished_data().to_vec();

    let mut builder = FlatBufferBuilder::new();
    let nested = builder.create_vector(&multi_executable).as_union_value();
    let compiler = builder.create_string("none: made by a test").as_union_value();
    let fields = [(4, Value::I32(14)), (6, Value::Offset(nested)), (12, Value::Offset(compiler))];
    let root = table(&mut builder, &fields);
    builder.finish(root, Some("DWN1"));
    vec![flexbuffer(builder.finished_data())]
}

/// A value of a field.
enum Value {
    I16(i16),
    I32(i32),
    Offset(WIPOffset<UnionWIPOffset>),
}

/// A table of fields by their offsets in the vtable.
fn table(builder: &mut FlatBufferBuilder<'_>, fields: &[(u16, Value)]) -> WIPOffset<UnionWIPOffset> {
    let start = builder.start_table();
    for (slot, value) in fields {
        match value {
            Value::I16(value) => builder.push_slot_always(*slot, *value),
            Value::I32(value) => builder.push_slot_always(*slot, *value),
            Value::Offset(value) => builder.push_slot_always(*slot, *value),
        }
    }
    builder.end_table(start).as_union_value()
}

fn executable(kind: i16, parameter_bytes: usize) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let bitstream = builder.create_vector(&[7u8; 16]).as_union_value();
    let bitstream = table(&mut builder, &[(4, Value::Offset(bitstream))]);
    let bitstreams = builder.create_vector(&[bitstream]).as_union_value();
    let parameters = builder.create_vector(&vec![3u8; parameter_bytes]).as_union_value();
    let name = builder.create_string("x").as_union_value();
    let sizes = [(6, 16), (8, 2), (10, 2), (12, 3)].map(|(slot, size)| (slot, Value::I32(size)));
    let layer: Vec<_> = [(4, Value::Offset(name))].into_iter().chain(sizes).collect();
    let layer = table(&mut builder, &layer);
    let layers = builder.create_vector(&[layer]).as_union_value();
    let fields = [
        (14, Value::Offset(bitstreams)),
        (16, Value::Offset(parameters)),
        (20, Value::Offset(layers)),
        (22, Value::Offset(layers)),
        (30, Value::I16(kind)),
    ];
    let root = table(&mut builder, &fields);
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// A FlexBuffer map of one key, `4`, to a string of bytes; all numbers take four bytes.
fn flexbuffer(content: &[u8]) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
    let mut bytes = b"4\0".to_vec();
    bytes.resize(4, 0);
    bytes.extend(number(content.len()));
    let string = bytes.len();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    // The vector of keys: its length, and the way back to the only key.
    bytes.extend(number(1));
    let keys = bytes.len();
    bytes.extend(number(keys));
    // The map: the way back to the keys, their width, the length, the way back to the value, its type.
    bytes.extend(number(bytes.len() - keys));
    bytes.extend(number(4));
    bytes.extend(number(1));
    let map = bytes.len();
    bytes.extend(number(map - string));
    bytes.push(5 << 2 | 2);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    // The root: the way back to the map, its type and width.
    bytes.extend(number(bytes.len() - map));
    bytes.extend([9 << 2 | 2, 4]);
    bytes
}
