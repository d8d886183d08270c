//! Borders against plain loops.

use crate::support::{GARBAGE, Noise, at_any_threads, cases, lane_bits, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::lanes::{Pad2d, Padding};

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn padding_puts_maps_into_a_border(
        (batch, channels) in (1usize..36, 1usize..4), input in [1usize..6, 1usize..6],
        border in [0usize..3, 0usize..3, 0usize..3, 0usize..3], seed: u64,
    ) {
        let ([in_height, in_width], [top, bottom, left, right]) = (input, border);
        let padding = Padding { top, bottom, left, right };
        let pad = Pad2d { batch, channels, in_height, in_width, padding, value: -1.5 };
        let (in_pixels, out_pixels) = (in_height * in_width, pad.out_height() * pad.out_width());
        let mut noise = Noise::new(seed);
        let (x, dy) = (noise.reals(batch * in_pixels * channels), noise.reals(batch * out_pixels * channels));
        let (mut expect, mut expect_dx) = (vec![-1.5; dy.len()], vec![0.0; x.len()]);
        for (n, c) in (0..batch).flat_map(|n| (0..channels).map(move |c| (n, c))) {
            for (row, column) in (0..in_height).flat_map(|row| (0..in_width).map(move |column| (row, column))) {
                let from = (n * in_pixels + row * in_width + column) * channels + c;
                let to = (row + top) * (left + in_width + right) + column + left;
                let to = (n * out_pixels + to) * channels + c;
                expect[to] = x[from];
                expect_dx[from] = dy[to];
            }
        }
        let (x, dy) = (packed(&x, batch, in_pixels, channels), packed(&dy, batch, out_pixels, channels));
        prop_assert_eq!([x.len(), dy.len()], [pad.input_len(), pad.output_len()]);
        let run = || {
            let (mut y, mut dx) = (vec![GARBAGE; dy.len()], vec![GARBAGE; x.len()]);
            pad.forward(&x, &mut y);
            pad.backward(&dy, &mut dx);
            [y, dx]
        };
        at_any_threads(|| run().map(|values| lane_bits(&values)));
        let [y, dx] = run();
        prop_assert_eq!(unpacked(&y, batch, out_pixels, channels), expect);
        prop_assert_eq!(unpacked(&dx, batch, in_pixels, channels), expect_dx);
        prop_assert!(padding_lanes(&dx, batch).all(|value| value == 0.0));
    }
}
