//! An ONNX file becomes a graph.

use super::constant::Constant;
use super::external::Folder;
use super::facts::{self, Facts};
use super::importer::{Activation, Importer, Value};
use super::operation::Operation;
use super::schema::{self, data_type};
use super::view::{CHANNELS_LAST, View};
use super::wire::weigh;
use super::{fold, ops};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use taper_graph::{DType, Dim, Graph, Shape, Tensor};

/// The oldest set of operators that is read.
const OLDEST_OPSET: i64 = 7;
/// ONNX's own domain has two names.
const DOMAINS: [&str; 2] = ["", "ai.onnx"];

/// Reads a network from the bytes of an `.onnx` file.
///
/// Images become `[N,H,W,C]`: inputs of four dimensions are taken to be `[N,C,H,W]`, unless the model itself transposes
/// them to that first. What only changes how the model sees a tensor, or computes a shape, leaves no node. A dimension 0
/// without a size is the batch; one that the model fixes is opened, unless a node needs its size. Nodes and tensors keep
/// their names, and the metadata is kept.
///
/// Operators between DequantizeLinear and QuantizeLinear become operators on integers: their tensors are quantized, and no
/// node stands for the pair. An input of floats that is quantized keeps its QuantizeLinear; an output that is dequantized
/// is the integers before that. Unsigned integers beside signed ones become signed, with a zero point lower by 128.
///
/// # Errors
/// If the bytes break the format's rules, hold what a graph cannot express, or point to another file; the error names the
/// node, input or initializer.
pub fn read(bytes: Vec<u8>) -> Result<Graph> {
    import(bytes, None)
}

/// Reads a network as [`read`] does. What it points to is read from files inside of `folder`.
///
/// # Errors
/// As [`read`], or if a file that the model points to lies outside of the folder or cannot be read.
pub fn read_beside(bytes: Vec<u8>, folder: &Path) -> Result<Graph> {
    import(bytes, Some(folder))
}

fn import(bytes: Vec<u8>, folder: Option<&Path>) -> Result<Graph> {
    let mut budget = Budget::of(bytes.len());
    weigh(&bytes, &mut budget)?;
    // Elements stay where they are in the file until each constant is copied into the graph.
    let model = schema::Model::decode(Bytes::from(bytes))
        .map_err(|error| FormatError::invalid("ModelProto", error.to_string()))?;
    let opset = opset(&model)?;
    let mut source = model
        .graph
        .ok_or_else(|| FormatError::invalid("ModelProto.graph", "expected a graph, found none"))?;
    let (batch, signed) = (facts::fixed_batch(&source), facts::has_signed_integers(&source));
    let initializers = std::mem::take(&mut source.initializer);
    let constants = read_initializers(&source, initializers, folder, &mut budget)?;

    let name = if source.name.is_empty() { "main" } else { &source.name };
    let mut empty = Graph::new(name);
    empty.metadata = model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect();
    let build = |batch, budget| {
        let facts = Facts::of(&source, signed, batch);
        build(&source, &constants, Importer::new(empty.clone(), opset, budget, facts))
    };
    // Exporters fix the batch unless told otherwise. It is opened where nothing but the inputs' own sizes hinders that.
    match batch.map(|batch| build(Some(batch), budget.clone())) {
        Some(Ok(graph)) => Ok(graph),
        Some(Err(_)) | None => build(None, budget),
    }
}

/// Reads inputs, nodes and outputs.
fn build<'m>(
    source: &'m schema::Graph,
    constants: &'m [(String, Constant)],
    mut importer: Importer<'m>,
) -> Result<Graph> {
    for (name, constant) in constants {
        importer.bind(name, Value::Constant(constant.clone()));
    }
    read_inputs(&mut importer, source)?;
    for node in &source.node {
        read_node(&mut importer, node)?;
    }
    read_outputs(&mut importer, source)?;
    let mut graph = importer.graph;
    graph.remove_unused_tensors();
    check_meanings(&graph)?;
    graph.verify()?;
    Ok(graph)
}

