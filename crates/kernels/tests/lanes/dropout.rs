//! Dropout: its mask depends on place alone, and has the right rate.

use crate::support::{GARBAGE, Noise, cases, everywhere, lane_bits, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::{Isa, LANES};
use taper_kernels::lanes::{Dropout, Lanes};

fn dropped(dropout: Dropout, step: u64, first_image: u32, x: &[Lanes]) -> Vec<Lanes> {
    let mut y = vec![GARBAGE; x.len()];
    dropout.forward(step, first_image, x, &mut y);
    y
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn dropout_scales_survivors_and_drops_the_same_in_both_directions(
        batch in 1usize..36, values in 1usize..11, rate in 0.0f32..0.95, seed: u64, step: u64,
    ) {
        let x: Vec<f32> = Noise::new(seed).reals(batch * values).iter().map(|x| x + 2.0).collect();
        let lanes = packed(&x, batch, 1, values);
        let run = |isa| {
            let dropout = Dropout { values, rate, seed, isa };
            let mut gradient = lanes.clone();
            dropout.backward(step, 0, &mut gradient);
            [dropped(dropout, step, 0, &lanes), gradient]
        };
        everywhere(|isa| run(isa).map(|values| lane_bits(&values)));
        let [y, gradient] = run(Isa::best());
        prop_assert_eq!(lane_bits(&y), lane_bits(&gradient));
        prop_assert!(padding_lanes(&gradient, batch).all(|value| value == 0.0));
        for (x, y) in x.iter().zip(unpacked(&y, batch, 1, values)) {
            prop_assert!(y == 0.0 || (y - x / (1.0 - rate)).abs() <= 1e-6 * y, "{} became {}", x, y);
        }
    }

    #[test]
    fn an_image_is_dropped_alike_wherever_its_batch_is_split(
        values in 1usize..11, split in 1usize..40, seed: u64,
    ) {
        let dropout = Dropout { values, rate: 0.5, seed, isa: Isa::best() };
        let of = |first: usize, images: usize| {
            let y = dropped(dropout, 7, first as u32, &packed(&vec![1.0; images * values], images, 1, values));
            unpacked(&y, images, 1, values)
        };
        prop_assert_eq!([of(0, split), of(split, 40 - split + 1)].concat(), of(0, 41));
    }
}

#[test]
fn masks_have_their_rate_and_differ_by_seed_step_and_image() {
    let (values, rate) = (5_000, 0.3);
    let ones = vec![Lanes([1.0; LANES]); values];
    let mask = |seed, step, first_image| {
        let y = dropped(Dropout { values, rate, seed, isa: Isa::best() }, step, first_image, &ones);
        y.iter().flat_map(|y| y.0).map(|y| y == 0.0).collect::<Vec<bool>>()
    };
    let masks = [
        mask(1, 1, 0),
        mask(2, 1, 0),
        mask(1, 2, 0),
        mask(1, 1, 16),
        mask(1, 1 << 32, 0),
        mask(1 << 32, 1, 0),
    ];
    let share = |count: usize| count as f64 / (values * LANES) as f64;
    let deviation = (0.3f64 * 0.7 / (values * LANES) as f64).sqrt();
    for (n, mask) in masks.iter().enumerate() {
        let found = share(mask.iter().filter(|&&dropped| dropped).count());
        assert!((found - 0.3).abs() < 5.0 * deviation, "mask {n} drops {found}");
        for other in &masks[..n] {
            let both = share(mask.iter().zip(other).filter(|(a, b)| **a && **b).count());
            assert!((both - 0.09).abs() < 5.0 * deviation, "mask {n} and another drop {both} in common");
        }
    }
    assert!(dropped(Dropout { values, rate: 0.0, seed: 1, isa: Isa::best() }, 1, 0, &ones) == ones);
}
