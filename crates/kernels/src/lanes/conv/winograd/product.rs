//! The product of transformed weights and inputs at one position.

#![allow(unsafe_code, reason = "register tiles stride through operands by address")]

use std::ops::Range;

use crate::cpu::{LANES, Simd, WithSimd};
use crate::lanes::conv::tile::{self, Finish, Operand, Part, Repeat, Scalars, Store, Sum, Target};
use crate::lanes::{Lanes, parallel::DisjointMut};

/// Multiplies the weights of some channels of the output with the inputs of a panel, at one position.
pub(super) struct Product<'a> {
    /// The channels of the input.
    pub(super) depth: usize,
    pub(super) tile_rows: usize,
    pub(super) rows: Range<usize>,
    pub(super) weights: Weights<'a>,
    pub(super) columns: usize,
    /// `[depth][columns]`.
    pub(super) input: &'a [Lanes],
    pub(super) target: DisjointMut<'a, Lanes>,
    /// Where the first sum goes, and the distance to that of the next row.
    pub(super) start: usize,
    pub(super) row: usize,
}

/// Transformed weights at one position, and in f32 how far they are from one channel of the output to the next and
/// from one of the input to the next.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) values: &'a [Lanes],
    pub(super) line: usize,
    pub(super) term: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { depth, columns, weights, input, target, .. } = self;
        let last_weight = (self.rows.end - 1) * weights.line + (depth - 1) * weights.term;
        assert!(last_weight < weights.values.len() * LANES, "weights for every row and term");
        assert!(input.len() >= depth * columns, "input for every term and column");
        for (n, rows) in tile::pieces(self.rows.len(), self.tile_rows) {
            let first = (self.rows.start + n) * weights.line;
            let to = self.start + n * self.row;
            // The last sum lies within the target.
            target.pointer(to + (rows - 1) * self.row + columns);
            let sum = Sum {
                parts: &[Part { left: 0, right: 0 }],
                depth,
                left: Operand {
                    start: weights.values.as_ptr().cast::<f32>().wrapping_add(first),
                    line: weights.line,
                    term: weights.term,
                },
                right: Operand { start: input.as_ptr().cast(), line: LANES, term: columns * LANES },
                target: Target { start: target.pointer(to).cast(), row: self.row * LANES, column: LANES },
                repeat: Repeat::ONCE,
            };
            // SAFETY: the operands' lengths are checked above, and nobody else has this task's part of the target.
            unsafe { tile::compute::<Scalars, S>(simd, (rows, columns), &sum, Finish::Sums(Store::Replace)) };
        }
    }
}
