//! The constants of a network in training, and the gradients that its layers add up for them.

use crate::error::{AdaptError, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;
use taper_graph::{Graph, Node, Op, Tensor, TensorData, TensorId};

/// What training does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Learned by gradient, and subject to weight decay: weights.
    Weights,
    /// Learned by gradient, free of weight decay: biases, gamma and beta, slopes, ranges.
    Offset,
    /// A running statistic of batch normalisation: no gradient.
    Statistic,
    /// Part of the network's function, which training leaves as it is: an operand of an element-wise operator.
    Fixed,
}

/// One constant.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) tensor: TensorId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) value: Vec<f32>,
    /// Where its gradient stands among all gradients; empty if it does not learn.
    pub(crate) gradient: Range<usize>,
    /// Whether a frozen node reads it, so that it stays as it is.
    frozen: bool,
    /// Whether several nodes read it.
    shared: bool,
}

/// The gradients of all parameters, for the layers of one backward pass to write theirs. Those of a parameter that
/// several layers read are added up in the order in which they come.
pub(crate) struct Gradients<'a> {
    parameters: &'a Parameters,
    all: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
}

/// Position of a parameter among [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParameterId(usize);

/// All constants that the nodes of a network read, in the order in which they are first read.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    all: Vec<Parameter>,
    positions: HashMap<TensorId, ParameterId>,
    gradients: usize,
}

impl Parameters {
    /// Takes the constants out of a float network, which keeps empty ones. Those that a node reads which `frozen`
    /// accepts do not learn, whoever else reads them.
    ///
    /// # Errors
    /// If a constant holds no floats, if nodes read it in different roles, or one node reads it twice.
    pub(crate) fn take(graph: &mut Graph, frozen: impl Fn(&str) -> bool) -> Result<Self> {
        let mut parameters = Self { all: Vec::new(), positions: HashMap::new(), gradients: 0 };
        let Graph { name: network, nodes, tensors, .. } = graph;
        let unsupported =
            |message| AdaptError::Unsupported { pass: "train", network: network.clone(), message };
        for node in &*nodes {
            let frozen = frozen(&node.name);
            for (position, &tensor) in node.inputs.iter().enumerate() {
                let constant = &mut tensors[tensor.0];
                if constant.data.is_none() {
                    continue;
                }
                let role = role(&node.op, position);
                match parameters.positions.entry(tensor) {
                    Entry::Occupied(entry) => {
                        let parameter = &mut parameters.all[entry.get().0];
                        parameter.share(node, position, role, frozen).map_err(&unsupported)?;
                    }
                    Entry::Vacant(entry) => {
                        let parameter = Parameter::take(tensor, constant, role, frozen);
                        entry.insert(ParameterId(parameters.all.len()));
                        parameters.all.push(parameter.map_err(&unsupported)?);
                    }
                }
            }
        }
        for parameter in &mut parameters.all {
            let learned = match parameter.role {
                Role::Weights | Role::Offset if !parameter.frozen => parameter.value.len(),
                Role::Weights | Role::Offset | Role::Statistic | Role::Fixed => 0,
            };
            parameter.gradient = parameters.gradients..parameters.gradients + learned;
            parameters.gradients = parameter.gradient.end;
        }
        Ok(parameters)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Parameter> {
        self.all.iter_mut()
    }

    /// How many values learn.
    pub(crate) fn gradients(&self) -> usize {
        self.gradients
    }

    pub(crate) fn id(&self, tensor: TensorId) -> Option<ParameterId> {
        self.positions.get(&tensor).copied()
    }

    pub(crate) fn value(&self, id: ParameterId) -> &[f32] {
        &self.all[id.0].value
    }

    /// The values of two different parameters.
    pub(crate) fn values_mut(&mut self, ids: [ParameterId; 2]) -> [&mut [f32]; 2] {
        let parameters = self.all.get_disjoint_mut(ids.map(|id| id.0));
        parameters
            .expect("ids are in range, and no node reads a tensor twice")
            .map(|parameter| &mut parameter.value[..])
    }

    /// Whether the parameter has a gradient.
    pub(crate) fn learns(&self, id: ParameterId) -> bool {
        !self.all[id.0].gradient.is_empty()
    }

    /// Whether a frozen node reads the parameter.
    pub(crate) fn is_frozen(&self, id: ParameterId) -> bool {
        self.all[id.0].frozen
    }
}

impl Parameter {
    /// Takes the values out of a constant.
    fn take(
        tensor: TensorId,
        constant: &mut Tensor,
        role: Role,
        frozen: bool,
    ) -> std::result::Result<Self, String> {
        let name = constant.name.clone();
        match constant.data.replace(TensorData::F32(Vec::new())) {
            Some(TensorData::F32(value)) => {
                Ok(Self { tensor, name, role, value, gradient: 0..0, frozen, shared: false })
            }
            _ => Err(format!("expected `{name}` to hold floats, found {}", constant.dtype)),
        }
    }

