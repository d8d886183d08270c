//! The threads that work is spread over.

use crate::error::{Result, ToolkitError};

/// The threads that a run computes on; 0 asks for as many as the machine has.
pub(crate) fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| ToolkitError::Threads { threads, message: error.to_string() })
}
