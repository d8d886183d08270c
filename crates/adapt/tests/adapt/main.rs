//! The adaptations from outside, on small networks and small sets.

mod apoz;
mod data;
mod engine;
mod evaluation;
mod fit;
mod fold;
mod integers;
mod pruner;
mod refusals;
mod removal;
mod schedule;
