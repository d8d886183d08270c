//! The state of writing: the nodes so far, and the names under which the model knows the tensors of the graph.
//!
//! Inside of the model, images are `[N,C,H,W]`; where it begins and ends they are the graph's `[N,H,W,C]`.

use super::constant::Constant;
use super::meaning;
use super::ops::quantization;
use super::schema::{self, attribute_type, data_type};
use crate::error::{FormatError, Result};
use prost::bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use taper_graph::{DType, Dim, Graph, Node, Quantization, Shape, Tensor, TensorId};

/// Where the axes of `[N,H,W,C]` go to make `[N,C,H,W]`.
pub(super) const TO_FIRST: [usize; 4] = [0, 3, 1, 2];
/// Where the axes of `[N,C,H,W]` go to make `[N,H,W,C]`.
const TO_LAST: [i64; 4] = [0, 2, 3, 1];
/// The oldest set of operators that is written.
const OLDEST_OPSET: i64 = 13;
/// The name of the open batch.
const BATCH: &str = "batch";

/// The state of writing.
pub(super) struct Emitter<'g> {
    pub(super) graph: &'g Graph,
    pub(super) model: schema::Graph,
    /// The oldest set of operators that has all that was written.
    pub(super) opset: i64,
    /// What the model calls each tensor inside, in floats.
    inside: HashMap<TensorId, String>,
    /// What the model calls the integers of each tensor that has some.
    pub(super) quantized: HashMap<TensorId, String>,
    /// Constants that were written, by their order of axes.
    written: HashMap<(TensorId, Vec<usize>), String>,
    scalars: BTreeMap<u32, String>,
    zero_points: HashMap<(DType, Vec<i32>), String>,
    names: HashSet<String>,
    node_names: HashSet<String>,
}

/// An attribute that is written.
pub(super) enum Field<'a> {
    Integer(i64),
    Float(f32),
    Integers(Vec<i64>),
    Text(&'a str),
}

