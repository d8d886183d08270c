//! Line plots as SVG.

use super::markup::Markup;
use super::scale::{Fit, PlacedAxis};
use super::svg::{Described, Look, Size, label, label_width, line, picture};
use crate::{Axis, Guide, LinePlot, Marks, Panel, Point, Scale, Series};

/// Lengths in pixels.
const TITLE_HEIGHT: f64 = 33.0;
const TICK_LABELS_HEIGHT: f64 = 24.0;
const AXIS_LABEL_HEIGHT: f64 = 20.0;
const PANEL_GAP: f64 = 24.0;
const RIGHT_MARGIN: f64 = 14.0;
/// Keeps markers at the ends of the range inside the frame.
const INSET: f64 = 8.0;
const TICK_GAP: f64 = 8.0;

const VERTICAL_TICKS: usize = 6;

/// Writes the plot with its title, legend and both sizes of its picture.
pub(crate) fn draw(page: &mut Markup, id: &str, plot: &LinePlot) {
    let distinct = distinct_series(plot);
    page.element("figure", &[("class", "plot")], |page| {
        page.element("figcaption", &[], |page| {
            page.leaf("strong", &[], &plot.title);
            page.leaf_if_any("span", &[("class", "caption")], &plot.caption);
        });
        if distinct.len() > 1 {
            legend(page, &distinct);
        }
        let description = description(plot);
        let described = Described { id, title: &plot.title, description: &description };
        for size in Size::ALL {
            let layout = Layout::new(plot, size);
            picture(page, size, layout.height, &described, |page| layout.draw(page, plot, &distinct));
        }
    });
}

/// The first series of each name, in order of appearance: the look of a name follows from its place here.
fn distinct_series(plot: &LinePlot) -> Vec<&Series> {
    let mut distinct: Vec<&Series> = Vec::new();
    for series in plot.panels.iter().flat_map(|panel| &panel.series) {
        if distinct.iter().all(|earlier| earlier.name != series.name) {
            distinct.push(series);
        }
    }
    distinct
}

fn look(distinct: &[&Series], series: &Series) -> Look {
    Look(distinct.iter().position(|it| it.name == series.name).unwrap_or(0))
}

fn legend(page: &mut Markup, distinct: &[&Series]) {
    page.element("ul", &[("class", "legend")], |page| {
        for (index, series) in distinct.iter().enumerate() {
            page.element("li", &[], |page| {
                page.element("svg", &[("viewBox", "0 0 32 12"), ("aria-hidden", "true")], |page| {
                    if has_line(series.marks) {
                        Look(index).polyline(page, &[(1.0, 6.0), (31.0, 6.0)]);
                    }
                    if has_markers(series.marks) {
                        Look(index).marker(page, (16.0, 6.0), "");
                    }
                });
                page.text(&series.name);
            });
        }
    });
}

fn has_line(marks: Marks) -> bool {
    match marks {
        Marks::Line | Marks::LineAndMarkers => true,
        Marks::Markers => false,
    }
}

fn has_markers(marks: Marks) -> bool {
    match marks {
        Marks::Markers | Marks::LineAndMarkers => true,
        Marks::Line => false,
    }
}

