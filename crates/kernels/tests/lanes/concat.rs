//! Concatenation against plain loops.

use crate::support::{GARBAGE, Noise, at_any_threads, cases, lane_bits, packed, unpacked};
use proptest::prelude::*;
use taper_kernels::lanes::{Axis, Concat};

fn check(batch: usize, shape: [usize; 3], axis: Axis, sizes: &[usize], seed: u64) {
    let place = match axis {
        Axis::Channels => 0,
        Axis::Height => 1,
        Axis::Width => 2,
    };
    let shape_of = |size: usize| {
        let mut shape = shape;
        shape[place] = size;
        shape
    };
    let whole = shape_of(sizes.iter().sum());
    let whole_values = Noise::new(seed).reals(batch * whole.iter().product::<usize>());
    let mut offset = 0;
    let parts: Vec<_> = sizes
        .iter()
        .map(|&size| {
            let [channels, height, width] = shape_of(size);
            let mut values = Vec::new();
            for (n, y) in (0..batch).flat_map(|n| (0..height).map(move |y| (n, y))) {
                for (x, c) in (0..width).flat_map(|x| (0..channels).map(move |c| (x, c))) {
                    let mut at = [c, y, x];
                    at[place] += offset;
                    values.push(whole_values[((n * whole[1] + at[1]) * whole[2] + at[2]) * whole[0] + at[0]]);
                }
            }
            let part = (offset, size, packed(&values, batch, height * width, channels), values);
            offset += size;
            part
        })
        .collect();

    let concat = Concat::new(batch, whole, axis);
    let whole_lanes = packed(&whole_values, batch, whole[1] * whole[2], whole[0]);
    let joined = at_any_threads(|| {
        let mut joined = vec![GARBAGE; whole_lanes.len()];
        for (offset, _, part, _) in &parts {
            concat.forward(*offset, part, &mut joined);
        }
        lane_bits(&joined)
    });
    assert_eq!(joined, lane_bits(&whole_lanes), "{axis:?} of {shape:?}, {sizes:?}");
    for (offset, size, part, values) in &parts {
        let gradient = at_any_threads(|| {
            let mut gradient = vec![GARBAGE; part.len()];
            concat.backward(*offset, &whole_lanes, &mut gradient);
            lane_bits(&gradient)
        });
        assert_eq!(gradient, lane_bits(part), "{axis:?} of {shape:?}, {sizes:?}");
        let [channels, height, width] = shape_of(*size);
        assert_eq!(&unpacked(part, batch, height * width, channels), values);
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn concatenation_puts_inputs_side_by_side(
        batch in 1usize..36, shape in [1usize..5, 1usize..6, 1usize..6], sizes in prop::collection::vec(1usize..5, 1..4),
        axis in 0usize..3, seed: u64,
    ) {
        check(batch, shape, [Axis::Channels, Axis::Height, Axis::Width][axis], &sizes, seed);
    }
}

#[test]
fn concatenation_of_networks_puts_inputs_side_by_side() {
    check(17, [1, 28, 27], Axis::Channels, &[3, 5], 1);
    check(33, [9, 7, 7], Axis::Width, &[2, 1], 2);
    check(18, [1, 1, 1], Axis::Channels, &[10, 7], 3);
}
