//! Networks built as graphs.
