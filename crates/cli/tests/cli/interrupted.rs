//! Runs that were interrupted and then meet trouble: each is refused by name, and nothing of them is lost.

use crate::command::{run, stderr, taper};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Digits of the data set that the run trains on, in `digits-images-idx3-ubyte` and its labels.
const DIGITS: u32 = 40;

/// Trains for moments on invented images, so that the data can be tampered with.
const TRAIN: [&str; 9] = [
    "train",
    "--set=name=run",
    "--set=data.source=digits-images-idx3-ubyte",
    "--set=data.validation=0.25",
    "--set=data.test=0.25",
    "--set=train.epochs=1",
    "--set=measure.repeats=1",
    "--set=measure.warm_up=0",
    "--json",
];

/// A directory with the data set.
fn data() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut images = vec![0, 0, 8, 3];
    images.extend([DIGITS, 28, 28].iter().flat_map(|size| size.to_be_bytes()));
    images.extend((0..DIGITS * 28 * 28).map(|pixel| (pixel % 251) as u8));
    let mut labels = vec![0, 0, 8, 1];
    labels.extend(DIGITS.to_be_bytes());
    labels.extend((0..DIGITS).map(|label| label as u8 % 10));
    fs::write(directory.path().join("digits-images-idx3-ubyte"), images).expect("images");
    fs::write(directory.path().join("digits-labels-idx1-ubyte"), labels).expect("labels");
    directory
}

/// A run as an interruption right after its training left it.
fn interrupted() -> tempfile::TempDir {
    let directory = data();
    let output = run(directory.path(), &TRAIN);
    assert!(output.status.success(), "{}", stderr(&output));
    let journal = directory.path().join("runs/run/journal.jsonl");
    let text = fs::read_to_string(&journal).expect("a journal");
    let until = text.find("{\"event\":\"tested\"").expect("an event");
    let whole_lines = text[..until].rfind('\n').expect("lines") + 1;
    fs::write(&journal, &text[..whole_lines]).expect("a journal");
    directory
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("text");
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).expect("text");
}

fn expect_failure(output: &Output, message: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(message), "expected {message:?} in {text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_run_that_was_tampered_with_is_refused_by_name() {
    let directory = interrupted();
    let root = directory.path();
    let journal = root.join("runs/run/journal.jsonl");
    let images = root.join("digits-images-idx3-ubyte");
    let checkpoint = root.join("runs/run/iteration-00.taper");
    let resume = || run(root, &["resume", "runs/run"]);
    let tampered = |path: &Path, tamper: &dyn Fn(), message: &str| {
        let before = fs::read(path).expect("a file");
        tamper();
        expect_failure(&resume(), message);
        fs::write(path, before).expect("a file");
    };

    let other_images = || {
        let mut bytes = fs::read(&images).expect("images");
        bytes[1000] ^= 1;
        fs::write(&images, bytes).expect("images");
    };
    let recipe = root.join("runs/run/recipe.toml");
    tampered(&images, &other_images, "the data in `digits-images-idx3-ubyte` changed since the run began");
    tampered(&images, &|| fs::remove_file(&images).expect("removes"), "digits-images-idx3-ubyte");
    tampered(
        &journal,
        &|| replace(&journal, "\"event\":\"epoch\"", "\"event\":\"epohc\""),
        // Version, start, and a warning of a batch larger than the set come before it.
        "journal.jsonl:4: ",
    );
    tampered(&journal, &|| replace(&journal, "\"taper-run\":1", "\"taper-run\":99"), "version 99");
    tampered(&recipe, &|| replace(&recipe, "seed", "sede"), "did you mean `seed`?");
    let half = || {
        let bytes = fs::read(&checkpoint).expect("a checkpoint");
        fs::write(&checkpoint, &bytes[..bytes.len() / 2]).expect("half a checkpoint");
    };
    tampered(&checkpoint, &half, "iteration-00.taper: ");

    let ended = resume();
    assert!(ended.status.success(), "{}", stderr(&ended));
}

#[test]
#[cfg(unix)]
fn a_run_that_ran_out_of_room_goes_on_to_the_same_bytes() {
    let directory = interrupted();
    let whole = fs::read(directory.path().join("runs/run/iteration-00.taper")).expect("a checkpoint");

    // A limit on the size of files stands for a disk that fills up; the signal that comes with it is put aside.
    let directory = data();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 10000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_taper")]);
    let full = command.args(TRAIN).current_dir(directory.path()).output().expect("a shell");
    expect_failure(&full, "runs/run/iteration-00.taper: cannot write the file: ");
    expect_failure(&full, "to go on: taper resume runs/run");
    let mut left: Vec<_> = fs::read_dir(directory.path().join("runs/run"))
        .expect("a run")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["journal.jsonl", "recipe.toml"]);

    let resumed = taper(directory.path()).args(["resume", "runs/run"]).output().expect("the command runs");
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let again = fs::read(directory.path().join("runs/run/iteration-00.taper")).expect("a checkpoint");
    assert!(again == whole, "iteration-00.taper differs");
}
