//! Networks from one file format to another.

use crate::error::Result;
use std::path::Path;

/// Reads the network in the file `from` and writes it to `to`; the extensions say how.
///
/// # Errors
/// If a file cannot be read or written, or the format of `to` cannot express the network.
pub fn export(from: &Path, to: &Path) -> Result<()> {
    let graph = taper_formats::load(from)?;
    Ok(taper_formats::save(&graph, to)?)
}
