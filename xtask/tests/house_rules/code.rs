//! Rules about Rust source.

use taper_xtask::source::{Source, block, is_word, line, words};

use crate::{SOURCES, at_lines, hold, texts};

/// Folders whose code may be `unsafe`.
const UNSAFE: &[&str] = &["crates/kernels/"];

/// Folders whose code may print and read the environment: what a person starts, and what serves tests.
const TALKS: &[&str] = &["crates/cli/", "testing/", "xtask/"];

/// Longest file, in lines, that needs no reason.
const LONG: usize = 600;

/// Longer files, each with the reason why it is one subject.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn every_file_opens_with_its_subject() {
    let rust = texts().filter(|(path, _)| path.ends_with(".rs"));
    let breaches = rust.filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| format!("{path}:1"));
    hold("every Rust file opens with `//!` and its subject", breaches);
}

#[test]
fn unsafe_code_is_fenced() {
    let rule = format!("`unsafe` stands only in {}", UNSAFE.join(", "));
    hold(&rule, over(|path| !within(path, UNSAFE), |source| lines_of(&source.code, &["unsafe"])));
}

#[test]
fn every_operator_is_answered() {
    let rule = "a match over the operators names each of them: no `_ =>` and no bare name in its place";
    hold(rule, over(|path| !is_test(path), |source| catch_all_arms(&source.code_outside_tests())));
}

#[test]
fn nothing_is_unfinished() {
    hold("nothing is left to do in the code", over(|_| true, unfinished));
}

#[test]
fn no_test_is_switched_off() {
    hold("no test is ignored", over(|_| true, ignored));
}

#[test]
fn every_lint_exemption_has_its_reason() {
    let rule = "`allow` and `expect` of a lint say `reason = \"...\"`";
    hold(rule, over(|_| true, |source| unexplained(&source.code)));
}

#[test]
fn libraries_do_not_print() {
    let rule = "libraries return notes and progress events; they do not print";
    let words = ["println", "eprintln", "print", "eprint", "dbg"];
    hold(rule, over(is_library, |source| macros(&source.code_outside_tests(), &words)));
}

#[test]
fn libraries_do_not_read_the_environment() {
    let rule = "libraries take what they need as arguments; they do not read the environment";
    let words = ["env::var", "env::var_os", "env::vars", "env::vars_os", "env::args", "env::args_os"];
    hold(rule, over(is_library, |source| lines_of(&source.code_outside_tests(), &words)));
}

#[test]
fn nothing_opens_a_network_connection() {
    let words = ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"];
    hold("nothing opens a network connection", over(|_| true, |source| lines_of(&source.code, &words)));
}

#[test]
fn long_files_have_their_reason() {
    let rule = format!("a file of more than {LONG} lines is listed in LONG_FILES with its reason");
    let code = texts()
        .filter(|(path, _)| [".rs", ".py", ".sh", ".css", ".js"].iter().any(|end| path.ends_with(end)));
    let long: Vec<_> = code.filter(|(_, text)| text.lines().count() > LONG).collect();
    let unlisted = long.iter().filter(|(path, _)| LONG_FILES.iter().all(|(listed, _)| listed != path));
    hold(&rule, unlisted.map(|(path, text)| format!("{path}: {} lines", text.lines().count())));
    let stale = LONG_FILES.iter().filter(|(listed, _)| long.iter().all(|(path, _)| path != listed));
    hold("LONG_FILES lists only files that are long", stale.map(|(listed, _)| (*listed).to_owned()));
}

/// Breaches of `rule` in the Rust files that it applies to.
fn over(applies: impl Fn(&str) -> bool, rule: impl Fn(&Source) -> Vec<usize>) -> Vec<String> {
    let sources = SOURCES.iter().filter(|(path, _)| applies(path));
    sources.flat_map(|(path, source)| at_lines(path, rule(source))).collect()
}

