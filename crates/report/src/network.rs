//! A network's operators in order, joined by lines.

use serde::{Deserialize, Serialize};

use crate::Table;

/// A network as a picture: a table with a row for each operator, and lines at its left from each operator to those that
/// read what it writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkDiagram {
    /// The operators, in an order in which each stands below all that it reads; inputs are rows too.
    pub table: Table,
    /// For each row, the rows above that it reads.
    pub reads: Vec<Vec<usize>>,
    /// The rows that are drawn as filled circles, such as layers with weights.
    pub filled: Vec<usize>,
}
