//! The document as one self-contained HTML page.

mod markup;
mod network;
mod plot;
mod scale;
mod svg;
mod table;
mod widths;

use crate::{Block, Code, Document, Figure, KeyValues, Note, NoteKind, Section};
use markup::Markup;

const STYLE: &str = include_str!("style.css");

/// Forbids the page to load anything at all, whatever it holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// From this many sections on, the page opens with links to them.
const SECTIONS_WITH_CONTENTS: usize = 3;

/// The document as one self-contained HTML page: inline style and SVG, no script, nothing loaded.
///
/// The page follows the reader's light or dark preference, prints, and fits narrow windows.
pub fn html(document: &Document) -> String {
    let mut page = Markup::default();
    page.verbatim("<!doctype html>\n");
    page.element("html", &[("lang", "en")], |page| {
        head(page, document);
        page.element("body", &[], |page| body(page, document));
    });
    page.verbatim("\n");
    page.finish()
}

fn head(page: &mut Markup, document: &Document) {
    page.element("head", &[], |page| {
        page.empty("meta", &[("charset", "utf-8")]);
        page.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
        page.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
        page.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
        page.leaf("title", &[], &document.title);
        page.element("style", &[], |page| page.verbatim(STYLE));
    });
}

fn body(page: &mut Markup, document: &Document) {
    page.element("header", &[], |page| {
        page.leaf("h1", &[], &document.title);
        page.leaf_if_any("p", &[("class", "subtitle")], &document.subtitle);
        if !document.summary.is_empty() {
            page.element("dl", &[("class", "figures")], |page| {
                document.summary.iter().for_each(|item| figure(page, item));
            });
        }
        if document.sections.len() >= SECTIONS_WITH_CONTENTS {
            contents(page, &document.sections);
        }
    });
    page.element("main", &[], |page| {
        let mut blocks = 0;
        for (index, part) in document.sections.iter().enumerate() {
            section(page, &anchor(index), part, &mut blocks);
        }
    });
    page.leaf_if_any("footer", &[], &document.footer);
}

fn figure(page: &mut Markup, figure: &Figure) {
    page.element("div", &[], |page| {
        page.leaf("dt", &[], &figure.label);
        page.leaf("dd", &[("class", "value")], &figure.value.text());
        page.leaf_if_any("dd", &[("class", "note")], &figure.note);
    });
}

fn contents(page: &mut Markup, sections: &[Section]) {
    page.element("nav", &[("aria-label", "Sections")], |page| {
        page.element("ul", &[], |page| {
            for (index, section) in sections.iter().enumerate() {
                page.element("li", &[], |page| {
                    page.leaf("a", &[("href", &format!("#{}", anchor(index)))], &section.title);
                });
            }
        });
    });
}

fn anchor(index: usize) -> String {
    format!("section-{}", index + 1)
}

/// Writes one section; `blocks` counts the blocks of the page, which makes their ids unique.
fn section(page: &mut Markup, id: &str, section: &Section, blocks: &mut usize) {
    let heading = format!("{id}-title");
    page.element("section", &[("id", id), ("aria-labelledby", &heading)], |page| {
        page.leaf("h2", &[("id", &heading)], &section.title);
        page.leaf_if_any("p", &[("class", "lead")], &section.lead);
        for part in &section.blocks {
            *blocks += 1;
            block(page, &format!("block-{blocks}"), part);
        }
    });
}

fn block(page: &mut Markup, id: &str, block: &Block) {
    match block {
        Block::Paragraph(text) => page.leaf("p", &[], text),
        Block::Table(table) => table::draw(page, table),
        Block::Network(diagram) => network::draw(page, diagram),
        Block::LinePlot(plot) => plot::draw(page, id, plot),
        Block::WidthBars(bars) => widths::draw(page, id, bars),
        Block::KeyValues(pairs) => key_values(page, pairs),
        Block::Note(remark) => note(page, remark),
        Block::Code(text) => code(page, text),
    }
}

fn key_values(page: &mut Markup, pairs: &KeyValues) {
    page.element("div", &[("class", "pairs")], |page| {
        page.leaf_if_any("h3", &[], &pairs.title);
        page.element("dl", &[], |page| {
            for entry in &pairs.entries {
                page.element("div", &[], |page| {
                    page.leaf("dt", &[], &entry.label);
                    page.leaf("dd", &[], &entry.value.text());
                });
            }
        });
    });
}

fn note(page: &mut Markup, note: &Note) {
    let (class, word) = match note.kind {
        NoteKind::Information => ("remark", "Note"),
        NoteKind::Warning => ("remark warning", "Caution"),
    };
    page.element("p", &[("class", class), ("role", "note")], |page| {
        page.leaf("strong", &[], word);
        page.text(" ");
        page.text(&note.text);
    });
}

fn code(page: &mut Markup, code: &Code) {
    page.element("figure", &[("class", "code")], |page| {
        if !code.title.is_empty() {
            page.element("figcaption", &[], |page| page.leaf("strong", &[], &code.title));
        }
        page.element("pre", &[("tabindex", "0")], |page| page.leaf("code", &[], &code.text));
    });
}
