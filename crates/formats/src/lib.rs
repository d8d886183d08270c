//! Bytes to graphs and back: TFLite and Taper checkpoints.