fn within(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether a whole file serves tests, examples or benchmarks.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "tests.rs", "examples", "benches"].contains(&part))
}

/// Whether a file is part of a library. A build script speaks to cargo by printing.
fn is_library(path: &str) -> bool {
    !within(path, TALKS) && !is_test(path) && !path.ends_with("/build.rs")
}

/// Lines where one of `names` stands as a word.
fn lines_of(text: &str, names: &[&str]) -> Vec<usize> {
    names.iter().flat_map(|name| words(text, name).map(|at| line(text, at)).collect::<Vec<_>>()).collect()
}

/// Lines where one of `names` is called as a macro.
fn macros(code: &str, names: &[&str]) -> Vec<usize> {
    let called = |name: &&str| {
        let calls = words(code, name).filter(|at| code[at + name.len()..].starts_with('!'));
        calls.map(|at| line(code, at)).collect::<Vec<_>>()
    };
    names.iter().flat_map(called).collect()
}

/// Lines that say themselves that something is missing.
fn unfinished(source: &Source) -> Vec<usize> {
    let mut lines = macros(&source.code, &["todo", "unimplemented"]);
    lines.extend(lines_of(&source.comments, &["TODO", "FIXME", "XXX"]));
    lines
}

/// Lines of ignored tests and of ignored examples in the documentation.
fn ignored(source: &Source) -> Vec<usize> {
    let code = &source.code;
    let tests = attributes(code).filter(|(_, text)| words(text, "ignore").next().is_some());
    let examples = source.comments.match_indices("```ignore").map(|(at, _)| line(&source.comments, at));
    tests.map(|(at, _)| line(code, at)).chain(examples).collect()
}

/// Lines of lint exemptions without a reason.
fn unexplained(code: &str) -> Vec<usize> {
    let exempts = |text: &str| ["allow", "expect"].iter().any(|name| words(text, name).next().is_some());
    let explains = |text: &str| words(text, "reason").next().is_some();
    attributes(code)
        .filter(|(_, text)| exempts(text) && !explains(text))
        .map(|(at, _)| line(code, at))
        .collect()
}

/// Every attribute: where it starts, and its text.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let open = at + 1 + usize::from(code[at + 1..].starts_with('!'));
        code[open..].starts_with('[').then(|| (at, &code[block(code, open)]))
    })
}

/// Lines of arms that answer for all remaining operators in a match with an arm that begins with `Op::`.
fn catch_all_arms(code: &str) -> Vec<usize> {
    let code = name_self(code);
    let mut lines = Vec::new();
    for at in words(&code, "match") {
        let Some(open) = body_of_match(&code, at) else {
            continue;
        };
        let patterns = patterns(&code, open);
        let over_operators = patterns.iter().any(|(_, pattern)| {
            pattern.lines().any(|line| line.trim_start_matches([' ', '|', '&', '(']).starts_with("Op::"))
        });
        let caught = patterns.iter().filter(|(_, pattern)| over_operators && is_catch_all(pattern));
        lines.extend(caught.map(|(arrow, _)| line(&code, *arrow)));
    }
    lines
}

/// The code with `Op` in place of `Self` inside `impl` blocks of `Op`.
fn name_self(code: &str) -> String {
    let mut named = code.to_owned();
    for at in words(code, "impl").collect::<Vec<_>>().into_iter().rev() {
        let Some(open) = code[at..].find('{').map(|offset| at + offset) else {
            continue;
        };
        if code[at..open].split_whitespace().next_back() == Some("Op") {
            let range = block(&named, open);
            named.replace_range(range.clone(), &named[range].replace("Self::", "Op::"));
        }
    }
    named
}

/// The brace that opens the arms of the match at byte `at`.
fn body_of_match(code: &str, at: usize) -> Option<usize> {
    let mut next = at;
    loop {
        let open = next + code[next..].find(['(', '[', '{', ';'])?;
        match code.as_bytes()[open] {
            b'{' => return Some(open),
            b';' => return None,
            _ => next = block(code, open).end,
        }
    }
}

