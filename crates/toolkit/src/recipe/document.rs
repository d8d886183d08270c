//! A recipe's text as a tree in which every value knows where it came from, and the overrides laid over it.

use super::error::{Place, Problem, RecipeError};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// A parsed recipe.
pub(super) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    overrides: &'a [String],
    pub(super) root: Node,
}

/// A value and its origin.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A TOML value.
#[derive(Clone)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// A value in a table, and the origin of its key.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Origin,
    pub(super) node: Node,
}

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// From these bytes of the text.
    Text(Range<usize>),
    /// From the override of this index.
    Override(usize),
}

impl<'a> Document<'a> {
    /// Parses `text`, which came from `name`, and lays `overrides` over it. An override within a table that the text
    /// leaves out starts from that table in `defaults`.
    pub(super) fn parse(
        name: &'a str,
        text: &'a str,
        overrides: &'a [String],
        defaults: &str,
    ) -> Result<Self, RecipeError> {
        if let Some(span) = too_deep(text) {
            let problem = Problem::Syntax(TOO_DEEP.to_owned());
            return Err(RecipeError::new(Place::in_text(name, text, &span), problem));
        }
        let root = parse(text).map_err(|error| {
            let problem = Problem::Syntax(one_line(error.message()));
            match error.span() {
                Some(span) => RecipeError::new(Place::in_text(name, text, &span), problem),
                None => RecipeError::of_recipe(name, problem),
            }
        })?;
        let mut document = Self { name, text, overrides, root };
        if !overrides.is_empty() {
            let defaults = parse(defaults).expect("the default recipe is TOML: a test parses it");
            for (index, assignment) in overrides.iter().enumerate() {
                assign(&mut document.root, assignment, index, &defaults)
                    .map_err(|problem| RecipeError::new(Place::Override(assignment.clone()), problem))?;
            }
        }
        Ok(document)
    }

    /// The place of `origin` for a reader.
    pub(super) fn place(&self, origin: Option<&Origin>) -> Place {
        match origin {
            None => Place::Recipe { origin: self.name.to_owned() },
            Some(Origin::Text(span)) => Place::in_text(self.name, self.text, span),
            Some(Origin::Override(index)) => Place::Override(self.overrides[*index].clone()),
        }
    }

    /// The place of the value under a dotted key, or of the innermost table or value on the way to it that is there.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let mut node = &self.root;
        let mut found = None;
        for part in key.split('.') {
            let Value::Table(table) = &node.value else { break };
            let Some(entry) = table.get(part) else { break };
            node = &entry.node;
            found = Some(&node.origin);
        }
        self.place(found)
    }
}

impl Node {
    /// The value for a reader.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the string {text:?}"),
            Value::Integer(value) => format!("the integer {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Boolean(value) => format!("the boolean {value}"),
            Value::Datetime(value) => format!("the date {value}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    fn with_origin(mut self, origin: &Origin) -> Self {
        self.origin = origin.clone();
        self.value = match self.value {
            Value::Array(nodes) => {
                Value::Array(nodes.into_iter().map(|node| node.with_origin(origin)).collect())
            }
            Value::Table(table) => {
                let entry =
                    |entry: Entry| Entry { key: origin.clone(), node: entry.node.with_origin(origin) };
                Value::Table(table.into_iter().map(|(key, value)| (key, entry(value))).collect())
            }
            leaf @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)) => leaf,
        };
        self
    }
}

/// The most parts of a dotted key. Each opens a table, and tables in tables cost stack.
const MAX_PARTS: usize = 16;

const TOO_DEEP: &str = "expected keys of at most 16 parts, found one of more";

/// Where a dotted key of `text` has too many parts. The TOML parser bounds the depth of brackets, but not that of keys.
fn too_deep(text: &str) -> Option<Range<usize>> {
    let mut dots = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom | TokenKind::Whitespace | TokenKind::LiteralString | TokenKind::BasicString => {}
            TokenKind::Equals
            | TokenKind::Comma
            | TokenKind::LeftSquareBracket
            | TokenKind::RightSquareBracket
            | TokenKind::LeftCurlyBracket
            | TokenKind::RightCurlyBracket
            | TokenKind::Comment
            | TokenKind::Newline
            | TokenKind::MlLiteralString
            | TokenKind::MlBasicString
            | TokenKind::Eof => dots = 0,
        }
        if dots >= MAX_PARTS {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

fn parse(text: &str) -> Result<Node, toml::de::Error> {
    let table = DeTable::parse(text)?;
    let span = table.span();
    Ok(Node { value: table_value(table.into_inner()), origin: Origin::Text(span) })
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(value) => Value::Integer(value),
            // Too large for any count, and as such an error of the key that it stands for.
            Err(_) => Value::Float(digits.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(value) => Value::Datetime(value.to_string()),
        DeValue::Array(values) => Value::Array(values.into_iter().map(node).collect()),
        DeValue::Table(table) => table_value(table),
    };
    Node { value, origin: Origin::Text(span) }
}

fn table_value(table: DeTable<'_>) -> Value {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, _)| {
        let origin = Origin::Text(key.span());
        (key.into_inner().into_owned(), Entry { key: origin, node: node(value) })
    };
    Value::Table(table.into_iter().map(entry).collect())
}

/// Carries out the override `assignment`, `KEY=VALUE`.
fn assign(root: &mut Node, assignment: &str, index: usize, defaults: &Node) -> Result<(), Problem> {
    let (key, text) = assignment.split_once('=').ok_or(Problem::Override)?;
    let parts: Vec<&str> = key.split('.').map(str::trim).collect();
    if parts.len() > MAX_PARTS || parts.iter().any(|part| part.is_empty()) {
        return Err(Problem::Override);
    }
    let origin = Origin::Override(index);
    let value = override_value(text.trim())?.with_origin(&origin);
    let empty = Node { value: Value::Table(BTreeMap::new()), origin: origin.clone() };

    let mut here = root;
    let mut default = Some(defaults);
    for (depth, part) in parts.iter().enumerate() {
        let found = here.describe();
        let Value::Table(table) = &mut here.value else {
            return Err(Problem::Value {
                key: parts[..depth].join("."),
                expected: format!("a table in which to set `{part}`"),
                found,
            });
        };
        default = default.and_then(|default| match &default.value {
            Value::Table(table) => table.get(*part).map(|entry| &entry.node),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => None,
        });
        let entry = table.entry((*part).to_owned()).or_insert_with(|| Entry {
            key: origin.clone(),
            node: default.unwrap_or(&empty).clone().with_origin(&origin),
        });
        if depth + 1 == parts.len() {
            entry.key = origin.clone();
        }
        here = &mut entry.node;
    }
    *here = value;
    Ok(())
}

/// The value of an override: TOML, or a bare string where that is not TOML and does not begin as if it should be.
fn override_value(text: &str) -> Result<Node, Problem> {
    if text.starts_with(['{', '[']) && too_deep(text).is_some() {
        return Err(Problem::Syntax(TOO_DEEP.to_owned()));
    }
    match DeValue::parse(text) {
        Ok(value) => Ok(node(value)),
        Err(error) if text.starts_with(['{', '[', '"', '\'']) => {
            Err(Problem::Syntax(one_line(error.message())))
        }
        Err(_) => Ok(Node { value: Value::String(text.to_owned()), origin: Origin::Text(0..0) }),
    }
}

fn one_line(message: &str) -> String {
    message.split('\n').collect::<Vec<_>>().join(", ")
}
