//! Networks from files: run on arrays, converted, compared.

use crate::command::{run, stderr, stdout};
use serde_json::Value;
use std::fs;
use std::path::Path;
use taper_formats::npy::{self, Array};
use taper_graph::TensorData;

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
