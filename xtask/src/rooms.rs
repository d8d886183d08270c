//! The rooms and the edges between them: the one table that the crate graph and ARCHITECTURE.md must equal.

/// Every room with the rooms that it uses outside its tests, in the order in which a network travels.
///
/// A room is a folder under `crates/`; its package is `taper-` and the folder's name. A new edge is an architecture
/// change: edit this table, then run `cargo run -p taper-xtask -- rooms`.
pub const ROOMS: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("kernels", &[]),
    ("formats", &["graph"]),
    ("data", &[]),
    ("zoo", &["graph"]),
    ("run", &["graph", "kernels"]),
    ("adapt", &["graph", "kernels", "data", "run"]),
    ("report", &[]),
    ("toolkit", &["graph", "formats", "data", "zoo", "run", "adapt", "report"]),
    ("cli", &["toolkit"]),
];

/// Line of ARCHITECTURE.md after which the generated table begins.
pub const BEGIN: &str = "<!-- rooms: written by `cargo run -p taper-xtask -- rooms` -->";

/// Line of ARCHITECTURE.md before which the generated table ends.
pub const END: &str = "<!-- /rooms -->";

/// [`ROOMS`] as a Markdown table, ending in a newline.
pub fn table() -> String {
    let mut table = String::from("| room | uses |\n|---|---|\n");
    for (room, uses) in ROOMS {
        let uses: Vec<_> = uses.iter().map(|name| format!("`{name}`")).collect();
        let uses = if uses.is_empty() { "–".to_owned() } else { uses.join(", ") };
        table.push_str(&format!("| `{room}` | {uses} |\n"));
    }
    table
}

/// Splits a document around its generated table: the text up to and with [`BEGIN`], the table, and [`END`] with the rest.
///
/// `None` if a marker is missing or they stand in the wrong order.
pub fn split(document: &str) -> Option<(&str, &str, &str)> {
    let begin = document.find(BEGIN)? + BEGIN.len();
    let start = begin + document[begin..].find('\n')? + 1;
    let end = start + document[start..].find(END)?;
    Some((&document[..start], &document[start..end], &document[end..]))
}
