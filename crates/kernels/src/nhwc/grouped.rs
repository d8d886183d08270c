//! Grouped convolution: each group's channels are gathered, convolved as a full convolution, and put in their place.

use super::geometry::ConvShape;
use super::{Conv, Fused};
use crate::cpu::Isa;

/// A convolution whose channels fall into groups.
#[derive(Debug, Clone)]
pub struct GroupedConv {
    /// The whole convolution.
    shape: ConvShape,
    /// The convolution of each group by itself.
    groups: Vec<Conv>,
}

impl GroupedConv {
    /// Packs `weights [O,KH,KW,I/groups]` and `bias [O]`. `shape` tells all channels, which `groups` divides.
    #[must_use]
    pub fn new(
        isa: Isa,
        shape: ConvShape,
        groups: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        fused: Fused,
    ) -> Self {
        let part = shape.of_group(groups);
        let conv = |group: usize| {
            let weights = &weights[group * part.weights_len()..][..part.weights_len()];
            let bias = bias.map(|bias| &bias[group * part.output[2]..][..part.output[2]]);
            Conv::new(isa, part, weights, bias, fused)
        };
        Self { shape, groups: (0..groups).map(conv).collect() }
    }

    /// Elements of scratch that [`GroupedConv::run`] needs: a group's input, output and scratch.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        let part = self.shape.of_group(self.groups.len());
        part.input_len() + part.output_len() + self.groups.first().map_or(0, Conv::scratch_len)
    }

    /// Bytes of the packed weights and biases.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.groups.iter().map(Conv::weight_bytes).sum()
    }

    /// Convolves `x [N,H,W,I]` into `y [N,OH,OW,O]`; threads as in [`Conv::run`].
    ///
    /// # Panics
    /// If a slice has another length than the shape says.
    pub fn run(&self, x: &[f32], scratch: &mut [f32], y: &mut [f32], threads: usize) {
        let part = self.shape.of_group(self.groups.len());
        let (own_x, rest) = scratch.split_at_mut(part.input_len());
        let (own_y, rest) = rest.split_at_mut(part.output_len());
        for (group, conv) in self.groups.iter().enumerate() {
            let channels = part.input[2];
            let pixels = x.chunks_exact(self.shape.input[2]);
            for (own, pixel) in own_x.chunks_exact_mut(channels).zip(pixels) {
                own.copy_from_slice(&pixel[group * channels..][..channels]);
            }
            conv.run(own_x, rest, own_y, threads);
            let channels = part.output[2];
            let pixels = y.chunks_exact_mut(self.shape.output[2]);
            for (own, pixel) in own_y.chunks_exact(channels).zip(pixels) {
                pixel[group * channels..][..channels].copy_from_slice(own);
            }
        }
    }
}
