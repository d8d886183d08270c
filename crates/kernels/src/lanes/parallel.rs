//! Who runs a kernel's tasks, and writing one slice from several tasks that own interleaved parts of it.

#![allow(unsafe_code, reason = "tasks write disjoint, interleaved parts of one slice")]

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use super::Lanes;

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
    static SCRATCH: RefCell<Vec<Lanes>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with every kernel in it on this thread alone. Kernels that are planned in it do not divide their work.
///
/// Whoever works on several parts of a batch at once plans and calls kernels so: their tasks would otherwise wander
/// between threads, and away from the caches that hold their operands.
pub fn on_this_thread<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// How many items of a parallel iterator rayon must leave together: all of them within [`on_this_thread`].
pub(super) fn grain() -> usize {
    if ALONE.get() { usize::MAX } else { 1 }
}

/// How many tasks a kernel that is planned now should divide its work into, if `many` are good for several threads.
pub(super) fn tasks_of(many: usize) -> usize {
    if ALONE.get() { 1 } else { many }
}

/// Calls `work` with a buffer of this thread's own of `length` vectors, whose contents are unspecified. `work` must not
/// ask for another.
pub(super) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [Lanes]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, Lanes::ZERO);
        }
        work(&mut scratch[..length])
    })
}

/// As [`grain`], for items of `size` vectors (64 bytes) each: fewer of them than a thread is worth stay together.
pub(super) fn grain_of(size: usize) -> usize {
    /// Two threads on half a cache of the first level each gain less than it takes to wake the second.
    const VECTORS_PER_TASK: usize = 512;
    grain().max(VECTORS_PER_TASK / size.max(1))
}

/// How many threads share a kernel: one within [`on_this_thread`].
pub(super) fn threads() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// A mutable slice whose parts are handed to several tasks.
#[derive(Clone, Copy)]
pub(super) struct DisjointMut<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable slice; whoever takes parts out of it promises that they do not overlap.
unsafe impl<T: Send> Send for DisjointMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DisjointMut<'_, T> {}

impl<'a, T> DisjointMut<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// The address of element `offset`, for kernels that stride through the slice.
    pub(super) fn pointer(&self, offset: usize) -> *mut T {
        assert!(offset <= self.length, "offset {offset} lies past the slice's {} elements", self.length);
        self.start.wrapping_add(offset)
    }

    /// Elements `offset..offset + length`.
    ///
    /// # Safety
    ///
    /// No other reference to these elements may be alive.
    pub(super) unsafe fn slice(&self, offset: usize, length: usize) -> &'a mut [T] {
        assert!(
            offset <= self.length && length <= self.length - offset,
            "elements {offset}..{offset}+{length} lie past the slice's {}",
            self.length
        );
        // SAFETY: the range lies within the slice, and the caller promises that nothing else refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), length) }
    }
}
