//! Helpers for tests only: seeded numbers, small networks, and LiteRT as an outside judge.

pub mod branches;
pub mod chain;
pub mod graphs;
pub mod keras;
pub mod litert;
pub mod onnxruntime;
mod python;
mod random;

pub use random::Random;
