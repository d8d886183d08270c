//! Rust source split into code and comments, so that a rule about one does not stumble over the other.
//!
//! This is a lexer of just enough: comments, string and character literals. It keeps every line where it was.

use std::ops::Range;

/// One Rust file, split. Both texts have the lines and columns of the original; what belongs elsewhere is blank.
pub struct Source {
    /// Code, without comments and without the contents of string and character literals.
    pub code: String,
    /// Comments alone, with their slashes.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Splits `text`. Unfinished comments and literals reach to the end.
    pub fn split(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut source = Self { code: String::new(), comments: String::new() };
        let mut at = 0;
        while at < chars.len() {
            let (kind, end) = token(&chars, at);
            let end = end.min(chars.len());
            for &c in &chars[at..end] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                source.code.push(if kind == Kind::Code { c } else { blank });
                source.comments.push(if kind == Kind::Comment { c } else { blank });
            }
            at = end;
        }
        source
    }

    /// The code without the items that stand under `#[cfg(test)]`.
    pub fn code_outside_tests(&self) -> String {
        const TEST: &str = "#[cfg(test)]";
        let mut code = self.code.clone();
        while let Some(start) = code.find(TEST) {
            let body = code[start..].find(['{', ';']).map_or(code.len(), |offset| start + offset);
            let end = if code[body..].starts_with('{') { block(&code, body).end } else { body };
            let blank: String =
                code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(start..end, &blank);
        }
        code
    }
}

/// The kind and the end of the token that starts at `at`.
fn token(chars: &[char], at: usize) -> (Kind, usize) {
    let next = |offset: usize| chars.get(at + offset).copied();
    match (chars[at], next(1)) {
        ('/', Some('/')) => (Kind::Comment, find(chars, at, |rest| rest[0] == '\n')),
        ('/', Some('*')) => (Kind::Comment, block_comment(chars, at)),
        ('"', _) => (Kind::Literal, string(chars, at)),
        ('\'', Some('\\')) => (Kind::Literal, find(chars, at + 3, |rest| rest[0] == '\'') + 1),
        ('\'', Some(_)) if next(2) == Some('\'') => (Kind::Literal, at + 3),
        (c, _) if is_word(c) => word(chars, at),
        _ => (Kind::Code, at + 1),
    }
}

/// A word, or the string literal of which it is the prefix.
fn word(chars: &[char], at: usize) -> (Kind, usize) {
    let end = find(chars, at, |rest| !is_word(rest[0]));
    let prefix: String = chars[at..end].iter().collect();
    let hashes = chars[end..].iter().take_while(|&&c| c == '#').count();
    let quoted = chars.get(end + hashes) == Some(&'"');
    match prefix.as_str() {
        "r" | "br" | "cr" if quoted => {
            let closes = |rest: &[char]| {
                rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|&c| c == '#')
            };
            (Kind::Literal, find(chars, end + hashes + 1, closes) + 1 + hashes)
        }
        "b" | "c" if quoted && hashes == 0 => (Kind::Literal, string(chars, end)),
        _ => (Kind::Code, end),
    }
}

fn string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 1;
    let mut at = start + 2;
    while at < chars.len() && depth > 0 {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn find(chars: &[char], from: usize, ends: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| ends(&chars[at..])).unwrap_or(chars.len())
}

/// Whether `c` can stand inside an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte offsets of `word` in `text` where it is not part of a longer identifier.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The bracket at byte `open` of `code` with all up to its partner, or up to the end if it has none.
pub fn block(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0_usize;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open..open + offset + 1;
        }
    }
    open..code.len()
}

/// The line, counted from one, on which byte `at` of `text` stands.
pub fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_comments_are_told_apart() {
        let check = |text: &str, code: &str, comments: &str| {
            let source = Source::split(text);
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(&source.code), code, "code of {text}");
            assert_eq!(squeeze(&source.comments), comments, "comments of {text}");
            assert_eq!(source.code.chars().count(), text.chars().count(), "length of {text}");
        };
        check("a // b", "a", "// b");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
        check(r#"f("a // b \" c", d)"#, "f( , d)", "");
        check(r##"f(r#"a " b"#, d)"##, "f( , d)", "");
        check(r#"f(b"a\\", c"d")"#, "f( , )", "");
        check(r"f('\'', '\\', '\u{41}', '/') // '", "f( , , , )", "// '");
        check("fn f<'a>(r: &'a r#type)", "fn f<'a>(r: &'a r#type)", "");
        check("/* unfinished", "", "/* unfinished");
        check("\"unfinished\\", "", "");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\n c */ \"d\ne\" f\n// g\n";
        let source = Source::split(text);
        assert_eq!(source.code.matches('\n').count(), 5);
        assert_eq!(line(&source.code, source.code.find('f').unwrap()), 4);
        assert_eq!(line(&source.comments, source.comments.find('g').unwrap()), 5);
    }

    #[test]
    fn test_items_are_left_out() {
        let check = |text: &str, expect: &str| {
            let code = Source::split(text).code_outside_tests();
            assert_eq!(code.split_whitespace().collect::<Vec<_>>(), [expect], "{text}");
        };
        check("a\n#[cfg(test)]\nmod tests { fn f() { g(); } }", "a");
        check("#[cfg(test)] mod tests;a", ";a");
        check("#[cfg(test)] #[path = \"b\"] fn f() {} a", "a");
        check("a #[cfg(test)]", "a");
    }

    #[test]
    fn words_have_edges() {
        let found: Vec<_> = words("unsafe unsafe_code (unsafe) nounsafe", "unsafe").collect();
        assert_eq!(found, [0, 20]);
    }
}
