//! The inner loop of convolution: a register tile of up to 8 rows by 6 columns of vectors.

#![allow(unsafe_code, reason = "register tiles stride through their operands by address")]

use std::marker::PhantomData;

use crate::cpu::{Simd, WithSimd};
use crate::lanes::Activation;

/// The most rows of a tile.
const MAX_ROWS: usize = 8;
/// The most columns of a tile.
const MAX_COLUMNS: usize = 6;

/// Rows and columns of a tile.
pub(super) type Shape = (usize, usize);

/// Where one part of a sum begins in both of its operands, in f32 from the operands' starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) left: usize,
    pub(super) right: usize,
}

/// An operand of a tile: an address, and how far it moves from one row or column to the next, and from one term of
/// the sum to the next, in f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) start: *const f32,
    pub(super) line: usize,
    pub(super) term: usize,
}

/// Where a tile goes: an address and the distances between rows and between columns, in f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) start: *mut f32,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Several sums of one shape at equal distances, in f32, of their operands and targets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) count: usize,
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) target: usize,
}

impl Repeat {
    /// One sum alone.
    pub(super) const ONCE: Self = Self { count: 1, left: 0, right: 0, target: 0 };
}

/// `target[row][column] = Σ left[row] · right[column]` over parts and over `depth` terms of each part. The right
/// operand and the target are vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum<'a> {
    pub(super) parts: &'a [Part],
    pub(super) depth: usize,
    pub(super) left: Operand,
    pub(super) right: Operand,
    pub(super) target: Target,
    pub(super) repeat: Repeat,
}

/// What becomes of a target's earlier contents.
#[derive(Clone, Copy, Debug)]
pub(super) enum Store {
    /// They are overwritten.
    Replace,
    /// The sums are added to them.
    Add,
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finish {
    /// The target takes the bare sums.
    Sums(Store),
    /// The target is overwritten with `activation(bias + sum)`; the address is that of the first row's bias.
    Activate { bias: Option<*const f32>, activation: Activation },
}

/// How a tile reads its left operand.
pub(super) trait Left {
    /// Reads a vector.
    ///
    /// # Safety
    ///
    /// `from` must address 16 readable f32; one suffices for [`Scalars`].
    unsafe fn read<S: Simd>(simd: S, from: *const f32) -> S::Vector;
}

/// The left operand is a scalar that all lanes share.
pub(super) struct Scalars;

/// The left operand is a vector.
pub(super) struct Vectors;

impl Left for Scalars {
    #[inline(always)]
    unsafe fn read<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        simd.splat(unsafe { *from })
    }
}

impl Left for Vectors {
    #[inline(always)]
    unsafe fn read<S: Simd>(simd: S, from: *const f32) -> S::Vector {
        // SAFETY: the caller's promise.
        simd.load(unsafe { &*from.cast() })
    }
}

struct Tile<'a, L, const ROWS: usize, const COLUMNS: usize> {
    sum: &'a Sum<'a>,
    finish: Finish,
    left: PhantomData<L>,
}

impl<L: Left, const ROWS: usize, const COLUMNS: usize> WithSimd for Tile<'_, L, ROWS, COLUMNS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Repeat { count, left, right, target } = self.sum.repeat;
        for n in 0..count {
            let mut sum = *self.sum;
            sum.left.start = sum.left.start.wrapping_add(n * left);
            sum.right.start = sum.right.start.wrapping_add(n * right);
            sum.target.start = sum.target.start.wrapping_add(n * target);
            self.compute(simd, &sum);
        }
    }
}

