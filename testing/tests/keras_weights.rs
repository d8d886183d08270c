//! Weights in the names and layouts of PyTorch and Keras, put into networks of the zoo.

use taper_formats::weights::{self, Layout, Weights, assign};
use taper_graph::{Graph, Op, TensorData};
use taper_testing::Random;
use taper_zoo::Task;

/// A network of the zoo with random weights.
fn filled(name: &str) -> Graph {
    let mut graph = taper_zoo::by_name(name, Task { input: [8, 8, 3], classes: 3 }).expect("fits");
    let mut random = Random::new(5);
    for tensor in &mut graph.tensors {
        if let Some(TensorData::F32(values)) = &mut tensor.data {
            let count = values.len();
            *values = random.normals(count, 1.0);
        }
    }
    graph
}

/// A module's arrays: the part of the name behind the module, sizes and elements.
type Arrays = Vec<(&'static str, Vec<usize>, Vec<f32>)>;

/// The arrays of each layer, as PyTorch lays them out, in the order of the layers.
fn modules(graph: &Graph) -> Vec<Arrays> {
    let mut modules = Vec::new();
    for node in &graph.nodes {
        let names: &[&'static str] = match node.op {
            Op::Conv2d(_) | Op::FullyConnected(_) => &["weight", "bias"],
            Op::BatchNorm(_) => &["weight", "bias", "running_mean", "running_var"],
            _ => continue,
        };
        let arrays = names.iter().zip(node.inputs.iter().skip(1)).map(|(&name, &id)| {
            let tensor = graph.tensor(id);
            let values = tensor.f32_data().expect("a constant");
            let sizes = tensor.shape.sizes().expect("fixed");
            match sizes[..] {
                [o, h, w, i] => {
                    // OHWI to OIHW.
                    let at = |n: usize| {
                        let (n, x) = (n / w, n % w);
                        let (n, y) = (n / h, n % h);
                        let (n, c) = (n / i, n % i);
                        values[((n * h + y) * w + x) * i + c]
                    };
                    (name, vec![o, i, h, w], (0..values.len()).map(at).collect())
                }
                _ => (name, sizes, values.to_vec()),
            }
        });
        modules.push(arrays.collect());
    }
    modules
}

/// The modules in a file of safetensors, under the names that `name` gives to their positions.
fn file(modules: &[Arrays], name: impl Fn(usize) -> String) -> Weights {
    let named = modules.iter().enumerate().flat_map(|(position, arrays)| {
        let module = name(position);
        arrays.iter().map(move |(variable, sizes, values)| {
            (format!("{module}.{variable}"), sizes.as_slice(), values.as_slice())
        })
    });
    safetensors(named)
}

fn safetensors<'a>(arrays: impl Iterator<Item = (String, &'a [usize], &'a [f32])>) -> Weights {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, sizes, values) in arrays {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let end = data.len();
        entries
            .push(format!(r#""{name}":{{"dtype":"F32","shape":{sizes:?},"data_offsets":[{start},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let length = u64::try_from(header.len()).expect("short").to_le_bytes();
    weights::read([&length[..], header.as_bytes(), &data].concat()).expect("reads")
}

#[test]
fn modules_fill_the_layers_of_their_names_or_places() {
    // There is a table for MobileNet's names, none for the small VGG's.
    let mobilenet = |position: usize| match position {
        0 | 1 => format!("model.0.{position}"),
        54 => "fc".to_owned(),
        _ => {
            let within = position - 2;
            format!("model.{}.{}", within / 4 + 1, [0, 1, 3, 4][within % 4])
        }
    };
    let cases: [(&str, &dyn Fn(usize) -> String); 2] =
        [("mobilenet-v1", &mobilenet), ("vgg-small", &|position| format!("layers.{position}"))];
    for (network, name) in cases {
        let original = filled(network);
        let mut graph = original.clone();
        for tensor in &mut graph.tensors {
            if let Some(TensorData::F32(values)) = &mut tensor.data {
                values.fill(0.0);
            }
        }
        let report = assign(&mut graph, &file(&modules(&original), name), Layout::Torch).expect("fits");
        assert_eq!((&report.kept, &report.unused), (&Vec::new(), &Vec::new()), "{network}");
        assert_eq!(graph, original, "{network}");
    }
}

#[test]
fn what_does_not_match_is_listed_or_refused() {
    let original = filled("vgg-small");
    let mut graph = original.clone();
    let mut arrays = modules(&original);
    let none = assign(&mut graph, &file(&arrays, |position| format!("other{position}.x")), Layout::Keras);
    let report = none.expect("nothing is for this network");
    assert_eq!((report.assigned.len(), report.kept.len(), report.unused.len()), (0, 27, 27));
    assert_eq!(graph, original);

    arrays[1][0] = ("weight", vec![1], vec![1.0]);
    let error = assign(&mut graph, &file(&arrays, |position| format!("l.{position}")), Layout::Torch);
    let message = error.expect_err("refuses").to_string();
    assert_eq!(
        message,
        "array `l.1.weight`: expected [32] for `block1_conv1_bn/gamma`, found [1] in its order"
    );
    assert_eq!(graph, original);
}

#[test]
fn the_head_of_keras_mobilenet_is_a_convolution_of_one_pixel() {
    let mut graph = filled("mobilenet-v1");
    // As HWIO.
    let kernel: Vec<f32> = (0_u16..1024 * 3).map(f32::from).collect();
    let arrays: [(&str, &[usize], &[f32]); 2] =
        [("conv_preds/kernel", &[1, 1, 1024, 3], &kernel), ("conv_preds/bias", &[3], &[1.0, 2.0, 3.0])];
    let stored =
        safetensors(arrays.into_iter().map(|(name, sizes, values)| (name.to_owned(), sizes, values)));
    assert_eq!(stored.layout(), Layout::Keras);
    let report = assign(&mut graph, &stored, stored.layout()).expect("fits");
    assert_eq!((report.assigned.len(), report.unused.len()), (2, 0));
    let weights = graph.tensors.iter().find(|tensor| tensor.name == "predictions/weights").expect("a head");
    let expected: Vec<f32> =
        (0_u16..3).flat_map(|class| (0_u16..1024).map(move |i| f32::from(3 * i + class))).collect();
    assert_eq!(weights.f32_data(), Some(&expected[..]));
}
