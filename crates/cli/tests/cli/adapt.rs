//! The main job, end to end, on a small part of the digits.

use crate::command::{QUICK, run, stderr, stdout, taper};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The last line of standard output as JSON.
fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// The files of a run that must be the same bytes for the same seed: checkpoints and outputs.
fn lasting_files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(run)
        .expect("a run directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "taper" || kind == "tflite"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

fn assert_same_files(left: &Path, right: &Path) {
    let (left, right) = (lasting_files(left), lasting_files(right));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        assert!(left == right, "{name} differs");
    }
}

/// Runs the command for this long and kills it; true if it ended by itself.
fn live(directory: &Path, arguments: &[&str], life: Duration) -> bool {
    let mut command = taper(directory);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command runs");
    let begun = Instant::now();
    while begun.elapsed() < life {
        if child.try_wait().expect("a child").is_some() {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    false
}

#[test]
fn a_run_gives_a_smaller_integer_network_and_the_same_bytes_however_it_is_interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    let undisturbed = run(directory.path(), &[&QUICK[..], &["--set", "name=undisturbed"]].concat());
    assert!(undisturbed.status.success(), "{}", stderr(&undisturbed));
    let summary = last_line(&stdout(&undisturbed));
    let run_path = directory.path().join("runs/undisturbed");

    // The names that scripts rely on.
    assert_eq!(summary["parameters_before"], 14_718_666);
    assert!(summary["parameters_after"].as_u64() < summary["parameters_before"].as_u64());
    assert!(summary["macs_after"].as_u64() < summary["macs_before"].as_u64());
    for name in [
        "accuracy_before",
        "accuracy_after",
        "accuracy_int8",
        "seconds_per_image_before",
        "seconds_per_image_after",
        "speedup",
    ] {
        assert!(summary[name].is_f64(), "{name}: {}", summary[name]);
    }
    assert_eq!(summary["iterations"].as_array().map(Vec::len), Some(3));
    assert_eq!(directory.path().join(summary["run"].as_str().expect("a path")), run_path);
    let model = directory.path().join(summary["model"].as_str().expect("a path"));
    assert!(model.ends_with("model.tflite"));
    let report = fs::read_to_string(run_path.join("report.html")).expect("a report");
    assert!(report.contains("</html>") && !report.contains("<script"));
    assert!(run_path.join("report.json").is_file() && run_path.join("report-iterations.csv").is_file());
    assert!(!run_path.join("progress.taper").exists());

    // The file runs, and a finished run only tells its summary again.
    let accuracy = run(
        directory.path(),
        &["run", &model.to_string_lossy(), "--data", "mnist", "--limit", "30", "--json"],
    );
    let accuracy = last_line(&stdout(&accuracy));
    assert_eq!(accuracy["images"], 30);
    assert_eq!(accuracy["accuracy"], summary["accuracy_int8"]);
    let again = run(directory.path(), &["resume", "runs/undisturbed", "--json"]);
    assert_eq!(last_line(&stdout(&again)), summary);

    // Two threads or one, killed again and again or not: the same bytes.
    let killed = directory.path().join("runs/killed");
    let begin = [&QUICK[..], &["--set", "name=killed", "--set", "threads=1"]].concat();
    let mut life = Duration::from_millis(400);
    loop {
        let begun = killed.join("journal.jsonl").exists();
        if !begun && killed.exists() {
            // It was killed before it was a run.
            fs::remove_dir_all(&killed).expect("removes");
        }
        let arguments = if begun { &["resume", "runs/killed", "--json"][..] } else { &begin };
        if live(directory.path(), arguments, life) {
            break;
        }
        // Each life is longer than the one before, so that the run ends.
        life = life * 3 / 2;
    }
    let resumed = run(directory.path(), &["resume", "runs/killed", "--json"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_same_files(&run_path, &killed);
    // The recipes differ in name and threads only.
    assert_eq!(last_line(&stdout(&resumed))["accuracy_int8"], summary["accuracy_int8"]);
}

#[test]
fn retraining_that_diverges_is_rolled_back_and_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let wild = ["--set", "name=wild", "--set", "prune.laws.learning_rate=1e30", "--set", "prune.tries=2"];
    let output = run(directory.path(), &[&QUICK[..], &wild].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("iteration 1: rolled back: training diverged in epoch 1, step "), "{told}");
    assert!(told.contains("pruned in 0 iterations: retraining diverged in each of 2 tries at iteration 1"));
    let report = fs::read_to_string(directory.path().join("runs/wild/report.html")).expect("a report");
    assert!(report.contains("Try 2 at iteration 1 was rolled back: training diverged"));
}

#[test]
fn likely_mistakes_in_the_data_are_told_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let mistakes = ["--set", "name=odd", "--set", "data.train_limit=4", "--set", "train.batch=50"];
    let output = run(directory.path(), &[&QUICK[..], &mistakes, &["--set", "prune.iterations=0"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = fs::read_to_string(directory.path().join("runs/odd/report.html")).expect("a report");
    for warning in [
        "expected training samples of every class, found none of ",
        "a batch of 50 is larger than the set of 4 training samples, so each epoch is one step on all of them",
    ] {
        assert!(stderr(&output).contains(&format!("warning: {warning}")), "{}", stderr(&output));
        assert!(report.contains(warning), "{warning}");
    }
}