    /// Takes note of one more node that reads it, as input `position`.
    fn share(
        &mut self,
        node: &Node,
        position: usize,
        role: Role,
        frozen: bool,
    ) -> std::result::Result<(), String> {
        if node.inputs[..position].contains(&self.tensor) {
            return Err(format!("expected `{}` to read `{}` once, found twice", node.name, self.name));
        }
        if role != self.role {
            let Self { name, role: expected, .. } = self;
            return Err(format!(
                "expected `{name}` to be read as {expected} alone, found `{}` to read it as {role}",
                node.name
            ));
        }
        self.shared = true;
        self.frozen |= frozen;
        Ok(())
    }
}

impl<'a> Gradients<'a> {
    /// Gradients in `all`, for one backward pass. What is there does not matter; `scratch` is grown as needed.
    pub(crate) fn new(parameters: &'a Parameters, all: &'a mut [f32], scratch: &'a mut Vec<f32>) -> Self {
        for parameter in parameters.all.iter().filter(|parameter| parameter.shared) {
            all[parameter.gradient.clone()].fill(0.0);
        }
        Self { parameters, all, scratch }
    }

    /// The gradient of a parameter, as far as layers have written it; empty if it does not learn.
    pub(crate) fn of(&self, id: ParameterId) -> &[f32] {
        &self.all[self.parameters.all[id.0].gradient.clone()]
    }

    /// Lets a layer overwrite the gradients of different parameters, at least one of which learns.
    pub(crate) fn write<const N: usize>(
        &mut self,
        ids: [ParameterId; N],
        write: impl FnOnce([&mut [f32]; N]),
    ) {
        let parameters = ids.map(|id| &self.parameters.all[id.0]);
        if parameters.iter().all(|parameter| !parameter.shared && !parameter.gradient.is_empty()) {
            let ranges = parameters.map(|parameter| parameter.gradient.clone());
            return write(self.all.get_disjoint_mut(ranges).expect(APART));
        }
        let mut len = 0;
        let ranges = parameters.map(|parameter| {
            len += parameter.value.len();
            len - parameter.value.len()..len
        });
        if self.scratch.len() < len {
            self.scratch.resize(len, 0.0);
        }
        write(self.scratch.get_disjoint_mut(ranges.clone()).expect(APART));
        for (parameter, range) in parameters.into_iter().zip(ranges) {
            let (to, from) = (&mut self.all[parameter.gradient.clone()], &self.scratch[range]);
            if parameter.shared {
                sum(to, from);
            } else {
                to.copy_from_slice(&from[..to.len()]);
            }
        }
    }
}

const APART: &str = "gradients of different parameters lie apart, and within all";

/// Adds gradients up, as many as there are in `to`.
pub(crate) fn sum(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "weights",
            Self::Offset => "an offset",
            Self::Statistic => "a statistic",
            Self::Fixed => "an operand that stays",
        })
    }
}

fn role(op: &Op, position: usize) -> Role {
    match (op, position) {
        (Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_), 1) => Role::Weights,
        (Op::BatchNorm(_), 3 | 4) => Role::Statistic,
        (Op::Elementwise(_), _) => Role::Fixed,
        (
            Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::Prelu
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::StridedSlice(_)
            | Op::Tile { .. }
            | Op::ArgMax(_)
            | Op::Softmax(_)
            | Op::Quantize { .. }
            | Op::Opaque(_),
            _,
        ) => Role::Offset,
    }
}
