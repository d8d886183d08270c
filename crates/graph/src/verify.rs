//! Consistency of a whole graph, checked after every pass.

use crate::error::{GraphError, Result};
use crate::graph::{Graph, TensorId};
use crate::infer::infer_output;
use crate::op::Op;
use crate::tensor::{Quantization, Tensor};
use std::collections::HashSet;

impl Graph {
    /// Checks that the graph is consistent: ids in range, unique names, topological order, one writer per
    /// tensor, shapes as inferred, constants of the size that their shape says, sound quantization.
    ///
    /// # Errors
    /// The first inconsistency, with the node or tensor to blame.
    pub fn verify(&self) -> Result<()> {
        self.verify_ids()?;
        self.verify_tensors()?;
        self.verify_order()?;
        for node in &self.nodes {
            if matches!(node.op, Op::Opaque(_)) {
                continue;
            }
            let [output] = node.outputs[..] else {
                return Err(GraphError::InvalidNode {
                    node: node.name.clone(),
                    op: node.op.name().to_owned(),
                    message: format!("expected one output, found {}", node.outputs.len()),
                });
            };
            let (shape, dtype) = infer_output(self, node)?;
            let tensor = self.tensor(output);
            if tensor.shape != shape || tensor.dtype != dtype {
                return Err(GraphError::InvalidNode {
                    node: node.name.clone(),
                    op: node.op.name().to_owned(),
                    message: format!(
                        "expected an output {dtype} {shape}, found {} {}",
                        tensor.dtype, tensor.shape
                    ),
                });
            }
        }
        Ok(())
    }

    fn verify_ids(&self) -> Result<()> {
        let nodes = self.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        match nodes.chain(&self.inputs).chain(&self.outputs).find(|id| id.0 >= self.tensors.len()) {
            Some(id) => {
                Err(self.invalid(format!("expected tensor ids below {}, found {}", self.tensors.len(), id.0)))
            }
            None => Ok(()),
        }
    }

    fn verify_tensors(&self) -> Result<()> {
        let mut names = HashSet::new();
        for tensor in &self.tensors {
            if !names.insert(tensor.name.as_str()) {
                return Err(invalid(tensor, "expected a unique name, found it twice".to_owned()));
            }
            verify_data(tensor)?;
            verify_quantization(tensor)?;
        }
        let mut names = HashSet::new();
        match self.nodes.iter().find(|node| !names.insert(node.name.as_str())) {
            Some(node) => Err(self.invalid(format!("two nodes are named `{}`", node.name))),
            None => Ok(()),
        }
    }

    fn verify_order(&self) -> Result<()> {
        let mut known: Vec<bool> = self.tensors.iter().map(|tensor| tensor.data.is_some()).collect();
        for &TensorId(id) in &self.inputs {
            if std::mem::replace(&mut known[id], true) {
                return Err(invalid(&self.tensors[id], "an input is constant or given twice".to_owned()));
            }
        }
        for node in &self.nodes {
            if let Some(&TensorId(id)) = node.inputs.iter().find(|id| !known[id.0]) {
                return Err(GraphError::InvalidNode {
                    node: node.name.clone(),
                    op: node.op.name().to_owned(),
                    message: format!("reads `{}` before it is written", self.tensors[id].name),
                });
            }
            for &TensorId(id) in &node.outputs {
                if std::mem::replace(&mut known[id], true) {
                    return Err(invalid(&self.tensors[id], "is written more than once".to_owned()));
                }
            }
        }
        match self.outputs.iter().find(|id| !known[id.0]) {
            Some(&id) => Err(invalid(self.tensor(id), "is an output that nothing writes".to_owned())),
            None => Ok(()),
        }
    }

    fn invalid(&self, message: String) -> GraphError {
        GraphError::InvalidGraph { graph: self.name.clone(), message }
    }
}

fn invalid(tensor: &Tensor, message: String) -> GraphError {
    GraphError::InvalidTensor { tensor: tensor.name.clone(), message }
}

fn verify_data(tensor: &Tensor) -> Result<()> {
    let Some(data) = &tensor.data else { return Ok(()) };
    if data.dtype() != tensor.dtype {
        return Err(invalid(tensor, format!("expected {} data, found {}", tensor.dtype, data.dtype())));
    }
    let expected =
        tensor.shape.sizes().and_then(|sizes| sizes.into_iter().try_fold(1usize, usize::checked_mul));
    if expected != Some(data.len()) {
        return Err(invalid(
            tensor,
            format!("expected data for the shape {}, found {} elements", tensor.shape, data.len()),
        ));
    }
    Ok(())
}

fn verify_quantization(tensor: &Tensor) -> Result<()> {
    let Some(quantization) = &tensor.quantization else {
        return Ok(());
    };
    let Some((least, greatest)) = tensor.dtype.integer_range() else {
        return Err(invalid(tensor, "expected no quantization of a float tensor".to_owned()));
    };
    let sound = |scale: f32| scale.is_finite() && scale > 0.0;
    match quantization {
        Quantization::PerTensor { scale, zero_point } => {
            if !sound(*scale) {
                return Err(invalid(tensor, format!("expected a positive finite scale, found {scale}")));
            }
            if !(least..=greatest).contains(&i64::from(*zero_point)) {
                return Err(invalid(
                    tensor,
                    format!("expected a zero point in {least}..={greatest}, found {zero_point}"),
                ));
            }
        }
        Quantization::PerAxis { axis, scales } => {
            let size = tensor.shape.sizes().and_then(|sizes| sizes.get(*axis).copied());
            if size != Some(scales.len()) {
                return Err(invalid(
                    tensor,
                    format!(
                        "expected one scale per index of axis {axis} of {}, found {}",
                        tensor.shape,
                        scales.len()
                    ),
                ));
            }
            if let Some(scale) = scales.iter().find(|scale| !sound(**scale)) {
                return Err(invalid(tensor, format!("expected positive finite scales, found {scale}")));
            }
        }
    }
    Ok(())
}
