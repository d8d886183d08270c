//! Tensor shapes with a symbolic batch.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One dimension of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// A size known when the graph is built.
    Fixed(usize),
    /// The batch: chosen when the graph is planned for execution.
    Batch(Batch),
}

/// The symbolic batch dimension; serialised as the string `"batch"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Batch {
    /// The only value.
    #[serde(rename = "batch")]
    Batch,
}

impl Dim {
    /// The symbolic batch.
    pub const BATCH: Self = Self::Batch(Batch::Batch);

    /// The size when the batch is `batch`.
    #[must_use]
    pub fn with_batch(self, batch: usize) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Batch(_) => batch,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Batch(_) => f.write_str("N"),
        }
    }
}

/// The dimensions of a tensor, outermost first; empty for a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of fixed sizes.
    #[must_use]
    pub fn fixed(sizes: &[usize]) -> Self {
        Self(sizes.iter().copied().map(Dim::Fixed).collect())
    }

    /// A shape whose outermost dimension is the symbolic batch: `[N, sizes…]`.
    #[must_use]
    pub fn batched(sizes: &[usize]) -> Self {
        Self(std::iter::once(Dim::BATCH).chain(sizes.iter().copied().map(Dim::Fixed)).collect())
    }

    /// A shape of any dimensions.
    #[must_use]
    pub fn new(dims: Vec<Dim>) -> Self {
        Self(dims)
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// All sizes when the batch is `batch`.
    #[must_use]
    pub fn with_batch(&self, batch: usize) -> Vec<usize> {
        self.0.iter().map(|dim| dim.with_batch(batch)).collect()
    }

    /// The number of elements when the batch is `batch`, or `None` if it does not fit in memory's addresses.
    #[must_use]
    pub fn elements(&self, batch: usize) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, dim| product.checked_mul(dim.with_batch(batch)))
    }

    /// All sizes if none is symbolic.
    #[must_use]
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.0
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(size) => Some(*size),
                Dim::Batch(_) => None,
            })
            .collect()
    }

    /// Height, width and channels of an image tensor `[N, H, W, C]`; `None` for any other form.
    #[must_use]
    pub fn image(&self) -> Option<[usize; 3]> {
        match self.0[..] {
            [_, Dim::Fixed(height), Dim::Fixed(width), Dim::Fixed(channels)] => {
                Some([height, width, channels])
            }
            _ => None,
        }
    }

    /// The innermost dimension, if fixed: the channels of an activation.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        match self.0.last() {
            Some(Dim::Fixed(size)) => Some(*size),
            Some(Dim::Batch(_)) | None => None,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, dim) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}
