//! Arrays as both sides take them.

use burn_tensor::{DType, Device, Tensor, TensorData, activation};
use proptest::prelude::*;
use taper_kernels::lanes::{Activation, LANES, Lanes, blocks};
use taper_testing::Random;

/// An array in burn's order: an activation `[N, C, H, W]`, weights `[O, H, W, I]`, values per channel `[1, C, 1, 1]`, or
/// a number.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: [usize; 4],
    pub(crate) values: Vec<f32>,
}

impl Array {
    pub(crate) fn new(shape: [usize; 4], values: Vec<f32>) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "values of {shape:?}");
        Self { shape, values }
    }

    /// One number.
    pub(crate) fn number(value: f32) -> Self {
        Self::new([1; 4], vec![value])
    }

    /// Numbers in -1..1.
    pub(crate) fn noise(shape: [usize; 4], random: &mut Random) -> Self {
        Self::drawn(shape, || 2.0 * random.unit() - 1.0)
    }

    /// Numbers in -1..1 for each channel.
    pub(crate) fn of_channels(channels: usize, random: &mut Random) -> Self {
        Self::noise([1, channels, 1, 1], random)
    }

    /// Numbers in -1..1, no two of which are equal, in random order.
    pub(crate) fn distinct(shape: [usize; 4], random: &mut Random) -> Self {
        let length = shape.iter().product::<usize>();
        let mut values: Vec<f32> = (0..length).map(|at| (2 * at + 1) as f32 / length as f32 - 1.0).collect();
        for end in (1..length).rev() {
            values.swap(end, random.between(0, end));
        }
        Self::new(shape, values)
    }

    /// A number from `draw` at each place.
    pub(crate) fn drawn(shape: [usize; 4], mut draw: impl FnMut() -> f32) -> Self {
        Self::new(shape, (0..shape.iter().product()).map(|_| draw()).collect())
    }

    /// Every number changed by `f`.
    pub(crate) fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self::new(self.shape, self.values.iter().map(|&value| f(value)).collect())
    }

    /// Lane layout of an activation, with zeros in the lanes past the last image.
    pub(crate) fn lanes(&self) -> Vec<Lanes> {
        let [batch, channels, height, width] = self.shape;
        let image = channels * height * width;
        let value = |block: usize, at: usize, lane: usize| {
            let n = block * LANES + lane;
            if n < batch { self.values[n * image + at] } else { 0.0 }
        };
        let places = (0..blocks(batch)).flat_map(|block| (0..image).map(move |at| (block, at)));
        places.map(|(block, at)| Lanes(std::array::from_fn(|lane| value(block, at, lane)))).collect()
    }

    /// The array in burn, in f64.
    pub(crate) fn tensor(&self) -> Tensor<4> {
        tensor(self.shape, self.values.iter().map(|&value| f64::from(value)).collect())
    }
}

/// The values of an activation in burn's order.
pub(crate) fn unpacked(shape: [usize; 4], lanes: &[Lanes]) -> Vec<f32> {
    let [batch, channels, height, width] = shape;
    let image = channels * height * width;
    let places = (0..batch).flat_map(|n| (0..image).map(move |at| (n, at)));
    places.map(|(n, at)| lanes[n / LANES * image + at].0[n % LANES]).collect()
}

/// Lanes that a kernel has to overwrite.
pub(crate) fn garbage(length: usize) -> Vec<Lanes> {
    vec![Lanes([f32::NAN; LANES]); length]
}

/// A tensor of numbers in f64.
pub(crate) fn tensor(shape: [usize; 4], values: Vec<f64>) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), (&device(), DType::F64))
}

/// burn's CPU with automatic differentiation.
pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// The numbers of a tensor.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("a tensor of floats")
}

/// burn's version of a fused activation.
pub(crate) fn activated(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::None => x,
        Activation::Relu => activation::relu(x),
        Activation::Relu6 => activation::relu6(x),
    }
}

/// Where an activation has no derivative.
pub(crate) fn kinks(activation: Activation) -> &'static [f64] {
    match activation {
        Activation::None => &[],
        Activation::Relu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
    }
}

/// Asks for no gradient where `x` stands near a kink, on whose other side rounding may put it.
pub(crate) fn leave_out_kinks(dy: &mut Array, x: Tensor<4>, kinks: &[f64]) {
    for (dy, x) in dy.values.iter_mut().zip(numbers(x)) {
        if kinks.iter().any(|kink| (x - kink).abs() < 1e-3) {
            *dy = 0.0;
        }
    }
}

/// Images of a batch: fewer than fill a block, just enough, and more.
pub(crate) fn any_batch() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..16, 1 => Just(16), 3 => 17usize..36]
}

pub(crate) fn any_activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)]
}

/// How often a property is tried.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
