//! The network as data: operators, tensors, shapes, cost, channel groups, edits.
