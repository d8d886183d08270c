//! Between lane layout and plain tensors.

#![allow(unsafe_code, reason = "tasks write places of their own, interleaved with others'")]

use rayon::prelude::*;

use super::parallel::{DisjointMut, grain, grain_of};
use super::{LANES, Lanes, blocks, valid_lanes};

/// Consecutive values of an image that are packed together: four cache lines.
const TILE: usize = 64;

/// Packs NHWC `[batch][pixels][channels]` into lane layout `[blocks][channels][pixels]`; lanes past the last image
/// become 0.
///
/// # Panics
///
/// Panics if a slice does not have the length that the shape asks for.
pub fn pack(nhwc: &[f32], batch: usize, pixels: usize, channels: usize, packed: &mut [Lanes]) {
    let image = pixels * channels;
    assert_eq!(nhwc.len(), batch * image, "length of the NHWC tensor");
    assert_eq!(packed.len(), blocks(batch) * image, "length of the packed tensor");
    let tiles = image.div_ceil(TILE);
    let packed = DisjointMut::new(packed);
    (0..blocks(batch) * tiles).into_par_iter().with_min_len(grain_of(TILE)).for_each(|task| {
        let (block, start) = (task / tiles, task % tiles * TILE);
        let length = TILE.min(image - start);
        // Images are often a power of two apart, where 16 of them fall into the same set of a cache: so each is read
        // by itself.
        let mut tile = [[0.0; TILE]; LANES];
        for (lane, row) in tile.iter_mut().take(valid_lanes(batch, block)).enumerate() {
            let from = (block * LANES + lane) * image + start;
            row[..length].copy_from_slice(&nhwc[from..from + length]);
        }
        let (mut pixel, mut channel) = (start / channels, start % channels);
        let vectors = (0..length).map(|n| Lanes(std::array::from_fn(|lane| tile[lane][n])));
        for vector in vectors {
            // SAFETY: each value of a block belongs to one tile, and has a place of its own.
            let to = unsafe { packed.slice(block * image + channel * pixels + pixel, 1) };
            to[0] = vector;
            channel += 1;
            if channel == channels {
                (pixel, channel) = (pixel + 1, 0);
            }
        }
    });
}

/// Unpacks lane layout `[blocks][channels][pixels]` into NHWC `[batch][pixels][channels]`.
///
/// # Panics
///
/// Panics if a slice does not have the length that the shape asks for.
pub fn unpack(packed: &[Lanes], batch: usize, pixels: usize, channels: usize, nhwc: &mut [f32]) {
    let image = pixels * channels;
    assert_eq!(packed.len(), blocks(batch) * image, "length of the packed tensor");
    assert_eq!(nhwc.len(), batch * image, "length of the NHWC tensor");
    nhwc.par_chunks_mut(image.max(1)).with_min_len(grain()).enumerate().for_each(|(n, to)| {
        let packed = &packed[n / LANES * image..][..image];
        for (pixel, values) in to.chunks_exact_mut(channels).enumerate() {
            for (channel, value) in values.iter_mut().enumerate() {
                *value = packed[channel * pixels + pixel].0[n % LANES];
            }
        }
    });
}

/// Reorders `[blocks][channels][pixels]` to `[blocks][pixels][channels]`: the features of a fully connected layer in
/// the order in which an NHWC tensor is flattened. With one pixel or one channel it is a copy.
///
/// # Panics
///
/// Panics if a slice does not have a length of whole blocks.
pub fn flatten(maps: &[Lanes], channels: usize, pixels: usize, features: &mut [Lanes]) {
    reorder(maps, channels, pixels, features);
}

/// Reorders `[blocks][pixels][channels]` to `[blocks][channels][pixels]`, the inverse of [`flatten`].
///
/// # Panics
///
/// Panics if a slice does not have a length of whole blocks.
pub fn unflatten(features: &[Lanes], channels: usize, pixels: usize, maps: &mut [Lanes]) {
    reorder(features, pixels, channels, maps);
}

/// Puts maps `[blocks][channels][pixels]` into maps of `to_channels` channels that hold each image's values in the same
/// NHWC order.
///
/// # Panics
///
/// Panics if a slice does not have a length of whole blocks, or an image's values do not fall into `to_channels`.
pub fn reshape(maps: &[Lanes], [channels, pixels]: [usize; 2], to_channels: usize, reshaped: &mut [Lanes]) {
    let size = (channels * pixels).max(1);
    assert_eq!(maps.len(), reshaped.len(), "maps differ in length");
    assert_eq!(maps.len() % size, 0, "a length of whole blocks of {size} values");
    assert_eq!(size % to_channels, 0, "{size} values fall into {to_channels} channels");
    let to_pixels = size / to_channels;
    let blocks = reshaped.par_chunks_mut(size).with_min_len(grain()).zip(maps.par_chunks(size));
    blocks.for_each(|(to, from)| {
        for (at, to) in to.iter_mut().enumerate() {
            let in_nhwc = at % to_pixels * to_channels + at / to_pixels;
            *to = from[in_nhwc % channels * pixels + in_nhwc / channels];
        }
    });
}

/// Transposes each `[rows][columns]` of `from`.
fn reorder(from: &[Lanes], rows: usize, columns: usize, to: &mut [Lanes]) {
    let size = (rows * columns).max(1);
    assert_eq!(from.len(), to.len(), "features and maps differ in length");
    assert_eq!(from.len() % size, 0, "a length of whole blocks of {size} features");
    to.par_chunks_mut(size).with_min_len(grain()).zip(from.par_chunks(size)).for_each(|(to, from)| {
        for (column, to) in to.chunks_exact_mut(rows.max(1)).enumerate() {
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[row * columns + column];
            }
        }
    });
}
