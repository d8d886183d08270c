//! Kernels in lane layout against plain loops and finite differences, on every instruction set that the CPU has.

mod conv;
mod layers;
mod support;
mod winograd;
