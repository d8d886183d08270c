//! Memory that the readers of foreign bytes take: at most four times the file and 64 MiB, whatever the bytes say.
//!
//! Each file is read by a process of its own, this test binary again, which tells by how much its address space grew.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use taper_formats::Checkpoint;
use taper_formats::edgetpu::Package;
use taper_graph::{Concat, DType, Graph, Op, Shape};
use taper_testing::graphs::{self, Numbers};

/// Names the file that a process of its own is to read.
const FILE: &str = "TAPER_TEST_READ";
/// The extension of the file beside it that holds the answer of such a process.
const ANSWER: &str = "grown";
/// What a reader may take beyond four times its file.
const FREE_BYTES: usize = 64 << 20;

#[test]
fn readers_take_at_most_four_times_the_file_and_64_mib() {
    if let Some(file) = env::var_os(FILE) {
        return read_and_tell(Path::new(&file));
    }
    if !Path::new("/proc/self/status").exists() {
        eprintln!("skipped: this system does not tell how large a process was");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in hostile_files().into_iter().chain(sound_files()) {
        let path = folder.path().join(&name);
        fs::write(&path, &bytes).expect("writes");
        let grown = in_a_process(&path);
        eprintln!("{name} of {} bytes took {grown}", bytes.len());
        let allowed = 4 * bytes.len() + FREE_BYTES;
        assert!(grown <= allowed, "{name} of {} bytes took {grown}, allowed are {allowed}", bytes.len());
    }
}

/// Reads the file in this process and tells how much memory that took at its peak.
fn read_and_tell(path: &Path) {
    let before = size("VmSize:") + fs::metadata(path).expect("is there").len() as usize;
    if let Ok(graph) = taper_formats::load(path) {
        for node in &graph.nodes {
            if let Op::Opaque(opaque) = &node.op {
                let _ = Package::of(opaque);
            }
        }
    }
    let grown = size("VmPeak:").saturating_sub(before);
    fs::write(path.with_extension(ANSWER), grown.to_string()).expect("writes");
}

/// A size of this process in bytes, as Linux tells it in KiB.
fn size(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line of it");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}

fn in_a_process(path: &Path) -> usize {
    let output = Command::new(env::current_exe().expect("runs"))
        .args(["--exact", "readers_take_at_most_four_times_the_file_and_64_mib"])
        // A heap for each thread would take address space that nobody uses.
        .env("MALLOC_ARENA_MAX", "1")
        .env(FILE, path)
        .output()
        .expect("starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", path.display());
    fs::read_to_string(path.with_extension(ANSWER)).expect("an answer").parse().expect("a number")
}

/// The largest real and random networks.
fn sound_files() -> Vec<(String, Vec<u8>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/coral/pairs");
    let real = ["edgetpu__mobilenet_v2_1.0_224_quant", "edgetpu__mobilenet_v2_1.0_224_quant_edgetpu"];
    let real = real.iter().filter_map(|name| {
        let path: PathBuf = data.join(format!("{name}.tflite"));
        Some((format!("{name}.tflite"), fs::read(path).ok()?))
    });
    let random = Numbers::ALL.iter().enumerate().map(|(position, &numbers)| {
        let bytes = taper_formats::tflite::write(&graphs::random(5, numbers)).expect("writes");
        (format!("random_{position}.tflite"), bytes)
    });
    real.chain(random).chain([("inputs.taper".to_owned(), checkpoint())]).collect()
}

/// A checkpoint whose graph is much larger in memory than its text.
fn checkpoint() -> Vec<u8> {
    let mut graph = Graph::new("inputs");
    let x = graph.add_input("x", Shape::batched(&[1]), DType::F32);
    let y = graph.add_node("y", Op::Concat(Concat { axis: 1 }), &vec![x; 1_000_000]).expect("fits");
    graph.outputs.push(y);
    Checkpoint::new(graph).to_bytes().expect("writes")
}

/// Files whose tables share their parts, so that a naive reader copies each of them again and again.
fn hostile_files() -> Vec<(String, Vec<u8>)> {
    let shared = |name: &str, parts: Parts| (format!("{name}.tflite"), parts.file());
    let small = Parts::default();
    vec![
        shared("constants", Parts { tensors: 20_000, data: 1 << 20, ..small }),
        shared("names", Parts { tensors: 20_000, name: 1 << 20, ..small }),
        shared("shapes", Parts { tensors: 20_000, rank: 1 << 18, ..small }),
        shared("inputs", Parts { tensors: 1, operators: 200_000, inputs: 1 << 18, ..small }),
        shared("options", Parts { tensors: 1, operators: 20_000, options: 1 << 20, ..small }),
        shared("operators", Parts { tensors: 1, operators: 1 << 20, ..small }),
        shared("metadata", Parts { metadata: 20_000, data: 1 << 20, ..small }),
        shared("signatures", Parts { tensors: 1, signatures: 20_000, name: 1 << 20, ..small }),
        ("nodes.onnx".to_owned(), model(&field(1, &[]).repeat(4 << 20))),
        ("varints.onnx".to_owned(), model(&field(5, &[field(8, b"x"), field(7, &[1; 8 << 20])].concat()))),
        ("dequantized.onnx".to_owned(), dequantized()),
    ]
}

/// An ONNX model in which one constant of integers becomes floats again and again.
fn dequantized() -> Vec<u8> {
    const ELEMENTS: u32 = 1 << 20;
    let varint = |field: u8, value: u32| {
        let groups =
            (0..5).map(|group| (value >> (7 * group) & 0x7f) as u8 | if group < 4 { 0x80 } else { 0 });
        std::iter::once(field << 3).chain(groups).collect::<Vec<u8>>()
    };
    let constant = |name: &str, kind: u32, dims: Vec<Vec<u8>>, data: &[u8]| {
        field(5, &[dims.concat(), varint(2, kind), field(8, name.as_bytes()), field(9, data)].concat())
    };
    let node = |kind: &str, inputs: [&str; 2], output: &str| {
        let inputs = inputs.map(|name| field(1, name.as_bytes())).concat();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, kind.as_bytes())].concat())
    };
    let dims = [varint(1, 1), varint(1, 1), varint(1, ELEMENTS)];
    let shape = dims[..2].iter().chain(&dims[2..]).map(|dim| field(1, dim)).collect::<Vec<_>>().concat();
    let tensor = field(1, &[varint(1, 1), field(2, &shape)].concat());
    let input = field(11, &[field(1, b"x0"), field(2, &field(1, &tensor))].concat());
    let layers = (0..200).flat_map(|layer| {
        let [weights, x, y] = [format!("w{layer}"), format!("x{layer}"), format!("x{}", layer + 1)];
        [node("DequantizeLinear", ["w", "s"], &weights), node("Mul", [&x, &weights], &y)]
    });
    let constants = [
        constant("w", 3, vec![varint(1, ELEMENTS)], &vec![1; ELEMENTS as usize]),
        constant("s", 1, Vec::new(), &1.0f32.to_le_bytes()),
    ];
    let output = field(12, &field(1, b"x200"));
    model(&layers.chain(constants).chain([input, output]).collect::<Vec<_>>().concat())
}

