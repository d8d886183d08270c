//! What a recipe says, and how it says what is wrong.

use super::*;
use taper_adapt::prune::{CutRule, Gains, Law, Step};
use taper_adapt::train::Schedule;

fn parse(text: &str) -> Result<Recipe, RecipeError> {
    Recipe::parse(text, "recipe.toml", &[])
}

fn with(text: &str, overrides: &[&str]) -> Result<Recipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::parse(text, "recipe.toml", &overrides)
}

/// The first line of the error.
fn check(text: &str, expected: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert_eq!(error.lines().next(), Some(expected), "{text}");
}

fn check_override(assignment: &str, expected: &str) {
    let error = with("", &[assignment]).expect_err(assignment).to_string();
    assert_eq!(error, format!("--set {assignment}: {expected}"));
}

#[test]
fn the_default_recipe_holds_the_defaults() {
    assert_eq!(parse(Recipe::DEFAULT).expect("sound"), Recipe::default());
    assert_eq!(parse("").expect("sound"), Recipe::default());
}

#[test]
fn a_resolved_recipe_reads_back_as_itself() {
    let text = r#"
        name = "a.b-c_1"
        [train]
        clip_norm = 1.5
        schedule = { kind = "cosine" }
        [prune]
        rule = "fraction"
        target_parameters = 1000
        [prune.laws]
        batch = 32
        cut = { law = "context", start = 0.3, loss = -1, min = 0.1 }
        epochs = { law = "linear", start = 1, alpha = 0.5 }
        [prune.schedule]
        kind = "plateau"
        patience = 4
    "#;
    for recipe in [Recipe::default(), parse(text).expect("sound")] {
        let resolved = recipe.to_toml().expect("writes");
        assert_eq!(parse(&resolved).expect("sound"), recipe, "{resolved}");
    }
    let recipe = parse(text).expect("sound");
    assert_eq!(recipe.prune.rule, CutRule::Fraction);
    assert_eq!(recipe.prune.laws.batch, Law::constant(32.0));
    let gains = Gains { loss: Some(-1.0), ..Gains::default() };
    assert_eq!(recipe.prune.laws.cut.step, Step::Context { gains });
    assert_eq!(recipe.prune.laws.c_min, Recipe::default().prune.laws.c_min);
    assert_eq!(recipe.prune.schedule, Schedule::Plateau { patience: 4, factor: 0.5 });
}

#[test]
fn an_error_shows_the_line() {
    let text = "seed = 2\n[prune.laws]\n  epocs = 3 # three\n";
    let expected = "\
recipe.toml:3:3: unknown key `prune.laws.epocs`, did you mean `epochs`?
  |
3 |   epocs = 3 # three
  |   ^^^^^";
    assert_eq!(parse(text).expect_err(text).to_string(), expected);
}

