//! Channel groups and their removal, on small graphs.

use taper_graph::{
    Activation, BatchNorm, ChannelGroups, ChannelRemoval, Conv2d, DType, FullyConnected, Graph, GraphError,
    Op, Opaque, Padding, Pool2d, PoolKind, Shape, Softmax, TensorData, cost, nonlinearity_output,
    remove_channels,
};

/// conv1 (4 channels) → batch norm → pool → relu → conv2 (3, fused relu) → flatten (2×2) → dense (5) → softmax.
/// Each constant counts up, so that what was removed can be told from what is left.
fn network() -> Graph {
    let mut graph = Graph::new("small");
    let constant = |graph: &mut Graph, name: &str, sizes: &[usize]| {
        let values = (0..sizes.iter().product::<usize>()).map(|value| value as f32).collect();
        graph.add_constant(name, sizes, TensorData::F32(values))
    };
    let same = Padding { top: 1, bottom: 1, left: 1, right: 1 };
    let conv = |activation| {
        Op::Conv2d(Conv2d { stride: [1, 1], dilation: [1, 1], padding: same, groups: 1, activation })
    };
    let pool = Pool2d { kind: PoolKind::Max, window: [2, 2], stride: [2, 2], padding: Padding::default() };

    let mut x = graph.add_input("image", Shape::batched(&[4, 4, 2]), DType::F32);
    let inputs = [x, constant(&mut graph, "conv1/weights", &[4, 3, 3, 2])];
    x = graph.add_node("conv1", conv(None), &inputs).expect("conv1");
    let inputs = [
        x,
        constant(&mut graph, "bn/gamma", &[4]),
        constant(&mut graph, "bn/beta", &[4]),
        constant(&mut graph, "bn/mean", &[4]),
        constant(&mut graph, "bn/variance", &[4]),
    ];
    x = graph.add_node("bn", Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &inputs).expect("bn");
    x = graph.add_node("pool", Op::Pool2d(pool), &[x]).expect("pool");
    x = graph.add_node("relu", Op::Activation { function: Activation::Relu }, &[x]).expect("relu");
    let inputs =
        [x, constant(&mut graph, "conv2/weights", &[3, 3, 3, 4]), constant(&mut graph, "conv2/bias", &[3])];
    x = graph.add_node("conv2", conv(Some(Activation::Relu)), &inputs).expect("conv2");
    x = graph.add_node("flatten", Op::Flatten, &[x]).expect("flatten");
    let inputs =
        [x, constant(&mut graph, "dense/weights", &[5, 12]), constant(&mut graph, "dense/bias", &[5])];
    x = graph.add_node("dense", Op::FullyConnected(FullyConnected::default()), &inputs).expect("dense");
    x = graph.add_node("softmax", Op::Softmax(Softmax { beta: 1.0 }), &[x]).expect("softmax");
    graph.outputs.push(x);
    graph.verify().expect("consistent");
    graph
}

fn constant<'a>(graph: &'a Graph, name: &str) -> &'a [f32] {
    graph.tensors.iter().find(|tensor| tensor.name == name).and_then(|tensor| tensor.f32_data()).expect(name)
}

fn removal(group: &str, channels: &[usize]) -> ChannelRemoval {
    ChannelRemoval { group: group.to_owned(), channels: channels.to_vec() }
}

#[test]
fn each_layer_starts_a_group_and_the_output_is_kept() {
    let groups = ChannelGroups::of(&network());
    let found: Vec<_> =
        groups.0.iter().map(|group| (group.name.as_str(), group.units.len(), group.kept.is_some())).collect();
    assert_eq!(found, [("conv1", 4, false), ("conv2", 3, false), ("dense", 5, true)]);
}

#[test]
fn a_channel_goes_from_every_constant_that_it_indexes() {
    let graph = network();
    let edited =
        remove_channels(&graph, &[removal("conv1", &[1, 2]), removal("conv2", &[0])]).expect("removable");
    assert_eq!(constant(&edited, "bn/gamma"), [0.0, 3.0]);
    assert_eq!(constant(&edited, "conv1/weights").len(), 2 * 3 * 3 * 2);
    // conv2 loses output 0 (axis 0) and inputs 1 and 2 (axis 3).
    let expected: Vec<f32> = (1..3)
        .flat_map(|o| (0..9).flat_map(move |tap| [0, 3].map(|i| ((o * 9 + tap) * 4 + i) as f32)))
        .collect();
    assert_eq!(constant(&edited, "conv2/weights"), expected);
    assert_eq!(constant(&edited, "conv2/bias"), [1.0, 2.0]);
    // dense loses input 0 of 3 at each of the 4 pixels.
    let expected: Vec<f32> = (0..5)
        .flat_map(|o| (0..4).flat_map(move |pixel| [1, 2].map(|c| (o * 12 + pixel * 3 + c) as f32)))
        .collect();
    assert_eq!(constant(&edited, "dense/weights"), expected);
}