/// Checks that all integers that are computed with mean something: the wide ones that a node gives are indices.
fn check_meanings(graph: &Graph) -> Result<()> {
    let inputs = graph.inputs.iter().map(|id| graph.tensor(*id));
    let narrow = graph.tensors.iter().filter(|tensor| !matches!(tensor.dtype, DType::I32 | DType::I64));
    let plain = |tensor: &&Tensor| {
        tensor.dtype != DType::F32 && tensor.data.is_none() && tensor.quantization.is_none()
    };
    match inputs.chain(narrow).find(plain) {
        Some(tensor) => Err(FormatError::unsupported(
            format!("value `{}`", tensor.name),
            format!(
                "expected a scale of its integers, found {} that nothing dequantizes or quantizes",
                tensor.dtype
            ),
        )),
        None => Ok(()),
    }
}

/// The version of ONNX's own operators.
fn opset(model: &schema::Model) -> Result<i64> {
    let own = model.opset_import.iter().find(|set| DOMAINS.contains(&set.domain.as_str()));
    match own.map(|set| set.version.unwrap_or(0)) {
        Some(version) if version >= OLDEST_OPSET => Ok(version),
        Some(version) => Err(FormatError::unsupported(
            "ModelProto.opset_import",
            format!("expected operators of version {OLDEST_OPSET} or newer, found {version}"),
        )),
        None => Err(FormatError::invalid(
            "ModelProto.opset_import",
            "expected a version of ONNX's operators, found none",
        )),
    }
}

fn read_initializers(
    source: &schema::Graph,
    initializers: Vec<schema::Tensor>,
    folder: Option<&Path>,
    budget: &mut Budget,
) -> Result<Vec<(String, Constant)>> {
    let read: HashSet<&str> = source.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let mut folder = Folder::new(folder);
    let mut constants = Vec::with_capacity(initializers.len());
    for tensor in initializers {
        // What nothing reads may be of a type that a graph has not.
        if read.contains(tensor.name.as_str()) {
            let name = tensor.name.clone();
            constants.push((name, Constant::load(tensor, &mut folder, budget)?));
        }
    }
    Ok(constants)
}

fn read_inputs<'m>(importer: &mut Importer<'m>, source: &'m schema::Graph) -> Result<()> {
    let last = channels_last(source);
    for input in &source.input {
        // Before version 4 of the format, initializers are inputs too.
        if importer.get(&input.name).is_some() {
            continue;
        }
        let subject = format!("input `{}`", input.name);
        let (dims, dtype) = input_type(input, &subject, importer.facts.batch)?;
        let order: Vec<usize> = match dims.len() {
            4 if !last.contains(input.name.as_str()) => CHANNELS_LAST.to_vec(),
            rank => (0..rank).collect(),
        };
        let shape = Shape::new(order.iter().map(|&axis| dims[axis]).collect());
        let view = View::ordered(&shape, &order);
        let name = importer.tensor_name(&input.name);
        let tensor = importer.graph.add_input(name, shape, dtype);
        if !importer.bind(&input.name, Value::Activation(Activation { tensor, view })) {
            return Err(FormatError::invalid(subject, "expected a name of its own, found it twice"));
        }
    }
    Ok(())
}

/// The dimensions of an input, of which only the first may be open and is if its size is `batch`, and its type.
fn input_type(input: &schema::ValueInfo, subject: &str, batch: Option<usize>) -> Result<(Vec<Dim>, DType)> {
    let tensor = input.of_type.as_ref().and_then(|of| of.tensor.as_ref());
    let (Some(tensor), Some(shape)) = (tensor, tensor.and_then(|tensor| tensor.shape.as_ref())) else {
        return Err(FormatError::unsupported(
            subject,
            "expected a tensor of known rank, found another value",
        ));
    };
    let dtype = match tensor.elem_type {
        data_type::FLOAT => DType::F32,
        data_type::INT8 => DType::I8,
        data_type::UINT8 => DType::U8,
        other => {
            return Err(FormatError::unsupported(
                subject,
                format!("expected floats of 32 bits or integers of 8, found {}", data_type::name(other)),
            ));
        }
    };
    if shape.dim.is_empty() || shape.dim.len() > 8 {
        return Err(FormatError::unsupported(
            subject,
            format!("expected 1 to 8 dimensions, found {}", shape.dim.len()),
        ));
    }
    let dims = shape
        .dim
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.dim_value.and_then(|size| usize::try_from(size).ok()) {
            Some(size) if axis == 0 && Some(size) == batch => Ok(Dim::BATCH),
            Some(size) if size > 0 => Ok(Dim::Fixed(size)),
            _ if axis == 0 => Ok(Dim::BATCH),
            _ => Err(FormatError::unsupported(
                subject,
                format!(
                    "expected a fixed size of dimension {axis}, found `{}`: export the model with fixed height, width \
                     and channels",
                    dim.dim_param.as_deref().unwrap_or("?")
                ),
            )),
        })
        .collect::<Result<_>>()?;
    Ok((dims, dtype))
}

