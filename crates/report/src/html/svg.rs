//! What all pictures share: their frame, numbers in pixels, the look of series.

use super::markup::Markup;

/// A picture is drawn twice, since text that shrinks with its picture cannot be read on a narrow screen; the style
/// sheet shows the one that fits.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// For windows and paper.
    Wide,
    /// For telephones.
    Narrow,
}

impl Size {
    /// Both, in the order in which they stand in the page.
    pub(crate) const ALL: [Size; 2] = [Size::Wide, Size::Narrow];

    /// Width of the picture in CSS pixels.
    pub(crate) fn width(self) -> f64 {
        match self {
            Size::Wide => 880.0,
            Size::Narrow => 440.0,
        }
    }

    /// The class by which the style sheet tells them apart.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Size::Wide => "wide",
            Size::Narrow => "narrow",
        }
    }
}

/// What a picture is called, and what those read who cannot see it.
pub(crate) struct Described<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
}

/// Writes the frame of a picture `height` pixels high, and `body` inside it.
pub(crate) fn picture(
    page: &mut Markup,
    size: Size,
    height: f64,
    described: &Described,
    body: impl FnOnce(&mut Markup),
) {
    let class = size.class();
    let (title, description) =
        (format!("{}-{class}-title", described.id), format!("{}-{class}-desc", described.id));
    let view_box = format!("0 0 {} {}", px(size.width()), px(height));
    let labelled_by = format!("{title} {description}");
    let attributes = [
        ("class", class),
        ("viewBox", &view_box),
        ("role", "img"),
        ("aria-labelledby", labelled_by.as_str()),
    ];
    page.element("svg", &attributes, |page| {
        page.leaf("title", &[("id", &title)], described.title);
        page.leaf("desc", &[("id", &description)], described.description);
        body(page);
    });
}

/// A length or coordinate with one decimal, which is finer than a screen shows.
pub(crate) fn px(pixels: f64) -> String {
    let text = format!("{pixels:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Writes a straight line.
pub(crate) fn line(page: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    let (x1, y1, x2, y2) = (px(from.0), px(from.1), px(to.0), px(to.1));
    page.empty("line", &[("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)]);
}

/// Writes text whose start, middle or end, by its class, stands at a point.
pub(crate) fn label(page: &mut Markup, class: &str, at: (f64, f64), text: &str) {
    page.leaf("text", &[("class", class), ("x", &px(at.0)), ("y", &px(at.1))], text);
}

/// About how wide a label of 12 pixels is drawn; the fonts of the reader's system differ.
pub(crate) fn label_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.8
}

/// Colours of the style sheet, `--series-0` and so on.
const COLOURS: usize = 6;
const DASHES: [&str; 5] = ["none", "7 4", "2 3", "10 3 2 3", "14 4"];
const MARKERS: usize = 4;

/// The look of a series. No two of the first thirty look the same, and the dash alone tells five apart.
#[derive(Clone, Copy)]
pub(crate) struct Look(pub(crate) usize);

impl Look {
    fn class(self, kind: &str) -> String {
        format!("{kind} series-{}", self.0 % COLOURS)
    }

    /// Writes a line through two points or more.
    pub(crate) fn polyline(self, page: &mut Markup, points: &[(f64, f64)]) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
        let dash = DASHES[self.0 % DASHES.len()];
        let path = path.join(" ");
        let class = self.class("curve");
        page.empty("polyline", &[("class", &class), ("stroke-dasharray", dash), ("points", &path)]);
    }

    /// Writes a marker with a text that appears under the pointer.
    pub(crate) fn marker(self, page: &mut Markup, at: (f64, f64), text: &str) {
        let corners: &[(f64, f64)] = match self.0 % MARKERS {
            0 => &[],
            1 => &[(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)],
            2 => &[(0.0, -4.8), (4.4, 3.4), (-4.4, 3.4)],
            _ => &[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)],
        };
        let class = self.class("marker");
        let write_title = |page: &mut Markup| page.leaf_if_any("title", &[], text);
        if corners.is_empty() {
            let (x, y) = (px(at.0), px(at.1));
            page.element("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", "4")], write_title);
        } else {
            let points: Vec<String> =
                corners.iter().map(|(x, y)| format!("{},{}", px(at.0 + x), px(at.1 + y))).collect();
            page.element("polygon", &[("class", &class), ("points", &points.join(" "))], write_title);
        }
    }
}
