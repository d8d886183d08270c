//! Convolution with output channels in the lanes and pixels in registers.

use super::Fused;
use super::geometry::{Aligned, ConvShape, LANES, Lowered};
use crate::cpu::{Isa, Simd, WithSimd};

/// Multiply–accumulates below which a second thread costs more than it saves.
const MACS_PER_THREAD: usize = 1 << 18;

/// A convolution, its weights packed as `[O/16][elements of the runs][16]`.
#[derive(Debug, Clone)]
pub struct Conv {
    isa: Isa,
    lowered: Lowered,
    weights: Vec<Aligned<[f32; LANES]>>,
    bias: Vec<[f32; LANES]>,
    fused: Fused,
}

impl Conv {
    /// Packs `weights [O,KH,KW,I]` and `bias [O]` of a convolution.
    #[must_use]
    pub fn new(isa: Isa, shape: ConvShape, weights: &[f32], bias: Option<&[f32]>, fused: Fused) -> Self {
        let lowered = Lowered::new(shape);
        let depth = lowered.depth();
        let mut packed = vec![Aligned([0.0; LANES]); lowered.blocks() * depth];
        lowered.for_each_weight(|block, element, lane, weight| {
            packed[block * depth + element].0[lane] = weights[weight];
        });
        let bias_of = |block: usize, lane: usize| {
            lowered.channel(block, lane).and_then(|channel| bias.map(|bias| bias[channel])).unwrap_or(0.0)
        };
        let bias =
            (0..lowered.blocks()).map(|block| std::array::from_fn(|lane| bias_of(block, lane))).collect();
        Self { isa, lowered, weights: packed, bias, fused }
    }

    /// Elements of scratch that [`Conv::run`] needs: the padded input, unless it can be read in place.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        if self.lowered.in_place { 0 } else { self.lowered.padded_len() }
    }

    /// Bytes of the packed weights and the bias.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Convolves `x [N,H,W,I]` into `y [N,OH,OW,O]`.
    ///
    /// With more than one thread, parts of the output run on rayon's current pool; each output is computed as with
    /// one thread.
    ///
    /// # Panics
    /// If a slice has another length than the shape says.
    pub fn run(&self, x: &[f32], scratch: &mut [f32], y: &mut [f32], threads: usize) {
        let shape = &self.lowered.shape;
        assert_eq!(x.len(), shape.input_len(), "input length");
        assert_eq!(y.len(), shape.output_len(), "output length");
        let x = if self.lowered.in_place {
            x
        } else {
            self.lowered.pad(x, scratch, 0.0, |value| value);
            scratch
        };
        in_parts(threads, shape, shape.macs(), y, |first, y| {
            self.isa.dispatch(Rows { conv: self, x, y, first })
        });
    }
}

/// Computes whole output rows, counted through all images, by `compute(first row, rows)`: on up to `threads` threads of
/// rayon's current pool, each with work worth a thread.
pub(crate) fn in_parts<T: Send>(
    threads: usize,
    shape: &ConvShape,
    macs: usize,
    y: &mut [T],
    compute: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows = shape.batch * shape.output[0];
    let parts = threads.min(rows).min(macs / MACS_PER_THREAD).max(1);
    if parts == 1 {
        return compute(0, y);
    }
    let rows_per_part = rows.div_ceil(parts);
    let row_len = shape.output[1] * shape.output[2];
    let compute = &compute;
    rayon::scope(|scope| {
        for (part, y) in y.chunks_mut(rows_per_part * row_len).enumerate() {
            scope.spawn(move |_| compute(part * rows_per_part, y));
        }
    });
}

/// The nonlinearity of a vector of sums.
#[inline(always)]
pub(super) fn fuse<S: Simd>(simd: S, fused: Fused, sum: S::Vector) -> S::Vector {
    match fused {
        Fused::Identity => sum,
        Fused::Relu => simd.max(simd.zero(), sum),
        Fused::Relu6 => simd.min(simd.splat(6.0), simd.max(simd.zero(), sum)),
    }
}

/// How many positions a tile takes so that its sums stay in registers, beside the weights of its blocks and one
/// input.
#[inline(always)]
pub(crate) fn positions_per_tile<S: Simd>(blocks: usize) -> usize {
    ((S::REGISTERS - 1 - blocks) / blocks).max(1)
}

/// Some whole output rows of a convolution.
struct Rows<'a> {
    conv: &'a Conv,
    x: &'a [f32],
    y: &'a mut [f32],
    first: usize,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let blocks = self.conv.lowered.blocks();
        let mut block = 0;
        while block < blocks {
            match blocks - block {
                4.. if S::REGISTERS >= 16 => {
                    self.blocks::<S, 4>(simd, block);
                    block += 4;
                }
                2.. => {
                    self.blocks::<S, 2>(simd, block);
                    block += 2;
                }
                _ => {
                    self.blocks::<S, 1>(simd, block);
                    block += 1;
                }
            }
        }
    }
}

