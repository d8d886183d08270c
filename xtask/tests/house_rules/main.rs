//! The house rules of STYLE.md that a machine can check, one test each.
//!
//! A rule is a function from a text to the lines that break it, so that it can be shown to catch what it should. A test
//! runs the rule over the tree and names every breach as `file:line`, with the rule as one sentence.

mod code;
mod crates;
mod docs;
mod files;
mod licence;

use std::sync::LazyLock;

use taper_xtask::source::Source;
use taper_xtask::tree::{self, File};

/// Every file of the repository.
static FILES: LazyLock<Vec<File>> = LazyLock::new(tree::files);

/// Every Rust file of the repository, by its path.
static SOURCES: LazyLock<Vec<(&str, Source)>> = LazyLock::new(|| {
    let texts = texts().filter(|(path, _)| path.ends_with(".rs"));
    texts.map(|(path, text)| (path, Source::split(text))).collect()
});

/// Every text file of the repository: path and contents.
fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
}

/// Fails with `rule` and every breach of it.
#[track_caller]
fn hold(rule: &str, breaches: impl IntoIterator<Item = String>) {
    let breaches: Vec<_> = breaches.into_iter().collect();
    assert!(breaches.is_empty(), "house rule broken: {rule}\n  {}\n", breaches.join("\n  "));
}

/// Every breach as `file:line`, for a rule that yields lines.
fn at_lines(path: &str, lines: Vec<usize>) -> Vec<String> {
    lines.into_iter().map(|line| format!("{path}:{line}")).collect()
}
