//! What the house rules and the developer tasks share: the allowed room graph, the tree of files, and Rust source
//! split into code and comments.

pub mod rooms;
pub mod source;
pub mod tree;
