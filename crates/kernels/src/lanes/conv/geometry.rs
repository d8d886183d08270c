//! The shape of a convolution, and which kernel taps each output coordinate uses.

/// Zero rows and columns around the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above the first.
    pub top: usize,
    /// Rows below the last.
    pub bottom: usize,
    /// Columns before the first.
    pub left: usize,
    /// Columns after the last.
    pub right: usize,
}

/// The shape of a convolution over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Images in the batch.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Rows of the input.
    pub in_height: usize,
    /// Columns of the input.
    pub in_width: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns from one output pixel's window to the next.
    pub stride: [usize; 2],
    /// Rows and columns from one kernel tap to the next.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Into how many groups the channels fall; output channels see only the input channels of their own group.
    pub groups: usize,
}

impl Conv2dGeometry {
    /// A fully connected layer on `[blocks][features]`: a 1×1 convolution of a map of one pixel, whose weights are OI.
    ///
    /// The features of a map larger than one pixel must first be put into NHWC order with
    /// [`flatten`](crate::lanes::flatten).
    pub fn fully_connected(batch: usize, in_features: usize, out_features: usize) -> Self {
        Self {
            batch,
            in_channels: in_features,
            in_height: 1,
            in_width: 1,
            out_channels: out_features,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::default(),
            groups: 1,
        }
    }

    /// Rows of the output; 0 where the dilated kernel is larger than the padded input.
    pub fn out_height(&self) -> usize {
        self.vertical().output
    }

    /// Columns of the output; 0 where the dilated kernel is larger than the padded input.
    pub fn out_width(&self) -> usize {
        self.horizontal().output
    }

    /// Multiply-accumulates of one forward pass over the batch, taps on the padding included:
    /// `N · C_out · C_in / groups · H_out · W_out · K_h · K_w`.
    pub fn macs(&self) -> u64 {
        [self.batch, self.weights_len(), self.out_height(), self.out_width()]
            .iter()
            .map(|&n| n as u64)
            .product()
    }

    /// How many weights the kernel holds: `[C_out][K_h][K_w][C_in / groups]`.
    pub fn weights_len(&self) -> usize {
        self.out_channels * self.taps() * self.group_in_channels()
    }

    /// Lanes of the input: `[blocks][C_in][H_in][W_in]`.
    pub fn input_len(&self) -> usize {
        super::super::blocks(self.batch) * self.in_channels * self.in_height * self.in_width
    }

    /// Lanes of the output: `[blocks][C_out][H_out][W_out]`.
    pub fn output_len(&self) -> usize {
        super::super::blocks(self.batch) * self.out_channels * self.out_height() * self.out_width()
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(super) fn group_in_channels(&self) -> usize {
        self.in_channels / self.groups
    }

    pub(super) fn group_out_channels(&self) -> usize {
        self.out_channels / self.groups
    }

    pub(super) fn vertical(&self) -> Axis {
        Axis::new(
            self.in_height,
            self.kernel[0],
            self.stride[0],
            self.dilation[0],
            [self.padding.top, self.padding.bottom],
        )
    }

    pub(super) fn horizontal(&self) -> Axis {
        Axis::new(
            self.in_width,
            self.kernel[1],
            self.stride[1],
            self.dilation[1],
            [self.padding.left, self.padding.right],
        )
    }
}

/// A convolution along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) input: usize,
    pub(super) output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

/// A kernel tap and the coordinate that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AxisTap {
    pub(super) kernel: usize,
    pub(super) source: usize,
}

/// Coordinates `first`, `first + step`, …, `count` of them, that use the same kernel taps: the n-th of them reads
/// `source + n · source_step` of each tap.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) count: usize,
    pub(super) source_step: usize,
    pub(super) taps: Vec<AxisTap>,
}

impl Run {
    /// The part of the run within `from..to`: how many coordinates come before it, and how many it has.
    pub(super) fn clip(&self, from: usize, to: usize) -> (usize, usize) {
        let before = |bound: usize| bound.saturating_sub(self.first).div_ceil(self.step).min(self.count);
        (before(from), before(to) - before(from))
    }
}

impl Axis {
    fn new(input: usize, kernel: usize, stride: usize, dilation: usize, padding: [usize; 2]) -> Self {
        let window = dilation * (kernel - 1) + 1;
        let padded = input + padding[0] + padding[1];
        let output = if padded < window { 0 } else { (padded - window) / stride + 1 };
        Self { input, output, kernel, stride, dilation, before: padding[0] }
    }

