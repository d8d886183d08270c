//! Resizing: as products with matrices in burn, whose gradients need no rule for resizing, and by burn's own resizing where
//! it knows the coordinates.

use crate::oracle::{Oracle, Results};
use crate::support::{Array, any_batch, cases, garbage, tensor, unpacked};
use burn_tensor::ops::{InterpolateMode, InterpolateOptions};
use burn_tensor::{Tensor, module};
use proptest::prelude::*;
use taper_kernels::cpu::Isa;
use taper_kernels::lanes::{Resize2d, ResizeCoordinates, ResizeGeometry, ResizeMethod};
use taper_testing::Random;

/// What each pixel of an axis of the output takes from each of the input: `[1, 1, output, input]`.
fn matrix(g: &ResizeGeometry, input: usize, output: usize) -> Tensor<4> {
    let (inputs, outputs) = (input as f64, output as f64);
    let weight = |i: usize, j: usize| {
        let (i, j) = (i as f64, j as f64);
        let coordinate = match (g.coordinates, g.method) {
            (ResizeCoordinates::AlignCorners, _) if output > 1 => i * (inputs - 1.0) / (outputs - 1.0),
            (ResizeCoordinates::AlignCorners | ResizeCoordinates::Asymmetric, _) => i * inputs / outputs,
            (ResizeCoordinates::HalfPixel, ResizeMethod::Nearest) => (i + 0.5) * inputs / outputs,
            (ResizeCoordinates::HalfPixel, ResizeMethod::Bilinear) => (i + 0.5) * inputs / outputs - 0.5,
        };
        let coordinate = match (g.method, g.coordinates) {
            (ResizeMethod::Bilinear, _) => coordinate,
            (ResizeMethod::Nearest, ResizeCoordinates::AlignCorners) => coordinate.round(),
            (ResizeMethod::Nearest, ResizeCoordinates::Asymmetric | ResizeCoordinates::HalfPixel) => {
                coordinate.floor()
            }
        };
        // Linear interpolation weighs a pixel by a hat of width 1 around it.
        (1.0 - (coordinate.clamp(0.0, inputs - 1.0) - j).abs()).max(0.0)
    };
    let weights = (0..output).flat_map(|i| (0..input).map(move |j| (i, j))).map(|(i, j)| weight(i, j));
    tensor([1, 1, output, input], weights.collect())
}

/// burn's own resizing of these coordinates, if it has one with a gradient.
fn options(g: &ResizeGeometry) -> Option<InterpolateOptions> {
    let (mode, align_corners) = match (g.method, g.coordinates) {
        (ResizeMethod::Bilinear, ResizeCoordinates::AlignCorners) => (InterpolateMode::Bilinear, true),
        (ResizeMethod::Bilinear, ResizeCoordinates::HalfPixel) => (InterpolateMode::Bilinear, false),
        (ResizeMethod::Nearest, ResizeCoordinates::Asymmetric) => (InterpolateMode::Nearest, false),
        (ResizeMethod::Nearest, ResizeCoordinates::AlignCorners | ResizeCoordinates::HalfPixel)
        | (ResizeMethod::Bilinear, ResizeCoordinates::Asymmetric) => return None,
    };
    let options = InterpolateOptions::new(mode).with_align_corners(align_corners);
    Some(options.with_output_size([g.out_height, g.out_width]))
}

fn check(g: ResizeGeometry, seed: u64) {
    let mut random = Random::new(seed);
    let x = Array::noise([g.batch, g.channels, g.in_height, g.in_width], &mut random);
    let dy = Array::noise([g.batch, g.channels, g.out_height, g.out_width], &mut random);
    let resize = Resize2d::new(g, Isa::best());
    let (mut y, mut dx) = (garbage(g.output_len()), garbage(g.input_len()));
    resize.forward(&x.lanes(), &mut y);
    resize.backward(&dy.lanes(), &mut dx);
    let actual = Results { y: unpacked(dy.shape, &y), gradients: [unpacked(x.shape, &dx)] };

    let shape = |rows: usize, columns: usize| [g.batch, g.channels, rows, columns];
    let product = |[x]: [Tensor<4>; 1]| {
        let rows = matrix(&g, g.in_height, g.out_height).expand(shape(g.out_height, g.in_height));
        let columns = matrix(&g, g.in_width, g.out_width).swap_dims(2, 3);
        rows.matmul(x).matmul(columns.expand(shape(g.in_width, g.out_width)))
    };
    Oracle::new([&x], &dy, &product, &product).check(&g, &actual);
    if let Some(options) = options(&g) {
        let own = |[x]: [Tensor<4>; 1]| module::interpolate(x, options.clone());
        Oracle::new([&x], &dy, &own, &own).check(&(&g, "burn's own"), &actual);
    }
}

fn any_sides() -> impl Strategy<Value = [usize; 2]> {
    [1usize..10, 1usize..10]
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_bilinear_resize_agrees(
        batch in any_batch(), channels in 1usize..4, input in any_sides(), output in any_sides(), seed: u64,
    ) {
        let ([in_height, in_width], [out_height, out_width]) = (input, output);
        for coordinates in
            [ResizeCoordinates::Asymmetric, ResizeCoordinates::AlignCorners, ResizeCoordinates::HalfPixel]
        {
            let method = ResizeMethod::Bilinear;
            let g = ResizeGeometry {
                batch, channels, in_height, in_width, out_height, out_width, method, coordinates,
            };
            check(g, seed);
        }
    }

    // In steps of a power of two, where TFLite's coordinates are exact in f32 and floors leave no doubt.
    #[test]
    fn any_nearest_resize_agrees(
        batch in any_batch(), channels in 1usize..4, input in any_sides(), steps in [0u32..4, 0u32..4], seed: u64,
    ) {
        let [in_height, in_width] = input;
        let [rows, columns] = steps.map(|steps| 1 << steps);
        let method = ResizeMethod::Nearest;
        for (coordinates, out_height, out_width) in [
            (ResizeCoordinates::Asymmetric, rows, columns),
            (ResizeCoordinates::AlignCorners, rows + 1, columns + 1),
            (ResizeCoordinates::HalfPixel, rows, columns),
        ] {
            let g = ResizeGeometry {
                batch, channels, in_height, in_width, out_height, out_width, method, coordinates,
            };
            check(g, seed);
        }
    }
}
