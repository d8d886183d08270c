//! Kernels in lane layout against plain loops and finite differences, on every instruction set that the CPU has.

mod batch_norm;
mod bias;
mod binary;
mod concat;
mod conv;
mod conv_transpose;
mod dropout;
mod fake_quantize;
mod layers;
mod losses;
mod nonlinearity;
mod pad;
mod prelu;
mod resize;
mod support;
mod winograd;
