//! Developer tasks: writes the generated documents.

fn main() {}