impl Rows<'_> {
    /// All positions for `B` blocks of output channels, in tiles of near equal size.
    #[inline(always)]
    fn blocks<S: Simd, const B: usize>(&mut self, simd: S, block: usize) {
        let lowered = &self.conv.lowered;
        let row_len = lowered.shape.output[1] * lowered.shape.output[2];
        let end = self.y.len() / row_len * lowered.positions;
        let most = positions_per_tile::<S>(B);
        let mut position = 0;
        while position < end {
            let left = end - position;
            let size = left.div_ceil(left.div_ceil(most));
            position += match size {
                12.. if most >= 12 => self.tile::<S, B, 12>(simd, block, position),
                8.. if most >= 8 => self.tile::<S, B, 8>(simd, block, position),
                6.. if most >= 6 => self.tile::<S, B, 6>(simd, block, position),
                5.. if most >= 5 => self.tile::<S, B, 5>(simd, block, position),
                4.. if most >= 4 => self.tile::<S, B, 4>(simd, block, position),
                3.. if most >= 3 => self.tile::<S, B, 3>(simd, block, position),
                2.. => self.tile::<S, B, 2>(simd, block, position),
                _ => self.tile::<S, B, 1>(simd, block, position),
            };
        }
    }

    /// `T` positions from `start` on for `B` blocks of output channels; returns `T`.
    #[inline(always)]
    fn tile<S: Simd, const B: usize, const T: usize>(
        &mut self,
        simd: S,
        block: usize,
        start: usize,
    ) -> usize {
        let conv = self.conv;
        let lowered = &conv.lowered;
        let depth = lowered.depth();
        let mut bases = [0; T];
        for (tile, base) in bases.iter_mut().enumerate() {
            let position = start + tile;
            *base = lowered.base(self.first + position / lowered.positions, position % lowered.positions);
        }
        let mut sums = [[simd.zero(); B]; T];
        for sums in &mut sums {
            for (sum, bias) in sums.iter_mut().zip(&conv.bias[block..block + B]) {
                *sum = simd.load(bias);
            }
        }
        let mut element = 0;
        for run in &lowered.runs {
            let mut inputs = [&self.x[..0]; T];
            for (input, base) in inputs.iter_mut().zip(bases) {
                *input = &self.x[base + run.offset..][..run.len];
            }
            let mut weights = [&conv.weights[..0]; B];
            for (index, weights) in weights.iter_mut().enumerate() {
                *weights = &conv.weights[(block + index) * depth + element..][..run.len];
            }
            for k in 0..run.len {
                let mut weight = [simd.zero(); B];
                for (weight, weights) in weight.iter_mut().zip(weights) {
                    *weight = simd.load(&weights[k].0);
                }
                for (sums, input) in sums.iter_mut().zip(inputs) {
                    let x = simd.splat(input[k]);
                    for (sum, weight) in sums.iter_mut().zip(weight) {
                        *sum = simd.mul_add(x, weight, *sum);
                    }
                }
            }
            element += run.len;
        }
        for (tile, sums) in sums.into_iter().enumerate() {
            self.store(simd, block, start + tile, sums);
        }
        T
    }

    /// Writes the outputs of one position, as many as it has.
    #[inline(always)]
    fn store<S: Simd, const B: usize>(
        &mut self,
        simd: S,
        block: usize,
        position: usize,
        sums: [S::Vector; B],
    ) {
        let lowered = &self.conv.lowered;
        let [_, out_w, outputs] = lowered.shape.output;
        let (row, position) = (position / lowered.positions, position % lowered.positions);
        let column = position * lowered.fold;
        let pixels = lowered.fold.min(out_w - column);
        let y = &mut self.y[(row * out_w + column) * outputs..][..pixels * outputs];
        let Some(mut y) = y.get_mut(block * LANES..) else {
            return;
        };
        for sum in sums {
            let sum = fuse(simd, self.conv.fused, sum);
            if y.len() >= LANES {
                let (whole, rest) = y.split_at_mut(LANES);
                if let Ok(whole) = whole.try_into() {
                    simd.store(sum, whole);
                }
                y = rest;
            } else {
                let mut lanes = [0.0; LANES];
                simd.store(sum, &mut lanes);
                y.copy_from_slice(&lanes[..y.len()]);
                y = &mut [];
            }
        }
    }
}
