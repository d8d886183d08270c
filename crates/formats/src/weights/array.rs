//! Named arrays in the order of their file.

use super::assign::Layout;
use super::element::Element;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use std::collections::BTreeMap;

/// A stored array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes of its dimensions, outermost first; empty for a scalar.
    pub sizes: Vec<usize>,
    /// Type of the elements in the file.
    pub element: Element,
    /// The elements as 32-bit floats, row-major.
    pub values: Vec<f32>,
}

/// The arrays of a file, by name and in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    layout: Layout,
    arrays: Vec<(String, Array)>,
    positions: BTreeMap<String, usize>,
}

impl Weights {
    /// No arrays yet.
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, arrays: Vec::new(), positions: BTreeMap::new() }
    }

    /// Whose names and layouts the arrays have.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The array of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.positions.get(name).and_then(|&position| self.arrays.get(position)).map(|(_, array)| array)
    }

    /// All arrays with their names, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.arrays.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// The number of arrays.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrays.len()
    }

    /// Whether there is no array.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Adds an array behind all others.
    ///
    /// # Errors
    /// If there is one of this name already.
    pub(crate) fn push(&mut self, name: String, array: Array) -> Result<()> {
        if self.positions.insert(name.clone(), self.arrays.len()).is_some() {
            return Err(FormatError::invalid(format!("array `{name}`"), "stands twice"));
        }
        self.arrays.push((name, array));
        Ok(())
    }
}

/// Where the elements of an array lie in a storage, all counted in elements.
pub(crate) struct View<'a> {
    pub(crate) offset: usize,
    pub(crate) sizes: &'a [usize],
    pub(crate) strides: &'a [usize],
}

impl Array {
    /// The elements that `view` names in a storage of little-endian `bytes`. `name` is the array's, for errors.
    pub(crate) fn gather(
        name: &str,
        element: Element,
        bytes: &[u8],
        view: &View<'_>,
        budget: &mut Budget,
    ) -> Result<Self> {
        let View { offset, sizes, strides } = *view;
        let subject = || format!("array `{name}`");
        let stored = bytes.len() / element.bytes();
        let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let extent = || {
            let spans = sizes.iter().zip(strides).map(|(&size, &stride)| (size - 1).checked_mul(stride));
            spans.into_iter().try_fold(offset, |last, span| last.checked_add(span?))
        };
        let count = match count {
            Some(0) if sizes.len() == strides.len() => 0,
            Some(count) if sizes.len() == strides.len() && extent().is_some_and(|last| last < stored) => {
                count
            }
            Some(_) | None => {
                return Err(FormatError::invalid(
                    subject(),
                    format!(
                        "expected {sizes:?} with strides {strides:?} from element {offset} among {stored}"
                    ),
                ));
            }
        };
        budget.spend_elements(count, size_of::<f32>(), &subject())?;
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; sizes.len()];
        let mut position = offset;
        for _ in 0..count {
            let start = position * element.bytes();
            values.extend(bytes.get(start..).and_then(|bytes| element.value(bytes)));
            for axis in (0..sizes.len()).rev() {
                index[axis] += 1;
                position += strides[axis];
                if index[axis] < sizes[axis] {
                    break;
                }
                position -= index[axis] * strides[axis];
                index[axis] = 0;
            }
        }
        Ok(Self { sizes: sizes.to_vec(), element, values })
    }

    /// The elements of a whole, row-major storage.
    pub(crate) fn row_major(
        name: &str,
        element: Element,
        bytes: &[u8],
        sizes: &[usize],
        budget: &mut Budget,
    ) -> Result<Self> {
        let mut strides = vec![1usize; sizes.len()];
        for axis in (1..sizes.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(sizes[axis]);
        }
        Self::gather(name, element, bytes, &View { offset: 0, sizes, strides: &strides }, budget)
    }

    /// The elements with the axes in another order: axis `k` of the result is axis `order[k]` of this array.
    ///
    /// `order` names each axis once.
    pub(crate) fn permuted<const RANK: usize>(&self, order: [usize; RANK]) -> Vec<f32> {
        let mut strides = [1; RANK];
        for axis in (1..RANK).rev() {
            strides[axis - 1] = strides[axis] * self.sizes[axis];
        }
        let mut values = Vec::with_capacity(self.values.len());
        let mut index = [0; RANK];
        for _ in 0..self.values.len() {
            values.push(self.values[(0..RANK).map(|axis| index[axis] * strides[order[axis]]).sum::<usize>()]);
            for axis in (0..RANK).rev() {
                index[axis] += 1;
                if index[axis] < self.sizes[order[axis]] {
                    break;
                }
                index[axis] = 0;
            }
        }
        values
    }
}
