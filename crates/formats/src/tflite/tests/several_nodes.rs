//! Operators of a file that become several nodes, or nodes of another kind: LiteRT judges what is written again.

use super::super::build::Value;
use super::super::flat::Field;
use super::super::ops::{Carried, Code, Operator, Options, opaque};
use super::super::schema::{
    arg_max_options, builtin, fully_connected_options, options, pack_options, reducer_options,
    strided_slice_options,
};
use super::super::{read, write};
use taper_graph::{DType, Graph, Node, Op, Opaque, Shape, Tensor, TensorData, TensorId};
use taper_testing::Random;
use taper_testing::litert::{Job, Litert, Resolver};

/// An operator over a float input `x`, as another tool would write it.
struct Foreign {
    builtin: i32,
    options: (u8, Vec<(Field, Value)>),
    x: Vec<usize>,
    constants: Vec<(Vec<usize>, TensorData)>,
    /// Which tensors it reads: 0 is `x`, the constants follow.
    reads: Vec<i32>,
    outputs: Vec<(Vec<usize>, DType)>,
}

impl Foreign {
    /// The bytes of its file.
    fn file(&self) -> Vec<u8> {
        let operator = Operator {
            code: Code { builtin: self.builtin, custom: None, version: 1 },
            since: None,
            inputs: self.reads.clone(),
            outputs: Vec::new(),
            options: Options::Fields { options_type: self.options.0, fields: self.options.1.clone() },
            carried: Carried::default(),
        };
        let attributes = opaque::attributes(&operator, &[]).expect("small");
        let mut graph = Graph::new("foreign");
        let mut inputs = vec![graph.add_input("x", Shape::fixed(&self.x), DType::F32)];
        for (position, (sizes, data)) in self.constants.iter().enumerate() {
            inputs.push(graph.add_constant(format!("constant{position}"), sizes, data.clone()));
        }
        for (position, (sizes, dtype)) in self.outputs.iter().enumerate() {
            let (name, shape) = (format!("y{position}"), Shape::fixed(sizes));
            graph.tensors.push(Tensor { name, shape, dtype: *dtype, quantization: None, data: None });
            graph.outputs.push(TensorId(graph.tensors.len() - 1));
        }
        let op = Op::Opaque(Opaque { code: "FOREIGN".to_owned(), attributes });
        graph.nodes.push(Node { name: "foreign".to_owned(), op, inputs, outputs: graph.outputs.clone() });
        write(&graph).expect("writes")
    }
}

fn integers(values: &[i32]) -> (Vec<usize>, TensorData) {
    (vec![values.len()], TensorData::I32(values.to_vec()))
}

fn scalar(value: i32) -> (Vec<usize>, TensorData) {
    (Vec::new(), TensorData::I32(vec![value]))
}

fn floats(sizes: &[usize]) -> (Vec<usize>, TensorData) {
    (sizes.to_vec(), TensorData::F32(Random::new(3).normals(sizes.iter().product(), 1.0)))
}

fn outputs(count: usize, sizes: &[usize]) -> Vec<(Vec<usize>, DType)> {
    vec![(sizes.to_vec(), DType::F32); count]
}

/// A STRIDED_SLICE of `x [1, 4, 5, 6]` with the masks `[begin, end, shrink]`.
fn strided(begin: [i32; 4], end: [i32; 4], steps: [i32; 4], masks: [i32; 3], y: &[usize]) -> Foreign {
    use strided_slice_options::{BEGIN_MASK, END_MASK, SHRINK_AXIS_MASK};
    let fields = [BEGIN_MASK, END_MASK, SHRINK_AXIS_MASK].into_iter().zip(masks.map(Value::I32));
    Foreign {
        builtin: builtin::STRIDED_SLICE,
        options: (options::STRIDED_SLICE, fields.collect()),
        x: vec![1, 4, 5, 6],
        constants: vec![integers(&begin), integers(&end), integers(&steps)],
        reads: vec![0, 1, 2, 3],
        outputs: outputs(1, y),
    }
}

