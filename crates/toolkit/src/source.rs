//! Where a network comes from: the zoo or a file.

use crate::error::{Result, ToolkitError};
use crate::recipe::Recipe;
use std::path::Path;
use taper_adapt::train::TrainWhen;
use taper_data::{Dataset, ImageShape, Preprocess, Splits};
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
    /// Whether its weights mean something.
    pub(crate) trained: bool,
}

/// Loads the recipe's data and its network, and notes classes and preprocessing in the network's metadata. A network of
/// the zoo is built for the images; image files are brought to the shape that a network from a file takes.
///
/// # Errors
/// If the data cannot be read, there is no such network, it does not fit the data, or it is untrained and must not be
/// trained.
pub(crate) fn load(recipe: &Recipe) -> Result<(Splits, Source)> {
    let name = &recipe.model.source;
    let (data, mut source) = match name.strip_prefix("zoo:") {
        Some(name) => {
            let data = Splits::load(&recipe.data, None)?;
            let ImageShape { height, width, channels } = data.train.shape();
            let task = Task { input: [height, width, channels], classes: data.train.classes().len() };
            let graph = taper_zoo::by_name(name, task)?;
            (data, Source { graph, trained: false })
        }
        None => {
            let graph = taper_formats::load(Path::new(name))?;
            let data = Splits::load(&recipe.data, input_of(&graph))?;
            (data, Source { graph, trained: true })
        }
    };
    let dataset = &data.train;
    if !source.trained && recipe.train.when == TrainWhen::Never {
        return Err(ToolkitError::Untrained { model: name.clone() });
    }
    check_fit(&source.graph, name, dataset, &recipe.data.source)?;
    let json = |value: serde_json::Value| value.to_string();
    let metadata = &mut source.graph.metadata;
    metadata.insert(CLASSES.to_owned(), json(dataset.classes().into()));
    let Preprocess { mean, scale } = recipe.data.preprocess;
    metadata.insert(PREPROCESS.to_owned(), json(serde_json::json!({ "mean": mean, "scale": scale })));
    Ok((data, source))
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