impl<'g> Emitter<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            model: schema::Graph { name: graph.name.clone(), ..schema::Graph::default() },
            opset: OLDEST_OPSET,
            inside: HashMap::new(),
            quantized: HashMap::new(),
            written: HashMap::new(),
            scalars: BTreeMap::new(),
            zero_points: HashMap::new(),
            names: graph.tensors.iter().map(|tensor| tensor.name.clone()).collect(),
            node_names: graph.nodes.iter().map(|node| node.name.clone()).collect(),
        }
    }

    /// Demands a set of operators that has what is written.
    pub(super) fn demand(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }

    /// Declares the inputs and brings images to channels first.
    pub(super) fn inputs(&mut self) -> Result<()> {
        for &id in &self.graph.inputs {
            let tensor = self.graph.tensor(id);
            self.model.input.push(value_info(tensor)?);
            let mut inside = tensor.name.clone();
            if tensor.shape.rank() == 4 {
                inside = self.value_name(&format!("{}/nchw", tensor.name));
                let axes = integers(&TO_FIRST)?;
                let name = self.node_name(&inside);
                let fields = vec![("perm", Field::Integers(axes))];
                self.push(name, "Transpose", vec![tensor.name.clone()], inside.clone(), fields);
            }
            if quantization::has_meaning(tensor) {
                self.quantized.insert(id, inside.clone());
                inside = quantization::dequantize(self, tensor, inside, None)?;
            }
            self.stands_for(id, inside);
        }
        Ok(())
    }

    /// Lets the model call a tensor so inside, in floats.
    pub(super) fn stands_for(&mut self, id: TensorId, name: String) {
        self.inside.insert(id, name);
    }

    /// Brings images back to channels last and declares the outputs.
    pub(super) fn outputs(&mut self) -> Result<()> {
        for &id in &self.graph.outputs {
            let tensor = self.graph.tensor(id);
            let inside = match self.quantized.get(&id) {
                Some(quantized) => quantized.clone(),
                None => self.inside_name(id)?.to_owned(),
            };
            if inside != tensor.name && !self.graph.inputs.contains(&id) {
                let name = self.node_name(&format!("{}/nhwc", tensor.name));
                let fields = vec![("perm", Field::Integers(TO_LAST.to_vec()))];
                self.push(name, "Transpose", vec![inside], tensor.name.clone(), fields);
            }
            self.model.output.push(value_info(tensor)?);
        }
        Ok(())
    }

    /// What the model calls a tensor that was written, in floats.
    pub(super) fn inside_name(&self, id: TensorId) -> Result<&str> {
        self.inside.get(&id).map(String::as_str).ok_or_else(|| {
            FormatError::unsupported(
                format!("tensor `{}`", self.graph.tensor(id).name),
                "expected an activation, found a constant",
            )
        })
    }

    /// The tensor that is input `position` of a node.
    pub(super) fn tensor(&self, node: &Node, position: usize) -> &'g Tensor {
        self.graph.tensor(node.inputs[position])
    }

    /// The model's name of input `position` of a node, an activation.
    pub(super) fn input(&self, node: &Node, position: usize) -> Result<String> {
        self.inside_name(node.inputs[position]).map(str::to_owned)
    }

    /// Input `position` as an image with channels last.
    pub(super) fn channels_last(&mut self, node: &Node, position: usize) -> Result<String> {
        let x = self.input(node, position)?;
        match self.tensor(node, position).shape.dims() {
            [_, Dim::Fixed(1), Dim::Fixed(1), _] => Ok(x),
            [_, _, _, _] => {
                let fields = vec![("perm", Field::Integers(TO_LAST.to_vec()))];
                Ok(self.helper(node, "nhwc", "Transpose", vec![x], fields))
            }
            _ => Ok(x),
        }
    }

    /// Input `position` of a node, a constant, with its axes in another order.
    pub(super) fn constant(&mut self, node: &Node, position: usize, axes: &[usize]) -> Result<String> {
        let id = node.inputs[position];
        let tensor = self.graph.tensor(id);
        let sizes = tensor.shape.sizes().unwrap_or_default();
        self.constant_of(id, &sizes, axes)
    }

    /// A constant, seen with other sizes, with its axes in another order.
    pub(super) fn constant_of(&mut self, id: TensorId, sizes: &[usize], axes: &[usize]) -> Result<String> {
        let tensor = self.graph.tensor(id);
        let Some(data) = &tensor.data else {
            return Err(FormatError::unsupported(
                format!("tensor `{}`", tensor.name),
                "expected a constant, found an activation",
            ));
        };
        let key = (id, [sizes, axes].concat());
        if let Some(name) = self.written.get(&key) {
            return Ok(name.clone());
        }
        // The first form of a constant keeps its name.
        let taken = self.written.keys().any(|(other, _)| *other == id);
        let name = if taken { self.value_name(&tensor.name) } else { tensor.name.clone() };
        let ordered = axes.is_sorted();
        let bytes = if ordered {
            data.to_le_bytes()
        } else {
            let constant = Constant::new(&name, data.dtype(), data.to_le_bytes(), sizes.to_vec());
            constant.transposed(axes).data().to_le_bytes()
        };
        let dims: Vec<usize> = axes.iter().map(|&axis| sizes[axis]).collect();
        self.initializer(name.clone(), &dims, data.dtype(), bytes)?;
        let name = match &tensor.quantization {
            None => name,
            Some(quantization) => {
                let axis = self.scales_axis(tensor, quantization, sizes, axes)?;
                quantization::dequantize(self, tensor, name, axis)?
            }
        };
        self.written.insert(key, name.clone());
        Ok(name)
    }

    /// The axis along which scales run in a constant that is seen with other sizes, with its axes in another order.
    fn scales_axis(
        &self,
        tensor: &Tensor,
        quantization: &Quantization,
        sizes: &[usize],
        axes: &[usize],
    ) -> Result<Option<usize>> {
        let own = tensor.shape.sizes().unwrap_or_default();
        let seen = meaning::reshaped(quantization, &own, sizes);
        match seen.map(|quantization| meaning::transposed(&quantization, axes)) {
            Some(Quantization::PerTensor { .. }) => Ok(None),
            Some(Quantization::PerAxis { axis, .. }) => Ok(Some(axis)),
            None => Err(FormatError::unsupported(
                format!("tensor `{}`", tensor.name),
                format!("expected scales along an axis of {sizes:?}, found {own:?}"),
            )),
        }
    }

    /// A constant that the graph has not as a tensor.
    pub(super) fn added_constant(
        &mut self,
        node: &Node,
        role: &str,
        dims: &[usize],
        dtype: DType,
        bytes: Vec<u8>,
    ) -> Result<String> {
        let name = self.value_name(&format!("{}/{role}", node.name));
        self.initializer(name.clone(), dims, dtype, bytes)?;
        Ok(name)
    }

    /// A list of integers as a constant.
    pub(super) fn list(&mut self, node: &Node, role: &str, values: &[usize]) -> Result<String> {
        let values = integers(values)?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.added_constant(node, role, &[values.len()], DType::I64, bytes)
    }

    /// A number as a constant, which all that need it share.
    pub(super) fn scalar(&mut self, value: f32) -> Result<String> {
        if let Some(name) = self.scalars.get(&value.to_bits()) {
            return Ok(name.clone());
        }
        let name = self.value_name(&format!("scalar/{value}"));
        self.initializer(name.clone(), &[], DType::F32, value.to_le_bytes().to_vec())?;
        self.scalars.insert(value.to_bits(), name.clone());
        Ok(name)
    }

    /// A list of floats as a constant.
    pub(super) fn vector(&mut self, wanted: &str, values: &[f32]) -> Result<String> {
        let name = self.value_name(wanted);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name.clone(), &[values.len()], DType::F32, bytes)?;
        Ok(name)
    }

    /// Zero points of an 8-bit tensor as a constant, a scalar if it is one, which all that need the same share.
    pub(super) fn zero_points(&mut self, tensor: &Tensor, values: &[i32]) -> Result<String> {
        let key = (tensor.dtype, values.to_vec());
        if let Some(name) = self.zero_points.get(&key) {
            return Ok(name.clone());
        }
        let (wanted, dims) = match values {
            [value] => (format!("zero_point/{}/{value}", tensor.dtype), vec![]),
            several => (format!("zero_point/{}/{}", tensor.dtype, several.len()), vec![several.len()]),
        };
        let name = self.value_name(&wanted);
        // A sound zero point is within its type's range, whose lowest byte is the whole value.
        let bytes = values.iter().map(|value| value.to_le_bytes()[0]).collect();
        self.initializer(name.clone(), &dims, tensor.dtype, bytes)?;
        self.zero_points.insert(key, name.clone());
        Ok(name)
    }

    fn initializer(&mut self, name: String, dims: &[usize], dtype: DType, bytes: Vec<u8>) -> Result<()> {
        self.model.initializer.push(schema::Tensor {
            dims: integers(dims)?,
            data_type: data_type_of(dtype),
            name,
            raw_data: Some(Bytes::from(bytes)),
            ..schema::Tensor::default()
        });
        Ok(())
    }

    /// Writes the operator that stands for a node, with what is fused behind it.
    pub(super) fn layer(
        &mut self,
        node: &Node,
        kind: &str,
        inputs: Vec<String>,
        fields: Vec<(&str, Field<'_>)>,
    ) -> Result<()> {
        let output = self.output(node);
        match node.op.fused_activation().flatten() {
            None => self.push(node.name.clone(), kind, inputs, output, fields),
            Some(function) => {
                let linear = self.value_name(&format!("{}/linear", node.name));
                self.push(node.name.clone(), kind, inputs, linear.clone(), fields);
                let name = self.node_name(&format!("{}/{}", node.name, function.name().replace(' ', "_")));
                super::ops::activation::write(self, &name, function, linear, output)?;
            }
        }
        Ok(())
    }

    /// The model's name for what a node writes.
    pub(super) fn output(&mut self, node: &Node) -> String {
        let id = node.outputs[0];
        let tensor = self.graph.tensor(id);
        let is_output = self.graph.outputs.contains(&id);
        let name = if is_output && tensor.shape.rank() == 4 {
            self.value_name(&format!("{}/nchw", tensor.name))
        } else if is_output && quantization::has_meaning(tensor) {
            self.value_name(&format!("{}/real", tensor.name))
        } else {
            tensor.name.clone()
        };
        self.inside.insert(id, name.clone());
        name
    }

    /// Writes an operator that a node needs beside its own; gives the name of its output.
    pub(super) fn helper(
        &mut self,
        node: &Node,
        role: &str,
        kind: &str,
        inputs: Vec<String>,
        fields: Vec<(&str, Field<'_>)>,
    ) -> String {
        let name = format!("{}/{role}", node.name);
        let output = self.value_name(&name);
        let name = self.node_name(&name);
        self.push(name, kind, inputs, output.clone(), fields);
        output
    }

    /// Writes an operator.
    pub(super) fn push(
        &mut self,
        name: String,
        kind: &str,
        input: Vec<String>,
        output: String,
        fields: Vec<(&str, Field<'_>)>,
    ) {
        self.model.node.push(schema::Node {
            input,
            output: vec![output],
            name,
            op_type: kind.to_owned(),
            attribute: fields.into_iter().map(|(name, field)| attribute(name, field)).collect(),
            domain: String::new(),
        });
    }

    /// A name that no value has.
    pub(super) fn value_name(&mut self, wanted: &str) -> String {
        unique(&mut self.names, wanted)
    }

    /// A name that no node has.
    pub(super) fn node_name(&mut self, wanted: &str) -> String {
        unique(&mut self.node_names, wanted)
    }
}

fn unique(taken: &mut HashSet<String>, wanted: &str) -> String {
    let candidates = (1usize..).map(|count| format!("{wanted}_{count}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(candidates);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

fn attribute(name: &str, field: Field<'_>) -> schema::Attribute {
    let named = schema::Attribute { name: name.to_owned(), ..schema::Attribute::default() };
    match field {
        Field::Integer(value) => schema::Attribute { i: Some(value), kind: attribute_type::INT, ..named },
        Field::Float(value) => schema::Attribute { f: Some(value), kind: attribute_type::FLOAT, ..named },
        Field::Integers(ints) => schema::Attribute { ints, kind: attribute_type::INTS, ..named },
        Field::Text(text) => schema::Attribute {
            s: Some(Bytes::copy_from_slice(text.as_bytes())),
            kind: attribute_type::STRING,
            ..named
        },
    }
}

/// Counts as the integers of ONNX.
pub(super) fn integers(values: &[usize]) -> Result<Vec<i64>> {
    values
        .iter()
        .map(|&value| {
            i64::try_from(value)
                .map_err(|_| FormatError::unsupported("size", format!("{value} exceeds 64 signed bits")))
        })
        .collect()
}

fn data_type_of(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::I8 => data_type::INT8,
        DType::U8 => data_type::UINT8,
        DType::I16 => data_type::INT16,
        DType::I32 => data_type::INT32,
        DType::I64 => data_type::INT64,
    }
}

fn value_info(tensor: &Tensor) -> Result<schema::ValueInfo> {
    Ok(schema::ValueInfo {
        name: tensor.name.clone(),
        of_type: Some(schema::Type {
            tensor: Some(schema::TensorType {
                elem_type: data_type_of(tensor.dtype),
                shape: Some(shape(&tensor.shape)?),
            }),
        }),
    })
}

fn shape(shape: &Shape) -> Result<schema::TensorShape> {
    let dim = |dim: &Dim| {
        Ok(match *dim {
            Dim::Fixed(size) => schema::Dimension { dim_value: integers(&[size])?.pop(), dim_param: None },
            Dim::Batch(_) => schema::Dimension { dim_value: None, dim_param: Some(BATCH.to_owned()) },
        })
    };
    Ok(schema::TensorShape { dim: shape.dims().iter().map(dim).collect::<Result<_>>()? })
}