/// The patterns of the match whose arms open at byte `open`, each with the place of its arrow.
fn patterns(code: &str, open: usize) -> Vec<(usize, &str)> {
    let end = block(code, open).end.saturating_sub(1);
    let mut patterns = Vec::new();
    let mut start = open + 1;
    while let Some(arrow) = at_depth_zero(code, start, end, "=>") {
        patterns.push((arrow, &code[start..arrow]));
        let body = arrow + 2 + code[arrow + 2..end].len() - code[arrow + 2..end].trim_start().len();
        start = if code[body..end].starts_with('{') {
            block(code, body).end
        } else {
            at_depth_zero(code, body, end, ",").unwrap_or(end)
        };
        start += usize::from(code[start..end].starts_with(','));
    }
    patterns
}

/// The first place of `wanted` between `start` and `end` outside all brackets.
fn at_depth_zero(code: &str, start: usize, end: usize, wanted: &str) -> Option<usize> {
    let mut at = start;
    while at < end {
        let rest = &code[at..end];
        if rest.starts_with(wanted) {
            return Some(at);
        }
        at = match rest.chars().next()? {
            '(' | '[' | '{' => block(code, at).end,
            c => at + c.len_utf8(),
        };
    }
    None
}

/// Whether a pattern is `_` or a bare name, which both match everything that is left.
fn is_catch_all(pattern: &str) -> bool {
    let last = pattern.lines().next_back().unwrap_or_default().trim();
    last.chars().all(is_word) && last.starts_with(|c: char| c == '_' || c.is_lowercase())
}

#[test]
fn the_rules_catch_their_breaches() {
    let check = |rule: &dyn Fn(&Source) -> Vec<usize>, text: &str, expect: &[usize]| {
        assert_eq!(rule(&Source::split(text)), expect, "{text}");
    };
    let operators = |source: &Source| catch_all_arms(&source.code);
    check(&operators, "match op {\n Op::A => {}\n Op::B(x) if x => f(x, y),\n Op::C { .. } => g(),\n}", &[]);
    check(&operators, "match op {\n Op::A => 1,\n _ => 2,\n}", &[3]);
    check(&operators, "match f(|x| { x }) {\n Op::A\n | Op::B => {}\n other => {}\n}", &[4]);
    check(&operators, "match op {\n Op::A => a.collect::<B<C, D>>(),\n _ => 2,\n}", &[3]);
    check(&operators, "match op {\n Op::A => match x {\n  1 => 1,\n  _ => 2,\n },\n Op::B => 3,\n}", &[]);
    check(
        &operators,
        "impl fmt::Display for Op {\n fn f() { match self {\n Self::A => 1,\n _ => 2 } } }",
        &[4],
    );
    check(&operators, "impl Pad {\n fn f() { match self { Self::A => 1, _ => 2 } } }", &[]);

    let fenced = |source: &Source| lines_of(&source.code, &["unsafe"]);
    check(&fenced, "// unsafe\nlet s = \"unsafe\";\n#![deny(unsafe_code)]\nunsafe { f() }", &[4]);

    check(&unfinished, "f();\ntodo!()", &[2]);
    check(&unfinished, concat!("f(\"TO", "DO\");\n/* FIX", "ME */"), &[2]);
    check(&ignored, "#[test]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]\nfn ignore() {}", &[2, 3]);
    check(&ignored, "/// ```ignore\n/// ```", &[1]);

    let exemptions = |source: &Source| unexplained(&source.code);
    check(&exemptions, "#![allow(\n a,\n reason = \"b\"\n)]\n#[expect(c)]\nd.expect(\"e\");", &[5]);

    let printing = |source: &Source| macros(&source.code_outside_tests(), &["println"]);
    check(&printing, "println!();\n#[cfg(test)]\nmod tests { fn f() { println!() } }", &[1]);
}
