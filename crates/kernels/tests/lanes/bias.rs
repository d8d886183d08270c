//! The gradient of a bias against its definition.

use crate::support::{GARBAGE, Noise, assert_close, bits, cases, everywhere, packed, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Activation, activation_backward, bias_backward};

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_bias_takes_the_sums_of_what_passes_its_activation(
        (batch, channels, plane) in (1usize..36, 1usize..5, 1usize..12),
        activation in prop_oneof![Just(None), Just(Some(Activation::Relu)), Just(Some(Activation::Relu6))],
        seed: u64,
    ) {
        let mut noise = Noise::new(seed);
        let y: Vec<f32> = noise.reals(batch * channels * plane).iter().map(|y| 8.0 * y).collect();
        let [y, before] = [y.clone(), noise.reals(y.len())].map(|values| packed(&values, batch, plane, channels));
        let run = |isa| {
            let (mut dy, mut dbias) = (before.clone(), vec![f32::NAN; channels]);
            bias_backward(isa, plane, activation.map(|activation| (activation, &y[..])), &mut dy, &mut dbias);
            [unpacked(&dy, batch, plane, channels), dbias]
        };
        everywhere(|isa| run(isa).map(|values| bits(&values)));

        let mut expect = before.clone();
        if let Some(activation) = activation {
            activation_backward(Isa::best(), activation, &y, &mut expect);
        }
        let expect = unpacked(&expect, batch, plane, channels);
        let [dy, dbias] = run(Isa::best());
        prop_assert_eq!(bits(&dy), bits(&expect));
        let sum = |channel| expect.iter().skip(channel).step_by(channels).map(|dy| f64::from(*dy)).sum();
        assert_close(&dbias, &(0..channels).map(sum).collect::<Vec<f64>>(), 1e-5, "dbias");
    }
}

#[test]
fn the_gradient_of_a_bias_without_pixels_is_zero() {
    let mut dbias = [GARBAGE.0[0]; 2];
    bias_backward(Isa::best(), 0, None, &mut [], &mut dbias);
    assert_eq!(dbias, [0.0; 2]);
}
