//! Transforming the pixels of one tile to its positions.

use super::INPUTS;
use crate::cpu::Simd;
use crate::lanes::Lanes;
use crate::lanes::conv::winograd::tiles::Window;
use crate::lanes::conv::winograd::transform::{Linear, along_both_in_pairs};

/// Place for the lines of a tile that do not lie on their map as a whole.
pub(super) struct Margin<const N: usize>([[Lanes; N]; N]);

impl<const N: usize> Margin<N> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([[Lanes::ZERO; N]; N])
    }
}

/// Transforms the `N` × `N` pixels of a tile of one channel's plane; results come with their row and column.
#[inline(always)]
pub(super) fn transform<L: Linear<N, INPUTS>, S: Simd, const N: usize>(
    simd: S,
    window: &Window,
    plane: &[Lanes],
    margin: &mut Margin<N>,
    write: impl FnMut(usize, usize, S::Vector),
) {
    let mut lines = [&[Lanes::ZERO; N]; N];
    for (row, (line, margin)) in lines.iter_mut().zip(&mut margin.0).enumerate() {
        if !window.rows().contains(&row) {
            continue;
        }
        *line = match plane[window.line(row)].first_chunk() {
            Some(whole) => whole,
            None => {
                for (column, to) in margin.iter_mut().enumerate() {
                    let value = match window.pixel(row, column) {
                        Some(pixel) => simd.load(&plane[pixel].0),
                        None => simd.zero(),
                    };
                    simd.store(value, &mut to.0);
                }
                margin
            }
        };
    }
    along_both_in_pairs::<L, S, N>(
        simd,
        #[inline(always)]
        |row, column| simd.load(&lines[row][column].0),
        write,
    );
}
