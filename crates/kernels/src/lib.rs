//! Inner loops on slices: f32 training and inference, int8 inference.