/// What the plot shows, in words: for each series its number of points, its ends and its range.
fn description(plot: &LinePlot) -> String {
    let mut sentences = Vec::new();
    for panel in &plot.panels {
        for series in &panel.series {
            let finite = |point: &&Point| point.x.is_finite() && point.y.is_finite();
            let ys: Vec<f64> = series.points.iter().filter(finite).map(|point| point.y).collect();
            let print = |value: f64| panel.y.format.with_unit(value, &panel.y.unit);
            let over = format!("{}, {} over {}", series.name, panel.y.label, plot.x.label);
            sentences.push(match (ys.first(), ys.last()) {
                (Some(first), Some(last)) => format!(
                    "{over}: {} points, from {} to {}, least {}, greatest {}.",
                    ys.len(),
                    print(*first),
                    print(*last),
                    print(ys.iter().copied().fold(f64::INFINITY, f64::min)),
                    print(ys.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                ),
                _ => format!("{over}: no data."),
            });
        }
    }
    sentences.join(" ")
}

/// Where everything stands in one size of the picture.
struct Layout {
    size: Size,
    height: f64,
    panel_height: f64,
    left: f64,
    x: Option<PlacedAxis>,
    /// One per panel.
    ys: Vec<Option<PlacedAxis>>,
}

impl Layout {
    fn new(plot: &LinePlot, size: Size) -> Self {
        let (horizontal_ticks, single, stacked) = match size {
            Size::Wide => (11, 260.0, 170.0),
            Size::Narrow => (5, 210.0, 150.0),
        };
        let panel_height = if plot.panels.len() > 1 { stacked } else { single };
        let all_points = plot.panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
        let xs = all_points.map(|point| point.x).chain(plot.guides.iter().map(|guide| guide.value));
        let x = PlacedAxis::new(&plot.x, xs, Fit::Tight, horizontal_ticks);
        let ys: Vec<Option<PlacedAxis>> = plot.panels.iter().map(vertical_axis).collect();
        let widest = ys.iter().flatten().flat_map(|axis| &axis.ticks).map(|tick| label_width(&tick.label));
        let left = widest.fold(24.0, f64::max) + TICK_GAP;
        let gaps = PANEL_GAP * plot.panels.len().saturating_sub(1) as f64;
        let panels = (TITLE_HEIGHT + panel_height) * plot.panels.len() as f64;
        let height = panels + gaps + TICK_LABELS_HEIGHT + AXIS_LABEL_HEIGHT;
        Self { size, height, panel_height, left, x, ys }
    }

    fn draw(&self, page: &mut Markup, plot: &LinePlot, distinct: &[&Series]) {
        let mut top = 0.0;
        for (index, (panel, y)) in plot.panels.iter().zip(&self.ys).enumerate() {
            let frame = Frame {
                left: self.left,
                right: self.size.width() - RIGHT_MARGIN,
                top: top + TITLE_HEIGHT,
                bottom: top + TITLE_HEIGHT + self.panel_height,
            };
            label(page, "axis-title", (0.0, top + 11.0), &axis_title(&panel.y));
            match (&self.x, y) {
                (Some(x), Some(y)) => {
                    let axes = Axes { frame, x, y };
                    axes.grid(page);
                    axes.vertical_guides(page, &plot.guides, index == 0);
                    axes.horizontal_guides(page, &panel.guides);
                    for series in &panel.series {
                        axes.series(page, plot, panel, series, look(distinct, series));
                    }
                }
                (None, _) | (_, None) => frame.empty(page),
            }
            top = frame.bottom + PANEL_GAP;
        }
        self.horizontal_labels(page, plot, top - PANEL_GAP);
    }

    fn horizontal_labels(&self, page: &mut Markup, plot: &LinePlot, bottom: f64) {
        let right = self.size.width() - RIGHT_MARGIN;
        let frame = Frame { left: self.left, right, top: bottom, bottom };
        for tick in self.x.iter().flat_map(|axis| &axis.ticks) {
            if let Some(position) = self.x.as_ref().and_then(|axis| axis.position(tick.value)) {
                label(page, "tick middle", (frame.x(position), bottom + 18.0), &tick.label);
            }
        }
        let middle = (self.left + right) / 2.0;
        let baseline = bottom + TICK_LABELS_HEIGHT + 15.0;
        label(page, "axis-title middle", (middle, baseline), &axis_title(&plot.x));
    }
}

fn vertical_axis(panel: &Panel) -> Option<PlacedAxis> {
    let ys = panel.series.iter().flat_map(|series| &series.points).map(|point| point.y);
    let values = ys.chain(panel.guides.iter().map(|guide| guide.value));
    PlacedAxis::new(&panel.y, values, Fit::Round, VERTICAL_TICKS)
}

fn axis_title(axis: &Axis) -> String {
    let scale = match axis.scale {
        Scale::Linear => "",
        Scale::Log => "log scale",
    };
    let parts = [axis.label.as_str(), &axis.unit, scale];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The rectangle of one panel in pixels.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    fn x(&self, position: f64) -> f64 {
        self.left + INSET + position * (self.right - self.left - 2.0 * INSET)
    }

    fn y(&self, position: f64) -> f64 {
        self.bottom - position * (self.bottom - self.top)
    }

    fn empty(&self, page: &mut Markup) {
        line(page, "axis", (self.left, self.bottom), (self.right, self.bottom));
        let middle = ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0);
        label(page, "tick middle", middle, "no data");
    }
}

