//! Resizing against the formulas of TFLite's reference kernels, pixel by pixel.

use crate::support::{GARBAGE, Noise, assert_close, cases, central_differences, everywhere};
use crate::support::{lane_bits, packed, padding_lanes, unpacked};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Resize2d, ResizeCoordinates, ResizeGeometry, ResizeMethod};

const COORDINATES: [ResizeCoordinates; 3] =
    [ResizeCoordinates::Asymmetric, ResizeCoordinates::AlignCorners, ResizeCoordinates::HalfPixel];

fn scale(coordinates: ResizeCoordinates, input: usize, output: usize) -> f32 {
    if coordinates == ResizeCoordinates::AlignCorners && output > 1 {
        (input as f32 - 1.0) / (output as f32 - 1.0)
    } else {
        input as f32 / output as f32
    }
}

fn nearest(coordinates: ResizeCoordinates, i: usize, input: usize, output: usize) -> usize {
    let offset = if coordinates == ResizeCoordinates::HalfPixel { 0.5 } else { 0.0 };
    let scaled = (i as f32 + offset) * scale(coordinates, input, output);
    let rounded =
        if coordinates == ResizeCoordinates::AlignCorners { scaled.round() } else { scaled.floor() };
    (rounded as usize).min(input - 1)
}

/// Lower and upper neighbour, and how far the coordinate lies above the lower.
fn neighbours(coordinates: ResizeCoordinates, i: usize, input: usize, output: usize) -> ([usize; 2], f32) {
    let scale = scale(coordinates, input, output);
    let scaled = match coordinates {
        ResizeCoordinates::HalfPixel => (i as f32 + 0.5) * scale - 0.5,
        ResizeCoordinates::Asymmetric | ResizeCoordinates::AlignCorners => i as f32 * scale,
    };
    let lower = scaled.floor().max(0.0) as usize;
    ([lower, (scaled.ceil() as usize).min(input - 1)], scaled - lower as f32)
}

fn reference(g: &ResizeGeometry, x: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    for (n, oy) in (0..g.batch).flat_map(|n| (0..g.out_height).map(move |oy| (n, oy))) {
        for (ox, c) in (0..g.out_width).flat_map(|ox| (0..g.channels).map(move |c| (ox, c))) {
            let pixel = |y: usize, x_: usize| x[((n * g.in_height + y) * g.in_width + x_) * g.channels + c];
            out.push(match g.method {
                ResizeMethod::Nearest => pixel(
                    nearest(g.coordinates, oy, g.in_height, g.out_height),
                    nearest(g.coordinates, ox, g.in_width, g.out_width),
                ),
                ResizeMethod::Bilinear => {
                    let ([y0, y1], dy) = neighbours(g.coordinates, oy, g.in_height, g.out_height);
                    let ([x0, x1], dx) = neighbours(g.coordinates, ox, g.in_width, g.out_width);
                    pixel(y0, x0) * (1.0 - dy) * (1.0 - dx)
                        + pixel(y1, x0) * dy * (1.0 - dx)
                        + pixel(y0, x1) * (1.0 - dy) * dx
                        + pixel(y1, x1) * dy * dx
                }
            });
        }
    }
    out
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn resizing_equals_tflite(
        (batch, channels) in (1usize..20, 1usize..3), input in [1usize..6, 1usize..6], output in [1usize..9, 1usize..9],
        bilinear: bool, coordinates in 0usize..3, seed: u64,
    ) {
        let geometry = ResizeGeometry {
            batch,
            channels,
            in_height: input[0],
            in_width: input[1],
            out_height: output[0],
            out_width: output[1],
            method: if bilinear { ResizeMethod::Bilinear } else { ResizeMethod::Nearest },
            coordinates: COORDINATES[coordinates],
        };
        let (in_pixels, out_pixels) = (input[0] * input[1], output[0] * output[1]);
        let mut noise = Noise::new(seed);
        let (x, dy) = (noise.reals(batch * in_pixels * channels), noise.reals(batch * out_pixels * channels));
        let (lanes, output_gradient) = (packed(&x, batch, in_pixels, channels), packed(&dy, batch, out_pixels, channels));
        let run = |isa| {
            let resize = Resize2d::new(geometry, isa);
            let (mut y, mut dx) = (vec![GARBAGE; geometry.output_len()], vec![GARBAGE; geometry.input_len()]);
            resize.forward(&lanes, &mut y);
            resize.backward(&output_gradient, &mut dx);
            [y, dx]
        };
        everywhere(|isa| run(isa).map(|values| lane_bits(&values)));
        let [y, dx] = run(Isa::best());
        prop_assert!(padding_lanes(&dx, batch).all(|value| value == 0.0));
        prop_assert_eq!(unpacked(&y, batch, out_pixels, channels), reference(&geometry, &x));
        let loss = |x: &[f32]| {
            reference(&geometry, x).iter().zip(&dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum::<f64>()
        };
        // Resizing is linear, so a long step costs no accuracy.
        let expect = central_differences(&x, 0.5, loss);
        assert_close(&unpacked(&dx, batch, in_pixels, channels), &expect, 1e-5, "dx");
    }
}

#[test]
fn resizing_finds_the_pixels_that_its_coordinates_mean() {
    let check = |method, coordinates, input: &[f32], expect: &[f32]| {
        let geometry = ResizeGeometry {
            batch: 1,
            channels: 1,
            in_height: 1,
            in_width: input.len(),
            out_height: 1,
            out_width: expect.len(),
            method,
            coordinates,
        };
        let mut y = vec![GARBAGE; expect.len()];
        Resize2d::new(geometry, Isa::best()).forward(&packed(input, 1, input.len(), 1), &mut y);
        assert_eq!(unpacked(&y, 1, expect.len(), 1), expect, "{geometry:?}");
    };
    let [asymmetric, corners, half] = COORDINATES;
    check(ResizeMethod::Nearest, asymmetric, &[1.0, 2.0], &[1.0, 1.0, 2.0, 2.0]);
    check(ResizeMethod::Nearest, asymmetric, &[1.0, 2.0, 3.0], &[1.0, 2.0]);
    check(ResizeMethod::Nearest, corners, &[1.0, 2.0, 3.0], &[1.0, 2.0, 2.0, 3.0, 3.0]);
    check(ResizeMethod::Nearest, half, &[1.0, 2.0, 3.0], &[1.0, 3.0]);
    check(ResizeMethod::Bilinear, asymmetric, &[0.0, 4.0], &[0.0, 2.0, 4.0, 4.0]);
    check(ResizeMethod::Bilinear, corners, &[0.0, 4.0], &[0.0, 1.0, 2.0, 3.0, 4.0]);
    check(ResizeMethod::Bilinear, half, &[0.0, 4.0], &[0.0, 1.0, 3.0, 4.0]);
    check(ResizeMethod::Bilinear, half, &[0.0, 4.0, 8.0, 12.0], &[2.0, 10.0]);
}
