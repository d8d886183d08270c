//! A model's configuration: its layers, their options, and who calls whom.

use super::wrong_layer;
use crate::error::{FormatError, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The largest number that a size, a stride or a width may be; products of two of them can be counted.
const LARGEST: usize = 1 << 24;

/// A model: the whole one, or one that is a layer of another.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Each layer reads the one before; the shape of the first one's input, if it is told.
    Sequential(Option<Vec<Option<usize>>>),
    Functional {
        inputs: Vec<Key>,
        outputs: Vec<Key>,
    },
}

/// A layer, an operation or a nested model.
#[derive(Debug)]
pub(super) struct Layer {
    /// Unique in the whole tree of models.
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) class: String,
    /// An operation is a function of Keras 3 that is no layer and has no weights.
    pub(super) is_operation: bool,
    config: Map<String, Value>,
    pub(super) calls: Vec<Vec<Argument>>,
    pub(super) inner: Option<Model>,
}

/// What a call is given.
#[derive(Debug, Clone)]
pub(super) enum Argument {
    Tensor(Key),
    Number(f32),
}

/// Output `output` of call `call` of a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) layer: String,
    pub(super) call: usize,
    pub(super) output: usize,
}

impl Model {
    /// Reads the configuration of a whole model.
    pub(super) fn parse(value: &Value) -> Result<Self> {
        let class = text(value, "class_name").unwrap_or_default();
        Parser { next: 0 }.model("the model", class, value.get("config"))
    }
}

/// Whether a class is a model with a list of layers.
fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

struct Parser {
    next: usize,
}

impl Parser {
    fn model(&mut self, name: &str, class: &str, config: Option<&Value>) -> Result<Model> {
        let subject = |name: &str| format!("keras model `{name}`");
        if !is_model(class) {
            return Err(FormatError::unsupported(
                subject(name),
                format!("expected a Sequential or functional model, found the class `{class}`"),
            ));
        }
        // Before 2.2.5, the configuration of a Sequential was the list of its layers alone.
        let layers = match config {
            Some(Value::Array(layers)) => Some(layers),
            Some(config) => config.get("layers").and_then(Value::as_array),
            None => None,
        };
        let layers =
            layers.ok_or_else(|| FormatError::invalid(subject(name), "expected a list of layers"))?;
        let name = config.and_then(|config| text(config, "name")).unwrap_or(name).to_owned();
        let layers: Vec<Layer> = layers.iter().map(|layer| self.layer(layer)).collect::<Result<_>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = layers.iter().find(|layer| !names.insert(layer.name.as_str())) {
            let message = format!("expected layers of different names, found `{}` twice", twice.name);
            return Err(FormatError::invalid(subject(&name), message));
        }
        let config = config.unwrap_or(&Value::Null);
        let kind = if class == "Sequential" {
            let shape = config.get("build_input_shape").filter(|shape| !shape.is_null());
            Kind::Sequential(shape.map(|shape| dims(&subject(&name), shape)).transpose()?)
        } else {
            let keys = |role: &str| -> Result<Vec<Key>> {
                let mut keys = Vec::new();
                collect_keys(config.get(role).unwrap_or(&Value::Null), &mut keys);
                if keys.is_empty() {
                    let message = format!("expected `{role}` to name at least one tensor");
                    return Err(FormatError::invalid(subject(&name), message));
                }
                Ok(keys)
            };
            Kind::Functional { inputs: keys("input_layers")?, outputs: keys("output_layers")? }
        };
        Ok(Model { name, kind, layers })
    }

