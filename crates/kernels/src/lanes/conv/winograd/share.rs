//! Tasks that each need scratch memory while they run.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::lanes::parallel::grain;

/// How many threads [`share`] can use.
pub(super) fn workers() -> usize {
    if grain() == 1 { rayon::current_num_threads() } else { 1 }
}

/// Runs tasks `0..count`, at most as many at a time as `scratch` has parts of `size`, each with a part of its own.
pub(super) fn share<T: Send>(
    scratch: &mut [T],
    size: usize,
    count: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let next = AtomicUsize::new(0);
    scratch.par_chunks_exact_mut(size).with_min_len(grain()).for_each(|scratch| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                break;
            }
            work(task, scratch);
        }
    });
}
