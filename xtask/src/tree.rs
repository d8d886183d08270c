//! The files of the repository, without asking git: a source archive has no history.

use std::fs;
use std::path::Path;

/// One file of the repository.
pub struct File {
    /// Path from the root of the repository, with `/` between its parts.
    pub path: String,
    /// Contents; `None` if they are not UTF-8.
    pub text: Option<String>,
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one folder below the root")
}

/// Every file except what tools generate, sorted by path.
///
/// # Panics
///
/// If a folder or file cannot be read: a rule that silently skips a file would prove nothing.
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let path = entry.path();
            let kind = entry.file_type().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = relative(&path);
            if is_generated(&name) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                files.push(File { path: name, text: String::from_utf8(bytes).ok() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whether a path is left out by .gitignore, or is git's own.
fn is_generated(path: &str) -> bool {
    let at_root = [".git", "target", "runs"].contains(&path) || path.starts_with(".venv");
    at_root || path.ends_with("__pycache__") || path.ends_with(".taper.tmp")
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("the walk starts at the root");
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}