    fn layer(&mut self, value: &Value) -> Result<Layer> {
        let empty = Value::Null;
        let config = value.get("config").unwrap_or(&empty);
        let class = text(value, "class_name").unwrap_or_default().to_owned();
        let name = text(value, "name").or_else(|| text(config, "name"));
        let name = name.ok_or_else(|| {
            FormatError::invalid(format!("keras layer ({class})"), "expected a name, found none")
        })?;
        let id = self.next;
        self.next += 1;
        let is_operation = text(value, "module").is_some_and(|module| module.contains(".ops."));
        let inner = if is_model(&class) { Some(self.model(name, &class, Some(config))?) } else { None };
        let options = if inner.is_some() {
            // The layers within are not kept twice.
            let trainable = config.get("trainable").map(|value| ("trainable".to_owned(), value.clone()));
            trainable.into_iter().collect()
        } else {
            config.as_object().cloned().unwrap_or_default()
        };
        let mut layer = Layer {
            id,
            name: name.to_owned(),
            class,
            is_operation,
            config: options,
            calls: Vec::new(),
            inner,
        };
        let calls = value.get("inbound_nodes").and_then(Value::as_array);
        layer.calls = calls.into_iter().flatten().map(arguments).collect();
        Ok(layer)
    }
}

impl Layer {
    /// Whether this layer's own weights learn.
    pub(super) fn is_trainable(&self) -> bool {
        self.config.get("trainable").and_then(Value::as_bool).unwrap_or(true)
    }

    /// An option that is there and not null.
    pub(super) fn option(&self, name: &str) -> Option<&Value> {
        self.config.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, name: &str, default: Switch) -> bool {
        self.option(name).and_then(Value::as_bool).unwrap_or(default == Switch::On)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.option(name).and_then(Value::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f32>> {
        let number = self.option(name).map(|value| {
            let number = f32::deserialize(value).ok().filter(|number| number.is_finite());
            number.ok_or_else(|| self.unexpected(name, "a number"))
        });
        number.transpose()
    }

    /// One number, or all the numbers of nested lists in order.
    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>> {
        fn collect(value: &Value, numbers: &mut Vec<f32>) -> Option<()> {
            match value.as_array() {
                Some(items) => items.iter().try_for_each(|item| collect(item, numbers)),
                None => f32::deserialize(value)
                    .ok()
                    .filter(|number| number.is_finite())
                    .map(|number| numbers.push(number)),
            }
        }
        let numbers = self.option(name).map(|value| {
            let mut numbers = Vec::new();
            let read = collect(value, &mut numbers).filter(|()| !numbers.is_empty());
            read.map(|()| numbers).ok_or_else(|| self.unexpected(name, "numbers"))
        });
        numbers.transpose()
    }

    /// Height and width, or one number for both.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>> {
        let pair = self.option(name).map(|value| {
            let pair = match value.as_array().map(Vec::as_slice) {
                Some([height, width]) => {
                    count(height).zip(count(width)).map(|(height, width)| [height, width])
                }
                Some(_) => None,
                None => count(value).map(|size| [size; 2]),
            };
            pair.ok_or_else(|| self.unexpected(name, "one or two counts"))
        });
        pair.transpose()
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        let count =
            self.option(name).map(|value| count(value).ok_or_else(|| self.unexpected(name, "a count")));
        count.transpose()
    }

    /// An axis of a tensor of rank `rank`, counted from its end if negative; some layers hold it in a list.
    pub(super) fn axis(&self, name: &str, rank: usize) -> Result<Option<usize>> {
        let axis = self.option(name).map(|value| {
            let value = match value.as_array().map(Vec::as_slice) {
                Some([axis]) => axis,
                Some(_) | None => value,
            };
            let axis = match value.as_i64().map(|axis| (axis, usize::try_from(axis.unsigned_abs()).ok())) {
                Some((..0, Some(back))) => rank.checked_sub(back),
                Some((_, axis)) => axis.filter(|&axis| axis < rank),
                None => None,
            };
            axis.ok_or_else(|| self.unexpected(name, &format!("an axis of a tensor of rank {rank}")))
        });
        axis.transpose()
    }

    /// Pixels above, below, left and right: all the same, rows and columns, or each by itself.
    pub(super) fn border(&self, name: &str) -> Result<[usize; 4]> {
        let sides = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([first, second]) => count(first).zip(count(second)),
            Some(_) => None,
            None => count(value).map(|side| (side, side)),
        };
        let border = self.option(name).and_then(|value| {
            let (rows, columns) = match value.as_array().map(Vec::as_slice) {
                Some([rows, columns]) => (sides(rows)?, sides(columns)?),
                Some(_) => return None,
                None => (sides(value)?, sides(value)?),
            };
            Some([rows.0, rows.1, columns.0, columns.1])
        });
        border.ok_or_else(|| self.unexpected(name, "widths of a border"))
    }

