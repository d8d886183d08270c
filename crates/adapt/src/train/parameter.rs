//! The constants of a network in training.

use crate::error::{AdaptError, Result};
use std::collections::HashMap;
use std::ops::Range;
use taper_graph::{Graph, Op, TensorData, TensorId};

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
    /// Takes the constants out of a float network, which keeps empty ones. Those of the nodes that `frozen` accepts do
    /// not learn.
    ///
    /// # Errors
    /// If a constant holds no floats, or one that training changes is read in two places: its gradient would be a sum,
    /// which no kernel makes.
    pub(crate) fn take(graph: &mut Graph, frozen: impl Fn(&str) -> bool) -> Result<Self> {
        let mut parameters = Self { all: Vec::new(), positions: HashMap::new(), gradients: 0 };
        let mut constants = Vec::new();
        for node in &graph.nodes {
            let frozen = frozen(&node.name);
            for (position, &tensor) in node.inputs.iter().enumerate() {
                if graph.tensor(tensor).data.is_some() {
                    constants.push((tensor, role(&node.op, position), frozen));
                }
            }
        }
        for (tensor, role, frozen) in constants {
            let network = graph.name.clone();
            let unsupported = |message| AdaptError::Unsupported { pass: "train", network, message };
            let constant = graph.tensor_mut(tensor);
            let name = constant.name.clone();
            if let Some(&id) = parameters.positions.get(&tensor) {
                if role == Role::Fixed && parameters.all[id.0].role == Role::Fixed {
                    continue;
                }
                return Err(unsupported(format!("expected `{name}` to be read in one place, found more")));
            }
            let value = match constant.data.replace(TensorData::F32(Vec::new())) {
                Some(TensorData::F32(value)) => value,
                _ => {
                    let found = constant.dtype;
                    return Err(unsupported(format!("expected `{name}` to hold floats, found {found}")));
                }
            };
            let learned = match role {
                Role::Weights | Role::Offset if !frozen => value.len(),
                Role::Weights | Role::Offset | Role::Statistic | Role::Fixed => 0,
            };
            let gradient = parameters.gradients..parameters.gradients + learned;
            parameters.gradients = gradient.end;
            parameters.positions.insert(tensor, ParameterId(parameters.all.len()));
            parameters.all.push(Parameter { tensor, name, role, value, gradient });
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
            .expect("ids are in range, and each tensor is read once")
            .map(|parameter| &mut parameter.value[..])
    }

    /// Whether the parameter has a gradient.
    pub(crate) fn learns(&self, id: ParameterId) -> bool {
        !self.all[id.0].gradient.is_empty()
    }

    /// Its part of all `gradients`; empty if it does not learn.
    pub(crate) fn gradient<'a>(&self, id: ParameterId, gradients: &'a mut [f32]) -> &'a mut [f32] {
        &mut gradients[self.all[id.0].gradient.clone()]
    }

    /// The parts of all `gradients` of two different parameters, both of which learn.
    pub(crate) fn gradient_pair<'a>(
        &self,
        first: ParameterId,
        second: ParameterId,
        gradients: &'a mut [f32],
    ) -> [&'a mut [f32]; 2] {
        gradients
            .get_disjoint_mut([first, second].map(|id| self.all[id.0].gradient.clone()))
            .expect("gradients of different parameters lie apart, and within all")
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
            | Op::Softmax(_)
            | Op::Quantize { .. }
            | Op::Opaque(_),
            _,
        ) => Role::Offset,
    }
}
