//! The facade: a recipe becomes a run.
