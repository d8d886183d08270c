//! Transforming weights for products along columns of positions.

use super::{INPUTS, Line};
use crate::cpu::{LANES, Simd, WithSimd};
use crate::lanes::conv::winograd::taps::Direction;
use crate::lanes::conv::winograd::transform::{F4, Taps, along_both};

/// Transforms the weights `[o][9][i]` of a map to `[vectors of outputs][columns of positions][inputs]` lines; lanes past
/// the last output become 0.
pub(super) struct TransformTaps<'a> {
    pub(super) direction: Direction,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weights: &'a [f32],
    pub(super) target: &'a mut [Line],
}

impl WithSimd for TransformTaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { direction, inputs, outputs, weights, target } = self;
        for (vector, target) in target.chunks_exact_mut(INPUTS * inputs).enumerate() {
            let first = vector * LANES;
            let width = LANES.min(outputs - first);
            for input in 0..inputs {
                let mut taps = [[0.0; LANES]; 9];
                for (tap, values) in taps.iter_mut().enumerate() {
                    let (start, step) = match direction {
                        Direction::Forward => ((first * 9 + tap) * inputs + input, 9 * inputs),
                        Direction::Backward => ((input * 9 + 8 - tap) * outputs + first, 1),
                    };
                    for (value, weight) in
                        values[..width].iter_mut().zip(weights[start..].iter().step_by(step))
                    {
                        *value = *weight;
                    }
                }
                along_both::<Taps<F4>, S, 3, INPUTS>(
                    simd,
                    #[inline(always)]
                    |row, column| simd.load(&taps[3 * row + column]),
                    #[inline(always)]
                    |position, value| {
                        let (row, column) = (position / INPUTS, position % INPUTS);
                        simd.store(value, &mut target[column * inputs + input][row].0);
                    },
                );
            }
        }
    }
}
