//! Runs that are interrupted, damaged, fought over, or have no room.

use super::*;
use serde::Deserialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    iteration: usize,
    loss: f64,
}

fn event(iteration: usize) -> Event {
    Event { iteration, loss: 0.1 + iteration as f64 }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary directory")
}

/// A run with two events.
fn run_of_two(root: &Path) -> PathBuf {
    let mut run = RunDir::create(root, RunName::Exact("run"), "seed = 1\n", &event(1)).expect("creates");
    assert_eq!(run.append(&event(2)).expect("appends"), 2);
    run.path().to_owned()
}

fn open_error(path: &Path) -> String {
    RunDir::open(path).expect_err("refuses").to_string()
}

#[test]
fn a_run_is_found_as_it_was_left() {
    let root = folder();
    let path = run_of_two(&root.path().join("new/runs"));
    let mut run = RunDir::open(&path).expect("opens");
    assert_eq!(run.name(), "run");
    assert_eq!(fs::read_to_string(run.recipe_path()).expect("reads"), "seed = 1\n");
    assert_eq!(run.events::<Event>().expect("reads"), [event(1), event(2)]);
    assert_eq!(run.append(&event(3)).expect("appends"), 3);
    assert_eq!(run.events::<Event>().expect("reads"), [event(1), event(2), event(3)]);
    assert_eq!(run.checkpoint_path(7), path.join("iteration-07.taper"));
    let written = run.write("report.html", b"<html>").expect("writes");
    assert_eq!(fs::read(written).expect("reads"), b"<html>");
}

#[test]
fn names_are_plain_and_taken_once() {
    let root = folder();
    let create = |name| RunDir::create(root.path(), name, "", &event(1)).map(|run| run.name());
    assert_eq!(create(RunName::Numbered("vgg16-mnist")).expect("creates"), "vgg16-mnist-001");
    assert_eq!(create(RunName::Numbered("vgg16-mnist")).expect("creates"), "vgg16-mnist-002");
    create(RunName::Exact("mine")).expect("creates");
    let taken = create(RunName::Exact("mine")).expect_err("taken").to_string();
    assert_eq!(
        taken,
        format!(
            "{}: expected a new run, found an existing one; resume it or choose another name",
            root.path().join("mine").display()
        )
    );
    for name in ["", "..", ".hidden", "a/b", "a\\b", "ä", &"x".repeat(101)] {
        assert!(matches!(create(RunName::Exact(name)), Err(RunDirError::Name(_))), "{name}");
    }
}

#[test]
fn what_an_interruption_left_unfinished_is_dropped() {
    let root = folder();
    let path = run_of_two(root.path());
    let journal = path.join(JOURNAL);
    let whole = fs::read(&journal).expect("reads");
    let last_line = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').expect("lines") + 1;
    for end in last_line + 1..whole.len() {
        fs::write(&journal, &whole[..end]).expect("writes");
        fs::write(path.join(".iteration-03.taper.77-0.tmp"), b"half").expect("writes");
        let mut run = RunDir::open(&path).expect("opens");
        assert_eq!(run.events::<Event>().expect("reads"), [event(1)]);
        run.append(&event(2)).expect("appends");
        assert_eq!(fs::read(&journal).expect("reads"), whole);
        assert!(!path.join(".iteration-03.taper.77-0.tmp").exists());
    }
}

#[test]
fn a_damaged_line_is_named() {
    let root = folder();
    let path = run_of_two(root.path());
    let journal = path.join(JOURNAL);
    let whole = fs::read_to_string(&journal).expect("reads");
    let named = format!("{}:2: expected event 1", journal.display());

    fs::write(&journal, whole.replacen("\"iteration\":1", "\"iteration:1", 1)).expect("writes");
    let error = open_error(&path);
    assert!(error.starts_with(&format!("{named} as JSON, found an error: ")), "{error}");

    let lines: Vec<&str> = whole.lines().collect();
    fs::write(&journal, format!("{}\n{}\n", lines[0], lines[2])).expect("writes");
    assert_eq!(open_error(&path), format!("{named}, found event 2"));

    fs::write(&journal, b"{\"sequence\":0,\"event\":{\"taper-run\":1}}\n\xff\xfe\n").expect("writes");
    assert!(open_error(&path).starts_with(&named));
}

