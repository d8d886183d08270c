//! Networks with branches: shapes, and the channels that sums, concatenations and depthwise convolutions tie.

use taper_graph::{
    Activation, ArgMax, AxisSlice, Binary, ChannelGroups, ChannelRemoval, Concat, Conv2d, ConvTranspose2d,
    DType, Dropout, Elementwise, FakeQuantize, Graph, GraphError, Op, Pad, Padding, Resize2d,
    ResizeCoordinates, ResizeMethod, Shape, StridedSlice, TensorData, TensorId, cost, nonlinearity_output,
    remove_channels,
};

const ADD: Op = Op::Elementwise(Elementwise { function: Binary::Add, activation: None });
const RELU: Op = Op::Activation { function: Activation::Relu };
const CHANNELS: Op = Op::Concat(Concat { axis: 3 });

/// A network whose layers are named by the caller; weights count up.
struct Network(Graph);

impl Network {
    /// With an input `image [N,4,4,channels]`.
    fn new(channels: usize) -> (Self, TensorId) {
        let mut graph = Graph::new("branches");
        let x = graph.add_input("image", Shape::batched(&[4, 4, channels]), DType::F32);
        (Self(graph), x)
    }

    fn constant(&mut self, name: &str, sizes: &[usize]) -> TensorId {
        let values = (0..sizes.iter().product::<usize>()).map(|value| value as f32).collect();
        self.0.add_constant(name, sizes, TensorData::F32(values))
    }

    /// A 1×1 convolution.
    fn conv(&mut self, name: &str, x: TensorId, outputs: usize, groups: usize) -> TensorId {
        let inputs = self.0.tensor(x).shape.channels().expect("an image");
        let weights = self.constant(&format!("{name}/weights"), &[outputs, 1, 1, inputs / groups]);
        let bias = self.constant(&format!("{name}/bias"), &[outputs]);
        let padding = Padding::default();
        let conv = Conv2d { stride: [1, 1], dilation: [1, 1], padding, groups, activation: None };
        self.op(name, Op::Conv2d(conv), &[x, weights, bias])
    }

    fn op(&mut self, name: &str, op: Op, inputs: &[TensorId]) -> TensorId {
        self.0.add_node(name, op, inputs).expect(name)
    }

    /// A last layer that hides the channels of `x` from the output.
    fn finish(mut self, x: TensorId) -> Graph {
        let y = self.conv("last", x, 2, 1);
        self.0.outputs.push(y);
        self.0.verify().expect("consistent");
        self.0
    }
}

/// The groups but that of the last layer: name, layers, and for each unit the channels that it stands for.
fn groups(graph: &Graph) -> Vec<(String, Option<String>, Vec<String>)> {
    let groups = ChannelGroups::of(graph).0.into_iter().filter(|group| group.name != "last");
    groups
        .map(|group| {
            let name = |unit: &taper_graph::ChannelUnit| {
                let channels = unit.channels.iter();
                let names =
                    channels.map(|channel| format!("{}{}", graph.node(channel.layer).name, channel.index));
                names.collect::<Vec<_>>().join("+")
            };
            (group.name, group.kept, group.units.iter().map(name).collect())
        })
        .collect()
}

/// Groups that may lose channels: their names and units.
fn free<const N: usize>(expected: [(&str, &[&str]); N]) -> Vec<(String, Option<String>, Vec<String>)> {
    let owned = |units: &[&str]| units.iter().map(|unit| (*unit).to_owned()).collect();
    expected.iter().map(|(name, units)| ((*name).to_owned(), None, owned(units))).collect()
}

fn sizes(graph: &Graph, name: &str) -> Vec<usize> {
    let tensor = graph.tensors.iter().find(|tensor| tensor.name == name).expect(name);
    tensor.shape.with_batch(1)
}

fn remove(graph: &Graph, group: &str, channels: &[usize]) -> Graph {
    let removal = ChannelRemoval { group: group.to_owned(), channels: channels.to_vec() };
    remove_channels(graph, &[removal]).expect(group)
}

#[test]
fn a_sum_ties_channels_index_by_index() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let b = network.conv("b", a, 3, 1);
    let c = network.conv("c", b, 2, 1);
    let sum = network.op("sum", ADD, &[a, c]);
    let graph = network.finish(sum);
    assert_eq!(groups(&graph), free([("a", &["a0+c0", "a1+c1"]), ("b", &["b0", "b1", "b2"])]));
    let removed = remove(&graph, "a", &[0]);
    assert_eq!(sizes(&removed, "a/weights"), [1, 1, 1, 3]);
    assert_eq!(sizes(&removed, "b/weights"), [3, 1, 1, 1]);
    assert_eq!(sizes(&removed, "c/bias"), [1]);
    assert_eq!(sizes(&removed, "last/weights"), [2, 1, 1, 1]);
}