#[test]
fn errors_name_the_key_and_what_was_expected() {
    check(
        "[prune]\nrule = \"deviatons\"",
        "recipe.toml:2:8: prune.rule: unknown value `deviatons`, did you mean `deviations`? \
         (expected one of `deviations`, `threshold`, `fraction`)",
    );
    check(
        "[prune.laws]\nbatch = { law = \"multiplicativ\", start = 1 }",
        "recipe.toml:2:17: prune.laws.batch.law: unknown value `multiplicativ`, did you mean `multiplicative`? \
         (expected one of `constant`, `linear`, `multiplicative`, `context`)",
    );
    check(
        "[prune]\ncriterion = 1",
        "recipe.toml:2:13: prune.criterion: expected \"apoz\", found the integer 1",
    );
    check(
        "[prune.laws.batch]\nlaw = \"linear\"\nstart = \"many\"\nalpha = 1",
        "recipe.toml:3:9: prune.laws.batch.start: expected a number, found the string \"many\"",
    );
    check(
        "[prune.laws]\nbatch = true",
        "recipe.toml:2:9: prune.laws.batch: expected a number or a law such as \
         { law = \"linear\", start = 1, alpha = 1 }, found the boolean true",
    );
    check(
        "prune.laws.batch = { law = \"linear\", start = 1 }",
        "recipe.toml:1:20: prune.laws.batch: expected the keys of the linear law, `start`, `alpha`, `min`, `max`, \
         but `alpha` is missing",
    );
    check(
        "prune.laws.cut = { law = \"context\", start = 1, beta = 2 }",
        "recipe.toml:1:18: prune.laws.cut: expected the keys of the context law, `start`, `size`, `loss`, `time`, \
         `min`, `max`, found `beta`",
    );
    check("prune.laws.cut = { start = 1 }", "recipe.toml:1:18: prune.laws.cut: the key `law` is missing");
    check(
        "[zebra]",
        "recipe.toml:1:2: unknown key `zebra`, expected one of `name`, `seed`, `threads`, `model`, `data`, `train`, \
         `prune`, `goal`, `quantize`, `measure`",
    );
    check("prune = 3", "recipe.toml:1:9: prune: expected a table, found the integer 3");
    check(
        "train.batch = -64",
        "recipe.toml:1:15: train.batch: expected a whole number of at least 0, found the integer -64",
    );
    check(
        "train.epochs = 99999999999999999999",
        "recipe.toml:1:16: train.epochs: expected a whole number of at least 0, found the number 100000000000000000000",
    );
    check(
        "train.schedule = { kind = \"cosine\", every = 2 }",
        "recipe.toml:1:18: train.schedule: expected `floor` beside kind = \"cosine\", found `every`",
    );
    check(
        "data.classes = [\"a\", 2]",
        "recipe.toml:1:22: data.classes[1]: expected a string, found the integer 2",
    );
}

#[test]
fn values_out_of_range_are_errors_of_their_line() {
    check(
        "[prune.laws]\nbatch = -256",
        "recipe.toml:2:9: prune.laws.batch.start: expected a number of at least 1, found -256",
    );
    check(
        "prune.laws.cut = { law = \"constant\", start = nan }",
        "recipe.toml:1:46: prune.laws.cut.start: expected a finite number, found NaN",
    );
    check(
        "data.validation = 1.5",
        "recipe.toml:1:19: data.validation: expected a number above 0 up to 0.9, found 1.5",
    );
    check(
        "model.source = \"zoo:vgg61\"",
        "recipe.toml:1:16: model.source: expected `zoo:vgg16`, `zoo:vgg16-bn`, `zoo:vgg16-pruned`, `zoo:vgg-small`, `zoo:resnet50`, `zoo:mobilenet-v1` or a path, found `zoo:vgg61`",
    );
    check(
        "name = \"../elsewhere\"",
        "recipe.toml:1:8: name: expected 1 to 100 ASCII letters, digits, `-`, `_` and `.`, not beginning with `.`, \
         found \"../elsewhere\"",
    );
    check(
        "goal.max_accuracy_loss = 2",
        "recipe.toml:1:26: goal.max_accuracy_loss: expected a number from 0 to 1, found 2",
    );
    check(
        "measure.repeats = 0",
        "recipe.toml:1:19: measure.repeats: expected a whole number of at least 1, found 0",
    );
}

#[test]
fn broken_toml_names_the_line() {
    for text in ["seed = ", "seed = 1\nseed = 2", "[train", "= 3", "a.b.c", "\u{0}", "seed = 1 \u{feff}"] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with("recipe.toml:"), "{error}");
        assert!(error.contains('^'), "{error}");
    }
}