#[test]
fn what_is_no_run_of_this_version_is_refused() {
    let root = folder();
    let path = run_of_two(root.path());
    let journal = path.join(JOURNAL);
    let refused = |found: &str| {
        assert_eq!(open_error(&path), format!("{}: expected a run {found}", journal.display()));
    };
    fs::write(&journal, "{\"sequence\":0,\"event\":{\"taper-run\":2}}\n{\"new\":1}\n").expect("writes");
    refused("of version 1, found version 2");
    fs::write(&journal, "").expect("writes");
    refused("directory, found a journal without an event");
    fs::write(&journal, "hello\n").expect("writes");
    assert!(open_error(&path).starts_with(&format!("{}:1: expected event 0", journal.display())));
    fs::remove_file(&journal).expect("removes");
    assert_eq!(
        open_error(&path),
        format!("{}: expected a run directory, found no journal.jsonl in it", path.display())
    );
    let nowhere = root.path().join("nowhere");
    assert_eq!(
        open_error(&nowhere),
        format!("{}: expected a run directory, found nothing", nowhere.display())
    );
}

#[test]
fn only_one_works_on_a_run() {
    let root = folder();
    let path = run_of_two(root.path());
    let holder = RunDir::open(&path).expect("opens");
    assert!(matches!(RunDir::open(&path), Err(RunDirError::Locked(_))));
    drop(holder);
    RunDir::open(&path).expect("opens again");
}

#[test]
fn an_unwritable_directory_is_named() {
    let root = folder();
    let file = root.path().join("file");
    fs::write(&file, b"").expect("writes");
    let error = RunDir::create(&file, RunName::Exact("run"), "", &event(1));
    let error = error.expect_err("not a directory").to_string();
    assert!(error.starts_with(&format!("{}: cannot ", file.display())), "{error}");

    let closed = root.path().join("closed");
    fs::create_dir(&closed).expect("creates");
    let mut permissions = fs::metadata(&closed).expect("reads").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&closed, permissions).expect("sets");
    match RunDir::create(&closed, RunName::Exact("run"), "", &event(1)) {
        Ok(_) => println!("skipped: this user may write to read-only directories"),
        Err(error) => {
            let named = format!("{}: cannot create the run directory: ", closed.join("run").display());
            assert!(error.to_string().starts_with(&named), "{error}");
        }
    }
}

/// A file system of a few kilobytes, unmounted when dropped.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let folder = folder();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small file system stays mounted");
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = TinyDisk::mount() else {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let root = disk.0.path();
    let mut run = RunDir::create(root, RunName::Exact("run"), "seed = 1\n", &event(1)).expect("creates");
    run.write("model.tflite", b"old").expect("writes");
    let error = run.write("model.tflite", &[7; 64 << 10]).expect_err("full").to_string();
    assert!(error.contains("model.tflite") && error.contains("space"), "{error}");
    assert_eq!(fs::read(run.path().join("model.tflite")).expect("reads"), b"old");

    let mut filler = OpenOptions::new().create(true).append(true).open(root.join("filler")).expect("opens");
    while filler.write_all(&[0; 512]).is_ok() {}
    let error = run.append(&"x".repeat(64 << 10)).expect_err("full").to_string();
    assert!(error.contains("journal.jsonl: cannot append an event: "), "{error}");
    let second = RunDir::create(root, RunName::Exact("second"), &"#".repeat(64 << 10), &event(1));
    let second = second.expect_err("full");
    assert!(second.to_string().contains("recipe.toml"), "{second}");
    assert!(!root.join("second").exists());

    drop(filler);
    fs::remove_file(root.join("filler")).expect("removes");
    let path = run.path().to_owned();
    run.append(&event(2)).expect("appends once there is room");
    drop(run);
    let run = RunDir::open(&path).expect("opens");
    assert_eq!(run.events::<Event>().expect("reads"), [event(1), event(2)]);
}
