//! Where a network comes from: the zoo, with or without weights of a file, or a file.

use crate::error::{Result, ToolkitError};
use crate::recipe::Recipe;
use std::path::Path;
use taper_adapt::train::{TrainWhen, initialize};
use taper_data::{Dataset, ImageShape, Preprocess, Splits};
use taper_formats::FormatError;
use taper_formats::weights::{self, Report, assign};
use taper_graph::Graph;
use taper_zoo::Task;

/// Key in a network's metadata: names of its classes, as JSON.
const CLASSES: &str = "classes";
/// Key in a network's metadata: how bytes become inputs, as JSON.
const PREPROCESS: &str = "preprocess";

/// A network as a recipe names it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) graph: Graph,
    /// Names of the constants whose weights mean nothing yet; empty if the network is trained.
    pub(crate) untrained: Vec<String>,
    /// What a reader should know of it, if anything.
    pub(crate) note: Option<String>,
}

impl Source {
    /// The network in a file, which is taken as trained.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        Ok(Self { graph: taper_formats::load(path)?, untrained: Vec::new(), note: None })
    }

    /// The network `name` of the zoo for `task`, with random weights by `seed`.
    pub(crate) fn of_zoo(name: &str, task: Task, seed: u64) -> Result<Self> {
        let mut graph = taper_zoo::by_name(name, task)?;
        initialize(&mut graph, seed);
        let constants = graph.tensors.iter().filter(|tensor| tensor.data.is_some());
        let untrained = constants.map(|tensor| tensor.name.clone()).collect();
        Ok(Self { graph, untrained, note: None })
    }

    /// Puts the weights of `file` in the place of those that the network has.
    ///
    /// # Errors
    /// If the file cannot be read, has nothing for this network, or has an array of another shape.
    pub(crate) fn fill(&mut self, file: &Path) -> Result<()> {
        let stored = weights::load(file)?;
        let report = assign(&mut self.graph, &stored, stored.layout())
            .map_err(|error| FormatError::InFile { path: file.to_owned(), source: Box::new(error) })?;
        if report.assigned.is_empty() {
            return Err(ToolkitError::ForeignWeights {
                file: file.display().to_string(),
                model: self.graph.name.clone(),
                expected: names(&report.kept),
                found: names(&report.unused),
            });
        }
        self.note = note_of(file, &report);
        self.untrained.retain(|name| report.kept.contains(name));
        Ok(())
    }
}

/// Loads the recipe's data and its network, and notes classes and preprocessing in the network's metadata. A network of
/// the zoo is built for the images; image files are brought to the shape that a network from a file takes.
///
/// # Errors
/// If the data cannot be read, there is no such network or its weights cannot be used, it does not fit the data, or it is
/// untrained and must not be trained.
pub(crate) fn load(recipe: &Recipe) -> Result<(Splits, Source)> {
    let name = &recipe.model.source;
    let (data, mut source) = match name.strip_prefix("zoo:") {
        Some(name) => {
            let data = Splits::load(&recipe.data, None)?;
            let ImageShape { height, width, channels } = data.train.shape();
            let task = Task { input: [height, width, channels], classes: data.train.classes().len() };
            (data, Source::of_zoo(name, task, recipe.seed)?)
        }
        None => {
            let source = Source::of_file(Path::new(name))?;
            (Splits::load(&recipe.data, input_of(&source.graph))?, source)
        }
    };
    if let Some(weights) = &recipe.model.weights {
        source.fill(Path::new(weights))?;
    }
    let dataset = &data.train;
    if !source.untrained.is_empty() && recipe.train.when == TrainWhen::Never {
        return Err(ToolkitError::Untrained { model: name.clone(), constants: names(&source.untrained) });
    }
    check_fit(&source.graph, name, dataset, &recipe.data.source)?;
    let json = |value: serde_json::Value| value.to_string();
    let metadata = &mut source.graph.metadata;
    metadata.insert(CLASSES.to_owned(), json(dataset.classes().into()));
    let Preprocess { mean, scale } = recipe.data.preprocess;
    metadata.insert(PREPROCESS.to_owned(), json(serde_json::json!({ "mean": mean, "scale": scale })));
    Ok((data, source))
}

/// What of the network a file of weights left untouched, and what of the file no layer took.
fn note_of(file: &Path, report: &Report) -> Option<String> {
    let part = |names_of: &[String], words: &str| {
        if names_of.is_empty() { String::new() } else { format!("; {words} {}", names(names_of)) }
    };
    let all = report.assigned.len() + report.kept.len();
    let rest = part(&report.kept, "it has none for") + &part(&report.unused, "no layer takes its");
    (!rest.is_empty()).then(|| {
        format!("weights `{}` fill {} of {all} constants{rest}", file.display(), report.assigned.len())
    })
}

/// The first few of many names.
fn names(all: &[String]) -> String {
    const MOST: usize = 6;
    let mut text = all.iter().take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST) {
        0 => {}
        more => text += &format!(" and {more} more"),
    }
    text
}

/// The shape of the images that `graph` takes, if it takes images.
pub(crate) fn input_of(graph: &Graph) -> Option<ImageShape> {
    let [height, width, channels] = graph.tensor(graph.single_input().ok()?).shape.image()?;
    Some(ImageShape { height, width, channels })
}

/// How bytes become inputs of `graph`, if its metadata say so.
pub(crate) fn preprocess_of(graph: &Graph) -> Option<Preprocess> {
    serde_json::from_str(graph.metadata.get(PREPROCESS)?).ok()
}

/// Checks that a classifier takes the images of `dataset` and knows as many classes.
pub(crate) fn check_fit(graph: &Graph, model: &str, dataset: &Dataset, data: &str) -> Result<()> {
    let mismatch = |message: String| {
        Err(ToolkitError::Mismatch { model: model.to_owned(), data: data.to_owned(), message })
    };
    let ImageShape { height, width, channels } = dataset.shape();
    let input = graph.tensor(graph.single_input()?);
    if input.shape.image() != Some([height, width, channels]) {
        return mismatch(format!(
            "expected an input `{}` of {height}×{width}×{channels}, found {}",
            input.name, input.shape
        ));
    }
    let output = graph.tensor(graph.single_output()?);
    let classes = output.shape.elements(1).unwrap_or(0);
    if classes < dataset.classes().len() {
        return mismatch(format!(
            "expected an output `{}` of {} classes, found {}",
            output.name,
            dataset.classes().len(),
            output.shape
        ));
    }
    Ok(())
}