#[test]
fn no_text_is_too_strange_for_an_error() {
    for (end, _) in Recipe::DEFAULT.char_indices() {
        let start = &Recipe::DEFAULT[..end];
        for text in [start.to_owned(), format!("{start}\u{e9}\"'")] {
            if let Err(error) = parse(&text) {
                assert!(error.to_string().starts_with("recipe.toml"), "{error}");
            }
        }
    }
    for deep in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
    ] {
        parse(&deep).expect_err("too deep");
    }
    let deep = "a.".repeat(50_000);
    for assignment in [format!("{deep}a=1"), format!("a={{{deep}a=1}}")] {
        with("", &[&assignment]).expect_err("too deep");
    }
    let path = "../".repeat(20);
    with("", &[&format!("data.source={path}x")]).expect("a path is not a key");
}

#[test]
fn overrides_are_laid_over_the_recipe() {
    let recipe = with(
        "[prune.laws]\nepochs = { law = \"linear\", start = 1, alpha = 1 }\n",
        &[
            "prune.laws.epochs.alpha = 2",
            "prune.laws.batch.max=512",
            "model.source=zoo:vgg16-bn",
            "name='mine'",
            "train.schedule={kind=\"step\"}",
            "data.classes=[\"a\",\"b\"]",
        ],
    )
    .expect("sound");
    assert_eq!(recipe.prune.laws.epochs.step, Step::Linear { alpha: 2.0 });
    assert_eq!(recipe.prune.laws.batch, Law { max: Some(512.0), ..Recipe::default().prune.laws.batch });
    assert_eq!(recipe.model.source, "zoo:vgg16-bn");
    assert_eq!(recipe.name.as_deref(), Some("mine"));
    assert_eq!(recipe.train.schedule, Schedule::Step { every: 1, factor: 0.5 });
    assert_eq!(recipe.data.classes, ["a", "b"]);
}

#[test]
fn errors_of_overrides_name_the_override() {
    check_override("seed", "expected KEY=VALUE with a dotted key, such as prune.laws.epochs.beta=2");
    check_override("a..b=1", "expected KEY=VALUE with a dotted key, such as prune.laws.epochs.beta=2");
    check_override("measure.repeat=3", "unknown key `measure.repeat`, did you mean `repeats`?");
    check_override(
        "prune.tries=few",
        "prune.tries: expected a whole number of at least 0, found the string \"few\"",
    );
    check_override("prune.laws.cut.start=nan", "prune.laws.cut.start: expected a finite number, found NaN");
    check_override("seed.x=1", "seed: expected a table in which to set `x`, found the integer 1");
    let broken = with("", &["train.schedule={kind="]).expect_err("broken TOML").to_string();
    assert!(broken.starts_with("--set train.schedule={kind=: "), "{broken}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let missing = folder.path().join("missing.toml");
    let error = Recipe::load(&missing, &[]).expect_err("missing").to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");

    for (name, bytes) in [("binary.toml", vec![0xff_u8, 0xfe]), ("large.toml", vec![b'#'; (1 << 20) + 1])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("writes");
        let error = Recipe::load(&path, &[]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("cannot be read"), "{error}");
    }

    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, Recipe::DEFAULT).expect("writes");
    assert_eq!(Recipe::load(&path, &[]).expect("sound"), Recipe::default());
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn visit(at: &str, schema: &serde_json::Value) {
        for (key, value) in schema.get("properties").and_then(|keys| keys.as_object()).into_iter().flatten() {
            assert!(value.get("description").is_some(), "{at}.{key} has no description");
        }
    }
    let schema = serde_json::to_value(Recipe::json_schema()).expect("JSON");
    visit("recipe", &schema);
    let definitions = schema["$defs"].as_object().expect("definitions");
    definitions.iter().for_each(|(name, schema)| visit(name, schema));
    assert!(schema["properties"].get("prune").is_some());
    assert!(definitions.contains_key("LawTable"), "{schema:#}");
}

#[test]
fn a_stem_names_network_and_data() {
    let stem = |overrides: &[&str]| with("", overrides).expect("sound").stem();
    assert_eq!(stem(&[]), "vgg16-mnist");
    assert_eq!(stem(&["model.source=../nets/My Net.tflite", "data.source=/data/fashion/"]), "my-net-fashion");
}