/// The inputs that the model itself transposes from channels last to channels first, before anything that tells images
/// from other values.
fn channels_last(source: &schema::Graph) -> HashSet<&str> {
    /// Operators that keep the layout, whichever it is.
    const CARRIED_THROUGH: [&str; 12] = [
        "Identity",
        "Cast",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pad",
        "Relu",
        "Clip",
        "Dropout",
        "QuantizeLinear",
        "DequantizeLinear",
    ];
    let mut origin: HashMap<&str, &str> =
        source.input.iter().map(|input| (input.name.as_str(), input.name.as_str())).collect();
    let mut decided: HashSet<&str> = HashSet::new();
    let mut last = HashSet::new();
    for node in &source.node {
        let from: Vec<&str> =
            node.input.iter().filter_map(|name| origin.get(name.as_str()).copied()).collect();
        let operation = Operation(node);
        let to_first = operation.kind() == "Transpose" && operation.integers("perm") == Some(&[0, 3, 1, 2]);
        for input in from {
            if CARRIED_THROUGH.contains(&operation.kind()) {
                origin.extend(node.output.iter().map(|output| (output.as_str(), input)));
            } else if decided.insert(input) && to_first {
                last.insert(input);
            }
        }
    }
    last
}

fn read_node<'m>(importer: &mut Importer<'m>, node: &'m schema::Node) -> Result<()> {
    let operation = Operation(node);
    if !DOMAINS.contains(&node.domain.as_str()) {
        return Err(operation
            .unsupported(format!("expected an operator of ONNX's own, found one of `{}`", node.domain)));
    }
    let Some((first, others)) = node.output.split_first() else {
        return Err(operation.invalid("expected an output, found none"));
    };
    if let Some(used) = others.iter().find(|name| importer.reads(name) > 0) {
        return Err(
            operation.unsupported(format!("expected only its first output to be read, found `{used}`"))
        );
    }
    let value = match fold::fold(importer, operation)? {
        Some(value) => value,
        None => ops::read(importer, operation)?,
    };
    if !importer.bind(first, value) {
        return Err(operation.invalid(format!("expected to write a new name, found `{first}` again")));
    }
    Ok(())
}

fn read_outputs<'m>(importer: &mut Importer<'m>, source: &'m schema::Graph) -> Result<()> {
    let writers: HashMap<&str, &schema::Node> = source
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)))
        .collect();
    for output in &source.output {
        let name = output.name.as_str();
        let subject = || format!("output `{name}`");
        let x = match importer.get(name) {
            Some(Value::Activation(x)) => x.clone(),
            Some(Value::Constant(_) | Value::Folded(_)) => {
                return Err(FormatError::unsupported(subject(), "expected an activation, found a constant"));
            }
            None => {
                return Err(FormatError::invalid(subject(), "expected a node that writes it, found none"));
            }
        };
        let tensor = match writers.get(name) {
            Some(node) => importer.laid_out(Operation(node), &x)?.0,
            None => x.tensor,
        };
        // An output that another node's transposition made has the name of the tensor before it.
        let known = importer.graph.inputs.contains(&tensor) || importer.graph.outputs.contains(&tensor);
        if !known && importer.graph.tensor(tensor).name != name {
            let unique = importer.tensor_name(name);
            importer.graph.tensor_mut(tensor).name = unique;
        }
        importer.graph.outputs.push(tensor);
    }
    Ok(())
}