#[test]
fn a_lone_channel_is_broadcast_and_ties_nothing() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let mask = network.conv("mask", a, 1, 1);
    let product = Op::Elementwise(Elementwise { function: Binary::Multiply, activation: None });
    let y = network.op("product", product, &[mask, a]);
    assert_eq!(groups(&network.finish(y)), free([("a", &["a0", "a1"]), ("mask", &["mask0"])]));
}

#[test]
fn a_constant_operand_is_indexed_by_the_channels_that_it_has() {
    let (mut network, image) = Network::new(3);
    let mut x = network.conv("a", image, 2, 1);
    let constants: [(&str, &[usize]); 4] =
        [("scalar", &[]), ("channels", &[2]), ("pixels", &[4, 4, 1]), ("all", &[1, 4, 4, 2])];
    for (name, sizes) in constants {
        let constant = network.constant(&format!("{name}/constant"), sizes);
        x = network.op(name, ADD, &if name == "channels" { [constant, x] } else { [x, constant] });
    }
    let graph = network.finish(x);
    assert_eq!(groups(&graph), free([("a", &["a0", "a1"])]));
    let removed = remove(&graph, "a", &[0]);
    let found =
        ["scalar", "channels", "pixels", "all"].map(|name| sizes(&removed, &format!("{name}/constant")));
    assert_eq!(found, [vec![], vec![1], vec![4, 4, 1], vec![1, 4, 4, 1]]);

    let (mut network, image) = Network::new(3);
    let lone = network.conv("a", image, 1, 1);
    let constant = network.constant("constant", &[3]);
    let y = network.op("wide", ADD, &[lone, constant]);
    assert_eq!(groups(&network.finish(y)), free([("a", &["a0"])]));
}

#[test]
fn a_transposed_convolution_starts_channels_of_its_own() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let inputs = [a, network.constant("up/weights", &[3, 3, 2, 2]), network.constant("up/bias", &[3])];
    let padding = Padding { top: 1, bottom: 1, left: 0, right: 0 };
    let conv = ConvTranspose2d { stride: [2, 1], padding, output_padding: [1, 0], activation: None };
    let up = network.op("up", Op::ConvTranspose2d(conv), &inputs);
    let graph = network.finish(up);
    assert_eq!(sizes(&graph, "up"), [1, 8, 5, 3]);
    assert_eq!(cost(&graph).nodes[1].macs, 36 * 16);
    assert_eq!(groups(&graph), free([("a", &["a0", "a1"]), ("up", &["up0", "up1", "up2"])]));
    let removed = remove(&remove(&graph, "a", &[0]), "up", &[1]);
    assert_eq!(sizes(&removed, "up/weights"), [2, 3, 2, 1]);
    assert_eq!(sizes(&removed, "up/bias"), [2]);
}

#[test]
fn a_reshape_passes_channels_on_where_they_stay_innermost() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let x = network.op("row", Op::Reshape { shape: vec![16, 2] }, &[a]);
    let x = network.op("maps", Op::Reshape { shape: vec![2, 8, 2] }, &[x]);
    let b = network.conv("b", x, 2, 1);
    let y = network.op("mixed", Op::Reshape { shape: vec![2, 2, 8] }, &[b]);
    let graph = network.finish(y);
    let mixed = "reshape `mixed` mixes them with other axes".to_owned();
    let units = ["b0", "b1"].map(str::to_owned).to_vec();
    let [a, b] = [free([("a", &["a0", "a1"])]).remove(0), ("b".to_owned(), Some(mixed), units)];
    assert_eq!(groups(&graph), [a, b]);
    let removed = remove(&graph, "a", &[1]);
    assert_eq!(sizes(&removed, "row"), [1, 16, 1]);
    assert_eq!(sizes(&removed, "maps"), [1, 2, 8, 1]);
}

#[test]
fn a_concatenation_strings_channels_together_or_ties_them() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let b = network.conv("b", image, 1, 1);
    let y = network.op("string", CHANNELS, &[a, b, a]);
    let graph = network.finish(y);
    assert_eq!(groups(&graph), free([("a", &["a0", "a1"]), ("b", &["b0"])]));
    let removed = remove(&graph, "a", &[0]);
    assert_eq!(
        removed.tensor(removed.nodes[3].inputs[1]).f32_data().expect("floats"),
        [1., 2., 4., 6., 7., 9.]
    );

    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let b = network.conv("b", image, 2, 1);
    let y = network.op("below", Op::Concat(Concat { axis: 1 }), &[a, b]);
    assert_eq!(groups(&network.finish(y)), free([("a", &["a0+b0", "a1+b1"])]));
}

