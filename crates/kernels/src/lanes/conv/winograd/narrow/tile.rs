//! Transforming the pixels of one tile to its positions.

use super::INPUTS;
use crate::cpu::Simd;
use crate::lanes::Lanes;
use crate::lanes::conv::winograd::tiles::Window;
use crate::lanes::conv::winograd::transform::{Linear, along_both_in_pairs};

/// Transforms the `N` × `N` pixels of a tile of one channel's plane; results come with their row and column.
#[inline(always)]
pub(super) fn transform<L: Linear<N, INPUTS>, S: Simd, const N: usize>(
    simd: S,
    window: &Window,
    plane: &[Lanes],
    write: impl FnMut(usize, usize, S::Vector),
) {
    let columns = window.columns();
    if columns.len() == N {
        let mut lines = [&[Lanes::ZERO; N]; N];
        for (row, line) in lines.iter_mut().enumerate() {
            if window.rows().contains(&row) {
                *line = plane[window.line(row)].first_chunk().expect("as many pixels as columns on the map");
            }
        }
        along_both_in_pairs::<L, S, N>(
            simd,
            #[inline(always)]
            |row, column| simd.load(&lines[row][column].0),
            write,
        );
    } else {
        let mut lines = [&[][..]; N];
        for (row, line) in lines.iter_mut().enumerate() {
            if window.rows().contains(&row) {
                *line = &plane[window.line(row)];
            }
        }
        along_both_in_pairs::<L, S, N>(
            simd,
            #[inline(always)]
            |row, column| match lines[row].get(column.wrapping_sub(columns.start)) {
                Some(pixel) => simd.load(&pixel.0),
                None => simd.zero(),
            },
            write,
        );
    }
}
