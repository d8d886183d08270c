//! Bad input: a clear error with the culprit's name, the right exit code, nothing left half-written.

use crate::command::{run, stderr};
use std::fs;
use std::path::Path;

/// Runs the command in a directory that `prepare` filled, and checks code and message. No run may be left behind.
fn check(prepare: impl Fn(&Path), arguments: &[&str], code: i32, message: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    prepare(directory.path());
    let output = run(directory.path(), arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(message), "{arguments:?}: expected {message:?} in {text}");
    assert!(!text.contains("panicked"), "{text}");
    let left = fs::read_dir(directory.path().join("runs")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{arguments:?} left a run behind");
}

#[test]
fn wrong_uses_of_the_command_line_exit_with_2() {
    let cases: [(&[&str], &str); 9] = [
        (&["adapt", "--frobnicate"], "--frobnicate"),
        (&["adpat"], "adapt"),
        (&["adapt", "--set", "prune.laws.epocs=2"], "epochs"),
        (&["adapt", "--set", "prune.laws.batch.start=-1"], "prune.laws.batch"),
        (&["adapt", "--set", "prune.laws.cut=nan"], "prune.laws.cut"),
        (&["adapt", "--set", "nonsense"], "nonsense"),
        (&["adapt", "--set", "threads=9999999"], "threads: expected 0 to 1024"),
        (&["adapt", "--set", "name=a/b"], "name: expected 1 to 100 ASCII letters"),
        (&["inspect", "zoo:vgg16", "--image", "28"], "28x28x1"),
    ];
    for (arguments, message) in cases {
        check(|_| {}, arguments, 2, message);
    }
}

#[test]
fn faulty_recipes_exit_with_1_and_name_file_key_and_line() {
    let cases = [
        (
            "[prune]\niteratons = 3\n",
            "bad.toml:2:1: unknown key `prune.iteratons`, did you mean `iterations`?",
        ),
        ("[prune.laws]\ncut = { law = \"contxt\", start = 0.2 }\n", "context"),
        ("[train]\nbatch = -4\n", "train.batch"),
        ("[prune.laws]\nbatch = -4\n", "prune.laws.batch"),
        ("[prune.laws]\ncut = nan\n", "prune.laws.cut"),
        ("[model]\nsource = \"zoo:vgg61\"\n", "vgg61"),
        ("[model]\nsource = \"absent.tflite\"\n", "absent.tflite"),
        ("[data]\nsource = \"absent\"\n", "absent"),
        ("[train]\nwhen = \"never\"\n", "`zoo:vgg16` is untrained"),
        ("name = \n", "bad.toml:1"),
    ];
    for (recipe, message) in cases {
        let prepare = |directory: &Path| fs::write(directory.join("bad.toml"), recipe).expect("a recipe");
        check(prepare, &["adapt", "bad.toml"], 1, message);
    }
    check(|_| {}, &["adapt", "absent.toml"], 1, "absent.toml");
}

#[test]
fn faulty_files_exit_with_1_and_are_named() {
    let images = |count: u32| {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend([count, 28, 28].iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(vec![0; count as usize * 28 * 28]);
        bytes
    };
    let labels = |count: u32| {
        let mut bytes = vec![0, 0, 8, 1];
        bytes.extend(count.to_be_bytes());
        bytes.extend((0..count).map(|label| label as u8 % 10));
        bytes
    };
    let pair = |directory: &Path, images: &[u8], labels: &[u8]| {
        fs::write(directory.join("x-images-idx3-ubyte"), images).expect("images");
        fs::write(directory.join("x-labels-idx1-ubyte"), labels).expect("labels");
    };
    let arguments = ["adapt", "--set", "data.source=x-images-idx3-ubyte"];
    check(|d| pair(d, &images(50)[..1000], &labels(50)), &arguments, 1, "x-images-idx3-ubyte");
    check(|d| pair(d, &images(50), &labels(49)), &arguments, 1, "x-labels-idx1-ubyte");
    check(|d| pair(d, &[1; 100], &labels(50)), &arguments, 1, "x-images-idx3-ubyte");
    check(|d| pair(d, &images(50), &labels(50)[..20]), &arguments, 1, "x-labels-idx1-ubyte");

    let garbage = |directory: &Path| fs::write(directory.join("bad.tflite"), [7; 100]).expect("a file");
    check(garbage, &["run", "bad.tflite", "--data", "mnist"], 1, "bad.tflite");
    check(garbage, &["inspect", "bad.tflite"], 1, "bad.tflite");
    check(|_| {}, &["run", "absent.tflite"], 1, "absent.tflite");
    check(|_| {}, &["resume", "absent"], 1, "absent");
    check(|_| {}, &["report", "absent"], 1, "absent");
    let file = |directory: &Path| fs::write(directory.join("file"), "").expect("a file");
    check(file, &["adapt", "--runs", "file"], 1, "file");
}

#[test]
fn a_run_of_another_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old");
    fs::create_dir(&old).expect("a directory");
    fs::write(old.join("recipe.toml"), "").expect("a recipe");
    fs::write(old.join("journal.jsonl"), "{\"sequence\":0,\"event\":{\"taper-run\":99}}\n")
        .expect("a journal");
    for verb in ["resume", "report"] {
        let output = run(directory.path(), &[verb, "old"]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("journal.jsonl") && text.contains("99"), "{text}");
    }
}
