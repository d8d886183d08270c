//! Graph to graph: train, prune, quantize.
