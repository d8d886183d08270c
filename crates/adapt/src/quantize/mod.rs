//! Full INT8 quantization after training: fold, calibrate, turn every tensor into integers.

mod calibrate;
mod config;
mod fold;
mod integers;

pub use calibrate::{Range, Ranges, calibrate};
pub use config::{Calibration, CalibrationMethod, IoType, QuantizeConfig, QuantizedType, WeightScales};
pub use fold::fold;
pub use integers::quantize;
