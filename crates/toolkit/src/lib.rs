//! The facade: a recipe becomes a run.

pub mod recipe;
pub mod run_dir;