#[test]
fn layers_that_share_only_some_channels_fall_into_groups_that_leave_each_of_them_one() {
    let (mut network, image) = Network::new(3);
    let c = network.conv("c", image, 3, 1);
    let a = network.conv("a", image, 1, 1);
    let b = network.conv("b", image, 2, 1);
    let ab = network.op("ab", CHANNELS, &[a, b]);
    let y = network.op("sum", ADD, &[ab, c]);
    assert_eq!(groups(&network.finish(y)), free([("c", &["c0+a0"]), ("b", &["c1+b0", "c2+b1"])]));
}

#[test]
fn a_depthwise_convolution_passes_channels_on_and_shrinks_with_them() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 3, 1);
    let y = network.conv("depthwise", a, 6, 3);
    let graph = network.finish(y);
    assert_eq!(groups(&graph), free([("a", &["a0", "a1", "a2"])]));
    let removed = remove(&graph, "a", &[1]);
    let Op::Conv2d(conv) = &removed.nodes[1].op else { panic!("the depthwise convolution") };
    assert_eq!(conv.groups, 2);
    assert_eq!(removed.tensor(removed.nodes[1].inputs[1]).f32_data().expect("floats"), [0., 1., 4., 5.]);
    assert_eq!(sizes(&removed, "last/weights"), [2, 1, 1, 4]);
    // With one channel left it is an ordinary convolution.
    let removed = remove(&removed, "a", &[0]);
    assert_eq!(sizes(&removed, "depthwise"), [1, 4, 4, 2]);
}

#[test]
fn channels_that_cannot_go_keep_what_they_meet() {
    let (mut network, image) = Network::new(2);
    let a = network.conv("a", image, 2, 1);
    let sum = network.op("sum", ADD, &[a, image]);
    let b = network.conv("b", sum, 4, 1);
    let grouped = network.conv("grouped", b, 2, 2);
    let found: Vec<_> =
        groups(&network.finish(grouped)).into_iter().map(|(name, kept, _)| (name, kept)).collect();
    let kept = |name: &str, reason: &str| (name.to_owned(), Some(reason.to_owned()));
    assert_eq!(
        found,
        [
            kept("a", "add `sum` meets them with channels that stay"),
            kept("b", "grouped convolution `grouped` takes them in groups"),
            kept("grouped", "grouped convolution `grouped` makes them in groups"),
        ]
    );
}

#[test]
fn operators_of_single_pixels_and_maps_pass_channels_on() {
    let (mut network, image) = Network::new(3);
    let mut x = network.conv("a", image, 2, 1);
    let border = Padding { top: 1, bottom: 0, left: 0, right: 2 };
    let resize =
        Resize2d { size: [3, 7], method: ResizeMethod::Bilinear, coordinates: ResizeCoordinates::HalfPixel };
    x = network.op("pad", Op::Pad(Pad { padding: border, value: 1.0 }), &[x]);
    x = network.op("resize", Op::Resize2d(resize), &[x]);
    x = network.op("dropout", Op::Dropout(Dropout { rate: 0.5 }), &[x]);
    let ends = [network.constant("min", &[1]), network.constant("max", &[1])];
    x = network.op("fake", Op::FakeQuantize(FakeQuantize { bits: 8 }), &[x, ends[0], ends[1]]);
    let slopes = network.constant("slopes", &[2]);
    x = network.op("prelu", Op::Prelu, &[x, slopes]);
    let graph = network.finish(x);
    assert_eq!(groups(&graph), free([("a", &["a0", "a1"])]));
    let removed = remove(&graph, "a", &[0]);
    assert_eq!(sizes(&removed, "pad"), [1, 5, 6, 1]);
    assert_eq!(sizes(&removed, "prelu"), [1, 3, 7, 1]);
    assert_eq!(sizes(&removed, "slopes"), [1]);
    let scored = nonlinearity_output(&graph, taper_graph::NodeId(0)).expect("the prelu");
    assert_eq!(graph.tensor(scored).name, "prelu");
}

