//! Rules about documents: what they point at must exist.

use std::collections::BTreeSet;

use taper_xtask::tree;

use crate::{FILES, SOURCES, hold, texts};

#[test]
fn every_path_named_in_a_document_exists() {
    let documents = texts().filter(|(path, _)| path.ends_with(".md"));
    let in_documents = documents.flat_map(|(path, text)| pointers(text).map(move |found| (path, found)));
    // rustdoc checks the links of comments.
    let comments = SOURCES.iter().flat_map(|(path, source)| {
        let found = pointers(&source.comments).map(move |found| (*path, found));
        found.filter(|(_, (_, pointer))| matches!(pointer, Pointer::Code(_)))
    });
    let missing = in_documents.chain(comments).filter(|(path, (_, pointer))| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        !exists(folder, pointer)
    });
    let breaches = missing.map(|(path, (line, pointer))| format!("{path}:{line}: {}", pointer.target()));
    hold("every path that a document or a comment names in backticks or as a link exists", breaches);
}

/// Something in a document that may name a file.
#[derive(Debug, PartialEq)]
enum Pointer<'a> {
    /// A word in backticks, read from the root of the repository.
    Code(&'a str),
    /// The target of a link, read from the document's folder.
    Link(&'a str),
}

impl<'a> Pointer<'a> {
    fn target(&self) -> &'a str {
        match *self {
            Self::Code(target) | Self::Link(target) => target,
        }
    }
}

/// Every pointer outside fenced blocks, with its line.
fn pointers(text: &str) -> impl Iterator<Item = (usize, Pointer<'_>)> {
    let mut fenced = false;
    text.lines().enumerate().flat_map(move |(index, line)| {
        let is_fence = line.trim_start_matches(['/', '!', ' ']).starts_with("```");
        fenced ^= is_fence;
        let line = if fenced || is_fence { "" } else { line };
        let spans = line.split('`').skip(1).step_by(2);
        let codes = spans.flat_map(str::split_whitespace).map(Pointer::Code);
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(Pointer::Link);
        codes.chain(links).map(move |pointer| (index + 1, pointer))
    })
}

/// Whether the file that a pointer names exists; `true` for what names no file.
fn exists(folder: &str, pointer: &Pointer) -> bool {
    let target = pointer.target().split(['#', ':']).next().unwrap_or_default().trim_end_matches(['.', ',']);
    let placeholder = ["NAME", "NN"].iter().any(|word| target.contains(word));
    let pattern = target.contains(|c: char| "*<>{}[]()$…\"'|=".contains(c)) || target.contains("...");
    if target.is_empty() || pattern || placeholder {
        return true;
    }
    match pointer {
        Pointer::Code(_) => {
            let (first, rest) = target.split_once('/').unwrap_or((target, ""));
            let names_file = !rest.is_empty() && top_level().contains(first);
            !names_file || tree::root().join(target).exists()
        }
        Pointer::Link(link) => {
            let leaves = ["http:", "https:", "mailto:"].iter().any(|scheme| link.starts_with(scheme));
            leaves || tree::root().join(folder).join(target).exists()
        }
    }
}

fn top_level() -> BTreeSet<&'static str> {
    FILES.iter().filter_map(|file| file.path.split('/').next()).collect()
}

#[test]
fn pointers_are_code_words_and_links() {
    let found = |text| pointers(text).collect::<Vec<_>>();
    assert_eq!(
        found("see `cargo a/b` and [c](d.md)."),
        [(1, Pointer::Code("cargo")), (1, Pointer::Code("a/b")), (1, Pointer::Link("d.md")),]
    );
    assert_eq!(found("```sh\n`a/b`\n```\n`c/d`"), [(4, Pointer::Code("c/d"))]);
}

#[test]
fn only_names_of_files_are_looked_up() {
    let check = |pointer: Pointer, expect: bool| assert_eq!(exists("xtask", &pointer), expect, "{pointer:?}");
    check(Pointer::Code("xtask/Cargo.toml:3"), true);
    check(Pointer::Code("xtask/absent.rs"), false);
    check(Pointer::Code("xtask/NAME.rs"), true);
    check(Pointer::Code("xtask/*.rs"), true);
    check(Pointer::Code("images/s"), true);
    check(Pointer::Link("Cargo.toml"), true);
    check(Pointer::Link("../Cargo.toml#workspace"), true);
    check(Pointer::Link("absent.md"), false);
    check(Pointer::Link("https://example.com/absent"), true);
}
