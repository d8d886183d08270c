//! The page's structure: well formed, self-contained, inert, the same bytes each time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use taper_report::{
    Align, Axis, Block, Cell, Code, Column, Document, Entry, Figure, Format, Guide, KeyValues, LayerWidth,
    LinePlot, Marks, Note, NoteKind, Panel, Row, Section, Series, Status, Table, Value, WidthBars, html,
};

/// A document with every kind of block, in which every text is `text` and every number one of `numbers`.
fn document(text: &str, numbers: &[f64]) -> Document {
    let word = || text.to_owned();
    let number = |index: usize| numbers.get(index % numbers.len().max(1)).copied().unwrap_or(f64::NAN);
    let formats = [Format::Integer, Format::Percent(1), Format::Seconds(3), Format::Si(3), Format::Factor(1)];
    let column = |(index, format): (usize, &Format)| {
        let align = [Align::Left, Align::Right, Align::Centre][index % 3];
        Column { align, ..Column::number(word(), word(), *format).unit(word()).group(word()) }
    };
    let row = |length: usize| Row::from((0..length).map(|index| Cell::from(number(index))));
    let table = Table {
        name: word(),
        caption: word(),
        columns: formats.iter().enumerate().map(column).collect(),
        rows: vec![row(0), row(3).status(Status::Chosen), row(7).status(Status::RolledBack)],
    };
    let series = |name: &str, marks, length: usize| Series {
        name: format!("{text}{name}"),
        marks,
        points: (0..length).map(|index| (number(index), number(index + 1)).into()).collect(),
    };
    let panel = |y: Axis| Panel {
        y: y.unit(word()),
        guides: vec![Guide::new(number(0), word())],
        series: vec![
            series("a", Marks::Line, 9),
            series("b", Marks::LineAndMarkers, 5),
            series("c", Marks::Markers, 1),
            series("d", Marks::Line, 0),
        ],
    };
    let plot = LinePlot {
        name: word(),
        title: word(),
        caption: word(),
        x: Axis::linear(word(), Format::Integer),
        guides: vec![Guide::new(number(1), word())],
        panels: vec![
            panel(Axis::linear(word(), Format::Percent(1))),
            panel(Axis::log(word(), Format::Si(2))),
        ],
    };
    let bars = WidthBars {
        name: word(),
        title: word(),
        caption: word(),
        unit: word(),
        layers: vec![
            LayerWidth { name: word(), before: 512, after: 5 },
            LayerWidth { name: word(), before: 0, after: 0 },
        ],
    };
    let section = Section {
        title: word(),
        lead: word(),
        blocks: vec![
            Block::Paragraph(word()),
            Block::Table(table),
            Block::LinePlot(plot),
            Block::WidthBars(bars),
            Block::KeyValues(KeyValues { title: word(), entries: vec![Entry::new(word(), word())] }),
            Block::Note(Note { kind: NoteKind::Information, text: word() }),
            Block::Note(Note { kind: NoteKind::Warning, text: word() }),
            Block::Code(Code { title: word(), text: word() }),
        ],
    };
    Document {
        title: word(),
        subtitle: word(),
        summary: vec![Figure {
            label: word(),
            value: Value::new(number(0), Format::Si(3)).unit(word()),
            note: word(),
        }],
        sections: vec![section.clone(), section.clone(), section],
        footer: word(),
    }
}

/// A tag as it stands between `<` and `>`.
struct Tag<'a> {
    name: &'a str,
    rest: &'a str,
}

/// All tags of the page. Fails if tags do not nest, or if text holds an unescaped character.
fn tags(page: &str) -> Vec<Tag<'_>> {
    let mut open: Vec<&str> = Vec::new();
    let mut tags = Vec::new();
    let mut left = page.strip_prefix("<!doctype html>\n").expect("a document type");
    while let Some(start) = left.find('<') {
        let (text, tag) = left.split_at(start);
        assert!(open.last() == Some(&"style") || !text.contains('>'), "unescaped text {text:?}");
        let end = tag.find('>').expect("every tag ends");
        let inside = &tag[1..end];
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
        } else {
            assert_eq!(inside.matches('"').count() % 2, 0, "unescaped quote in <{inside}>");
            let (name, rest) = inside.split_at(inside.find(' ').unwrap_or(inside.len()));
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "odd tag <{inside}>");
            if !inside.ends_with('/') {
                open.push(name);
            }
            tags.push(Tag { name, rest });
        }
        left = &tag[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
    tags
}

