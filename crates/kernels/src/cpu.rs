//! Instruction sets: a value of an instruction set's type proves that this CPU has its instructions.
//!
//! Kernels over 16 lanes of f32 are written once, generic over [`Simd`], and compiled once per instruction set: a
//! kernel is a struct that implements [`WithSimd`], and [`Isa::dispatch`] runs it inside a function that has the
//! instruction set enabled.
//!
//! Every instruction set computes the same bytes: multiply-add is fused everywhere, horizontal sums add in one
//! order, and `max` treats NaN and signed zero alike. [`Portable`] calls [`f32::mul_add`], which is exact on every
//! CPU, and slow (a library call) where the target was compiled without a fused multiply-add.

#![allow(
    unsafe_code,
    reason = "vendor intrinsics need it; each value's existence proves that the CPU has them"
)]

#[cfg(target_arch = "aarch64")]
mod neon;
mod peak;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use peak::fma_peak;
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2Fma, Avx512};

/// How many f32 a vector holds.
pub const LANES: usize = 16;

mod sealed {
    /// Keeps [`Simd`](super::Simd) to the instruction sets of this module, whose values prove their instructions.
    pub trait Sealed {}
}

/// Operations on vectors of [`LANES`] f32; the implementing value proves that the CPU has the instructions.
///
/// Each operation is meant to be inlined into a [`WithSimd::run`] that [`Simd::vectorize`] calls; elsewhere it is
/// right but slow.
pub trait Simd: sealed::Sealed + Copy + Send + Sync + fmt::Debug + 'static {
    /// A vector in registers.
    type Vector: Copy;

    /// How many vectors fit into the registers.
    const REGISTERS: usize;

    /// Runs `kernel` inside a function compiled for this instruction set.
    fn vectorize<K: WithSimd>(self, kernel: K) -> K::Output;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Vector;

    /// Zero in every lane.
    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(0.0)
    }

    /// Reads a vector; any alignment.
    fn load(self, from: &[f32; LANES]) -> Self::Vector;

    /// Writes a vector; any alignment.
    fn store(self, vector: Self::Vector, to: &mut [f32; LANES]);

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a / b`.
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::Vector) -> Self::Vector;

    /// The largest whole number that is not above `a`.
    fn floor(self, a: Self::Vector) -> Self::Vector;

    /// `2^exponent` for whole exponents in -126..=127, and anything for others.
    fn power_of_two(self, exponent: Self::Vector) -> Self::Vector;

    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `a` where `a > b`, else `b`; so a NaN on either side gives `b`.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a` where `a < b`, else `b`; so a NaN on either side gives `b`.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `yes` where `a > b`, else `no`.
    fn select_gt(self, a: Self::Vector, b: Self::Vector, yes: Self::Vector, no: Self::Vector)
    -> Self::Vector;

    /// `yes` where `a == b` (signed zeros are equal), else `no`.
    fn select_eq(self, a: Self::Vector, b: Self::Vector, yes: Self::Vector, no: Self::Vector)
    -> Self::Vector;

    /// The sum of all lanes: lane l is added to lane l + 8, then l + 4, l + 2, l + 1.
    fn sum(self, a: Self::Vector) -> f32;
}

/// A kernel that is written once for every instruction set.
pub trait WithSimd {
    /// What the kernel returns.
    type Output;

    /// The kernel's body; implement it with `#[inline(always)]` so that it takes on the caller's instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// One of the instruction sets that this CPU has.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL: one register per vector.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 and FMA: two registers per vector.
    #[cfg(target_arch = "x86_64")]
    Avx2Fma(Avx2Fma),
    /// Advanced SIMD: four registers per vector.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// Plain Rust.
    Portable(Portable),
}

impl Isa {
    /// Every instruction set that this CPU has, fastest first; [`Isa::Portable`] is always the last.
    pub fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::new().map(Isa::Avx512));
            all.extend(Avx2Fma::new().map(Isa::Avx2Fma));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::new().map(Isa::Neon));
        all.push(Isa::Portable(Portable));
        all
    }

    /// The fastest instruction set that this CPU has.
    pub fn best() -> Isa {
        Isa::available()[0]
    }

    /// The name by which reports and benchmarks call it.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(_) => "AVX2+FMA",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "NEON",
            Isa::Portable(_) => "portable",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    pub fn dispatch<K: WithSimd>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(simd) => simd.vectorize(kernel),
            Isa::Portable(simd) => simd.vectorize(kernel),
        }
    }
}
