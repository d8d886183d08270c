//! Files that ask for much more memory than they take: refused before it is allocated. One test, as it watches its process.
#![cfg(target_os = "linux")]

use flate2::Crc;
use flate2::write::DeflateEncoder;
use hdf5_pure::{AttrValue, FileBuilder};
use std::fs;
use std::io::Write;
use taper_formats::{keras, weights};

const FREE: usize = 64 << 20;

/// The most memory that this process had since the last reset, in bytes.
fn peak() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kilobytes| kilobytes << 10)
}

/// Forgets the peak; some containers do not allow it.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A deflated archive.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    let four = |value: usize| u32::try_from(value).expect("short").to_le_bytes();
    for (name, content) in entries {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).expect("memory takes all");
        let data = encoder.finish().expect("memory takes all");
        let mut crc = Crc::new();
        crc.update(content);
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend([four(data.len()), four(content.len()), four(name.len())].concat());
        directory.extend(
            [&b"PK\x01\x02\x14\0"[..], &common, &[0; 10], &four(archive.len()), name.as_bytes()].concat(),
        );
        archive.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), &data].concat());
    }
    let count = u16::try_from(entries.len()).expect("few").to_le_bytes();
    let end =
        [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &four(directory.len()), &four(archive.len()), &[0; 2]];
    let start = archive.len();
    archive.extend(&directory);
    archive.extend(end.concat());
    assert_eq!(&archive[start..start + 4], b"PK\x01\x02");
    archive
}

/// Many dictionaries within a pickle, each from one byte.
fn pickle_of_values(opcode: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    bytes.resize(30 << 20, opcode);
    bytes
}

/// A state dictionary whose tensors are `count` views of one small storage, each of `size` equal elements.
fn pickle_of_views(count: usize, size: i32) -> Vec<u8> {
    let mut bytes = b"\x80\x02}(".to_vec();
    for number in 0..count {
        bytes.extend([b'X', 4, 0, 0, 0]);
        bytes.extend(format!("{number:04}").bytes());
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n");
        bytes.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0J");
        bytes.extend(size.to_le_bytes());
        bytes.extend(b"\x85K\0\x85tR");
    }
    bytes.extend(b"u.");
    bytes
}

/// An array of `sizes` in `chunks`, of which the file holds one compressed chunk.
fn compressed(values: usize) -> Vec<u8> {
    let mut file = FileBuilder::new();
    let mut group = file.create_group("layers");
    let mut inner = group.create_group("dense");
    let mut vars = inner.create_group("vars");
    let size = u64::try_from(values).expect("fits");
    vars.create_dataset("0")
        .with_f32_data(&vec![0.0; values])
        .with_shape(&[size])
        .with_chunks(&[size])
        .with_deflate(9);
    inner.add_group(vars.finish());
    group.add_group(inner.finish());
    file.add_group(group.finish());
    file.finish().expect("writes")
}

#[test]
fn memory_is_bounded() {
    let zeros = vec![0; 300 << 20];
    let many = "[],".repeat(900_000);
    let nested = format!(r#"{{"config": [{many}[]]}}"#);
    let pickled = pickle_of_views(1000, 1 << 20);
    let mut file = FileBuilder::new();
    file.set_attr("model_config", AttrValue::VarLenString(format!(r#"{{"config": [{many}[]]}}"#)));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a bomb in an archive", zip(&[("metadata.json", b"{}"), ("config.json", &zeros)])),
        (
            "a bomb of weights",
            zip(&[("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", &zeros)]),
        ),
        ("a pickle bomb", zip(&[("a/data.pkl", &zeros)])),
        (
            "a configuration of many values",
            zip(&[("metadata.json", b"{}"), ("config.json", nested.as_bytes())]),
        ),
        ("a configuration of many values in hdf5", file.finish().expect("writes")),
        ("many views of one value", zip(&[("a/data.pkl", &pickled), ("a/data/0", &[0; 4])])),
        ("many nothings", pickle_of_values(b'N')),
        ("many dictionaries", pickle_of_values(b'}')),
        ("many lists", pickle_of_values(b']')),
        ("many marks", pickle_of_values(b'(')),
        ("a compressed array", compressed(80 << 20)),
    ];
    drop(zeros);
    for (name, bytes) in cases {
        let most = 4 * bytes.len() + FREE;
        for reader in [|bytes| keras::read(bytes).err(), |bytes| weights::read(bytes).err()] {
            let file = bytes.clone();
            reset_peak();
            let before = peak().unwrap_or(usize::MAX);
            let error = reader(file);
            assert!(error.is_some(), "{name} is read");
            let grown = peak().unwrap_or(0).saturating_sub(before);
            // The bytes themselves were there before.
            assert!(grown <= most - bytes.len(), "{name}: {grown} bytes of at most {most}: {error:?}");
        }
    }
}