fn attribute<'a>(tag: &Tag<'a>, name: &str) -> Option<&'a str> {
    let (_, value) = tag.rest.split_once(&format!(" {name}=\""))?;
    value.split('"').next()
}

/// Asserts all that holds for every page.
fn check(page: &str) {
    let tags = tags(page);
    let mut ids = BTreeSet::new();
    for tag in &tags {
        let harmless =
            !["script", "link", "img", "iframe", "object", "embed", "form", "base"].contains(&tag.name);
        assert!(harmless, "<{}> could load something", tag.name);
        for load in ["src=\"", "xlink", "onload=\""] {
            assert!(!tag.rest.contains(load), "{load} in <{} {}>", tag.name, tag.rest);
        }
        if let Some(id) = attribute(tag, "id") {
            assert!(ids.insert(id), "id {id} stands twice");
        }
    }
    for tag in &tags {
        let labels = attribute(tag, "aria-labelledby").into_iter().flat_map(|ids| ids.split(' '));
        let links =
            attribute(tag, "href").map(|link| link.strip_prefix('#').expect("links stay inside the page"));
        for target in labels.chain(links) {
            assert!(ids.contains(target), "nothing has the id {target}");
        }
        for name in ["x", "y", "cx", "cy", "x1", "width", "height", "points", "viewBox"] {
            let numbers = attribute(tag, name).into_iter();
            for number in numbers.flat_map(|it| it.split([' ', ','])).filter(|it| !it.is_empty()) {
                assert!(number.parse::<f64>().is_ok_and(f64::is_finite), "{name}={number} in <{}>", tag.name);
            }
        }
    }
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = html(&document("VGG-16", &[1.0, 2.0, 0.5]));
    check(&page);
    for forbidden in ["://", "url(", "@import", "<script", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("Content-Security-Policy"));
}

#[test]
fn foreign_text_is_inert() {
    let hostile = "<script>alert('x')</script><!-- \"' onload=\"a\" & </style> \u{0}\u{1b}";
    let page = html(&document(hostile, &[1.0, 2.0]));
    check(&page);
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(!page.contains(['\u{0}', '\u{1b}']));
}

#[test]
fn an_empty_document_is_a_page() {
    check(&html(&Document::default()));
}

#[test]
fn standing_and_missing_values_are_told_in_words() {
    let table = Table {
        columns: vec![Column::number("n", "N", Format::Integer)],
        rows: vec![
            Row::from([Cell::from(4826u32)]).status(Status::Chosen),
            Row::from([Cell::Missing]).status(Status::RolledBack),
        ],
        ..Table::default()
    };
    let section = Section { blocks: vec![Block::Table(table)], ..Section::default() };
    let page = html(&Document { sections: vec![section], ..Document::default() });
    for expected in [">4\u{202f}826<", ">chosen<", ">rolled back<", ">–<"] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn a_line_is_interrupted_where_a_point_is_missing() {
    let plot = |ys: &[f64]| LinePlot {
        name: String::new(),
        title: String::new(),
        caption: String::new(),
        x: Axis::linear("x", Format::Integer),
        guides: vec![],
        panels: vec![Panel {
            y: Axis::linear("y", Format::Plain),
            guides: vec![],
            series: vec![Series {
                name: "s".into(),
                marks: Marks::Line,
                points: ys.iter().enumerate().map(|(x, y)| (x as f64, *y).into()).collect(),
            }],
        }],
    };
    // Lines and dots in one of the two sizes in which each plot is drawn.
    let cases: &[(&[f64], usize, usize)] = &[
        (&[1.0, 2.0, 3.0], 1, 0),
        (&[1.0, 2.0, f64::NAN, 3.0, 4.0], 2, 0),
        (&[1.0, f64::INFINITY, 3.0, 4.0], 1, 1),
        (&[7.0], 0, 1),
        (&[7.0, 7.0], 1, 0),
        (&[f64::NAN], 0, 0),
        (&[], 0, 0),
    ];
    for (ys, lines, dots) in cases {
        let section = Section { blocks: vec![Block::LinePlot(plot(ys))], ..Section::default() };
        let page = html(&Document { sections: vec![section], ..Document::default() });
        check(&page);
        let count = |tag: &str| page.matches(tag).count() / 2;
        assert_eq!((count("<polyline"), count("<circle")), (*lines, *dots), "{ys:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_document_is_a_well_formed_page(text in ".{0,40}", bits in proptest::collection::vec(any::<u64>(), 0..6)) {
        let numbers: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
        let document = document(&text, &numbers);
        let page = html(&document);
        check(&page);
        prop_assert_eq!(page, html(&document.clone()));
    }
}
