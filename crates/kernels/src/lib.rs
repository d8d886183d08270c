//! Inner loops on slices: f32 training in lane layout, f32 and INT8 inference in NHWC.
//!
//! This is the only engine crate that holds `unsafe`. Every fast kernel has a plain reference beside it that
//! defines the result; tests run each kernel that the CPU has against that reference.

pub mod cpu;
pub mod int8;
pub mod lanes;
pub mod nhwc;
