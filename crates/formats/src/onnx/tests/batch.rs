//! A batch that the exporter fixed: opened where nothing needs its size, kept where something does.

use super::*;

/// A model whose image has a batch of `batch`.
fn fixed(batch: i64, nodes: Vec<Node>, constants: Vec<Tensor>) -> Model {
    let mut model = model(13, nodes, constants);
    model.graph.as_mut().expect("is there").input = vec![value("image", &[batch, 3, 8, 8])];
    model
}

fn reshape(shape: &[i64]) -> (Vec<Node>, Vec<Tensor>) {
    (vec![node("Reshape", &["image", "shape"], "y", Vec::new())], vec![integers("shape", shape)])
}

#[test]
fn sizes_that_stand_for_the_batch_are_opened() {
    for (batch, shape) in
        [(1, [1, -1]), (1, [1, 192]), (1, [-1, 192]), (4, [4, -1]), (4, [4, 192]), (4, [-1, 192])]
    {
        // What is flattened is read by its channels first, so that a layer must order its weights.
        let (mut nodes, mut constants) = reshape(&shape);
        nodes[0].output = vec!["flat".to_owned()];
        nodes.push(node("MatMul", &["flat", "weights"], "y", Vec::new()));
        constants.push(floats("weights", &[192, 5], 1.0));
        let graph = graph(&fixed(batch, nodes, constants));
        assert_eq!(graph.tensor(graph.inputs[0]).shape, Shape::batched(&[8, 8, 3]), "{shape:?}");
        assert_eq!(graph.tensor(graph.outputs[0]).shape, Shape::batched(&[5]), "{shape:?}");
    }
}

#[test]
fn shapes_computed_from_a_fixed_batch_are_opened() {
    let nodes = vec![
        node("Shape", &["image"], "shape", Vec::new()),
        node("Slice", &["shape", "zero", "one"], "n", Vec::new()),
        node("Concat", &["n", "rest"], "target", vec![int("axis", 0)]),
        node("Slice", &["image", "zero", "one", "zero"], "all", Vec::new()),
        node("Expand", &["all", "same"], "wide", Vec::new()),
        node("Reshape", &["wide", "target"], "y", Vec::new()),
    ];
    let constants = vec![
        integers("zero", &[0]),
        integers("one", &[1]),
        integers("rest", &[3, 64, 1]),
        integers("same", &[1, 3, 8, 8]),
    ];
    let graph = graph(&fixed(1, nodes, constants));
    assert_eq!(graph.tensor(graph.outputs[0]).shape, Shape::batched(&[64, 1, 3]));
}

#[test]
fn a_batch_that_a_node_needs_stays_fixed() {
    // Without its batch, the constant has one value for each image.
    let nodes = vec![node("Add", &["image", "each"], "y", Vec::new())];
    let each = floats("each", &[4, 1, 1, 1], 1.0);
    let error = read(fixed(4, nodes, vec![each]).encode_to_vec()).expect_err("refuses");
    assert!(error.to_string().contains("node `y`"), "{error}");
    let (nodes, constants) = reshape(&[3, 64]);
    let error = read(fixed(1, nodes, constants).encode_to_vec()).expect_err("refuses");
    assert!(error.to_string().contains("[1, 8, 8, 3]"), "{error}");
}
