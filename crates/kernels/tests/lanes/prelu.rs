//! Parametric ReLU against its definition.

use crate::support::{GARBAGE, Noise, assert_close, bits, cases, central_differences, everywhere};
use crate::support::{packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Prelu, Workspace};

/// `y`, `dx` and `dslopes` in plain layout.
fn run(prelu: Prelu, x: &[f32], slopes: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let Prelu { batch, channels, pixels, .. } = prelu;
    let (x, mut gradient) = (packed(x, batch, pixels, channels), packed(dy, batch, pixels, channels));
    let (mut y, mut dslopes) = (vec![GARBAGE; x.len()], vec![f32::NAN; channels]);
    prelu.forward(&x, slopes, &mut y);
    prelu.backward(&x, slopes, &mut gradient, Some(&mut dslopes), &mut Workspace::new());
    assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0));
    let [y, dx] = [y, gradient].map(|values| unpacked(&values, batch, pixels, channels));
    [y, dx, dslopes]
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn prelu_equals_its_definition(batch in 1usize..36, channels in 1usize..5, pixels in 1usize..7, seed: u64) {
        let mut noise = Noise::new(seed);
        let x: Vec<f32> = noise.reals(batch * pixels * channels).iter().map(|x| x + 0.01f32.copysign(*x)).collect();
        let (slopes, dy) = (noise.reals(channels), noise.reals(x.len()));
        let prelu = |isa| Prelu { batch, channels, pixels, isa };
        everywhere(|isa| run(prelu(isa), &x, &slopes, &dy).map(|values| bits(&values)));
        let [y, dx, dslopes] = run(prelu(Isa::best()), &x, &slopes, &dy);
        let definition = |x: &[f32], slopes: &[f32]| -> Vec<f64> {
            let slope = |at: usize| f64::from(slopes[at % channels]);
            let values = x.iter().map(|&x| f64::from(x)).enumerate();
            values.map(|(at, x)| if x > 0.0 { x } else { slope(at) * x }).collect()
        };
        assert_close(&y, &definition(&x, &slopes), 1e-6, "y");
        let loss = |x: &[f32], slopes: &[f32]| {
            definition(x, slopes).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
        };
        assert_close(&dx, &central_differences(&x, 1e-3, |x| loss(x, &slopes)), 1e-4, "dx");
        let expect = central_differences(&slopes, 0.5, |slopes| loss(&x, slopes));
        assert_close(&dslopes, &expect, 1e-5, "dslopes");
    }
}

#[test]
fn the_gradient_of_prelu_at_zero_is_the_slope() {
    let prelu = Prelu { batch: 1, channels: 1, pixels: 2, isa: Isa::best() };
    let [y, dx, dslopes] = run(prelu, &[0.0, -0.0], &[0.25], &[1.0, 1.0]);
    assert_eq!([y, dx], [vec![0.0; 2], vec![0.25; 2]]);
    assert_eq!(dslopes, [0.0]);
}
