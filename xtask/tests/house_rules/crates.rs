//! Rules about the crates: the edges between rooms, and what comes from outside.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use serde_json::Value;
use taper_xtask::{rooms, tree};

use crate::{hold, licence, texts};

/// The registry of crates.io, as cargo names it in Cargo.lock.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Lints that the workspace must have on.
const LINTS: &[&str] = &["missing_docs", "unsafe_code", "undocumented_unsafe_blocks", "unwrap_used"];

/// What `cargo metadata` says about the workspace and all its dependencies, on every platform.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(tree::root())
        .output()
        .expect("cargo starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {complaint}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
});

#[test]
fn rooms_use_only_what_the_architecture_allows() {
    let mut breaches = Vec::new();
    for (room, allowed) in rooms::ROOMS {
        let Some(package) = packages().iter().find(|package| name(package) == format!("taper-{room}")) else {
            breaches.push(format!("crates/{room}: expected package taper-{room}, found none"));
            continue;
        };
        let allowed: BTreeSet<_> = allowed.iter().map(|room| (*room).to_owned()).collect();
        let found = edges(package);
        let manifest = format!("crates/{room}/Cargo.toml");
        breaches
            .extend(found.difference(&allowed).map(|edge| format!("{manifest}: new edge {room} → {edge}")));
        breaches
            .extend(allowed.difference(&found).map(|edge| format!("{manifest}: no edge {room} → {edge}")));
    }
    let is_room = |name: &str| rooms::ROOMS.iter().any(|(room, _)| *room == name);
    for entry in fs::read_dir(tree::root().join("crates")).expect("crates/ is readable") {
        let folder = entry.expect("crates/ is readable").file_name().to_string_lossy().into_owned();
        if !is_room(&folder) {
            breaches.push(format!("crates/{folder}: not in the table of rooms"));
        }
    }
    let rule =
        "the edges between rooms are those of xtask/src/rooms.rs, and only tests use testing and xtask";
    hold(rule, breaches);
}

#[test]
fn the_architecture_shows_the_rooms() {
    let rule =
        "ARCHITECTURE.md shows the table of xtask/src/rooms.rs; run `cargo run -p taper-xtask -- rooms`";
    let document = texts().find(|(path, _)| *path == "ARCHITECTURE.md").map(|(_, text)| text);
    let shown = document.and_then(rooms::split).map(|(_, table, _)| table);
    hold(rule, (shown != Some(&rooms::table())).then(|| "ARCHITECTURE.md".to_owned()));
}

#[test]
fn every_crate_keeps_the_lints() {
    let rule = "the workspace has its lints on, and every crate says `[lints] workspace = true`";
    let mut manifests = texts().filter(|(path, _)| path.ends_with("Cargo.toml"));
    let (_, workspace) =
        manifests.find(|(path, _)| *path == "Cargo.toml").expect("the workspace has a manifest");
    let is_on = |lint: &str| {
        let setting = workspace.lines().find_map(|line| line.strip_prefix(lint)?.trim().strip_prefix('='));
        setting.is_some_and(|level| level.contains("\"warn\"") || level.contains("\"deny\""))
    };
    let off = LINTS.iter().filter(|lint| !is_on(lint)).map(|lint| format!("Cargo.toml: {lint} is off"));
    let free = manifests
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(path, _)| format!("{path}: does not inherit the lints"));
    hold(rule, off.chain(free));
}

#[test]
fn dependencies_have_allowed_licences() {
    let breaches = packages().iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("no licence");
        (!licence::is_allowed(licence)).then(|| format!("{} {}: {licence}", name(package), version(package)))
    });
    hold("every dependency can be used under a licence of xtask/tests/house_rules/licence.rs", breaches);
}

#[test]
fn dependencies_come_from_crates_io() {
    let members = METADATA["workspace_members"].as_array().expect("cargo metadata lists the members");
    let breaches = packages().iter().filter_map(|package| match package["source"].as_str() {
        Some(CRATES_IO) => None,
        None if members.contains(&package["id"]) => None,
        source => {
            Some(format!("{} {}: from {}", name(package), version(package), source.unwrap_or("a path")))
        }
    });
    hold("every dependency comes from crates.io or lies in the workspace", breaches);
}

#[test]
fn dependencies_are_released() {
    let breaches = packages().iter().filter(|package| is_pre_release(version(package)));
    let rule = "no dependency is a pre-release";
    hold(rule, breaches.map(|package| format!("{} {}", name(package), version(package))));
}

#[test]
fn pre_releases_are_told_from_build_metadata() {
    for (version, expect) in [("1.0.0", false), ("1.0.0-rc.1", true), ("0.11.1+wasi-snapshot", false)] {
        assert_eq!(is_pre_release(version), expect, "{version}");
    }
}

fn is_pre_release(version: &str) -> bool {
    version.split('+').next().is_some_and(|version| version.contains('-'))
}

/// The crates of the workspace that a package uses outside its tests, without their prefix.
fn edges(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().expect("a package lists its dependencies");
    let lasting = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    lasting.filter_map(|dependency| Some(name(dependency).strip_prefix("taper-")?.to_owned())).collect()
}

fn packages() -> &'static [Value] {
    METADATA["packages"].as_array().expect("cargo metadata lists the packages")
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

fn version(package: &Value) -> &str {
    package["version"].as_str().expect("a package has a version")
}
