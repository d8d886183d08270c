//! SPDX licence expressions, and the licences that dependencies may have.

/// Licences that let Taper be used under both of its own.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Exceptions that only loosen a licence.
const EXCEPTIONS: &[&str] = &["LLVM-exception"];

/// Whether an SPDX expression offers a choice in which every licence is allowed. `/` is the old way to write `OR`.
pub(crate) fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    alternatives(&mut rest) == Some(true) && rest.is_empty()
}

/// `OR` binds weakest. `None` if the expression is malformed.
fn alternatives(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = conjunction(rest)?;
    while take(rest, "OR") {
        allowed |= conjunction(rest)?;
    }
    Some(allowed)
}

fn conjunction(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = licence(rest)?;
    while take(rest, "AND") {
        allowed &= licence(rest)?;
    }
    Some(allowed)
}

fn licence(rest: &mut &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let allowed = alternatives(rest)?;
        return take(rest, ")").then_some(allowed);
    }
    let allowed = ALLOWED.contains(&next(rest)?);
    if take(rest, "WITH") {
        let exception = next(rest)?;
        return Some(allowed && EXCEPTIONS.contains(&exception));
    }
    Some(allowed)
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    let taken = rest.first() == Some(&token);
    if taken {
        *rest = &rest[1..];
    }
    taken
}

fn next<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(first)
}

#[test]
fn expressions_are_read_by_their_precedence() {
    let check = |expression: &str, expect: bool| assert_eq!(is_allowed(expression), expect, "{expression}");
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("GPL-3.0-only OR MIT", true);
    check("MIT/Apache-2.0", true);
    check("GPL-3.0-only AND MIT", false);
    check("MIT OR GPL-3.0-only AND ISC", true);
    check("(MIT OR GPL-3.0-only) AND ISC", true);
    check("(MIT OR ISC) AND GPL-3.0-only", false);
    check("Apache-2.0 WITH LLVM-exception", true);
    check("Apache-2.0 WITH Commons-Clause", false);
    check("(MIT", false);
    check("MIT MIT", false);
    check("", false);
}
