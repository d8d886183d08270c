//! Rules about files of any kind: no trace of one machine, no binary without its origin.

use taper_xtask::source::{is_word, line};

use crate::{FILES, at_lines, hold, texts};

/// Folders of one machine. The pieces are joined here so that this file does not name them.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "tmp/"),
    concat!("/", "Users/"),
    concat!("/", "work/"),
    concat!("C:", "\\Users"),
];

/// Hosts and settings that tie the repository to one package registry. Each tool has its own default.
const REGISTRIES: &[&str] = &[
    concat!("registry", ".npmjs"),
    concat!("python", "hosted"),
    concat!("pypi.org", "/simple"),
    concat!("static", ".crates.io"),
    concat!("index", ".crates.io"),
    concat!("index", "-url"),
    concat!("INDEX", "_URL"),
    concat!("replace", "-with"),
];

#[test]
fn no_file_names_a_machine() {
    let breaches = texts().flat_map(|(path, text)| at_lines(path, machine_folders(text)));
    hold("no file holds an absolute path of one machine", breaches);
}

#[test]
fn no_file_names_a_registry() {
    // Cargo.lock names the registry of every package; a rule of its own allows only crates.io there.
    let tracked = texts().filter(|(path, _)| *path != "Cargo.lock");
    let breaches = tracked.flat_map(|(path, text)| at_lines(path, registries(text)));
    hold("no file names a package registry or a host that only one network knows", breaches);
}

#[test]
fn every_binary_carries_its_script() {
    let binaries = FILES.iter().filter(|file| file.text.is_none() && !file.path.starts_with("docs/"));
    let breaches = binaries.filter(|file| !has_origin(&file.path)).map(|file| file.path.clone());
    let rule =
        "a binary file stands beside the script that made it, and the script or README.md beside it names it";
    hold(rule, breaches);
}

fn machine_folders(text: &str) -> Vec<usize> {
    let lines = MACHINE_FOLDERS.iter().flat_map(|folder| {
        let starts_a_path = |at: usize| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|c| is_word(c) || ".-~})*".contains(c))
        };
        let found = text.match_indices(folder).filter(move |(at, _)| starts_a_path(*at));
        found.map(|(at, _)| line(text, at))
    });
    lines.collect()
}

fn registries(text: &str) -> Vec<usize> {
    let named = REGISTRIES.iter().flat_map(|name| text.match_indices(name));
    let private = text.match_indices("://").filter(|(at, _)| {
        let scheme = text[..*at].ends_with("http") || text[..*at].ends_with("https");
        let ends = |c: char| !(c.is_ascii_alphanumeric() || "-._:@[]".contains(c));
        scheme && is_private(text[at + 3..].split(ends).next().unwrap_or_default())
    });
    named.chain(private).map(|(at, _)| line(text, at)).collect()
}

/// Whether a host is an address, has a port or a user, or has no public domain. An empty one stands for a placeholder.
fn is_private(host: &str) -> bool {
    let local = [".internal", ".local", ".lan", ".corp"].iter().any(|end| host.ends_with(end));
    let address = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    !host.is_empty() && (local || address || host.contains([':', '@', '[']) || !host.contains('.'))
}

/// Whether a script lies in a file's folder, and the script or the README there names the file.
fn has_origin(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let beside: Vec<_> =
        texts().filter(|(other, _)| other.rsplit_once('/').unwrap_or(("", other)).0 == folder).collect();
    let is_script = |path: &str| [".py", ".sh", ".rs"].iter().any(|end| path.ends_with(end));
    let tells = |path: &str| is_script(path) || path.ends_with("/README.md");
    beside.iter().any(|(path, _)| is_script(path))
        && beside.iter().any(|(path, text)| tells(path) && text.contains(name))
}

#[test]
fn machine_folders_are_absolute() {
    let check = |text: &str, expect: &[usize]| assert_eq!(machine_folders(text), expect, "{text}");
    check(concat!("a\n\"/", "work/x\""), &[2]);
    check(concat!("../", "work/x $HOME/", "work/ example.com/", "home/"), &[]);
}

#[test]
fn registries_are_found_by_name_and_by_host() {
    let check = |text: &str, expect: &[usize]| assert_eq!(registries(text), expect, "{text}");
    check("see https://www.w3.org/2000/svg and http://example.com.", &[]);
    check("format!(\"http://{host}\")", &[]);
    check(concat!("a\nhttp:", "//localhost/simple"), &[2]);
    check(concat!("https:", "//mirror:8080/"), &[1]);
    check(concat!("https:", "//10.0.0.1/"), &[1]);
    check(concat!("https:", "//me@example.com/"), &[1]);
    check(concat!("pip install --", "index", "-url x"), &[1]);
}

#[test]
fn a_binary_without_its_script_is_found() {
    assert!(has_origin("data/mnist-images-idx3-ubyte.gz"));
    assert!(!has_origin("data/absent.gz"));
    assert!(!has_origin("docs/absent.bin"));
}