#[test]
fn removal_in_two_steps_equals_removal_in_one() {
    let graph = network();
    let first = remove_channels(&graph, &[removal("conv1", &[1])]).expect("removable");
    let second = remove_channels(&first, &[removal("conv1", &[1])]).expect("removable");
    assert_eq!(second, remove_channels(&graph, &[removal("conv1", &[1, 2])]).expect("removable"));
}

#[test]
fn removals_that_do_not_fit_are_refused_by_name() {
    let graph = network();
    let cases = [
        (removal("conv9", &[0]), "cannot remove channels of `conv9`: the graph has no such channel group"),
        (removal("conv1", &[4]), "cannot remove channels of `conv1`: expected channels below 4, found 4"),
        (
            removal("conv1", &[2, 1]),
            "cannot remove channels of `conv1`: expected channels in ascending order",
        ),
        (
            removal("conv2", &[0, 1, 2]),
            "cannot remove channels of `conv2`: expected at least one of 3 channels to stay, found 3 to remove",
        ),
        (
            removal("dense", &[0]),
            "cannot remove channels of `dense`: the group is kept: softmax `softmax` compares its channels",
        ),
    ];
    for (removal, message) in cases {
        let error = remove_channels(&graph, &[removal]).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn scores_are_taken_behind_the_nonlinearity() {
    let graph = network();
    let names: Vec<_> = graph
        .nodes_with_ids()
        .map(|(id, node)| {
            let tensor = nonlinearity_output(&graph, id).map(|tensor| graph.tensor(tensor).name.as_str());
            (node.name.as_str(), tensor)
        })
        .filter(|(name, _)| ["conv1", "conv2", "dense"].contains(name))
        .collect();
    assert_eq!(names, [("conv1", Some("relu")), ("conv2", Some("conv2")), ("dense", None)]);
}

#[test]
fn channels_that_reach_an_opaque_operator_are_kept() {
    let mut graph = network();
    let relu = graph.nodes.iter().position(|node| node.name == "relu").expect("relu");
    graph.nodes[relu].op = Op::Opaque(Opaque { code: "CUSTOM".to_owned(), attributes: Vec::new() });
    let groups = ChannelGroups::of(&graph);
    let kept = groups.get("conv1").expect("conv1").kept.as_deref();
    assert_eq!(kept, Some("they reach `relu`, an operator CUSTOM that is not understood"));
}

#[test]
fn cost_follows_the_formulas_of_the_source() {
    let cost = cost(&network());
    let macs: Vec<_> = cost.nodes.iter().map(|node| node.macs).collect();
    // conv1 16·4·18, batch norm and pool 16·4, relu 0, conv2 4·3·36, flatten 0, dense 60, softmax 0.
    assert_eq!(macs, [1152, 64, 64, 0, 432, 0, 60, 0]);
    assert_eq!(cost.parameters, 72 + 16 + 108 + 3 + 60 + 5);
    assert_eq!((cost.depth, cost.levels), (cost.macs, 8));
}

#[test]
fn inconsistent_graphs_are_refused_by_name() {
    type Break = fn(&mut Graph);
    let cases: [(Break, &str); 4] = [
        (|graph| graph.tensors[1].data = Some(TensorData::F32(vec![0.0; 3])), "tensor `conv1/weights`"),
        (|graph| graph.tensors[2].name = "image".to_owned(), "tensor `image`: expected a unique name"),
        (
            |graph| graph.nodes.swap(0, 1),
            "in node `bn` (batch normalisation): reads `conv1` before it is written",
        ),
        (
            |graph| graph.tensors[2].shape = Shape::batched(&[4, 4, 9]),
            "in node `conv1` (convolution): expected an output",
        ),
    ];
    for (damage, message) in cases {
        let mut graph = network();
        damage(&mut graph);
        let error: GraphError = graph.verify().expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
