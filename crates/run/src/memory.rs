//! The arenas of a session: one for each type of element.

use crate::kernel::Element;
use std::ops::Range;

/// Bytes that every buffer is aligned to: a cache line, and the widest vector.
pub(crate) const ALIGNMENT: usize = 64;

/// A block of elements that starts at a multiple of [`ALIGNMENT`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Arena<T> {
    storage: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Arena<T> {
    /// `None` if the system has no such memory.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let slack = ALIGNMENT / size_of::<T>();
        let total = len.checked_add(slack)?;
        let mut storage = Vec::new();
        storage.try_reserve_exact(total).ok()?;
        storage.resize(total, T::default());
        let start = storage.as_ptr().align_offset(ALIGNMENT).min(slack);
        Some(Self { storage, start })
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.storage[..])
    }

    pub(crate) fn read(&self, range: Range<usize>) -> &[T] {
        &self.storage[self.start..][range]
    }

    pub(crate) fn write(&mut self, range: Range<usize>) -> &mut [T] {
        &mut self.storage[self.start..][range]
    }

    /// One buffer to write, beside all others to read. Buffers that are read may be the same, or overlap.
    pub(crate) fn around(&mut self, range: Range<usize>) -> (Others<'_, T>, &mut [T]) {
        let (before, rest) = self.storage[self.start..].split_at_mut(range.start);
        let (written, after) = rest.split_at_mut(range.len());
        (Others { before, after, end: range.end }, written)
    }

    /// Several buffers at once. The plan keeps buffers of one step apart.
    pub(crate) fn split<const N: usize>(&mut self, ranges: [Range<usize>; N]) -> [&mut [T]; N] {
        self.storage[self.start..]
            .get_disjoint_mut(ranges)
            .expect("buffers that one step uses live at the same time, so the plan keeps them apart")
    }
}

/// What lies on both sides of a buffer that is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Others<'a, T> {
    before: &'a [T],
    after: &'a [T],
    /// Where `after` begins.
    end: usize,
}

impl<'a, T> Others<'a, T> {
    pub(crate) fn read(&self, range: Range<usize>) -> &'a [T] {
        if range.start < self.end {
            &self.before[range]
        } else {
            &self.after[range.start - self.end..range.end - self.end]
        }
    }
}

/// All arenas of a session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) f32: Arena<f32>,
    pub(crate) i8: Arena<i8>,
    pub(crate) u8: Arena<u8>,
    pub(crate) i16: Arena<i16>,
    pub(crate) i32: Arena<i32>,
    pub(crate) i64: Arena<i64>,
}

impl Memory {
    /// Arenas of so many elements, in the order of [`Element::ALL`]. `None` if the system has not so much memory.
    pub(crate) fn new([f32, i8, u8, i16, i32, i64]: [usize; Element::ALL.len()]) -> Option<Self> {
        Some(Self {
            f32: Arena::new(f32)?,
            i8: Arena::new(i8)?,
            u8: Arena::new(u8)?,
            i16: Arena::new(i16)?,
            i32: Arena::new(i32)?,
            i64: Arena::new(i64)?,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        let reals = self.f32.bytes();
        let integers = self.i8.bytes() + self.u8.bytes() + self.i16.bytes();
        reals + integers + self.i32.bytes() + self.i64.bytes()
    }
}
