//! Removal of channels: an edit with a record that can be replayed.

use crate::channels::ChannelGroups;
use crate::error::{GraphError, Result};
use crate::graph::{Graph, TensorId};
use crate::infer::infer_output;
use crate::op::{ConvKind, Op};
use crate::shape::{Dim, Shape};
use crate::tensor::Quantization;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which channels of one group go. Replayed on a graph of the same structure, it gives the same result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRemoval {
    /// Name of the group.
    pub group: String,
    /// Their positions in the group before the removal, ascending.
    pub channels: Vec<usize>,
}

/// The graph without the given channels: every slice of every constant that belonged to them is gone, the rest is
/// unchanged, and shapes are inferred anew. All removals count channels of `graph` as it comes in.
///
/// # Errors
/// If a group does not exist or is kept, a channel is out of range, named twice or out of order, or the last
/// channel would go.
pub fn remove_channels(graph: &Graph, removals: &[ChannelRemoval]) -> Result<Graph> {
    let groups = ChannelGroups::of(graph);
    // For each (tensor, axis), which indices go.
    let mut marks: BTreeMap<(TensorId, usize), Vec<bool>> = BTreeMap::new();
    for removal in removals {
        let group = groups.get(&removal.group)?;
        let invalid = |message: String| GraphError::InvalidEdit { group: removal.group.clone(), message };
        if let Some(reason) = &group.kept {
            return Err(invalid(format!("the group is kept: {reason}")));
        }
        if !removal.channels.is_sorted_by(|a, b| a < b) {
            return Err(invalid("expected channels in ascending order".to_owned()));
        }
        if removal.channels.len() >= group.units.len() {
            return Err(invalid(format!(
                "expected at least one of {} channels to stay, found {} to remove",
                group.units.len(),
                removal.channels.len()
            )));
        }
        for &channel in &removal.channels {
            let unit = group.units.get(channel).ok_or_else(|| {
                invalid(format!("expected channels below {}, found {channel}", group.units.len()))
            })?;
            for slice in &unit.slices {
                let size = graph.tensor(slice.tensor).shape.dims()[slice.axis].with_batch(1);
                marks.entry((slice.tensor, slice.axis)).or_insert_with(|| vec![false; size])[slice.index] =
                    true;
            }
        }
    }
    let mut edited = graph.clone();
    for ((tensor, axis), removed) in &marks {
        remove_slices(&mut edited, *tensor, *axis, removed);
    }
    infer_shapes(&mut edited)?;
    edited.verify()?;
    Ok(edited)
}

fn remove_slices(graph: &mut Graph, id: TensorId, axis: usize, removed: &[bool]) {
    let tensor = graph.tensor_mut(id);
    let mut dims = tensor.shape.dims().to_vec();
    let inner = dims[axis + 1..].iter().map(|dim| dim.with_batch(1)).product();
    if let Some(data) = &mut tensor.data {
        data.remove_along(inner, removed);
    }
    dims[axis] = Dim::Fixed(removed.iter().filter(|gone| !**gone).count());
    tensor.shape = Shape::new(dims);
    if let Some(Quantization::PerAxis { axis: scaled, scales }) = &mut tensor.quantization
        && *scaled == axis
    {
        let mut gone = removed.iter();
        scales.retain(|_| gone.next() == Some(&false));
    }
}

/// Infers the shape of every activation anew, in order. What opaque operators write keeps its shape.
///
/// Depthwise convolutions stay so: they have a group for each channel that is left. So do reshapes that leave channels
/// innermost.
fn infer_shapes(graph: &mut Graph) -> Result<()> {
    let channels: Vec<Option<usize>> = graph.tensors.iter().map(|tensor| tensor.shape.channels()).collect();
    for position in 0..graph.nodes.len() {
        let node = &mut graph.nodes[position];
        if let Some(&x) = node.inputs.first()
            && let (Some(before), Some(left)) = (channels[x.0], graph.tensors[x.0].shape.channels())
        {
            if let Op::Conv2d(conv) = &mut node.op
                && conv.kind(before) == ConvKind::Depthwise
            {
                conv.groups = left;
            }
            if let Op::Reshape { shape } = &mut node.op
                && let Some(innermost) = shape.last_mut()
                && *innermost == before
            {
                *innermost = left;
            }
        }
        let node = &graph.nodes[position];
        if matches!(node.op, Op::Opaque(_)) {
            continue;
        }
        let (shape, dtype) = infer_output(graph, node)?;
        if let Some(&output) = node.outputs.first() {
            let tensor = graph.tensor_mut(output);
            tensor.shape = shape;
            tensor.dtype = dtype;
        }
    }
    Ok(())
}