#[test]
fn a_nonlinearity_behind_a_sum_or_a_depthwise_convolution_is_that_of_the_layer() {
    let (mut network, image) = Network::new(3);
    let a = network.conv("a", image, 2, 1);
    let depthwise = network.conv("depthwise", a, 2, 2);
    let b = network.conv("b", image, 2, 1);
    let sum = network.op("sum", ADD, &[depthwise, b]);
    let relu = network.op("relu", RELU, &[sum]);
    let c = network.conv("c", relu, 1, 1);
    let string = network.op("string", CHANNELS, &[c, relu]);
    let behind = network.op("behind", RELU, &[string]);
    let graph = network.finish(behind);
    let found: Vec<_> = graph
        .nodes_with_ids()
        .filter(|(_, node)| matches!(node.op, Op::Conv2d(_)))
        .map(|(id, _)| nonlinearity_output(&graph, id).map(|tensor| graph.tensor(tensor).name.as_str()))
        .collect();
    assert_eq!(found, [Some("relu"), Some("relu"), Some("relu"), None, None]);
}

#[test]
fn a_grouped_convolution_costs_the_taps_of_its_own_group() {
    let (mut network, image) = Network::new(6);
    let x = network.conv("depthwise", image, 6, 6);
    let x = network.conv("grouped", x, 4, 2);
    let cost = cost(&network.finish(x));
    let found: Vec<_> = cost.nodes.iter().map(|node| (node.macs, node.parameters)).collect();
    assert_eq!(found, [(6 * 16, 12), (12 * 16, 16), (8 * 16, 10)]);
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    let (mut network, image) = Network::new(3);
    let wide = network.conv("wide", image, 4, 1);
    let constant = network.constant("constant", &[1, 4, 4, 3]);
    let short = network.op("flat", Op::Flatten, &[image]);
    let same = Padding::default();
    let conv = |groups| {
        Op::Conv2d(Conv2d { stride: [1, 1], dilation: [1, 1], padding: same, groups, activation: None })
    };
    let weights = network.constant("weights", &[3, 1, 1, 1]);
    let resize = |size| {
        let (method, coordinates) = (ResizeMethod::Nearest, ResizeCoordinates::Asymmetric);
        Op::Resize2d(Resize2d { size, method, coordinates })
    };
    let pad = Op::Pad(Pad { padding: same, value: f32::INFINITY });
    let images = network.constant("images", &[2, 4, 4, 3]);
    let deep = network.constant("deep", &[1, 1, 1, 1, 3]);
    let up = |stride, output_padding| {
        let padding = Padding { top: 3, bottom: 1, left: 0, right: 0 };
        Op::ConvTranspose2d(ConvTranspose2d { stride, padding, output_padding, activation: None })
    };
    let kernel = network.constant("kernel", &[1, 1, 1, 3]);
    let narrow = network.constant("narrow", &[1, 1, 1, 2]);
    let cases: [(Op, &[TensorId], &str); 20] = [
        (
            Op::Reshape { shape: vec![4, 4] },
            &[image],
            "expected sizes of as many elements as [N, 4, 4, 3] has behind the batch, found [4, 4]",
        ),
        (
            up([1, 1], [0, 0]),
            &[image, kernel],
            "expected Padding { top: 3, bottom: 1, left: 0, right: 0 } to leave",
        ),
        (
            up([2, 1], [0, 1]),
            &[image, kernel],
            "expected a stride of at least 1 and an output padding below it",
        ),
        (up([2, 2], [0, 0]), &[image, narrow], "expected input channels of the weights of size 3, found 2"),
        (pad, &[image], "expected a finite border, found inf"),
        (ADD, &[image, wide], "expected inputs of one rank with equal sizes, or sizes of 1"),
        (ADD, &[image, short], "expected inputs of one rank with equal sizes, or sizes of 1"),
        (ADD, &[constant, images], "expected an activation, found the constants `constant` and `images`"),
        (ADD, &[image, images], "expected one `images` for all images of `image` [N, 4, 4, 3]"),
        (ADD, &[deep, image], "expected one `deep` for all images of `image` [N, 4, 4, 3]"),
        (CHANNELS, &[image, constant], "expected activations, found the constant `constant`"),
        (ADD, &[image], "expected 2 inputs, found 1"),
        (
            Op::Concat(Concat { axis: 0 }),
            &[image],
            "expected an axis of [N, 4, 4, 3] other than the batch, found 0",
        ),
        (CHANNELS, &[short], "expected an axis of [N, 48] other than the batch, found 3"),
        (
            Op::Concat(Concat { axis: 1 }),
            &[image, wide],
            "expected inputs that equal [N, 4, 4, 3] but for axis 1",
        ),
        (conv(2), &[image, weights], "expected groups that divide 3 input and 3 output channels, found 2"),
        (conv(0), &[image, weights], "expected groups that divide 3 input and 3 output channels, found 0"),
        (conv(1), &[image, weights], "expected input channels of the weights of size 3, found 1"),
        (resize([1, 0]), &[image], "expected a size of at least 1, found [1, 0]"),
        (Op::Dropout(Dropout { rate: 1.0 }), &[image], "expected a rate from 0 to below 1, found 1"),
    ];
    for (op, inputs, expected) in cases {
        let mut graph = network.0.clone();
        let error: GraphError = graph.add_node("node", op, inputs).expect_err(expected);
        let message = error.to_string();
        let (_, message) = message.split_once("): ").expect("names the node");
        assert!(message.starts_with(expected), "{message}");
    }
}

