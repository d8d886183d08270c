//! Taper's own files, `.taper`: a network with all that is needed to go on from there.
//!
//! A checkpoint is a safetensors file, readable by any tool for that format. The graph stands as JSON in the metadata
//! (`taper.graph`), its constants are tensors under their own names, and free text and tensors (optimiser state, masks,
//! random state) stand beside them.

use crate::error::{FormatError, Result};
use crate::file::write_file_atomic;
use crate::safetensors::{self, Array, Container};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use taper_graph::{Graph, Node, Op, Tensor, TensorData};

/// The version of this layout.
const FORMAT_VERSION: &str = "1";
/// Names under this prefix are the format's own.
const RESERVED: &str = "taper.";
const VERSION_KEY: &str = "taper.format_version";
const GRAPH_KEY: &str = "taper.graph";
/// Positions of the graph's constants, as JSON.
const CONSTANTS_KEY: &str = "taper.constants";
/// In front of an opaque node's name: the tensor with its attributes, which JSON would swell.
const ATTRIBUTES_PREFIX: &str = "taper.attributes/";

/// Whether a safetensors file of this metadata is a checkpoint.
pub(crate) fn holds_graph(metadata: &BTreeMap<String, String>) -> bool {
    metadata.contains_key(GRAPH_KEY)
}

/// A network and the state around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The network.
    pub graph: Graph,
    /// Tensors beside the network; their names must differ from those of the network's constants.
    pub extra_tensors: BTreeMap<String, ExtraTensor>,
    /// Text beside the network.
    pub extra: BTreeMap<String, String>,
}

/// A tensor beside a network.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraTensor {
    /// Sizes of its dimensions.
    pub sizes: Vec<usize>,
    /// Its elements, row-major.
    pub data: TensorData,
}

impl Checkpoint {
    /// A checkpoint of a network alone.
    #[must_use]
    pub fn new(graph: Graph) -> Self {
        Self { graph, extra_tensors: BTreeMap::new(), extra: BTreeMap::new() }
    }

    /// Reads a `.taper` file.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`], with the file's name.
    pub fn load(path: &Path) -> Result<Self> {
        fs::read(path)
            .map_err(FormatError::io("read the file"))
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|error| error.in_file(path))
    }

    /// Writes a `.taper` file by [`write_file_atomic`].
    ///
    /// # Errors
    /// As [`Checkpoint::to_bytes`] and [`write_file_atomic`], with the file's name.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes().map_err(|error| error.in_file(path))?;
        write_file_atomic(path, &bytes)
    }

    /// The checkpoint's bytes; they depend on its content alone.
    ///
    /// # Errors
    /// If the graph is inconsistent, a name stands twice or is reserved, or an extra tensor's sizes do not fit its data.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.graph.verify()?;
        let mut tensors: BTreeMap<&str, Array<'_>> = BTreeMap::new();
        let mut constants = Vec::new();
        let sizes: Vec<Vec<usize>> =
            self.graph.tensors.iter().map(|tensor| tensor.shape.sizes().unwrap_or_default()).collect();
        for (position, (tensor, sizes)) in self.graph.tensors.iter().zip(&sizes).enumerate() {
            if let Some(data) = &tensor.data {
                constants.push(position);
                insert(&mut tensors, &tensor.name, (sizes, data))?;
            }
        }
        let attributes = opaque_attributes(&self.graph);
        for (name, sizes, data) in &attributes {
            tensors.insert(name, (sizes, data));
        }
        for (name, ExtraTensor { sizes, data }) in &self.extra_tensors {
            if sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) != Some(data.len()) {
                return Err(FormatError::invalid(
                    format!("extra tensor `{name}`"),
                    format!("expected elements for {sizes:?}, found {}", data.len()),
                ));
            }
            insert(&mut tensors, name, (sizes, data))?;
        }
        let mut metadata = self.extra.clone();
        if let Some(key) = metadata.keys().find(|key| key.starts_with(RESERVED)) {
            return Err(reserved("extra text", key));
        }
        metadata.insert(VERSION_KEY.to_owned(), FORMAT_VERSION.to_owned());
        metadata.insert(GRAPH_KEY.to_owned(), graph_json(&self.graph)?);
        metadata.insert(CONSTANTS_KEY.to_owned(), json(&constants)?);
        safetensors::write(&metadata, &tensors)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If the bytes are no checkpoint, of another version, or a tensor is missing or not what the graph says; the error
    /// names it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut container = Container::read(bytes)?;
        let mut metadata = std::mem::take(&mut container.metadata);
        let version = take(&mut metadata, VERSION_KEY)?;
        if version != FORMAT_VERSION {
            return Err(FormatError::unsupported(
                VERSION_KEY,
                format!("expected version {FORMAT_VERSION}, found `{version}`"),
            ));
        }
        let mut graph: Graph = parse(&mut metadata, GRAPH_KEY)?;
        let constants: Vec<usize> = parse(&mut metadata, CONSTANTS_KEY)?;
        for position in constants {
            let count = graph.tensors.len();
            let tensor = graph.tensors.get_mut(position).ok_or_else(|| {
                FormatError::invalid(
                    CONSTANTS_KEY,
                    format!("expected positions below {count}, found {position}"),
                )
            })?;
            let (sizes, data) = container.take(&tensor.name)?.ok_or_else(|| missing(&tensor.name))?;
            fill(tensor, &sizes, data)?;
        }
        for Node { name, op, .. } in &mut graph.nodes {
            if let Op::Opaque(opaque) = op {
                let name = format!("{ATTRIBUTES_PREFIX}{name}");
                opaque.attributes = match container.take(&name)? {
                    Some((_, TensorData::U8(bytes))) => bytes,
                    Some((_, data)) => {
                        return Err(FormatError::invalid(
                            format!("tensor `{name}`"),
                            format!("expected elements of u8, found {}", data.dtype()),
                        ));
                    }
                    None => return Err(missing(&name)),
                };
            }
        }
        graph.verify()?;
        let mut extra_tensors = BTreeMap::new();
        while let Some(extra) = container.take_first() {
            let (name, sizes, data) = extra?;
            extra_tensors.insert(name, ExtraTensor { sizes, data });
        }
        Ok(Self { graph, extra_tensors, extra: metadata })
    }
}

