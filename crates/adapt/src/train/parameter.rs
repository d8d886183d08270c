//! The constants of a network in training.

use crate::error::{AdaptError, Result};
use std::collections::HashMap;
use taper_graph::{Graph, Op, TensorId};

/// What training does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Learned by gradient, and subject to weight decay: weights.
    Weights,
    /// Learned by gradient, free of weight decay: biases, gamma and beta.
    Offset,
    /// A running statistic of batch normalisation: no gradient.
    Statistic,
}

/// One constant with its gradient.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) tensor: TensorId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) value: Vec<f32>,
    /// As long as the value; empty for statistics.
    pub(crate) gradient: Vec<f32>,
}

/// Position of a parameter among [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParameterId(usize);

/// All constants that the nodes of a network read, in the order in which they are first read.
#[derive(Debug)]
pub(crate) struct Parameters {
    all: Vec<Parameter>,
    positions: HashMap<TensorId, ParameterId>,
}

impl Parameters {
    /// Copies the constants of a float network.
    ///
    /// # Errors
    /// If a constant holds no floats, or is read in two places: its gradient would be a sum, which no kernel makes.
    pub(crate) fn of(graph: &Graph) -> Result<Self> {
        let mut parameters = Self { all: Vec::new(), positions: HashMap::new() };
        for node in &graph.nodes {
            for (position, &tensor) in node.inputs.iter().enumerate() {
                let constant = graph.tensor(tensor);
                if constant.data.is_none() {
                    continue;
                }
                let unsupported =
                    |message| AdaptError::Unsupported { pass: "train", network: graph.name.clone(), message };
                if parameters.positions.contains_key(&tensor) {
                    let name = &constant.name;
                    return Err(unsupported(format!(
                        "expected `{name}` to be read in one place, found more"
                    )));
                }
                let value = constant.f32_data().ok_or_else(|| {
                    unsupported(format!(
                        "expected `{}` to hold floats, found {}",
                        constant.name, constant.dtype
                    ))
                })?;
                let role = role(&node.op, position);
                let gradient = match role {
                    Role::Weights | Role::Offset => vec![0.0; value.len()],
                    Role::Statistic => Vec::new(),
                };
                let id = ParameterId(parameters.all.len());
                parameters.positions.insert(tensor, id);
                let name = constant.name.clone();
                parameters.all.push(Parameter { tensor, name, role, value: value.to_vec(), gradient });
            }
        }
        Ok(parameters)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Parameter> {
        self.all.iter_mut()
    }

    pub(crate) fn id(&self, tensor: TensorId) -> Option<ParameterId> {
        self.positions.get(&tensor).copied()
    }

    pub(crate) fn value(&self, id: ParameterId) -> &[f32] {
        &self.all[id.0].value
    }

    /// The gradients of two different parameters at once; the second may be absent.
    pub(crate) fn gradients_mut(
        &mut self,
        first: ParameterId,
        second: Option<ParameterId>,
    ) -> (&mut [f32], Option<&mut [f32]>) {
        match second {
            None => (&mut self.all[first.0].gradient, None),
            Some(second) => {
                let [first, second] = self
                    .all
                    .get_disjoint_mut([first.0, second.0])
                    .expect("ids are in range, and a node reads weights and bias from different tensors");
                (&mut first.gradient, Some(&mut second.gradient))
            }
        }
    }

    /// The values of two different parameters at once.
    pub(crate) fn values_mut(&mut self, first: ParameterId, second: ParameterId) -> (&mut [f32], &mut [f32]) {
        let [first, second] = self
            .all
            .get_disjoint_mut([first.0, second.0])
            .expect("ids are in range, and a node reads its statistics from different tensors");
        (&mut first.value, &mut second.value)
    }
}

fn role(op: &Op, position: usize) -> Role {
    match (op, position) {
        (Op::Conv2d(_) | Op::FullyConnected(_), 1) => Role::Weights,
        (Op::BatchNorm(_), 3 | 4) => Role::Statistic,
        (
            Op::Conv2d(_)
            | Op::FullyConnected(_)
            | Op::BatchNorm(_)
            | Op::Activation { .. }
            | Op::Prelu
            | Op::Elementwise(_)
            | Op::Concat(_)
            | Op::Pad(_)
            | Op::Resize2d(_)
            | Op::Dropout(_)
            | Op::FakeQuantize(_)
            | Op::Pool2d(_)
            | Op::GlobalPool2d { .. }
            | Op::Flatten
            | Op::Softmax(_)
            | Op::Quantize { .. }
            | Op::Opaque(_),
            _,
        ) => Role::Offset,
    }
}
