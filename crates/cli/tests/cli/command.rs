//! Runs the `taper` command.

use std::path::Path;
use std::process::{Command, Output};

/// The command, ready for arguments, with a working directory of its own.
pub(crate) fn taper(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    command.current_dir(directory);
    command
}

/// Runs the command with these arguments.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    taper(directory).args(arguments).output().expect("the command runs")
}

/// What the command wrote to standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Arguments for an adaptation that takes seconds: few images, few epochs, harsh cuts.
pub(crate) const QUICK: [&str; 17] = [
    "adapt",
    "--json",
    "--set",
    "data.train_limit=64",
    "--set",
    "data.validation_limit=30",
    "--set",
    "data.test_limit=30",
    "--set",
    "train.epochs=1",
    "--set",
    "prune.iterations=2",
    "--set",
    "goal.max_accuracy_loss=1.0",
    "--set",
    "measure.repeats=3",
    "--set=prune.laws.epochs=2",
];