fn slice(axis: usize, start: usize, step: usize, count: usize) -> Op {
    Op::StridedSlice(StridedSlice { axes: vec![AxisSlice { axis, start, step, count }] })
}

fn arg_max(axis: usize, dtype: DType) -> Op {
    Op::ArgMax(ArgMax { axis, dtype })
}

#[test]
fn slices_copies_and_indices_have_their_shapes() {
    fn check(op: Op, expected: &[usize], dtype: DType) {
        let (mut network, x) = Network::new(6);
        let y = network.op("y", op, &[x]);
        let y = network.0.tensor(y);
        assert_eq!((&y.shape, y.dtype), (&Shape::batched(expected), dtype));
    }
    check(slice(3, 1, 2, 3), &[4, 4, 3], DType::F32);
    check(slice(1, 3, 9, 1), &[1, 4, 6], DType::F32);
    check(Op::StridedSlice(StridedSlice { axes: Vec::new() }), &[4, 4, 6], DType::F32);
    check(Op::Tile { repeats: vec![1, 2, 3] }, &[4, 8, 18], DType::F32);
    check(arg_max(3, DType::I64), &[4, 4], DType::I64);
    check(arg_max(1, DType::I32), &[4, 6], DType::I32);
}

#[test]
fn impossible_slices_copies_and_searches_are_refused() {
    fn check(op: Op, expected: &str) {
        let (mut network, x) = Network::new(6);
        let message = network.0.add_node("y", op, &[x]).expect_err("refuses").to_string();
        assert!(message.contains(expected), "{message}");
    }
    check(slice(0, 0, 1, 1), "other than the batch, found 0");
    check(slice(4, 0, 1, 1), "other than the batch, found 4");
    check(slice(3, 1, 2, 4), "expected at least one index below 6");
    check(slice(3, 0, 1, 0), "found 0 from 0");
    check(slice(3, 0, 0, 2), "in steps of 0");
    check(slice(3, usize::MAX, usize::MAX, usize::MAX), "expected at least one index below 6");
    let part = AxisSlice { axis: 2, start: 0, step: 1, count: 1 };
    check(Op::StridedSlice(StridedSlice { axes: vec![part, part] }), "each axis once");
    check(Op::Tile { repeats: vec![1, 1] }, "expected repeats of size 3, found 2");
    check(Op::Tile { repeats: vec![1, 0, 1] }, "found 0 times");
    check(Op::Tile { repeats: vec![1, usize::MAX, 1] }, "fit in memory");
    check(arg_max(0, DType::I32), "other than the batch");
    check(arg_max(3, DType::I8), "expected i32 or i64");
}

#[test]
fn channels_are_followed_through_slices_copies_and_searches() {
    fn check(op: Op, expected: Option<&str>) {
        let (mut network, x) = Network::new(2);
        let a = network.conv("a", x, 4, 1);
        let y = network.op("y", op, &[a]);
        network.0.outputs.push(y);
        let mut graph = network.0;
        if graph.tensor(y).dtype == DType::F32 {
            graph.outputs.clear();
            graph = Network(graph).finish(y);
        }
        let groups = ChannelGroups::of(&graph);
        let kept = groups.get("a").expect("a layer").kept.clone();
        assert_eq!(kept.as_deref(), expected);
        if kept.is_none() {
            let removal = ChannelRemoval { group: "a".to_owned(), channels: vec![1, 2] };
            remove_channels(&graph, &[removal]).expect("removes").verify().expect("consistent");
        }
    }
    check(slice(1, 1, 1, 2), None);
    check(Op::Tile { repeats: vec![1, 2, 1] }, None);
    check(Op::Tile { repeats: vec![1, 1, 3] }, None);
    check(slice(3, 1, 1, 2), Some("strided slice `y` takes them by their positions"));
    check(arg_max(3, DType::I32), Some("arg max `y` tells their positions"));
}