    /// The shape of an input: `null` for the batch.
    pub(super) fn input_shape(&self) -> Result<Option<Vec<Option<usize>>>> {
        let shape = self.option("batch_shape").or_else(|| self.option("batch_input_shape"));
        shape.map(|shape| dims(&format!("layer `{}` ({})", self.name, self.class), shape)).transpose()
    }

    pub(super) fn unexpected(&self, name: &str, expected: &str) -> FormatError {
        let found = self.option(name).unwrap_or(&Value::Null).to_string();
        let found: String = found.chars().take(80).collect();
        wrong_layer(self, format!("expected `{name}` to be {expected}, found {found}"))
    }
}

/// What an option is if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

pub(super) fn count(value: &Value) -> Option<usize> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.filter(|&count| count <= LARGEST)
}

fn dims(subject: &str, shape: &Value) -> Result<Vec<Option<usize>>> {
    let dim = |value: &Value| if value.is_null() { Some(None) } else { count(value).map(Some) };
    let dims: Option<Vec<_>> = shape.as_array().and_then(|dims| dims.iter().map(dim).collect());
    dims.ok_or_else(|| {
        FormatError::invalid(subject, format!("expected the shape of an input, found {shape}"))
    })
}

/// A reference to a tensor: `[layer, call, output]`, of which Keras 2 adds a fourth part.
fn key(value: &Value) -> Option<Key> {
    match value.as_array()?.as_slice() {
        [Value::String(layer), call, output, ..] => {
            Some(Key { layer: layer.clone(), call: count(call)?, output: count(output)? })
        }
        _ => None,
    }
}

/// All references within a value, in order.
fn collect_keys(value: &Value, keys: &mut Vec<Key>) {
    match value {
        Value::Array(items) => match key(value) {
            Some(key) => keys.push(key),
            None => items.iter().for_each(|item| collect_keys(item, keys)),
        },
        Value::Object(entries) => entries.values().for_each(|entry| collect_keys(entry, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The arguments of one call, in order, in either syntax.
fn arguments(call: &Value) -> Vec<Argument> {
    let mut arguments = Vec::new();
    match call {
        Value::Object(call) => {
            for part in [call.get("args"), call.get("kwargs")].into_iter().flatten() {
                collect_arguments(part, &mut arguments);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            collect_references(call, &mut arguments);
        }
    }
    arguments
}

/// Keras 3: tensors are objects of the class `__keras_tensor__` that tell their history.
fn collect_arguments(value: &Value, arguments: &mut Vec<Argument>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_arguments(item, arguments)),
        Value::Object(entries) if text(value, "class_name") == Some("__keras_tensor__") => {
            let history = entries.get("config").and_then(|config| config.get("keras_history"));
            arguments.extend(history.and_then(key).map(Argument::Tensor));
        }
        Value::Object(entries) => entries.values().for_each(|entry| collect_arguments(entry, arguments)),
        Value::Number(_) => arguments.extend(f32::deserialize(value).ok().map(Argument::Number)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Keras 2: tensors are `[layer, call, output, keywords]`; the keyword `y` is the second operand of a function.
fn collect_references(value: &Value, arguments: &mut Vec<Argument>) {
    let Some(items) = value.as_array() else { return };
    let Some(key) = key(value) else {
        items.iter().for_each(|item| collect_references(item, arguments));
        return;
    };
    arguments.push(Argument::Tensor(key));
    match items.get(3).and_then(|keywords| keywords.get("y")) {
        Some(number @ Value::Number(_)) => {
            arguments.extend(f32::deserialize(number).ok().map(Argument::Number));
        }
        Some(tensor) => collect_references(tensor, arguments),
        None => {}
    }
}
