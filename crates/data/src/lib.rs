//! Samples and labels: IDX files, splits, preprocessing, augmentation.
