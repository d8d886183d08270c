//! The published JSON schema of recipes is the one that the code knows.

use std::fs;
use std::path::Path;
use taper_toolkit::Recipe;

#[test]
fn the_published_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe.schema.json");
    let published = fs::read_to_string(&path).expect("docs/recipe.schema.json");
    let published: serde_json::Value = serde_json::from_str(&published).expect("JSON");
    assert!(
        published == serde_json::json!(Recipe::json_schema()),
        "docs/recipe.schema.json is out of date: write it with `cargo run --release --bin taper -- recipe --schema`"
    );
}
