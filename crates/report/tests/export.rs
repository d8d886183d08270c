//! CSV and JSON: every number reads back to the same bits, every text to the same text.

use proptest::prelude::*;
use taper_report::{
    Axis, Block, Cell, Column, Document, Format, LayerWidth, LinePlot, Marks, Panel, Point, Records, Row,
    Section, Series, Status, Table, WidthBars, csv,
};

/// Reads RFC 4180; a field that was quoted is `Err`, so that an empty text differs from a missing cell.
fn read_csv(text: &str) -> Vec<Vec<Result<String, String>>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let field = if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            rest = quoted;
            loop {
                let (part, after) = rest.split_once('"').expect("a closing quote");
                value += part;
                match after.strip_prefix('"') {
                    Some(more) => {
                        value.push('"');
                        rest = more;
                    }
                    None => {
                        rest = after;
                        break Err(value);
                    }
                }
            }
        } else {
            let end = rest.find([',', '\r']).expect("a comma or the line's end");
            let (value, after) = rest.split_at(end);
            rest = after;
            Ok(value.to_owned())
        };
        line.push(field);
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else {
            rest = rest.strip_prefix("\r\n").expect("a line ends with CR LF");
            lines.push(std::mem::take(&mut line));
        }
    }
    lines
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Missing),
        any::<i64>().prop_map(Cell::Integer),
        any::<u64>().prop_map(|bits| Cell::Number(f64::from_bits(bits))),
        "[a-zA-Z\"', \r\n;é]{0,12}".prop_map(Cell::Text),
    ]
}

fn any_table() -> impl Strategy<Value = Table> {
    (1usize..5).prop_flat_map(|width| {
        let status = prop_oneof![Just(Status::Plain), Just(Status::Chosen), Just(Status::RolledBack)];
        let row = (proptest::collection::vec(any_cell(), width), status)
            .prop_map(|(cells, status)| Row { cells, status });
        proptest::collection::vec(row, 0..5).prop_map(move |rows| Table {
            name: "t".into(),
            caption: "c".into(),
            columns: (0..width).map(|index| Column::text(format!("k{index}"), "title")).collect(),
            rows,
        })
    })
}

/// What a cell is after a form that has no numbers other than finite ones.
fn finite(cell: &Cell) -> Cell {
    match cell {
        Cell::Number(number) if !number.is_finite() => Cell::Missing,
        Cell::Missing | Cell::Integer(_) | Cell::Number(_) | Cell::Text(_) => cell.clone(),
    }
}

#[test]
fn csv_is_raw_and_quoted() {
    let table = Table {
        columns: vec![
            Column::text("layer", "Layer"),
            Column::number("macs", "MACs", Format::Si(3)).unit("MAC"),
        ],
        rows: vec![
            Row::from(["conv, \"1\"".into(), 14_718_666u32.into()]).status(Status::Chosen),
            Row::from(["".into(), 0.1.into()]),
            Row::from([Cell::Missing, f64::NAN.into(), 1e-9.into()]),
        ],
        ..Table::default()
    };
    let expected =
        "layer,macs,\"\",status\r\n\"conv, \"\"1\"\"\",14718666,,chosen\r\n\"\",0.1,,\r\n,,1e-9,\r\n";
    assert_eq!(csv(&table), expected);
}

#[test]
fn records_are_keyed_by_column() {
    let table = Table {
        columns: vec![
            Column::number("z", "Z", Format::Percent(1)),
            Column::number("a", "A", Format::Integer),
        ],
        rows: vec![Row::from([0.5.into(), 3u32.into()]), Row::from([]).status(Status::RolledBack)],
        ..Table::default()
    };
    let json = serde_json::to_string(&Records(&table)).expect("records are JSON");
    assert_eq!(json, r#"[{"z":0.5,"a":3,"status":"plain"},{"z":null,"a":null,"status":"rolled_back"}]"#);
}

#[test]
fn plots_export_what_they_draw() {
    let point = |x, y| Point { x, y };
    let plot = LinePlot {
        name: "curves".into(),
        title: String::new(),
        caption: String::new(),
        x: Axis::linear("epoch", Format::Integer),
        guides: vec![],
        panels: vec![Panel {
            y: Axis::log("loss", Format::Plain),
            guides: vec![],
            series: vec![Series {
                name: "training".into(),
                marks: Marks::Line,
                points: vec![point(1.0, 2.5), point(2.0, f64::NAN)],
            }],
        }],
    };
    let bars = WidthBars {
        name: "widths".into(),
        title: String::new(),
        caption: String::new(),
        unit: "channels".into(),
        layers: vec![LayerWidth { name: "conv1".into(), before: 64, after: 5 }],
    };
    let blocks = vec![Block::LinePlot(plot), Block::Paragraph("p".into()), Block::WidthBars(bars)];
    let document =
        Document { sections: vec![Section { blocks, ..Section::default() }], ..Document::default() };

    let tables = document.tables();
    let texts: Vec<(&str, String)> = tables.iter().map(|table| (table.name.as_str(), csv(table))).collect();
    assert_eq!(
        texts,
        [
            ("curves", "panel,series,x,y\r\nloss,training,1,2.5\r\nloss,training,2,\r\n".to_owned()),
            ("widths", "layer,before,after\r\nconv1,64,5\r\n".to_owned()),
        ]
    );

    let json = serde_json::to_string(&document).expect("a document is JSON");
    let again: Document = serde_json::from_str(&json).expect("and JSON a document");
    assert_eq!(serde_json::to_string(&again).expect("still JSON"), json);
}

proptest! {
    #[test]
    fn csv_reads_back(table in any_table()) {
        let lines = read_csv(&csv(&table));
        prop_assert_eq!(lines.len(), table.rows.len() + 1);
        for (line, row) in lines.iter().skip(1).zip(&table.rows) {
            for (field, cell) in line.iter().zip(&row.cells) {
                match (finite(cell), field) {
                    (Cell::Missing, Ok(field)) => prop_assert_eq!(field, ""),
                    (Cell::Integer(integer), Ok(field)) => prop_assert_eq!(field.parse(), Ok(integer)),
                    (Cell::Number(number), Ok(field)) => {
                        prop_assert_eq!(field.parse().map(f64::to_bits), Ok(number.to_bits()));
                    }
                    (Cell::Text(text), Ok(field) | Err(field)) => prop_assert_eq!(field, &text),
                    (Cell::Missing, Err(field)) if row.cells.len() == 1 => prop_assert_eq!(field, ""),
                    (other, Err(field)) => prop_assert!(false, "{:?} was quoted as {}", other, field),
                }
            }
        }
    }

    #[test]
    fn json_reads_back(table in any_table()) {
        let json = serde_json::to_string(&table).expect("a table is JSON");
        let again: Table = serde_json::from_str(&json).expect("and JSON a table");
        let cells = |table: &Table| -> Vec<Cell> {
            table.rows.iter().flat_map(|row| &row.cells).map(finite).collect()
        };
        prop_assert_eq!(cells(&again), cells(&table));
    }
}
