//! Python virtual environments with pinned packages, made below cargo's target folder when they are first needed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of a ready environment.
#[derive(Debug, Clone)]
pub(crate) struct Python(PathBuf);

impl Python {
    /// Finds or makes the environment that has `packages`, each pinned with `==`. Its folder carries their versions, so a new
    /// pin makes a new one. Where there is no Python or no PyPI, this prints why `judge` is not to be had.
    pub(crate) fn set_up(judge: &str, packages: &[&str]) -> Option<Self> {
        match environment(packages) {
            Ok(python) => Some(Self(python)),
            Err(reason) => {
                report(judge, &reason);
                None
            }
        }
    }

    /// Runs `script` with `folder` as its argument.
    pub(crate) fn run(&self, script: &str, folder: &Path) -> Result<(), String> {
        let path = folder.join("script.py");
        write(&path, script.as_bytes())?;
        execute(Command::new(&self.0).arg(&path).arg(folder))
    }
}

/// Python of the ready environment. A lock lets one test make it while the others wait.
fn environment(packages: &[&str]) -> Result<PathBuf, String> {
    let target = target_folder()?;
    let name = packages.join("-").replace("==", "-");
    let folder = target.join(&name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let ready = folder.join("ready");
    let lock = target.join(format!("{name}.lock"));
    let lock = File::create(&lock).map_err(|error| format!("cannot create {}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("cannot lock {name}: {error}"))?;
    if ready.exists() {
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    execute(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"];
    execute(Command::new(&python).args(pip).args(packages))?;
    write(&ready, b"")?;
    Ok(python)
}

/// The folder that cargo builds in: the one above the test that bears cargo's mark.
fn target_folder() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| format!("cannot find the running test: {error}"))?;
    test.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .map(Path::to_owned)
        .ok_or_else(|| format!("expected {} below a target folder", test.display()))
}

fn execute(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[allow(clippy::print_stderr, reason = "a skipped test must say so, and only the test's output can")]
pub(crate) fn report(judge: &str, reason: &str) {
    eprintln!("skipped: {judge} is not to be had here: {reason}");
}
