//! Networks from files: run on arrays, converted, given weights, compared, and told of.

use crate::command::{run, stderr, stdout};
use serde_json::Value;
use std::fs;
use std::path::Path;
use taper_formats::npy::{self, Array};
use taper_formats::{Checkpoint, ExtraTensor};
use taper_graph::{Graph, TensorData};

/// The integer network of the default recipe.
const INTEGERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/vgg16-mnist-int8.tflite");

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(stdout(&output).lines().last().expect("a line")).expect("JSON")
}

fn image(directory: &Path, name: &str, sizes: &[usize]) {
    let count: usize = sizes.iter().product();
    let data = TensorData::F32((0..count).map(|at| (at % 256) as f32 / 255.0).collect());
    fs::write(directory.join(name), npy::write(&Array { sizes: sizes.to_vec(), data })).expect("writes");
}

fn array(path: &Path) -> Array {
    npy::read(&fs::read(path).expect("a file")).expect("an array")
}

#[test]
fn arrays_go_in_and_come_out() {
    let directory = tempfile::tempdir().expect("a directory");
    image(directory.path(), "two.npy", &[2, 28, 28, 1]);
    image(directory.path(), "one.npy", &[28, 28, 1]);
    let of = |input: &str, output: &str| {
        let found =
            json(directory.path(), &["run", INTEGERS, "--input", input, "--output", output, "--json"]);
        assert_eq!(found["outputs"][0]["dtype"], "i8");
        array(&directory.path().join(found["outputs"][0]["file"].as_str().expect("a path")))
    };
    let (two, one) = (of("two.npy", "both"), of("one.npy", "first"));
    assert_eq!((&two.sizes[..], &one.sizes[..]), (&[2, 10][..], &[1, 10][..]));
    let (TensorData::I8(two), TensorData::I8(one)) = (two.data, one.data) else { panic!("int8") };
    assert_eq!(two[..10], one, "an image does not depend on its neighbours");
}

