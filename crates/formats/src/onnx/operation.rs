//! A node of a model: its attributes, and errors in its name.

use super::schema::{Attribute, Node};
use crate::error::{FormatError, Result};

/// Pixels that an attribute may speak of; products of a few such numbers can be counted.
pub(super) const GREATEST_COUNT: usize = 1 << 20;

/// A node that is being read.
#[derive(Clone, Copy)]
pub(super) struct Operation<'m>(pub(super) &'m Node);

impl<'m> Operation<'m> {
    /// The node's name, or where it has none that of its first output.
    pub(super) fn name(&self) -> &'m str {
        match (self.0.name.as_str(), self.0.output.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        }
    }

    /// What the model calls the operator.
    pub(super) fn kind(&self) -> &'m str {
        &self.0.op_type
    }

    /// The node in messages.
    pub(super) fn subject(&self) -> String {
        format!("node `{}` ({})", self.name(), self.kind())
    }

    /// An error that says that the node breaks ONNX's rules.
    pub(super) fn invalid(&self, message: impl Into<String>) -> FormatError {
        FormatError::invalid(self.subject(), message)
    }

    /// An error that says that a graph cannot express the node.
    pub(super) fn unsupported(&self, message: impl Into<String>) -> FormatError {
        FormatError::unsupported(self.subject(), message)
    }

    /// The name of input `position`, if it is given.
    pub(super) fn input(&self, position: usize) -> Option<&'m str> {
        self.0.input.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Checks the number of inputs, and that all attributes are among those that the caller understands.
    pub(super) fn expect(&self, inputs: std::ops::RangeInclusive<usize>, attributes: &[&str]) -> Result<()> {
        let found = self.0.input.len();
        if !inputs.contains(&found) {
            return Err(self.invalid(format!(
                "expected {} to {} inputs, found {found}",
                inputs.start(),
                inputs.end()
            )));
        }
        let known = |attribute: &&Attribute| attributes.contains(&attribute.name.as_str());
        match self.0.attribute.iter().find(|attribute| !known(attribute)) {
            Some(unknown) => Err(self.unsupported(format!(
                "expected no attributes but [{}], found `{}`",
                attributes.join(", "),
                unknown.name
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'m Attribute> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// The integer `name`, if it is given.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|attribute| attribute.i.unwrap_or(0))
    }

    /// Whether the integer `name` is given and not 0.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.integer(name).unwrap_or(0) != 0
    }

    /// The float `name`, or its default.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32> {
        let value = self.attribute(name).map_or(default, |attribute| attribute.f.unwrap_or(0.0));
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.invalid(format!("expected a finite {name}, found {value}")))
    }

    /// The text `name`, or its default.
    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'m str> {
        match self.attribute(name) {
            Some(attribute) => std::str::from_utf8(attribute.s.as_deref().unwrap_or_default())
                .map_err(|_| self.invalid(format!("expected text as {name}, found other bytes"))),
            None => Ok(default),
        }
    }

    /// The integers `name`, if they are given.
    pub(super) fn integers(&self, name: &str) -> Option<&'m [i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// The pair of pixel counts `name`, height before width, or its default.
    pub(super) fn pair(&self, name: &str, default: usize) -> Result<[usize; 2]> {
        match self.integers(name) {
            Some(&[height, width]) => Ok([self.count(name, height)?, self.count(name, width)?]),
            Some(other) => {
                Err(self.unsupported(format!("expected {name} of two dimensions, found {other:?}")))
            }
            None => Ok([default; 2]),
        }
    }

    /// A number of pixels.
    pub(super) fn count(&self, name: &str, value: i64) -> Result<usize> {
        usize::try_from(value).ok().filter(|&value| value <= GREATEST_COUNT).ok_or_else(|| {
            self.unsupported(format!("expected {name} from 0 to {GREATEST_COUNT}, found {value}"))
        })
    }

    /// An axis that may count from the end.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        i64::try_from(rank)
            .ok()
            .map(|rank| if axis < 0 { axis.saturating_add(rank) } else { axis })
            .and_then(|axis| usize::try_from(axis).ok())
            .filter(|&axis| axis < rank)
            .ok_or_else(|| self.invalid(format!("expected an axis of {rank}, found {axis}")))
    }

    /// Distinct axes that may count from the end.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut found: Vec<usize> = Vec::with_capacity(rank.min(axes.len()));
        for &axis in axes {
            let axis = self.axis(axis, rank)?;
            if found.contains(&axis) {
                return Err(self.invalid(format!("expected distinct axes, found {axis} twice")));
            }
            found.push(axis);
        }
        Ok(found)
    }
}
