//! The network as it stands when it no longer learns: without dropout.

use crate::graph::{Graph, TensorId};
use crate::op::Op;

impl Graph {
    /// Removes every dropout, which changes nothing but in training. Its readers read its input instead.
    ///
    /// A dropout whose output is the network's gives that name to its input. Where that cannot be, because the input
    /// too is one that a caller knows, the dropout stays.
    pub fn remove_dropout(&mut self) {
        let mut position = 0;
        while let Some(node) = self.nodes.get(position) {
            let (from, to) = match (&node.op, &node.inputs[..], &node.outputs[..]) {
                (Op::Dropout(_), &[x], &[y]) if !self.outputs.contains(&y) => (y, x),
                (Op::Dropout(_), &[x], &[y]) if !self.inputs.contains(&x) && !self.outputs.contains(&x) => {
                    (x, y)
                }
                (_, _, _) => {
                    position += 1;
                    continue;
                }
            };
            self.nodes.remove(position);
            self.replace(from, to);
        }
        self.remove_unused_tensors();
    }

    /// Lets every node read and write `to` in place of `from`.
    fn replace(&mut self, from: TensorId, to: TensorId) {
        let ids = self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs));
        ids.filter(|id| **id == from).for_each(|id| *id = to);
    }
}
