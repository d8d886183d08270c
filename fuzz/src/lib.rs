//! Hostile bytes for every reader: what the fuzz targets do, and the seeds that they start from.

pub mod seeds;
pub mod targets;
