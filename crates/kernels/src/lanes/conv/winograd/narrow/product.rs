//! Products along columns of a tile's positions, and their transform to outputs.

#![allow(unsafe_code, reason = "tasks write disjoint, interleaved parts of the output")]

use super::{INPUTS, Line, OUTPUTS};
use crate::cpu::{LANES, Simd, WithSimd};
use crate::lanes::conv::winograd::tiles::Window;
use crate::lanes::conv::winograd::transform::{F4, Linear, Output};
use crate::lanes::{Activation, Lanes, parallel::DisjointMut};

/// The most channels whose sums are formed at once.
const MAX_CHANNELS: usize = 5;

/// The vectors of [`Channels::half`] that any number of channels needs.
pub(super) const SCRATCH: usize = INPUTS * OUTPUTS * MAX_CHANNELS;

/// Some channels of one tile.
pub(super) struct Channels<'a> {
    /// `[columns of positions][inputs]`.
    pub(super) input: &'a [Line],
    /// The same for 16 channels, the first of these of which has place `lane`.
    pub(super) taps: &'a [Line],
    pub(super) inputs: usize,
    pub(super) lane: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    /// Place for `[columns of positions][channels]`.
    pub(super) half: &'a mut [[Lanes; OUTPUTS]],
    pub(super) output: DisjointMut<'a, Lanes>,
    /// Where the first channel's plane begins in the output, and its size.
    pub(super) start: usize,
    pub(super) plane: usize,
    pub(super) window: &'a Window,
}

/// How many channels [`compute`] takes at most.
pub(super) fn most_channels<S: Simd>() -> usize {
    ((S::REGISTERS - 1) / INPUTS).clamp(1, MAX_CHANNELS)
}

/// Computes `count` channels.
#[inline(always)]
pub(super) fn compute<S: Simd>(simd: S, count: usize, channels: Channels) {
    match count {
        1 => simd.vectorize(Compute::<1>(channels)),
        2 => simd.vectorize(Compute::<2>(channels)),
        3 => simd.vectorize(Compute::<3>(channels)),
        4 => simd.vectorize(Compute::<4>(channels)),
        MAX_CHANNELS => simd.vectorize(Compute::<MAX_CHANNELS>(channels)),
        count => unreachable!("{count} channels are more than {MAX_CHANNELS}"),
    }
}

struct Compute<'a, const CHANNELS: usize>(Channels<'a>);

impl<const CHANNELS: usize> WithSimd for Compute<'_, CHANNELS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Channels { input, taps, inputs, lane, bias, activation, half, output, start, plane, window } =
            self.0;
        assert!(lane <= LANES - CHANNELS, "a lane per channel");
        let half: &mut [[_; CHANNELS]; INPUTS] =
            half.as_chunks_mut().0.first_chunk_mut().expect("place for each column");
        for (column, half) in half.iter_mut().enumerate() {
            let (input, taps) = (&input[column * inputs..][..inputs], &taps[column * inputs..][..inputs]);
            let mut sums = [[simd.zero(); INPUTS]; CHANNELS];
            if let (1, Some(bias)) = (column, bias) {
                for (sums, bias) in sums.iter_mut().zip(bias) {
                    // What is added where both axes are at the point 1 is added to each output.
                    sums[1] = simd.splat(*bias);
                }
            }
            for (input, taps) in input.iter().zip(taps) {
                for (position, (input, taps)) in input.iter().zip(taps).enumerate() {
                    let input = simd.load(&input.0);
                    for (n, sums) in sums.iter_mut().enumerate() {
                        sums[position] = simd.mul_add(simd.splat(taps.0[lane + n]), input, sums[position]);
                    }
                }
            }
            for (sums, half) in sums.into_iter().zip(half) {
                for (value, to) in Output::<F4>::apply(simd, sums).into_iter().zip(half) {
                    simd.store(value, &mut to.0);
                }
            }
        }
        activation.specialise(
            #[inline(always)]
            |activation| {
                for channel in 0..CHANNELS {
                    let start = start + channel * plane;
                    match window.whole(OUTPUTS) {
                        Some((origin, width)) => {
                            for row in 0..OUTPUTS {
                                let values = finish(simd, half, channel, row, activation);
                                // SAFETY: each pixel of a channel lies in one tile, and each tile in one task.
                                let to = unsafe { output.slice(start + origin + row * width, OUTPUTS) };
                                store(simd, values, to);
                            }
                        }
                        None => {
                            for row in window.rows() {
                                let values = finish(simd, half, channel, row, activation);
                                let pixels = window.line(row);
                                // SAFETY: as above.
                                let to = unsafe { output.slice(start + pixels.start, pixels.len()) };
                                store(simd, values, to);
                            }
                        }
                    }
                }
            },
        );
    }
}

/// The outputs of a channel in one row.
#[inline(always)]
fn finish<S: Simd, const CHANNELS: usize>(
    simd: S,
    half: &[[[Lanes; OUTPUTS]; CHANNELS]; INPUTS],
    channel: usize,
    row: usize,
    activation: Activation,
) -> [S::Vector; OUTPUTS] {
    let mut line = [simd.zero(); INPUTS];
    for (value, half) in line.iter_mut().zip(half) {
        *value = simd.load(&half[channel][row].0);
    }
    let mut values = Output::<F4>::apply(simd, line);
    for value in &mut values {
        *value = activation.apply(simd, *value);
    }
    values
}

/// Writes as many of the values as there is place for.
#[inline(always)]
fn store<S: Simd>(simd: S, values: [S::Vector; OUTPUTS], to: &mut [Lanes]) {
    for (to, value) in to.iter_mut().zip(values) {
        simd.store(value, &mut to.0);
    }
}
