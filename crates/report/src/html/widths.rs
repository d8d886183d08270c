//! Layer widths before and after as SVG: one row per layer, the new bar inside the old one.

use super::markup::Markup;
use super::svg::{Described, Size, label, label_width, picture, px};
use crate::{Format, LayerWidth, WidthBars};

/// Lengths in pixels.
const ROW: f64 = 24.0;
const BAR: f64 = 16.0;
const GAP: f64 = 10.0;
/// Room for the two numbers and the arrow.
const NUMBERS: f64 = 112.0;
const LONGEST_NAME: f64 = 170.0;

/// Writes the picture with its title and legend.
pub(crate) fn draw(page: &mut Markup, id: &str, bars: &WidthBars) {
    page.element("figure", &[("class", "plot")], |page| {
        page.element("figcaption", &[], |page| {
            page.leaf("strong", &[], &bars.title);
            page.leaf_if_any("span", &[("class", "caption")], &bars.caption);
        });
        legend(page, &bars.unit);
        let description = description(bars);
        let described = Described { id, title: &bars.title, description: &description };
        for size in Size::ALL {
            let height = ROW * bars.layers.len() as f64;
            picture(page, size, height, &described, |page| rows(page, size, &bars.layers));
        }
    });
}

fn legend(page: &mut Markup, unit: &str) {
    page.element("ul", &[("class", "legend")], |page| {
        for (class, name) in [("before", "before"), ("after", "after")] {
            page.element("li", &[], |page| {
                page.element("svg", &[("viewBox", "0 0 32 12"), ("aria-hidden", "true")], |page| {
                    bar(page, class, 1.0, 1.0, 30.0, 10.0);
                });
                page.text(name);
            });
        }
        page.element("li", &[("class", "scale")], |page| {
            page.text("lengths by the square root of the number of ");
            page.text(if unit.is_empty() { "units" } else { unit });
        });
    });
}

fn description(bars: &WidthBars) -> String {
    let rows = bars.layers.iter().map(|layer| format!("{}: {} to {}", layer.name, layer.before, layer.after));
    format!("{} by layer, before and after. {}.", bars.unit, rows.collect::<Vec<_>>().join(", "))
}

fn rows(page: &mut Markup, size: Size, layers: &[LayerWidth]) {
    let names = layers.iter().map(|layer| label_width(&layer.name)).fold(0.0, f64::max).min(LONGEST_NAME);
    let (left, right) = (names + GAP, size.width() - NUMBERS);
    let widest = layers.iter().map(|layer| layer.before.max(layer.after)).max().unwrap_or(0).max(1);
    // The square root keeps 5 of 512 channels visible and, unlike a logarithm, gives a bar of zero no length.
    let length = |width: u64| (width as f64 / widest as f64).sqrt() * (right - left);
    for (index, layer) in layers.iter().enumerate() {
        let top = index as f64 * ROW + (ROW - BAR) / 2.0;
        let baseline = top + BAR - 4.0;
        label(page, "tick end", (names, baseline), &shortened(&layer.name));
        bar(page, "before", left, top, length(layer.before), BAR);
        bar(page, "after", left, top, length(layer.after), BAR);
        numbers(page, size.width(), baseline, layer);
    }
}

fn bar(page: &mut Markup, class: &str, x: f64, y: f64, width: f64, height: f64) {
    let (x, y, width, height) = (px(x), px(y), px(width), px(height));
    let corners = [("class", class), ("x", x.as_str()), ("y", y.as_str()), ("width", width.as_str())];
    page.empty("rect", &[&corners[..], &[("height", height.as_str()), ("rx", "2")]].concat());
}

fn numbers(page: &mut Markup, right: f64, baseline: f64, layer: &LayerWidth) {
    let print = |width: u64| Format::Integer.text(width as f64);
    label(page, "tick end", (right - 56.0, baseline), &print(layer.before));
    label(page, "tick middle", (right - 44.0, baseline), "→");
    label(page, "tick end strong", (right - 2.0, baseline), &print(layer.after));
}

/// A name cut in the middle where it would run out of the picture: layers' names differ at their ends.
fn shortened(name: &str) -> String {
    if label_width(name) <= LONGEST_NAME {
        return name.to_owned();
    }
    let letters: Vec<char> = name.chars().collect();
    let (head, tail) = (letters.iter().take(8), letters.iter().skip(letters.len().saturating_sub(14)));
    head.chain(std::iter::once(&'…')).chain(tail).collect()
}
