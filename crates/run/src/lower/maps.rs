//! Operators without weights that join maps or change their size, over floats.

use super::{Context, nonlinearity};
use crate::error::Result;
use crate::kernel::{F32Kernel, Kernel};
use taper_graph::{Binary, Concat, Elementwise, Pad, Resize2d, ResizeCoordinates, ResizeMethod, TensorId};
use taper_kernels::nhwc::{self, ConcatPart, Coordinates};

impl Context<'_> {
    pub(super) fn elementwise(&self, elementwise: &Elementwise) -> Result<Kernel> {
        self.float_only(|| {
            let function = match elementwise.function {
                Binary::Add => nhwc::Binary::Add,
                Binary::Subtract => nhwc::Binary::Subtract,
                Binary::Multiply => nhwc::Binary::Multiply,
                Binary::Divide => nhwc::Binary::Divide,
                Binary::Maximum => nhwc::Binary::Maximum,
                Binary::Minimum => nhwc::Binary::Minimum,
            };
            let [a, b] = [0, 1].map(|input| self.aligned_sizes(self.node.inputs[input]));
            let (fused, curve) = nonlinearity(elementwise.activation);
            let kernel = nhwc::Elementwise::new(function, fused, &a, &b);
            let constant = |position: usize| {
                let is_constant = self.tensor(self.node.inputs[position]).data.is_some();
                is_constant.then(|| self.floats(position).map(<[f32]>::to_vec)).transpose()
            };
            Ok(F32Kernel::Elementwise(kernel, [constant(0)?, constant(1)?]).then(curve))
        })
    }

    /// The sizes of an operand, with the ones in front that a constant may lack.
    fn aligned_sizes(&self, operand: TensorId) -> Vec<usize> {
        let sizes = self.tensor(operand).shape.with_batch(self.batch);
        let lacking = self.tensor(self.y()).shape.rank().saturating_sub(sizes.len());
        std::iter::repeat_n(1, lacking).chain(sizes).collect()
    }

    pub(super) fn concat(&self, concat: &Concat) -> Result<Kernel> {
        self.float_only(|| {
            let row = |sizes: Vec<usize>| sizes[concat.axis..].iter().product::<usize>();
            let stride = row(self.tensor(self.y()).shape.with_batch(self.batch));
            let mut offset = 0;
            let parts = self.node.inputs.iter().map(|&input| {
                let len = row(self.tensor(input).shape.with_batch(self.batch));
                offset += len;
                ConcatPart { len, offset: offset - len, stride }
            });
            Ok(F32Kernel::Concat(parts.collect()))
        })
    }

    pub(super) fn pad(&self, pad: &Pad) -> Result<Kernel> {
        let [_, in_h, in_w, channels] = self.sizes(self.x())?;
        let [_, out_h, out_w, _] = self.sizes(self.y())?;
        self.float_only(|| {
            Ok(F32Kernel::Pad(nhwc::Pad {
                input: [in_h, in_w, channels],
                output: [out_h, out_w],
                before: [pad.padding.top, pad.padding.left],
                value: pad.value,
            }))
        })
    }

    pub(super) fn resize(&self, resize: &Resize2d) -> Result<Kernel> {
        let [_, height, width, channels] = self.sizes(self.x())?;
        self.float_only(|| {
            let coordinates = match resize.coordinates {
                ResizeCoordinates::Asymmetric => Coordinates::Asymmetric,
                ResizeCoordinates::AlignCorners => Coordinates::AlignCorners,
                ResizeCoordinates::HalfPixel => Coordinates::HalfPixel,
            };
            let kernel = nhwc::Resize { input: [height, width, channels], output: resize.size, coordinates };
            Ok(match resize.method {
                ResizeMethod::Nearest => F32Kernel::Nearest(kernel),
                ResizeMethod::Bilinear => F32Kernel::Bilinear(kernel),
            })
        })
    }
}