/// An ONNX file of operators 13 whose graph has these fields.
fn model(graph: &[u8]) -> Vec<u8> {
    [field(7, graph), field(8, &[2 << 3, 13])].concat()
}

/// A length-delimited field of a protocol buffer.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [&bytes[..], content].concat()
}

/// How often each part of a file stands in a list, and how large it is.
#[derive(Clone, Copy, Default)]
struct Parts {
    tensors: usize,
    data: usize,
    name: usize,
    rank: usize,
    operators: usize,
    inputs: usize,
    options: usize,
    metadata: usize,
    signatures: usize,
}

/// Something already written.
type Offset = WIPOffset<UnionWIPOffset>;

fn table(builder: &mut FlatBufferBuilder<'_>, fields: &[(u16, Offset)], numbers: &[(u16, u32)]) -> Offset {
    let start = builder.start_table();
    for (slot, field) in fields {
        builder.push_slot_always(4 + 2 * slot, *field);
    }
    for (slot, number) in numbers {
        builder.push_slot_always(4 + 2 * slot, *number);
    }
    builder.end_table(start).as_union_value()
}

impl Parts {
    /// A file of which every list repeats one part; positions of fields are those of TFLite's schema.
    fn file(self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let builder = &mut builder;
        let repeat = |builder: &mut FlatBufferBuilder<'_>, part: Offset, count: usize| {
            builder.create_vector(&vec![part; count]).as_union_value()
        };
        let name = builder.create_string(&"n".repeat(self.name)).as_union_value();
        let data = builder.create_vector(&vec![1u8; self.data]).as_union_value();
        let empty = table(builder, &[], &[]);
        let buffer = table(builder, &[(0, data)], &[]);
        let buffers = builder.create_vector(&[empty, buffer]).as_union_value();
        let sizes = if self.rank == 0 { vec![self.data as i32] } else { vec![1; self.rank] };
        let shape = builder.create_vector(&sizes).as_union_value();
        // The type of bytes, 9, lies in the lowest of the number's four bytes.
        let buffer_position = u32::from(self.data > 0);
        let tensor = table(builder, &[(0, shape), (3, name)], &[(2, buffer_position), (1, 9)]);
        let inputs = builder.create_vector(&vec![0i32; self.inputs]).as_union_value();
        let options = builder.create_vector(&vec![1u8; self.options]).as_union_value();
        let operator = table(builder, &[(1, inputs), (5, options)], &[(0, 0)]);
        let custom = builder.create_string("custom").as_union_value();
        // The code of custom operators is 32.
        let code = table(builder, &[(1, custom)], &[(3, 32)]);
        let tensors = repeat(builder, tensor, self.tensors);
        let operators = repeat(builder, operator, self.operators);
        let subgraph = table(builder, &[(0, tensors), (3, operators)], &[]);
        let entry = table(builder, &[(0, name)], &[(1, u32::from(self.data > 0))]);
        let map = table(builder, &[(0, name)], &[(1, 0)]);
        let maps = repeat(builder, map, 1);
        let signature = table(builder, &[(0, maps), (2, name)], &[]);
        let [codes, subgraphs] = [code, subgraph].map(|part| repeat(builder, part, 1));
        let metadata = repeat(builder, entry, self.metadata);
        let signatures = repeat(builder, signature, self.signatures);
        let fields = [(1, codes), (2, subgraphs), (4, buffers), (6, metadata), (7, signatures)];
        let model = table(builder, &fields, &[(0, 3)]);
        builder.finish(model, Some("TFL3"));
        builder.finished_data().to_vec()
    }
}
