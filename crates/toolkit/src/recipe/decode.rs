//! Typed decoding of a recipe's tree, in which every error carries its key and origin.

use super::document::{Entry, Node, Origin, Value};
use super::error::Problem;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use std::collections::btree_map;
use std::fmt;
use std::slice;

/// What went wrong in decoding. The key grows from the inside out, as the error travels up the tree.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) problem: Problem,
    pub(super) origin: Option<Origin>,
}

/// Decodes `root`, the table of a whole recipe.
pub(super) fn decode<'a, T: de::Deserialize<'a>>(root: &'a Node) -> Result<T, Fault> {
    T::deserialize(root)
}

impl Fault {
    fn new(problem: Problem) -> Self {
        Self { problem, origin: None }
    }

    /// The fault of a value, as seen from the table in which it stands under `part`.
    fn within(mut self, part: &str, origin: &Origin) -> Self {
        let (Problem::UnknownKey { key, .. }
        | Problem::UnknownChoice { key, .. }
        | Problem::Value { key, .. }
        | Problem::Missing { key, .. }
        | Problem::Contradiction { key, .. }) = &mut self.problem
        else {
            return self;
        };
        *key = match key.chars().next() {
            None => part.to_owned(),
            Some('[') => format!("{part}{key}"),
            Some(_) => format!("{part}.{key}"),
        };
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Contradiction { key: String::new(), message: message.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Value {
            key: String::new(),
            expected: expected_words(&expected.to_string()),
            found: found_words(&found),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, choices: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownChoice { key: String::new(), found: found.to_owned(), choices })
    }

    fn unknown_field(field: &str, choices: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: field.to_owned(), choices })
    }

    fn missing_field(missing: &'static str) -> Self {
        Self::new(Problem::Missing { key: String::new(), missing })
    }
}

/// What serde expects, in the words of TOML.
fn expected_words(words: &str) -> String {
    match words {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "an array".to_owned(),
        _ if words.starts_with("struct ") => "a table".to_owned(),
        _ => words.to_owned(),
    }
}

/// What serde found, in the words of [`Node::describe`].
fn found_words(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Signed(value) => format!("the integer {value}"),
        Unexpected::Unsigned(value) => format!("the integer {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        other => other.to_string(),
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::String(text) | Value::Datetime(text) => visitor.visit_borrowed_str(text),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Array(nodes) => visitor.visit_seq(Elements { nodes: nodes.iter(), index: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::String(text) => {
                let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => {
                let choices: Vec<String> = variants.iter().map(|choice| format!("\"{choice}\"")).collect();
                Err(Fault::new(Problem::Value {
                    key: String::new(),
                    expected: choices.join(" or "),
                    found: self.describe(),
                }))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'de> {
    nodes: slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.nodes.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(node).map(Some).map_err(|fault| fault.within(&format!("[{index}]"), &node.origin))
    }
}

struct Entries<'de> {
    entries: btree_map::Iter<'de, String, Entry>,
    current: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, entry)) = self.entries.next() else {
            return Ok(None);
        };
        self.current = Some((key, &entry.node));
        let word: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        let located = |fault: Fault| Fault { origin: Some(entry.key.clone()), ..fault };
        seed.deserialize(word).map(Some).map_err(located)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, node) = self.current.take().expect("serde asks for a value only after its key");
        seed.deserialize(node).map_err(|fault| fault.within(key, &node.origin))
    }
}
