//! Networks as tables with a rail of lines at the left, as histories of versions are drawn.

use super::markup::Markup;
use super::svg::px;
use super::table;
use crate::NetworkDiagram;

/// Lengths in pixels. Rows have a fixed height, so that the lines of one meet those of the next.
const ROW_HEIGHT: f64 = 26.0;
const LANE_WIDTH: f64 = 14.0;
const RADIUS: f64 = 4.5;

/// Writes the table with its rail.
pub(crate) fn draw(page: &mut Markup, diagram: &NetworkDiagram) {
    let rail = Rail::of(diagram);
    table::draw_with_rail(page, &diagram.table, &|page, row| {
        if let Some(segment) = rail.segments.get(row) {
            segment.draw(page, rail.lanes, diagram.filled.contains(&row));
        }
    });
}

/// The lines at the left of all rows.
struct Rail {
    /// Lanes that lines run in, side by side.
    lanes: usize,
    segments: Vec<Segment>,
}

/// The lines at the left of one row, by their lanes.
#[derive(Debug, Default, PartialEq)]
struct Segment {
    /// Where the row's circle is.
    node: usize,
    /// Lines that pass.
    passing: Vec<usize>,
    /// Lines that come down to the circle.
    arriving: Vec<usize>,
    /// Whether a line leaves the circle downwards.
    leaves: bool,
}

impl Rail {
    /// Gives every row whose output is read later a lane from there to its last reader.
    fn of(diagram: &NetworkDiagram) -> Self {
        let rows = diagram.table.rows.len();
        let reads = |row: usize| {
            let reads = diagram.reads.get(row).map_or(&[][..], Vec::as_slice);
            reads.iter().copied().filter(move |&above| above < row)
        };
        let mut last_reader = vec![None; rows];
        for row in 0..rows {
            reads(row).for_each(|above| last_reader[above] = Some(row));
        }
        // The row whose output runs in each lane.
        let mut lanes: Vec<Option<usize>> = Vec::new();
        let mut segments = Vec::new();
        for row in 0..rows {
            let lane_of = |above: usize| lanes.iter().position(|lane| *lane == Some(above));
            let mut arriving: Vec<usize> = reads(row).filter_map(lane_of).collect();
            arriving.sort_unstable();
            arriving.dedup();
            let ends = |lane: &Option<usize>| lane.is_some_and(|above| last_reader[above] == Some(row));
            let passing =
                (0..lanes.len()).filter(|&lane| lanes[lane].is_some() && !ends(&lanes[lane])).collect();
            // A line goes straight on if it can.
            let straight = reads(row).filter_map(lane_of).find(|&lane| ends(&lanes[lane]));
            for lane in &mut lanes {
                if ends(lane) {
                    *lane = None;
                }
            }
            let free = straight.or_else(|| lanes.iter().position(Option::is_none));
            let node = free.unwrap_or_else(|| {
                lanes.push(None);
                lanes.len() - 1
            });
            let leaves = last_reader[row].is_some();
            lanes[node] = leaves.then_some(row);
            segments.push(Segment { node, passing, arriving, leaves });
        }
        Self { lanes: lanes.len(), segments }
    }
}

impl Segment {
    fn draw(&self, page: &mut Markup, lanes: usize, filled: bool) {
        let (width, height) = (px(lanes as f64 * LANE_WIDTH), px(ROW_HEIGHT));
        let view_box = format!("0 0 {width} {height}");
        let frame = [
            ("width", width.as_str()),
            ("height", height.as_str()),
            ("viewBox", view_box.as_str()),
            ("aria-hidden", "true"),
        ];
        page.element("svg", &frame, |page| {
            for &lane in &self.passing {
                curve(page, (centre(lane), 0.0), (centre(lane), ROW_HEIGHT));
            }
            for &lane in &self.arriving {
                curve(page, (centre(lane), 0.0), (centre(self.node), ROW_HEIGHT / 2.0));
            }
            if self.leaves {
                curve(page, (centre(self.node), ROW_HEIGHT / 2.0), (centre(self.node), ROW_HEIGHT));
            }
            let (x, y, radius) = (px(centre(self.node)), px(ROW_HEIGHT / 2.0), px(RADIUS));
            let class = if filled { "node filled" } else { "node" };
            page.empty("circle", &[("class", class), ("cx", &x), ("cy", &y), ("r", &radius)]);
        });
    }
}

fn centre(lane: usize) -> f64 {
    (lane as f64 + 0.5) * LANE_WIDTH
}

/// A line that leaves and arrives upright.
fn curve(page: &mut Markup, from: (f64, f64), to: (f64, f64)) {
    let middle = px(f64::midpoint(from.1, to.1));
    let [x0, y0, x1, y1] = [from.0, from.1, to.0, to.1].map(px);
    let path = format!("M{x0} {y0}C{x0} {middle} {x1} {middle} {x1} {y1}");
    page.empty("path", &[("class", "edge"), ("d", &path)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Row, Table};

    fn rail(reads: &[&[usize]]) -> Rail {
        let rows = reads.iter().map(|_| Row::from([])).collect();
        let table = Table { rows, ..Table::default() };
        let reads = reads.iter().map(|reads| reads.to_vec()).collect();
        Rail::of(&NetworkDiagram { table, reads, filled: Vec::new() })
    }

    #[test]
    fn a_chain_is_one_straight_line() {
        let rail = rail(&[&[], &[0], &[1]]);
        assert_eq!(rail.lanes, 1);
        let segment = |arriving: &[usize], leaves| Segment {
            arriving: arriving.to_vec(),
            leaves,
            ..Segment::default()
        };
        assert_eq!(rail.segments, [segment(&[], true), segment(&[0], true), segment(&[0], false)]);
    }

    #[test]
    fn a_branch_runs_beside_its_trunk_and_joins_it() {
        // 0 is read by 1 and by the sum in 3.
        let rail = rail(&[&[], &[0], &[1], &[2, 0]]);
        assert_eq!(rail.lanes, 2);
        assert_eq!(rail.segments[1], Segment { node: 1, passing: vec![0], arriving: vec![0], leaves: true });
        assert_eq!(
            rail.segments[3],
            Segment { node: 1, passing: vec![], arriving: vec![0, 1], leaves: false }
        );
    }

    #[test]
    fn rows_that_read_what_is_not_above_them_do_no_harm() {
        assert_eq!(rail(&[&[0, 1, 99], &[0]]).lanes, 1);
    }
}
