//! Files on disk: the reader chosen by a file's name, and writing that leaves nothing half-done.

use crate::error::{FormatError, Result};
use crate::{checkpoint, keras, onnx, tflite};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use taper_graph::Graph;

/// Reads the network in an `.onnx`, `.tflite`, `.keras`, `.h5`, `.hdf5` or `.taper` file.
///
/// # Errors
/// If the file cannot be read, its extension is unknown, or its content is not what the extension says; every
/// error names the file.
pub fn load(path: &Path) -> Result<Graph> {
    load_unnamed(path).map_err(|error| error.in_file(path))
}

fn load_unnamed(path: &Path) -> Result<Graph> {
    let bytes = || fs::read(path).map_err(FormatError::io("read the file"));
    const READ: &str = ".onnx, .tflite, .keras, .h5 or .taper";
    match extension(path).as_deref() {
        Some("onnx") => onnx::read_beside(bytes()?, path.parent().unwrap_or(Path::new(""))),
        Some("tflite") => tflite::read(&bytes()?),
        Some("keras" | "h5" | "hdf5") => keras::read(bytes()?),
        Some("taper") => Ok(checkpoint::Checkpoint::from_bytes(&bytes()?)?.graph),
        other => Err(unknown_extension(READ, other)),
    }
}

/// Writes a network to an `.onnx`, `.tflite` or `.taper` file, as [`write_file_atomic`] does.
///
/// # Errors
/// If the extension is unknown, the format cannot express the network, or the file system refuses.
pub fn save(graph: &Graph, path: &Path) -> Result<()> {
    let bytes = to_bytes(graph, path).map_err(|error| error.in_file(path))?;
    write_file_atomic(path, &bytes)
}

fn to_bytes(graph: &Graph, path: &Path) -> Result<Vec<u8>> {
    match extension(path).as_deref() {
        Some("onnx") => onnx::write(graph),
        Some("tflite") => tflite::write(graph),
        Some("taper") => checkpoint::Checkpoint::new(graph.clone()).to_bytes(),
        other => Err(unknown_extension(".onnx, .tflite or .taper", other)),
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

fn unknown_extension(expected: &str, found: Option<&str>) -> FormatError {
    let found = found.map_or("none".to_owned(), |extension| format!(".{extension}"));
    FormatError::unsupported("file name", format!("expected the extension {expected}, found {found}"))
}

/// Writes a file so that a reader sees either the old content or all of the new one, whatever happens in between:
/// a temporary file in the same folder is written, synced and renamed, and the folder synced.
///
/// # Errors
/// If the file system refuses; the error names the file, the old content stays and the temporary file is removed.
pub fn write_file_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    write_through(path, &temporary, bytes).map_err(|error| {
        // The first error is the one to report; a temporary file that cannot be removed either adds nothing to it.
        let _ = fs::remove_file(&temporary);
        error.in_file(path)
    })
}

fn write_through(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(temporary)
        .map_err(FormatError::io("create a temporary file beside it"))?;
    file.write_all(bytes).map_err(FormatError::io("write the file"))?;
    file.sync_all().map_err(FormatError::io("sync the file"))?;
    drop(file);
    fs::rename(temporary, path).map_err(FormatError::io("rename the temporary file"))?;
    sync_folder(path).map_err(FormatError::io("sync the folder"))
}

/// A name that no other write of this or another process uses.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Only a synced folder makes the rename itself durable; other systems than Unix cannot open folders.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("lists")
            .map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_old_content_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("file");
        for content in ["old", "new"] {
            write_file_atomic(&path, content.as_bytes()).expect("writes");
            assert_eq!(fs::read_to_string(&path).expect("reads"), content);
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_failed_write_names_the_file_and_removes_the_temporary_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).expect("creates");
        let missing = folder.path().join("missing").join("file");
        for path in [&taken, &missing] {
            let message = write_file_atomic(path, b"bytes").expect_err("refuses").to_string();
            assert!(message.starts_with(&path.display().to_string()), "{message}");
        }
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn an_unknown_extension_says_what_is_supported() {
        for (name, found) in [("net.pb", ".pb"), ("net", "none")] {
            let message = load(Path::new(name)).expect_err("refuses").to_string();
            assert_eq!(
                message,
                format!(
                    "{name}: file name: expected the extension .onnx, .tflite, .keras, .h5 or .taper, found {found}"
                )
            );
        }
    }
}
