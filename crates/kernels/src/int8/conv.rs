//! Integer convolution with output channels in the lanes and pixels in registers.
//!
//! Inputs and weights are taken as i16 with their zero points already subtracted, so that padding is zero, every
//! combination of types and zero points is one kernel, and products of pairs add up in one instruction.

use super::dot::{Dot, Pairs};
use super::multiplier::{LaneFactors, per_lane};
use super::{ConvQuantization, Integer};
use crate::cpu::{Isa, LANES, Simd, WithSimd};
use crate::nhwc::ConvShape;
use crate::nhwc::geometry::{Aligned, Lowered};
use crate::nhwc::positions_per_tile;

/// Multiply–accumulates below which a second thread costs more than it saves.
const MACS_PER_THREAD: usize = 1 << 19;

/// An integer convolution, its weights packed as `[O/16][pairs of the runs][16][2]`.
#[derive(Debug, Clone)]
pub struct Conv {
    isa: Isa,
    lowered: Lowered,
    /// Pairs of each block.
    depth: usize,
    weights: Vec<Aligned<Pairs>>,
    bias: Vec<[i32; LANES]>,
    factors: LaneFactors,
    input_zero: i32,
    output_zero: i32,
    range: [i32; 2],
}

impl Conv {
    /// Packs `weights [O,KH,KW,I]` and `bias [O]` of a convolution.
    #[must_use]
    pub fn new<W: Integer>(
        isa: Isa,
        shape: ConvShape,
        quantization: &ConvQuantization,
        weights: &[W],
        bias: Option<&[i32]>,
    ) -> Self {
        let lowered = Lowered::new(shape);
        // Where each element of the runs stands: runs start at whole pairs.
        let mut places = Vec::with_capacity(lowered.depth());
        let mut depth = 0;
        for run in &lowered.runs {
            places.extend((0..run.len).map(|element| (depth + element / 2, element % 2)));
            depth += run.len.div_ceil(2);
        }
        let mut packed = vec![Aligned([[0; 2]; LANES]); lowered.blocks() * depth];
        lowered.for_each_weight(|block, element, lane, weight| {
            let (pair, half) = places[element];
            // Both are 8-bit numbers, so that the difference fits.
            packed[block * depth + pair].0[lane][half] =
                (weights[weight].widen() - quantization.weights_zero) as i16;
        });
        Self {
            isa,
            depth,
            weights: packed,
            bias: per_lane(lowered.blocks(), |block, lane| {
                lowered.channel(block, lane).and_then(|channel| bias.map(|bias| bias[channel]))
            }),
            factors: LaneFactors::new(&quantization.factors, lowered.blocks(), |block, lane| {
                lowered.channel(block, lane)
            }),
            input_zero: quantization.input_zero,
            output_zero: quantization.output_zero,
            range: quantization.range,
            lowered,
        }
    }

    /// Elements of scratch that [`Conv::run`] needs: the input, widened and padded, and one more, because the last
    /// pair may reach past the end.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        self.lowered.padded_len() + 1
    }

    /// Bytes of the packed weights, the bias and the factors.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..]) + self.factors.bytes()
    }

    /// Convolves `x [N,H,W,I]` into `y [N,OH,OW,O]`.
    ///
    /// With more than one thread, parts of the output run on rayon's current pool.
    ///
    /// # Panics
    /// If a slice has another length than the shape says.
    pub fn run<T: Integer>(&self, x: &[T], scratch: &mut [i16], y: &mut [T], threads: usize) {
        let shape = &self.lowered.shape;
        assert_eq!(x.len(), shape.input_len(), "input length");
        assert_eq!(y.len(), shape.output_len(), "output length");
        let (padded, rest) = scratch.split_at_mut(self.lowered.padded_len());
        rest.fill(0);
        self.lowered.pad(x, padded, 0, |value| (value.widen() - self.input_zero) as i16);
        let x = &*scratch;
        let rows = shape.batch * shape.output[0];
        let parts = threads.min(rows).min(shape.macs() / MACS_PER_THREAD).max(1);
        if parts == 1 {
            return self.rows(x, y, 0);
        }
        let rows_per_part = rows.div_ceil(parts);
        let row_len = shape.output[1] * shape.output[2];
        rayon::scope(|scope| {
            for (part, y) in y.chunks_mut(rows_per_part * row_len).enumerate() {
                scope.spawn(move |_| self.rows(x, y, part * rows_per_part));
            }
        });
    }

    /// From sums to outputs.
    #[inline(always)]
    fn scale(&self, block: usize, lanes: &mut [i32; LANES]) {
        self.factors.apply(block, lanes);
        for lane in lanes {
            *lane = lane.saturating_add(self.output_zero).max(self.range[0]).min(self.range[1]);
        }
    }

    /// Whole output rows from `first` on.
    fn rows<T: Integer>(&self, x: &[i16], y: &mut [T], first: usize) {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(dot) => Rows { dot, conv: self, x, y, first }.run(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(dot) => Rows { dot, conv: self, x, y, first }.run(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(dot) => Rows { dot, conv: self, x, y, first }.run(),
            Isa::Portable(dot) => Rows { dot, conv: self, x, y, first }.run(),
        }
    }
}

