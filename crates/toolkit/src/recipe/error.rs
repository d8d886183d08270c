//! Why a recipe cannot be used: where the fault stands, and what it is.

use std::fmt;
use std::io;
use std::ops::Range;

/// A fault of a recipe. It prints as `recipe.toml:12:5: unknown key …` and, below, the line of the file at fault.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}{}", place.excerpt())]
pub struct RecipeError {
    /// Where it stands.
    pub place: Box<Place>,
    /// What it is.
    pub problem: Problem,
}

impl RecipeError {
    pub(super) fn new(place: Place, problem: Problem) -> Self {
        Self { place: Box::new(place), problem }
    }

    /// A fault of the recipe from `origin` as a whole.
    pub(super) fn of_recipe(origin: &str, problem: Problem) -> Self {
        Self::new(Place::Recipe { origin: origin.to_owned() }, problem)
    }
}

/// Where a fault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a recipe as a whole.
    Recipe {
        /// The file, or what else the recipe came from.
        origin: String,
    },
    /// In a line of a recipe.
    Line {
        /// The file, or what else the recipe came from.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The line and a mark under the fault.
        excerpt: String,
    },
    /// In an override of the command line, `KEY=VALUE`.
    Override(String),
}

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// No such key exists.
    #[error("unknown key `{key}`, {}", key_advice(key, choices))]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// The keys that exist beside it.
        choices: &'static [&'static str],
    },
    /// The value is not one of the words that the key takes.
    #[error("{key}: unknown value `{found}`, {}", choice_advice(found, choices))]
    UnknownChoice {
        /// The dotted key.
        key: String,
        /// The value.
        found: String,
        /// The words.
        choices: &'static [&'static str],
    },
    /// The value has the wrong type or is out of its range.
    #[error("{key}: expected {expected}, found {found}")]
    Value {
        /// The dotted key.
        key: String,
        /// What it takes.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A key that has no default is missing.
    #[error("{key}: the key `{missing}` is missing")]
    Missing {
        /// The dotted key of the table.
        key: String,
        /// The key that should be in it.
        missing: &'static str,
    },
    /// Keys contradict each other.
    #[error("{key}: {message}")]
    Contradiction {
        /// The dotted key.
        key: String,
        /// What was expected and what was found.
        message: String,
    },
    /// An override is not `KEY=VALUE`.
    #[error("expected KEY=VALUE with a dotted key, such as prune.laws.epochs.beta=2")]
    Override,
}

impl Place {
    /// The place of the bytes `span` of `text`.
    pub(super) fn in_text(origin: &str, text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let start_of_line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let source = text[start_of_line..].lines().next().unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before[start_of_line..].chars().count();
        let marked = text.get(span.clone()).and_then(|marked| marked.lines().next());
        let width = marked.map_or(0, |marked| marked.chars().count()).max(1);
        Self::Line {
            origin: origin.to_owned(),
            line,
            column: column + 1,
            excerpt: draw(line, column, width, source),
        }
    }

    fn excerpt(&self) -> String {
        match self {
            Self::Line { excerpt, .. } => format!("\n{excerpt}"),
            Self::Recipe { .. } | Self::Override(_) => String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipe { origin } => f.write_str(origin),
            Self::Line { origin, line, column, .. } => write!(f, "{origin}:{line}:{column}"),
            Self::Override(text) => write!(f, "--set {text}"),
        }
    }
}

fn draw(line: usize, column: usize, width: usize, source: &str) -> String {
    const MAX_WIDTH: usize = 120;
    let shown: String =
        source.chars().take(MAX_WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let mark = if column < MAX_WIDTH {
        format!("{}{}", " ".repeat(column), "^".repeat(width.min(MAX_WIDTH - column)))
    } else {
        "… further right".to_owned()
    };
    format!("{margin} |\n{number} | {shown}\n{margin} | {mark}")
}

/// The nearest choice, if one is near.
fn nearest<'a>(found: &str, choices: &[&'a str]) -> Option<&'a str> {
    let distance = |choice: &&str| strsim::damerau_levenshtein(&found.to_lowercase(), choice);
    let best = choices.iter().copied().min_by_key(distance)?;
    (distance(&best) <= best.chars().count().max(3) / 3).then_some(best)
}

fn list(choices: &[&str]) -> String {
    let choices: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
    format!("expected one of {}", choices.join(", "))
}

/// Keys are many: the nearest alone if one is near.
fn key_advice(key: &str, choices: &[&str]) -> String {
    match nearest(key.rsplit('.').next().unwrap_or(key), choices) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => list(choices),
    }
}

/// Words are few: all of them, and the nearest.
fn choice_advice(found: &str, choices: &[&str]) -> String {
    match nearest(found, choices) {
        Some(nearest) => format!("did you mean `{nearest}`? ({})", list(choices)),
        None => list(choices),
    }
}
