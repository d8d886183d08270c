//! Kernels in lane layout against plain loops and finite differences, on every instruction set that the CPU has.

mod batch_norm;
mod conv;
mod layers;
mod support;