    /// The taps of output coordinate `output` that lie on the input, and where.
    fn forward_taps(&self, output: usize) -> Vec<AxisTap> {
        (0..self.kernel)
            .filter_map(|kernel| {
                let source = (output * self.stride + kernel * self.dilation).checked_sub(self.before)?;
                (source < self.input).then_some(AxisTap { kernel, source })
            })
            .collect()
    }

    /// The taps through which input coordinate `input` acts on the output, and on which coordinate.
    fn backward_taps(&self, input: usize) -> Vec<AxisTap> {
        (0..self.kernel)
            .filter_map(|kernel| {
                let distance = (input + self.before).checked_sub(kernel * self.dilation)?;
                let source = distance / self.stride;
                (distance % self.stride == 0 && source < self.output).then_some(AxisTap { kernel, source })
            })
            .collect()
    }

    /// Every output coordinate once, in runs that read the same taps of the input.
    pub(super) fn forward_runs(&self) -> Vec<Run> {
        runs(self.output, 1, self.stride, |output| self.forward_taps(output))
    }

    /// Every input coordinate once, in runs that read the same taps of the output's gradient.
    pub(super) fn backward_runs(&self) -> Vec<Run> {
        runs(self.input, self.stride, 1, |input| self.backward_taps(input))
    }

    /// The output coordinates for which tap `kernel` lies on the input.
    pub(super) fn outputs_of_tap(&self, kernel: usize) -> std::ops::Range<usize> {
        let first = self.before.saturating_sub(kernel * self.dilation).div_ceil(self.stride);
        let end = (self.input + self.before).saturating_sub(kernel * self.dilation).div_ceil(self.stride);
        first.min(self.output)..end.min(self.output).max(first.min(self.output))
    }

    /// The input coordinate that tap `kernel` of output coordinate `output` reads; it must lie on the input.
    pub(super) fn source(&self, output: usize, kernel: usize) -> usize {
        output * self.stride + kernel * self.dilation - self.before
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}

fn runs(length: usize, step: usize, source_step: usize, taps: impl Fn(usize) -> Vec<AxisTap>) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for residue in 0..step.min(length) {
        let mut current: Option<Run> = None;
        for coordinate in (residue..length).step_by(step) {
            let taps = taps(coordinate);
            match &mut current {
                Some(run) if run.taps.iter().map(|tap| tap.kernel).eq(taps.iter().map(|tap| tap.kernel)) => {
                    run.count += 1;
                }
                _ => {
                    all.extend(current.replace(Run { first: coordinate, step, count: 1, source_step, taps }))
                }
            }
        }
        all.extend(current);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_list_every_coordinate_once_with_its_taps(
            input in 1usize..12, kernel in 1usize..5, stride in 1usize..4, dilation in 1usize..4,
            before in 0usize..4, after in 0usize..4,
        ) {
            let axis = Axis::new(input, kernel, stride, dilation, [before, after]);
            type Taps<'a> = Box<dyn Fn(usize) -> Vec<AxisTap> + 'a>;
            let cases: [(Vec<Run>, usize, Taps); 2] = [
                (axis.forward_runs(), axis.output, Box::new(|at| axis.forward_taps(at))),
                (axis.backward_runs(), axis.input, Box::new(|at| axis.backward_taps(at))),
            ];
            for (runs, length, taps) in cases {
                let mut seen = vec![0; length];
                for run in runs {
                    for n in 0..run.count {
                        let at = run.first + n * run.step;
                        seen[at] += 1;
                        let moved: Vec<AxisTap> = run.taps.iter()
                            .map(|tap| AxisTap { source: tap.source + n * run.source_step, ..*tap })
                            .collect();
                        prop_assert_eq!(moved, taps(at));
                    }
                }
                prop_assert!(seen.iter().all(|&times| times == 1));
            }
            for tap in 0..kernel {
                let expect: Vec<usize> = (0..axis.output)
                    .filter(|&at| axis.forward_taps(at).iter().any(|found| found.kernel == tap))
                    .collect();
                prop_assert_eq!(axis.outputs_of_tap(tap).collect::<Vec<_>>(), expect);
            }
        }
    }
}
