//! Regions: boxes of output pixels that use the same taps.

use super::geometry::{Conv2dGeometry, Run};
use super::tile::Part;
use crate::cpu::LANES;

/// Output pixels that use the same taps.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) rows: Run,
    pub(super) columns: Run,
    /// For each tap where its weights begin (left) and where the region's first pixel reads it (right).
    pub(super) parts: Vec<Part>,
}

/// The regions of every pair of a run of rows and a run of columns, on an input of `width` columns and weights
/// `[taps][group_inputs]`.
pub(super) fn regions(
    geometry: &Conv2dGeometry,
    group_inputs: usize,
    width: usize,
    [row_runs, column_runs]: [Vec<Run>; 2],
) -> Vec<Region> {
    let mut regions = Vec::new();
    for rows in &row_runs {
        for columns in &column_runs {
            let taps = rows.taps.iter().flat_map(|row| columns.taps.iter().map(move |column| (row, column)));
            let parts = taps.map(|(row, column)| Part {
                left: (row.kernel * geometry.kernel[1] + column.kernel) * group_inputs,
                right: (row.source * width + column.source) * LANES,
            });
            regions.push(Region { rows: rows.clone(), columns: columns.clone(), parts: parts.collect() });
        }
    }
    regions
}