/// Some whole output rows of a convolution.
struct Rows<'a, D, T> {
    dot: D,
    conv: &'a Conv,
    x: &'a [i16],
    y: &'a mut [T],
    first: usize,
}

impl<D: Dot, T: Integer> Rows<'_, D, T> {
    fn run(mut self) {
        let blocks = self.conv.lowered.blocks();
        let mut block = 0;
        while block < blocks {
            block += match blocks - block {
                4.. if D::REGISTERS >= 16 => self.blocks::<4>(block),
                2.. => self.blocks::<2>(block),
                _ => self.blocks::<1>(block),
            };
        }
    }

    /// All positions for `B` blocks of output channels, in tiles of near equal size; returns `B`.
    fn blocks<const B: usize>(&mut self, block: usize) -> usize {
        let lowered = &self.conv.lowered;
        let row_len = lowered.shape.output[1] * lowered.shape.output[2];
        let end = self.y.len() / row_len * lowered.positions;
        let most = positions_per_tile::<D>(B);
        let mut position = 0;
        while position < end {
            let left = end - position;
            position += match left.div_ceil(left.div_ceil(most)) {
                8.. if most >= 8 => self.tile::<B, 8>(block, position),
                6.. if most >= 6 => self.tile::<B, 6>(block, position),
                4.. if most >= 4 => self.tile::<B, 4>(block, position),
                3.. if most >= 3 => self.tile::<B, 3>(block, position),
                2.. => self.tile::<B, 2>(block, position),
                _ => self.tile::<B, 1>(block, position),
            };
        }
        B
    }

    /// `P` positions from `start` on for `B` blocks of output channels; returns `P`.
    fn tile<const B: usize, const P: usize>(&mut self, block: usize, start: usize) -> usize {
        let lowered = &self.conv.lowered;
        let mut bases = [0; P];
        for (position, base) in (start..).zip(&mut bases) {
            *base = lowered.base(self.first + position / lowered.positions, position % lowered.positions);
        }
        let mut lanes = [[[0; LANES]; B]; P];
        let (dot, conv, x) = (self.dot, self.conv, self.x);
        dot.vectorize(Tile { dot, conv, x, block, bases, lanes: &mut lanes });
        let [_, out_w, outputs] = lowered.shape.output;
        for (position, lanes) in (start..).zip(lanes) {
            let (row, column) = (position / lowered.positions, position % lowered.positions * lowered.fold);
            let pixels = lowered.fold.min(out_w - column);
            let y = &mut self.y[(row * out_w + column) * outputs..][..pixels * outputs];
            for (y, lanes) in y.chunks_mut(LANES).skip(block).zip(lanes) {
                for (y, lane) in y.iter_mut().zip(lanes) {
                    *y = T::saturate(lane);
                }
            }
        }
        P
    }
}

/// `P` positions for `B` blocks of output channels from `block` on.
struct Tile<'a, D, const B: usize, const P: usize> {
    dot: D,
    conv: &'a Conv,
    x: &'a [i16],
    block: usize,
    bases: [usize; P],
    /// Receives the outputs.
    lanes: &'a mut [[[i32; LANES]; B]; P],
}

impl<D: Dot, const B: usize, const P: usize> WithSimd for Tile<'_, D, B, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { dot, conv, block, .. } = self;
        let mut sums = [[dot.sums(&[0; LANES]); B]; P];
        for sums in &mut sums {
            for (sum, bias) in sums.iter_mut().zip(&conv.bias[block..block + B]) {
                *sum = dot.sums(bias);
            }
        }
        let mut element = 0;
        for run in &conv.lowered.runs {
            let pairs = run.len.div_ceil(2);
            let mut inputs: [&[[i16; 2]]; P] = [&[]; P];
            for (input, base) in inputs.iter_mut().zip(self.bases) {
                *input = &self.x[base + run.offset..].as_chunks().0[..pairs];
            }
            let mut weights: [&[Aligned<Pairs>]; B] = [&[]; B];
            for (index, weights) in weights.iter_mut().enumerate() {
                *weights = &conv.weights[(block + index) * conv.depth + element..][..pairs];
            }
            for k in 0..pairs {
                let mut weight = [dot.pairs(&weights[0][k].0); B];
                for (weight, weights) in weight.iter_mut().zip(weights) {
                    *weight = dot.pairs(&weights[k].0);
                }
                for (sums, input) in sums.iter_mut().zip(inputs) {
                    let x = dot.splat_pair(input[k]);
                    for (sum, weight) in sums.iter_mut().zip(weight) {
                        *sum = dot.dot(*sum, x, weight);
                    }
                }
            }
            element += pairs;
        }
        for (sums, lanes) in sums.into_iter().zip(self.lanes) {
            for (block, (sum, lanes)) in (block..).zip(sums.into_iter().zip(lanes)) {
                dot.store_sums(sum, lanes);
                conv.scale(block, lanes);
            }
        }
    }
}