/// Puts the data that a file holds into the tensor that the graph describes.
fn fill(tensor: &mut Tensor, sizes: &[usize], data: TensorData) -> Result<()> {
    if tensor.shape.sizes().as_deref() != Some(sizes) || tensor.dtype != data.dtype() {
        return Err(FormatError::invalid(
            format!("tensor `{}`", tensor.name),
            format!(
                "expected {} {} as the graph says, found {} {sizes:?}",
                tensor.dtype,
                tensor.shape,
                data.dtype()
            ),
        ));
    }
    tensor.data = Some(data);
    Ok(())
}

fn insert<'a>(tensors: &mut BTreeMap<&'a str, Array<'a>>, name: &'a str, array: Array<'a>) -> Result<()> {
    if name.starts_with(RESERVED) || name == "__metadata__" {
        return Err(reserved("tensor", name));
    }
    match tensors.insert(name, array) {
        None => Ok(()),
        Some(_) => Err(FormatError::invalid(
            format!("extra tensor `{name}`"),
            "expected a name that no constant of the graph bears",
        )),
    }
}

fn reserved(role: &str, name: &str) -> FormatError {
    FormatError::invalid(format!("{role} `{name}`"), "this name is reserved for the format itself")
}

fn missing(name: &str) -> FormatError {
    FormatError::invalid(format!("tensor `{name}`"), "expected its data in the checkpoint, found none")
}

/// The attributes of each opaque node as a tensor of bytes.
fn opaque_attributes(graph: &Graph) -> Vec<(String, [usize; 1], TensorData)> {
    let attributes = graph.nodes.iter().filter_map(|Node { name, op, .. }| match op {
        Op::Opaque(opaque) => Some((name, &opaque.attributes)),
        Op::Conv2d(_)
        | Op::ConvTranspose2d(_)
        | Op::FullyConnected(_)
        | Op::BatchNorm(_)
        | Op::Activation { .. }
        | Op::Prelu
        | Op::Elementwise(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Resize2d(_)
        | Op::Pool2d(_)
        | Op::GlobalPool2d { .. }
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::StridedSlice(_)
        | Op::Tile { .. }
        | Op::ArgMax(_)
        | Op::Softmax(_)
        | Op::Dropout(_)
        | Op::FakeQuantize(_)
        | Op::Quantize { .. } => None,
    });
    attributes
        .map(|(name, bytes)| {
            (format!("{ATTRIBUTES_PREFIX}{name}"), [bytes.len()], TensorData::U8(bytes.clone()))
        })
        .collect()
}

/// The graph as JSON, without data and attributes, which stand beside it.
fn graph_json(graph: &Graph) -> Result<String> {
    let described = |tensor: &Tensor| Tensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype,
        quantization: tensor.quantization.clone(),
        data: None,
    };
    let mut nodes = graph.nodes.clone();
    for node in &mut nodes {
        if let Op::Opaque(opaque) = &mut node.op {
            opaque.attributes.clear();
        }
    }
    let bare = Graph {
        name: graph.name.clone(),
        tensors: graph.tensors.iter().map(described).collect(),
        nodes,
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        metadata: graph.metadata.clone(),
    };
    let text = json(&bare)?;
    // JSON has no NaN and no infinity; what could not be read again must not be written.
    match serde_json::from_str::<Graph>(&text) {
        Ok(again) if again == bare => Ok(text),
        Ok(_) | Err(_) => Err(FormatError::unsupported(
            format!("graph `{}`", graph.name),
            "an attribute is not a finite number, which JSON cannot hold",
        )),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        FormatError::unsupported("checkpoint", format!("cannot be written as JSON: {error}"))
    })
}

fn take(metadata: &mut BTreeMap<String, String>, key: &str) -> Result<String> {
    metadata.remove(key).ok_or_else(|| {
        FormatError::invalid(key, "expected this entry in the metadata of a Taper checkpoint, found none")
    })
}

fn parse<T: serde::de::DeserializeOwned>(metadata: &mut BTreeMap<String, String>, key: &str) -> Result<T> {
    let text = take(metadata, key)?;
    serde_json::from_str(&text)
        .map_err(|error| FormatError::invalid(key, format!("cannot be understood: {error}")))
}
