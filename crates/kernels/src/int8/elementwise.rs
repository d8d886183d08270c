//! Functions of two integer operands, with sizes of 1 broadcast: TFLite's ADD, SUB, MUL, MAXIMUM and MINIMUM.

use super::{Affine, Integer, Multiplier};
use crate::nhwc::{Broadcast, Fused};

/// Bits by which sums are scaled up, so that little is lost in rounding.
const HEADROOM: u32 = 20;

/// Functions of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerBinary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Subtract,
    /// `a · b`.
    Multiply,
    /// `max(a, b)` of operands with the output's quantization.
    Maximum,
    /// `min(a, b)` of operands with the output's quantization.
    Minimum,
}

/// A function of two operands, and the range of its outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Elementwise {
    broadcast: Broadcast,
    rule: Rule,
    range: [i32; 2],
}

/// How two integers become one.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Both operands, less their zero points, are brought to twice the larger scale, and their sum to the output's.
    Sum {
        zeros: [i32; 2],
        factors: [Multiplier; 2],
        output: Multiplier,
        output_zero: i32,
        sign: i32,
    },
    Product {
        zeros: [i32; 2],
        factor: Multiplier,
        output_zero: i32,
    },
    Maximum,
    Minimum,
}

impl Elementwise {
    /// For operands `[a, b]` of the sizes `sizes`, which have one rank and are equal or 1 at each axis, and outputs of type
    /// `T`.
    #[must_use]
    pub fn new<T: Integer>(
        function: IntegerBinary,
        fused: Fused,
        sizes: [&[usize]; 2],
        [a, b]: [Affine; 2],
        y: Affine,
    ) -> Self {
        let zeros = [a.zero_point, b.zero_point];
        let sum = |sign| {
            let common = f64::from(2.0 * a.scale.max(b.scale));
            Rule::Sum {
                zeros,
                factors: [a, b].map(|operand| Multiplier::from_real(f64::from(operand.scale) / common)),
                output: Multiplier::from_real(common / f64::from((1 << HEADROOM) as f32 * y.scale)),
                output_zero: y.zero_point,
                sign,
            }
        };
        let rule = match function {
            IntegerBinary::Add => sum(1),
            IntegerBinary::Subtract => sum(-1),
            IntegerBinary::Multiply => {
                let factor = Multiplier::from_real(f64::from(a.scale * b.scale / y.scale));
                Rule::Product { zeros, factor, output_zero: y.zero_point }
            }
            IntegerBinary::Maximum => Rule::Maximum,
            IntegerBinary::Minimum => Rule::Minimum,
        };
        Self { broadcast: Broadcast::new(sizes[0], sizes[1]), rule, range: y.range::<T>(fused) }
    }

    /// Computes `y` from `a` and `b`.
    pub fn run<A: Into<i32> + Copy, B: Into<i32> + Copy, T: Integer>(&self, a: &[A], b: &[B], y: &mut [T]) {
        let limit = |value: i32| T::saturate(value.max(self.range[0]).min(self.range[1]));
        let broadcast = &self.broadcast;
        match self.rule {
            Rule::Sum { zeros, factors, output, output_zero, sign } => {
                let scaled = |side: usize, value: i32| factors[side].apply((value - zeros[side]) << HEADROOM);
                broadcast.run(a, b, y, |a, b| {
                    let sum = scaled(0, a.into()) + sign * scaled(1, b.into());
                    limit(output.apply(sum).saturating_add(output_zero))
                });
            }
            Rule::Product { zeros, factor, output_zero } => broadcast.run(a, b, y, |a, b| {
                let product = (a.into() - zeros[0]) * (b.into() - zeros[1]);
                limit(factor.apply(product).saturating_add(output_zero))
            }),
            Rule::Maximum => broadcast.run(a, b, y, |a, b| limit(a.into().max(b.into()))),
            Rule::Minimum => broadcast.run(a, b, y, |a, b| limit(a.into().min(b.into()))),
        }
    }
}