/// One panel, ready to be drawn into.
struct Axes<'a> {
    frame: Frame,
    x: &'a PlacedAxis,
    y: &'a PlacedAxis,
}

impl Axes<'_> {
    fn grid(&self, page: &mut Markup) {
        let frame = &self.frame;
        for tick in &self.y.ticks {
            if let Some(y) = self.y.position(tick.value).map(|position| frame.y(position)) {
                line(page, "grid", (frame.left, y), (frame.right, y));
                label(page, "tick end", (frame.left - TICK_GAP, y + 4.0), &tick.label);
            }
        }
        line(page, "axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
        for tick in &self.x.ticks {
            if let Some(x) = self.x.position(tick.value).map(|position| frame.x(position)) {
                line(page, "axis", (x, frame.bottom), (x, frame.bottom + 4.0));
            }
        }
    }

    /// Draws vertical guides; those of the first panel carry the labels that do not run into the one before.
    fn vertical_guides(&self, page: &mut Markup, guides: &[Guide], is_first: bool) {
        let frame = &self.frame;
        let mut free_from = f64::NEG_INFINITY;
        for guide in guides {
            let Some(x) = self.x.position(guide.value).map(|position| frame.x(position)) else {
                continue;
            };
            line(page, "guide", (x, frame.top), (x, frame.bottom));
            let half = label_width(&guide.label) / 2.0;
            if is_first && x - half >= free_from {
                let centre = x.clamp(frame.left + half, (frame.right - half).max(frame.left + half));
                label(page, "guide-label middle", (centre, frame.top - 3.0), &guide.label);
                free_from = x + half + 6.0;
            }
        }
    }

    fn horizontal_guides(&self, page: &mut Markup, guides: &[Guide]) {
        let frame = &self.frame;
        for guide in guides {
            let Some(y) = self.y.position(guide.value).map(|position| frame.y(position)) else {
                continue;
            };
            line(page, "guide", (frame.left, y), (frame.right, y));
            label(page, "guide-label end", (frame.right - 2.0 * INSET, y - 5.0), &guide.label);
        }
    }

    fn series(&self, page: &mut Markup, plot: &LinePlot, panel: &Panel, series: &Series, look: Look) {
        let place = |point: &Point| {
            let (x, y) = (self.x.position(point.x)?, self.y.position(point.y)?);
            Some((self.frame.x(x), self.frame.y(y)))
        };
        let places: Vec<Option<(f64, f64)>> = series.points.iter().map(place).collect();
        if has_line(series.marks) {
            for run in places.split(Option::is_none) {
                let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
                match run.as_slice() {
                    [] => {}
                    [alone] => look.marker(page, *alone, &series.name),
                    run => look.polyline(page, run),
                }
            }
        }
        if has_markers(series.marks) {
            for (point, place) in series.points.iter().zip(&places) {
                if let Some(place) = place {
                    look.marker(page, *place, &tip(plot, panel, series, point));
                }
            }
        }
    }
}

fn tip(plot: &LinePlot, panel: &Panel, series: &Series, point: &Point) -> String {
    let x = plot.x.format.with_unit(point.x, &plot.x.unit);
    let y = panel.y.format.with_unit(point.y, &panel.y.unit);
    format!("{}: {} {x}, {} {y}", series.name, plot.x.label, panel.y.label)
}