fn cases() -> Vec<Foreign> {
    const SPLIT: u8 = 35;
    const SPLIT_V: u8 = 79;
    let num_splits = |count| vec![(Field::new(0, "num_splits"), Value::I32(count))];
    let flag = |field, value| vec![(field, Value::Flag(value))];
    vec![
        Foreign {
            builtin: builtin::SPLIT,
            options: (SPLIT, num_splits(3)),
            x: vec![1, 4, 5, 6],
            constants: vec![scalar(-1)],
            reads: vec![1, 0],
            outputs: outputs(3, &[1, 4, 5, 2]),
        },
        Foreign {
            builtin: builtin::SPLIT_V,
            options: (SPLIT_V, num_splits(2)),
            x: vec![1, 4, 5, 6],
            constants: vec![integers(&[1, 3]), scalar(1)],
            reads: vec![0, 1, 2],
            outputs: vec![(vec![1, 1, 5, 6], DType::F32), (vec![1, 3, 5, 6], DType::F32)],
        },
        Foreign {
            builtin: builtin::SLICE,
            options: (options::SLICE, Vec::new()),
            x: vec![1, 4, 5, 6],
            constants: vec![integers(&[0, 1, 0, 2]), integers(&[1, 3, -1, 2])],
            reads: vec![0, 1, 2],
            outputs: outputs(1, &[1, 3, 5, 2]),
        },
        strided([0, 1, -4, 7], [1, 4, -1, 2], [1, 2, 1, 2], [8, 8, 0], &[1, 2, 3, 3]),
        strided([0, 0, 2, 0], [0, 0, 9, 0], [1, 1, 1, 1], [11, 11, 4], &[1, 4, 6]),
        Foreign {
            builtin: builtin::UNPACK,
            options: (
                options::UNPACK,
                vec![(Field::new(0, "num"), Value::I32(4)), (pack_options::AXIS, Value::I32(1))],
            ),
            x: vec![1, 4, 5, 6],
            constants: Vec::new(),
            reads: vec![0],
            outputs: outputs(4, &[1, 5, 6]),
        },
        Foreign {
            builtin: builtin::PACK,
            options: (
                options::PACK,
                vec![(Field::new(0, "values_count"), Value::I32(2)), (pack_options::AXIS, Value::I32(-1))],
            ),
            x: vec![1, 4, 5],
            constants: Vec::new(),
            reads: vec![0, 0],
            outputs: outputs(1, &[1, 4, 5, 2]),
        },
        Foreign {
            builtin: builtin::TILE,
            options: (options::TILE, Vec::new()),
            x: vec![1, 2, 3],
            constants: vec![integers(&[1, 3, 2])],
            reads: vec![0, 1],
            outputs: outputs(1, &[1, 6, 6]),
        },
        Foreign {
            builtin: builtin::ARG_MAX,
            options: (options::ARG_MAX, vec![(arg_max_options::OUTPUT_TYPE, Value::I8(4))]),
            x: vec![1, 4, 5, 6],
            constants: vec![scalar(-2)],
            reads: vec![0, 1],
            outputs: vec![(vec![1, 4, 6], DType::I64)],
        },
        Foreign {
            builtin: builtin::MEAN,
            options: (options::REDUCER, flag(reducer_options::KEEP_DIMS, false)),
            x: vec![1, 4, 5, 6],
            constants: vec![integers(&[-2, 1])],
            reads: vec![0, 1],
            outputs: outputs(1, &[1, 6]),
        },
        Foreign {
            builtin: builtin::FULLY_CONNECTED,
            options: (options::FULLY_CONNECTED, flag(fully_connected_options::KEEP_NUM_DIMS, false)),
            x: vec![1, 2, 3, 4],
            constants: vec![floats(&[5, 24]), floats(&[5])],
            reads: vec![0, 1, 2],
            outputs: outputs(1, &[1, 5]),
        },
    ]
}

#[test]
fn what_is_understood_as_other_nodes_computes_the_same() {
    let Some(litert) = Litert::set_up() else { return };
    for case in cases() {
        let file = case.file();
        let graph = read(&file).expect("reads");
        let opaque = graph.nodes.iter().find(|node| matches!(node.op, Op::Opaque(_)));
        assert!(opaque.is_none(), "operator {} is not understood", case.builtin);
        let again = write(&graph).expect("writes");
        assert_eq!(read(&again).expect("reads"), graph, "operator {}", case.builtin);
        let values = Random::new(5).normals(case.x.iter().product(), 1.0);
        let input: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let jobs = [&file, &again].map(|model| Job { model, inputs: vec![input.clone()], samples: 1 });
        let outcomes = litert.run_all(&jobs, Resolver::Reference).expect("LiteRT runs both");
        assert_eq!(outcomes[0].outputs, outcomes[1].outputs, "operator {}", case.builtin);
    }
}

#[test]
fn what_reaches_into_the_batch_is_carried_through() {
    let mut case = strided([0, 0, 0, 0], [1, 4, 5, 6], [1, 1, 1, 1], [0, 0, 1], &[4, 5, 6]);
    let opaque = |case: &Foreign| matches!(read(&case.file()).expect("reads").nodes[0].op, Op::Opaque(_));
    assert!(opaque(&case), "the batch is dropped");
    case.x[0] = 2;
    case.options.1[2].1 = Value::I32(0);
    case.outputs = outputs(1, &[1, 4, 5, 6]);
    assert!(opaque(&case), "one image of two is taken");
}
