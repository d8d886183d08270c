//! Parameters that several layers read: their gradients are sums, their statistics move once for each reader.

use super::super::super::parameter::Parameter;
use super::*;
use taper_graph::{BatchNorm, Binary, DType, Elementwise, FakeQuantize, FullyConnected, Tensor};

/// A convolution, a normalisation, a rectifier with learned slopes and, if asked for, fake quantization, twice with the
/// same weights, gamma, statistics, slopes and range, but biases and betas of their own; then the sum of both times.
fn siamese(quantize: Option<FakeQuantize>) -> Graph {
    let (mut graph, mut random) = (Graph::new("siamese"), Random::new(12));
    let image = graph.add_input("image", Shape::batched(&[4, 3, 2]), DType::F32);
    let constant = |graph: &mut Graph, name: &str, sizes: &[usize], values: Vec<f32>| {
        graph.add_constant(name, sizes, TensorData::F32(values))
    };
    let weights = constant(&mut graph, "weights", &[2, 3, 3, 2], random.normals(36, 0.4));
    let gamma = constant(&mut graph, "gamma", &[2], vec![0.8, 1.2]);
    let mean = constant(&mut graph, "mean", &[2], vec![0.1, -0.2]);
    let variance = constant(&mut graph, "variance", &[2], vec![0.9, 1.1]);
    let slopes = constant(&mut graph, "slopes", &[2], vec![0.3, -0.1]);
    let range =
        [("min", -2.0), ("max", 1.5)].map(|(name, value)| constant(&mut graph, name, &[1], vec![value]));
    let mut turn = |graph: &mut Graph, name: &str, x: TensorId| {
        let bias = constant(graph, &format!("{name}/bias"), &[2], random.normals(2, 0.1));
        let beta = constant(graph, &format!("{name}/beta"), &[2], random.normals(2, 0.1));
        let norm = Op::BatchNorm(BatchNorm { epsilon: 1e-3 });
        let mut x = x;
        for (kind, op, constants) in [
            ("conv", Op::Conv2d(same(3)), &[weights, bias][..]),
            ("norm", norm, &[gamma, beta, mean, variance]),
            ("prelu", Op::Prelu, &[slopes]),
        ] {
            let inputs = [&[x], constants].concat();
            x = graph.add_node(format!("{name}/{kind}"), op, &inputs).expect("it fits");
        }
        match &quantize {
            None => x,
            Some(quantize) => {
                let (name, op) = (format!("{name}/quantize"), Op::FakeQuantize(quantize.clone()));
                graph.add_node(name, op, &[x, range[0], range[1]]).expect("it fits")
            }
        }
    };
    let first = turn(&mut graph, "first", image);
    let second = turn(&mut graph, "second", first);
    let dense = constant(&mut graph, "dense", &[3, 24], random.normals(72, 0.3));
    let add = Op::Elementwise(Elementwise { function: Binary::Add, activation: None });
    let sum = graph.add_node("sum", add, &[first, second]).expect("it fits");
    let flat = graph.add_node("flatten", Op::Flatten, &[sum]).expect("it fits");
    let dense_op = Op::FullyConnected(FullyConnected { activation: None });
    let logits = graph.add_node("logits", dense_op, &[flat, dense]).expect("it fits");
    graph.outputs.push(logits);
    graph.remove_unused_tensors();
    graph.verify().expect("sound");
    graph
}

/// The network in which the second turn reads copies, named `NAME/copy`.
fn unrolled(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for node in 0..graph.nodes.len() {
        for input in 0..graph.nodes[node].inputs.len() {
            let tensor = graph.nodes[node].inputs[input];
            let constant = graph.tensor(tensor).clone();
            if constant.data.is_some() && graph.nodes[..node].iter().any(|node| node.inputs.contains(&tensor))
            {
                let name = format!("{}/copy", constant.name);
                graph.tensors.push(Tensor { name, ..constant });
                graph.nodes[node].inputs[input] = TensorId(graph.tensors.len() - 1);
            }
        }
    }
    graph
}

#[test]
fn gradients_are_those_of_finite_differences() {
    check(&siamese(None));
}

#[test]
fn gradients_are_the_sums_of_those_of_copies() {
    let graph = siamese(Some(FakeQuantize { bits: 8 }));
    for (batch, narrow) in BATCHES.into_iter().flat_map(|batch| [(batch, true), (batch, false)]) {
        let [mut shared, mut copied] = [graph.clone(), unrolled(&graph)].map(|graph| {
            let mut subject = Subject::new(&graph, batch);
            subject.network.narrow = narrow;
            subject
        });
        let before: Vec<_> = shared.network.parameters.iter().map(|p| p.value.clone()).collect();
        assert_eq!(shared.loss(), copied.loss());
        for (parameter, before) in shared.network.parameters.iter().zip(before) {
            let copy = format!("{}/copy", parameter.name);
            let names = [&parameter.name, &copy];
            let copies: Vec<_> =
                copied.network.parameters.iter().filter(|p| names.contains(&&p.name)).collect();
            for (position, found) in shared.network.gradients[parameter.gradient.clone()].iter().enumerate() {
                let of_copies = |p: &&Parameter| copied.network.gradients[p.gradient.clone()][position];
                let expected: f32 = copies.iter().map(of_copies).sum();
                assert!((found - expected).abs() < 1e-5, "{}: {found} is not {expected}", parameter.name);
            }
            if let (Role::Statistic, [first, second]) = (parameter.role, &copies[..]) {
                for (position, found) in parameter.value.iter().enumerate() {
                    // Each copy moved from the same start; the second move of one begins where the first ended.
                    let [first, second] = [first, second].map(|copy| copy.value[position]);
                    let expected = second + STATISTICS_MOMENTUM * (first - before[position]);
                    assert!((found - expected).abs() < 1e-5, "{}: {found} is not {expected}", parameter.name);
                }
            }
        }
    }
}

#[test]
fn gradients_are_the_same_bytes_at_any_number_of_threads() {
    check_threads(&siamese(None), &NetworkSettings::default());
}

#[test]
fn what_a_frozen_node_reads_stays_while_others_learn_what_is_theirs() {
    let graph = siamese(None);
    let freeze = vec!["second/*".to_owned()];
    let settings = NetworkSettings { freeze, ..NetworkSettings::default() };
    check_with(&graph, &settings);
    let mut subject = Subject::with_settings(&graph, &settings, 20);
    subject.loss();
    let learned: Vec<_> =
        subject.network.parameters.iter().filter(|p| !p.gradient.is_empty()).map(|p| &p.name).collect();
    assert_eq!(learned, ["first/bias", "first/beta", "dense"]);
    assert_eq!(subject.network.to_graph(), graph, "running statistics stay");
}
