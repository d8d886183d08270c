//! Tables as HTML.

use super::markup::Markup;
use crate::{Align, Cell, Column, Format, Row, Status, Table};

/// What is drawn at the left of each row.
type DrawRail<'a> = &'a dyn Fn(&mut Markup, usize);

/// Writes the table in a frame that scrolls sideways where the window is narrower than the table.
pub(crate) fn draw(page: &mut Markup, table: &Table) {
    framed(page, table, None);
}

/// Writes the table with a picture at the left of each row, which joins those of the rows above and below.
pub(crate) fn draw_with_rail(page: &mut Markup, table: &Table, rail: DrawRail<'_>) {
    framed(page, table, Some(rail));
}

fn framed(page: &mut Markup, table: &Table, rail: Option<DrawRail<'_>>) {
    let frame =
        [("class", "scroll"), ("role", "region"), ("aria-label", table.caption.as_str()), ("tabindex", "0")];
    page.element("div", &frame, |page| {
        let class: &[_] = if rail.is_some() { &[("class", "network")] } else { &[] };
        page.element("table", class, |page| {
            page.leaf_if_any("caption", &[], &table.caption);
            page.element("thead", &[], |page| {
                if table.columns.iter().any(|column| !column.group.is_empty()) {
                    group_headings(page, table);
                }
                headings(page, table, rail.is_some());
            });
            page.element("tbody", &[], |page| {
                for (index, item) in table.rows.iter().enumerate() {
                    row(page, table, item, rail.map(|draw| (draw, index)));
                }
            });
        });
    });
}

fn group_headings(page: &mut Markup, table: &Table) {
    page.element("tr", &[("class", "groups")], |page| {
        for run in table.columns.chunk_by(|left, right| left.group == right.group) {
            let span = run.len().to_string();
            match run.first().map_or("", |column| &column.group) {
                "" => page.leaf("td", &[("colspan", &span)], ""),
                group => page.leaf("th", &[("colspan", &span), ("scope", "colgroup")], group),
            }
        }
        for _ in table.columns.len()..table.width() + usize::from(table.has_status()) {
            page.leaf("td", &[], "");
        }
    });
}

fn headings(page: &mut Markup, table: &Table, rail: bool) {
    page.element("tr", &[], |page| {
        if rail {
            page.leaf("td", &[], "");
        }
        for (index, column) in table.columns.iter().enumerate() {
            let class = format!("{}{}", align_class(column.align), group_class(table, index));
            page.element("th", &[("scope", "col"), ("class", &class)], |page| {
                page.text(&column.title);
                page.leaf_if_any("span", &[("class", "unit")], &column.unit);
            });
        }
        for _ in table.columns.len()..table.width() {
            page.leaf("td", &[], "");
        }
        if table.has_status() {
            page.element("th", &[("scope", "col"), ("class", "left")], |page| {
                page.leaf("span", &[("class", "unseen")], "Status");
            });
        }
    });
}

fn row(page: &mut Markup, table: &Table, row: &Row, rail: Option<(DrawRail<'_>, usize)>) {
    let class = match row.status {
        Status::Plain => "",
        Status::Chosen => "chosen",
        Status::RolledBack => "undone",
    };
    page.element("tr", &[("class", class)], |page| {
        if let Some((draw, index)) = rail {
            page.element("td", &[("class", "rail")], |page| draw(page, index));
        }
        for index in 0..table.width() {
            let cell = row.cells.get(index).unwrap_or(&Cell::Missing);
            let column = table.columns.get(index);
            let (align, format) =
                column.map_or((Align::Left, Format::Plain), |it: &Column| (it.align, it.format));
            let class = format!("{}{}", align_class(align), group_class(table, index));
            let text = cell.text(format, "");
            match index {
                0 => page.leaf("th", &[("scope", "row"), ("class", &class)], &text),
                _ => page.leaf("td", &[("class", &class)], &text),
            }
        }
        if table.has_status() {
            page.element("td", &[("class", "left")], |page| {
                page.leaf_if_any("span", &[("class", "badge")], row.status.label());
            });
        }
    });
}

fn align_class(align: Align) -> &'static str {
    match align {
        Align::Left => "left",
        Align::Right => "right",
        Align::Centre => "centre",
    }
}

/// Marks the first column of a group, which is set a little apart from the group before.
fn group_class(table: &Table, index: usize) -> &'static str {
    let group = |index: usize| table.columns.get(index).map(|column| &column.group);
    if index > 0 && group(index) != group(index - 1) { " first" } else { "" }
}
