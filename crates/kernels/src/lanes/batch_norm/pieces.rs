//! The fixed parts into which a batch normalisation cuts its tensors, and who works on them.

use std::ops::Range;

use rayon::prelude::*;

use super::super::parallel::{grain, grain_of, on_this_thread, threads};
use super::super::{blocks, valid_lanes};
use super::BatchNorm;

/// Vectors of a piece at most: 16 KiB, so that a second look at it finds it in any cache of the first level.
const VECTORS_PER_PIECE: usize = 256;

/// Vectors that a core's cache of the second level surely holds: 512 KiB.
const VECTORS_IN_CACHE: usize = 8192;

/// The pieces of a tensor `[blocks][channels][pixels]`, counted channel by channel, then block by block. Where they
/// begin and end follows from the shape alone, and so does the order in which their sums are added.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    batch: usize,
    channels: usize,
    pixels: usize,
    per_plane: usize,
}

/// A stretch of one channel of one block.
pub(super) struct Piece {
    pub(super) channel: usize,
    /// Lanes that hold images.
    pub(super) lanes: usize,
    /// The piece's place in the tensor.
    pub(super) range: Range<usize>,
}

/// Consecutive channels, with something of each, and the partial results of their pieces.
pub(super) struct Group<'a, C> {
    pub(super) first_channel: usize,
    pub(super) channels: &'a mut [C],
    pub(super) partials: &'a mut [[f32; 2]],
}

/// Something of each of the channels from `first_channel` on.
pub(super) struct ByChannel<'a, C> {
    pub(super) first_channel: usize,
    pub(super) channels: &'a [C],
}

impl<C> Clone for ByChannel<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for ByChannel<'_, C> {}

impl<C> ByChannel<'_, C> {
    #[inline(always)]
    pub(super) fn get(&self, channel: usize) -> &C {
        &self.channels[channel - self.first_channel]
    }
}

impl Pieces {
    pub(super) fn of(norm: &BatchNorm) -> Self {
        let BatchNorm { batch, channels, pixels, .. } = *norm;
        Self { batch, channels, pixels, per_plane: pixels.div_ceil(VECTORS_PER_PIECE) }
    }

    pub(super) fn per_channel(&self) -> usize {
        blocks(self.batch) * self.per_plane
    }

    pub(super) fn count(&self) -> usize {
        self.channels * self.per_channel()
    }

    /// The pieces from `first` on, without end.
    #[inline(always)]
    pub(super) fn iter_from(self, first: usize) -> impl Iterator<Item = Piece> {
        let blocks = blocks(self.batch);
        let (plane, mut part) = (first / self.per_plane, first % self.per_plane);
        let (mut channel, mut block) = (plane / blocks, plane % blocks);
        std::iter::from_fn(
            #[inline(always)]
            move || {
                let start = (block * self.channels + channel) * self.pixels;
                let end = start + self.pixels.min((part + 1) * VECTORS_PER_PIECE);
                let range = start + part * VECTORS_PER_PIECE..end;
                let piece = Piece { channel, lanes: valid_lanes(self.batch, block), range };
                part += 1;
                if part == self.per_plane {
                    (block, part) = (block + 1, 0);
                }
                if block == blocks {
                    (channel, block) = (channel + 1, 0);
                }
                Some(piece)
            },
        )
    }

    /// How many channels one thread should take through all passes by itself, so that it finds in its cache in the
    /// second pass over the channel's `tensors` what it read in the first; all of them, where threads had better share
    /// each pass. Results are the same.
    fn channels_per_group(&self, tensors: usize) -> usize {
        let (threads, per_channel) = (threads(), blocks(self.batch) * self.pixels * tensors);
        let in_cache = (VECTORS_IN_CACHE / per_channel.max(1)).max(1);
        if threads == 1 {
            return in_cache.min(self.channels).max(1);
        }
        let size = (self.channels / (4 * threads)).clamp(1, in_cache);
        let groups = self.channels.div_ceil(size);
        let idle = groups.next_multiple_of(threads) - groups;
        if idle * 8 <= groups { size } else { self.channels.max(1) }
    }

    /// Calls `passes` for groups of channels, each with its part of `channels` and of `partials`, two numbers for each
    /// piece. What it runs for a group stays on one thread, unless the group is all channels.
    pub(super) fn for_each_group<C: Send>(
        &self,
        tensors: usize,
        channels: &mut [C],
        partials: &mut [f32],
        passes: impl Fn(Group<'_, C>) + Sync,
    ) {
        let size = self.channels_per_group(tensors);
        let (partials, _) = partials.as_chunks_mut::<2>();
        let partials = partials.par_chunks_mut((size * self.per_channel()).max(1));
        let groups = channels.par_chunks_mut(size).with_min_len(grain()).zip(partials).enumerate();
        groups.for_each(|(n, (channels, partials))| {
            let group = Group { first_channel: n * size, channels, partials };
            if size < self.channels { on_this_thread(|| passes(group)) } else { passes(group) }
        });
    }

    /// Each channel of a group with its pieces.
    pub(super) fn by_channel<'a, C>(
        &self,
        channels: &'a mut [C],
        partials: &'a [[f32; 2]],
    ) -> impl Iterator<Item = (&'a mut C, &'a [[f32; 2]])> {
        channels.iter_mut().zip(partials.chunks_exact(self.per_channel()))
    }

    /// Has every piece of the channels from `first_channel` on computed into `partials`: `task` gets consecutive ones
    /// with the number of the first.
    pub(super) fn for_each_partial(
        &self,
        first_channel: usize,
        partials: &mut [[f32; 2]],
        task: impl Fn(usize, &mut [[f32; 2]]) + Sync,
    ) {
        let (first, size) = (first_channel * self.per_channel(), self.per_task());
        let tasks = partials.par_chunks_mut(size).with_min_len(self.grain()).enumerate();
        tasks.for_each(|(n, partials)| task(first + n * size, partials));
    }

    /// Calls `task` for all pieces of `channels` channels from `first_channel` on, with consecutive ones.
    pub(super) fn for_each(&self, first_channel: usize, channels: usize, task: impl Fn(Range<usize>) + Sync) {
        let size = self.per_task();
        let [start, end] =
            [first_channel, first_channel + channels].map(|channel| channel * self.per_channel());
        let tasks = (0..(end - start).div_ceil(size)).into_par_iter().with_min_len(self.grain());
        tasks.for_each(|n| task(start + n * size..end.min(start + (n + 1) * size)));
    }

    /// How many small pieces one task takes.
    fn per_task(&self) -> usize {
        (VECTORS_PER_PIECE / self.pixels.max(1)).max(1)
    }

    fn grain(&self) -> usize {
        grain_of(self.per_task() * self.pixels.min(VECTORS_PER_PIECE))
    }
}