#[test]
fn arrays_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    image(directory.path(), "wrong.npy", &[1, 28, 27, 1]);
    fs::write(directory.path().join("text.npy"), "hello").expect("writes");
    let check = |inputs: &[&str], message: &str| {
        let flags: Vec<&str> = inputs.iter().flat_map(|input| ["--input", *input]).collect();
        let output = run(directory.path(), &[&["run", INTEGERS, "--output", "out"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{inputs:?}");
        assert!(stderr(&output).contains(message), "expected `{message}`, found `{}`", stderr(&output));
        assert!(!directory.path().join("out").exists(), "nothing is written");
    };
    check(&["wrong.npy"], "expected an array [N, 28, 28, 1] for `image`, found [1, 28, 27, 1]");
    check(&["text.npy"], "text.npy: array: expected a `.npy` file");
    check(&["missing.npy"], "missing.npy: cannot read");
    check(&["wrong.npy", "wrong.npy"], "expected an array for each of 1 inputs (`image`), found 2");
}

#[test]
fn a_converted_network_is_the_same_and_another_one_parts() {
    let directory = tempfile::tempdir().expect("a directory");
    let converted = run(directory.path(), &["export", INTEGERS, "same.taper"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    let same = json(directory.path(), &["compare", INTEGERS, "same.taper", "--limit", "3", "--json"]);
    assert_eq!((&same["parts_at"], &same["runs"], &same["unmatched"]), (&Value::Null, &3.into(), &0.into()));
    assert!(same["layers"].as_array().expect("layers").iter().all(|layer| layer["sqnr_db"].is_null()));
    assert_eq!(same["outputs"][0]["largest"], 0.0);

    let output = run(directory.path(), &["export", INTEGERS, "net.docx"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("net.docx: file name: expected the extension"), "{}", stderr(&output));
}

/// The constants of a `.taper` file.
fn constants(path: &Path) -> Vec<(String, Option<TensorData>)> {
    let graph = Checkpoint::load(path).expect("reads").graph;
    graph.tensors.into_iter().map(|tensor| (tensor.name, tensor.data)).collect()
}

#[test]
fn weights_fill_a_network_of_the_zoo_and_what_they_lack_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let export = |arguments: &[&str]| {
        let output = run(directory.path(), &[&["export", "zoo:vgg-small"], arguments].concat());
        (output.status.code(), stderr(&output))
    };
    assert_eq!(export(&["whole.taper"]), (Some(0), String::new()));
    let original = constants(&path("whole.taper"));

    let mut part = Checkpoint::new(Graph::new("without a head"));
    for tensor in Checkpoint::load(&path("whole.taper")).expect("reads").graph.tensors {
        let sizes = tensor.shape.with_batch(1);
        if let Some(TensorData::F32(values)) = tensor.data
            && !tensor.name.starts_with("predictions/")
        {
            let data = TensorData::F32(values.iter().map(|value| value + 1.0).collect());
            part.extra_tensors.insert(tensor.name, ExtraTensor { sizes, data });
        }
    }
    let spare = ExtraTensor { sizes: vec![1], data: TensorData::F32(vec![0.0]) };
    part.extra_tensors.insert("spare/weights".to_owned(), spare);
    part.save(&path("part.taper")).expect("writes");
    let (code, told) = export(&["filled.taper", "--weights", "part.taper"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(
            "it has none for `predictions/weights`, `predictions/bias`; no layer takes its `spare/weights`"
        ),
        "{told}"
    );
    for ((name, before), (_, after)) in original.iter().zip(constants(&path("filled.taper"))) {
        let Some(TensorData::F32(before)) = before else { continue };
        let step = if name.starts_with("predictions/") { 0.0 } else { 1.0 };
        let expected = before.iter().map(|value| value + step).collect();
        assert_eq!(after, Some(TensorData::F32(expected)), "{name}");
    }

    let (code, told) = export(&["out.taper", "--classes", "3", "--weights", "whole.taper"]);
    assert_eq!(code, Some(1));
    let shapes =
        "array `predictions/weights`: expected [3, 2048] for `predictions/weights`, found [10, 2048]";
    assert!(told.contains(shapes), "{told}");
    part.extra_tensors.retain(|name, _| name.starts_with("spare/"));
    part.save(&path("foreign.taper")).expect("writes");
    let (code, told) = export(&["out.taper", "--weights", "foreign.taper"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("expected weights for `vgg-small`, such as `block1_conv1/weights`"), "{told}");
    assert!(told.contains("found `spare/weights`"), "{told}");
    assert!(!path("out.taper").exists());
}

#[test]
fn weights_that_fill_a_whole_network_train_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let exported = run(directory.path(), &["export", "zoo:vgg-small", "whole.taper"]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    let train = |weights: &str| {
        let sets =
            ["model.source=zoo:vgg-small", "train.when=never", "data.train_limit=32", "data.test_limit=8"];
        let sets = sets.map(|set| format!("--set={set}"));
        let mut arguments = vec!["train", "--json"];
        arguments.extend(sets.iter().map(String::as_str));
        arguments.push(weights);
        run(directory.path(), &arguments)
    };
    let trained = train("--set=model.weights=whole.taper");
    assert!(trained.status.success(), "{}", stderr(&trained));
    let summary: Value =
        serde_json::from_str(stdout(&trained).lines().last().expect("a line")).expect("JSON");
    let run_directory = directory.path().join(summary["run"].as_str().expect("a path"));
    assert_eq!(
        constants(&run_directory.join("model.taper")),
        constants(&directory.path().join("whole.taper"))
    );

    let untrained = train("--set=seed=2");
    assert_eq!(untrained.status.code(), Some(1));
    assert!(stderr(&untrained).contains("is untrained (`block1_conv1/weights`"), "{}", stderr(&untrained));
}

#[test]
fn compiled_networks_tell_what_runs_on_the_edge_tpu() {
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/coral/pairs");
    let file = pairs.join("edgetpu__mobilenet_v2_1.0_224_quant_edgetpu.tflite");
    if !file.exists() {
        eprintln!("skipped: no {}", file.display());
        return;
    }
    let file = file.display().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let told = json(directory.path(), &["inspect", &file, "--json"]);
    let package = &told["edgetpu"][0]["package"];
    assert_eq!(package["min_runtime_version"], 12);
    assert_eq!(package["cached_parameter_bytes"], 3_900_864);
    let running = &package["executables"][0];
    assert_eq!(
        (&running["kind"], &running["instruction_bytes"]),
        (&"execution-only".into(), &129_632.into())
    );
    let input = serde_json::json!({
        "name": "input", "shape": [224, 224, 3], "dtype": "u8", "scale": 0.007_812_5, "zero_point": 128,
        "bytes": 150_528, "executions": 1,
    });
    assert_eq!(running["inputs"], serde_json::json!([input]));
    let table = stdout(&run(directory.path(), &["inspect", &file]));
    assert!(table.contains("runtime 12 or newer"), "{table}");
    assert!(table.contains("parameter-caching"), "{table}");
    let drawn = run(directory.path(), &["inspect", &file, "--html", "page.html"]);
    assert!(drawn.status.success(), "{}", stderr(&drawn));
    let page = fs::read_to_string(directory.path().join("page.html")).expect("a page");
    assert!(page.contains("parameter-caching") && page.contains("MobilenetV2/Predictions/Softmax"));
    let plain = json(directory.path(), &["inspect", INTEGERS, "--json"]);
    assert_eq!(plain["edgetpu"], serde_json::json!([]));
}