impl<L: Left, const ROWS: usize, const COLUMNS: usize> Tile<'_, L, ROWS, COLUMNS> {
    /// Computes one sum of those that are repeated.
    #[inline(always)]
    fn compute<S: Simd>(&self, simd: S, sum: &Sum) {
        let Sum { parts, depth, left, right, target, repeat: _ } = *sum;
        let mut sums = [[simd.zero(); COLUMNS]; ROWS];
        if let Finish::Activate { bias: Some(bias), .. } = self.finish {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `compute`'s contract.
                *sums = [simd.splat(unsafe { *bias.add(row) }); COLUMNS];
            }
        }
        for part in parts {
            let (mut lefts, mut rights) =
                (left.start.wrapping_add(part.left), right.start.wrapping_add(part.right));
            for _ in 0..depth {
                let mut columns = [simd.zero(); COLUMNS];
                for (column, value) in columns.iter_mut().enumerate() {
                    // SAFETY: `compute`'s contract.
                    *value = simd.load(unsafe { &*rights.add(column * right.line).cast() });
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: `compute`'s contract.
                    let value = unsafe { L::read(simd, lefts.add(row * left.line)) };
                    for (sum, column) in sums.iter_mut().zip(&columns) {
                        *sum = simd.mul_add(value, *column, *sum);
                    }
                }
                lefts = lefts.wrapping_add(left.term);
                rights = rights.wrapping_add(right.term);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                // SAFETY: `compute`'s contract.
                let to = unsafe { &mut *target.start.add(row * target.row + column * target.column).cast() };
                let value = match self.finish {
                    Finish::Sums(Store::Replace) => sum,
                    Finish::Sums(Store::Add) => simd.add(simd.load(to), sum),
                    Finish::Activate { activation, .. } => activation.apply(simd, sum),
                };
                simd.store(value, to);
            }
        }
    }
}

/// Calls [`Tile`] with a shape known at run time.
macro_rules! with_shape {
    ($simd:ident, $left:ident, $sum:ident, $finish:ident, $shape:ident, $($rows:literal: $($columns:literal)+;)+) => {
        match $shape {
            $($(($rows, $columns) if $rows * $columns < S::REGISTERS => $simd.vectorize(Tile::<$left, $rows, $columns> {
                sum: $sum,
                finish: $finish,
                left: PhantomData,
            }),)+)+
            (rows, columns) => unreachable!("no tile has {rows} rows and {columns} columns"),
        }
    };
}

/// Computes a tile of `shape` as often as the sum is repeated.
///
/// # Safety
///
/// For each repetition, part, row, column and term, `left` must address what [`Left::read`] asks for, `right` 16 readable f32
/// and `target` 16 f32 that nobody else reads or writes; the bias, if any, must have a readable f32 for each row.
pub(super) unsafe fn compute<L: Left, S: Simd>(simd: S, shape: Shape, sum: &Sum, finish: Finish) {
    with_shape!(simd, L, sum, finish, shape,
        1: 1 2 3 4 5 6;
        2: 1 2 3 4 5 6;
        3: 1 2 3 4 5 6;
        4: 1 2 3 4 5 6;
        5: 1 2 3 4 5;
        6: 1 2 3 4;
        7: 1 2 3;
        8: 1 2 3;
    );
}

/// The most columns of a tile of `rows` rows whose sums, columns and one value of a row keep within the registers.
pub(super) fn columns_for<S: Simd>(rows: usize) -> usize {
    ((S::REGISTERS - 1) / (rows + 1)).clamp(1, MAX_COLUMNS)
}

/// The most rows per tile that make `rows` rows and columns in runs of `columns` cheapest.
///
/// The cost of a tile is taken as its multiply-adds plus its loads at half their price and a constant, an estimate
/// that ranks shapes well.
pub(super) fn best_rows<S: Simd>(rows: usize, columns: usize) -> usize {
    let cost = |tile_rows: usize| {
        let tile_columns = columns_for::<S>(tile_rows).min(columns);
        let (vertical, horizontal) = (rows.div_ceil(tile_rows), columns.div_ceil(tile_columns));
        2 * rows * columns + vertical * columns + horizontal * rows + 4 * vertical * horizontal
    };
    (1..=MAX_ROWS.min(S::REGISTERS - 2)).rev().min_by_key(|&rows| cost(rows)).unwrap_or(1)
}

/// Splits `0..length` into the fewest pieces of at most `most`, as even as can be: each piece's start and length.
pub(super) fn pieces(length: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = length.div_ceil(most);
    (0..count).map(move |n| {
        let start = n * length / count;
        (start, (n + 1) * length / count - start)
    })
}
