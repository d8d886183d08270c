//! Constants: views of a file's elements that can be transposed and reshaped before one copy brings them into the
//! graph's layout.

use super::external::Folder;
use super::meaning;
use super::schema::{self, data_type};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use prost::bytes::Bytes;
use std::rc::Rc;
use taper_graph::{DType, Quantization, TensorData};

/// Dimensions that a constant may have.
const GREATEST_RANK: usize = 8;
/// Side of the squares in which a transposition copies.
const TILE: usize = 16;

/// Elements as they lie in a file: little-endian, row-major.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its name in the file; empty for the value of an attribute.
    pub(super) name: String,
    dtype: DType,
    bytes: Bytes,
}

/// A view of stored elements: element `[i, j, …]` is number `i · strides[0] + j · strides[1] + …`.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    pub(super) stored: Rc<Stored>,
    pub(super) dims: Vec<usize>,
    strides: Vec<usize>,
    /// What its integers mean; `None` if they are just that, or floats.
    pub(super) quantization: Option<Quantization>,
}

impl Constant {
    /// Takes the elements of `tensor`, which lie in the model or beside it.
    ///
    /// Booleans become bytes; floats of other widths become 32-bit ones.
    ///
    /// # Errors
    /// If the elements do not fit the dimensions, or a graph has no such type.
    pub(super) fn load(
        mut tensor: schema::Tensor,
        folder: &mut Folder<'_>,
        budget: &mut Budget,
    ) -> Result<Self> {
        let name = std::mem::take(&mut tensor.name);
        let subject = format!("initializer `{name}`");
        let dims = sizes(&tensor.dims, &subject)?;
        let (dtype, width) = match tensor.data_type {
            data_type::FLOAT => (DType::F32, 4),
            data_type::DOUBLE => (DType::F32, 8),
            data_type::FLOAT16 | data_type::BFLOAT16 => (DType::F32, 2),
            data_type::INT8 => (DType::I8, 1),
            data_type::UINT8 | data_type::BOOL => (DType::U8, 1),
            data_type::INT16 => (DType::I16, 2),
            data_type::INT32 => (DType::I32, 4),
            data_type::INT64 => (DType::I64, 8),
            other => {
                return Err(FormatError::unsupported(
                    subject,
                    format!(
                        "expected floats or integers of 8, 16, 32 or 64 signed bits, found {}",
                        data_type::name(other)
                    ),
                ));
            }
        };
        let elements = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let expected = elements.and_then(|elements| elements.checked_mul(width)).ok_or_else(|| {
            FormatError::invalid(subject.as_str(), format!("the size {dims:?} exceeds what can be counted"))
        })?;
        let bytes = if tensor.data_location == schema::EXTERNAL {
            folder.read(&tensor.external_data, expected, &subject, budget)?
        } else {
            listed(&mut tensor, &subject, budget)?
        };
        if bytes.len() != expected {
            return Err(FormatError::invalid(
                subject,
                format!("expected {expected} bytes for the size {dims:?}, found {}", bytes.len()),
            ));
        }
        let bytes = as_f32(bytes, tensor.data_type, &subject, budget)?;
        Ok(Self::of(Stored { name, dtype, bytes }, dims))
    }

    /// A constant of these bytes, which must be as many as the dimensions say.
    pub(super) fn new(name: &str, dtype: DType, bytes: Vec<u8>, dims: Vec<usize>) -> Self {
        Self::of(Stored { name: name.to_owned(), dtype, bytes: bytes.into() }, dims)
    }

    fn of(stored: Stored, dims: Vec<usize>) -> Self {
        let strides = row_major(&dims);
        Self { stored: Rc::new(stored), dims, strides, quantization: None }
    }

    pub(super) fn strides(&self) -> &[usize] {
        &self.strides
    }

    pub(super) fn dtype(&self) -> DType {
        self.stored.dtype
    }

    pub(super) fn elements(&self) -> usize {
        // Behind a size of 0, the others need not be such that they can be multiplied.
        if self.dims.contains(&0) { 0 } else { self.dims.iter().product() }
    }

    /// The view whose axis `k` is this one's axis `axes[k]`; each axis is named once.
    pub(super) fn transposed(&self, axes: &[usize]) -> Self {
        let of = |values: &[usize]| axes.iter().map(|&axis| values[axis]).collect();
        Self {
            stored: Rc::clone(&self.stored),
            dims: of(&self.dims),
            strides: of(&self.strides),
            quantization: self
                .quantization
                .as_ref()
                .map(|quantization| meaning::transposed(quantization, axes)),
        }
    }

    /// The view of other dimensions with the same elements in the same order, if one without a copy exists.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Option<Self> {
        let count = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if dims.len() > GREATEST_RANK || count != Some(self.elements()) {
            return None;
        }
        let old =
            || self.dims.iter().copied().zip(self.strides.iter().copied()).filter(|(size, _)| *size != 1);
        if self.elements() == 0 {
            return None;
        }
        let mut strides = vec![0; dims.len()];
        let mut old = old().rev();
        let (mut size, mut stride) = (1, 0);
        for (axis, &wanted) in dims.iter().enumerate().rev() {
            let mut wanted_left = wanted;
            let mut first = true;
            while wanted_left > 1 {
                if size == 1 {
                    (size, stride) = old.next()?;
                }
                if first {
                    strides[axis] = stride;
                    first = false;
                } else if stride != strides[axis] * (wanted / wanted_left) {
                    return None;
                }
                let step = if size % wanted_left == 0 {
                    wanted_left
                } else if wanted_left % size == 0 {
                    size
                } else {
                    return None;
                };
                wanted_left /= step;
                size /= step;
                stride *= step;
            }
        }
        let quantization = self.meaning_in(&dims)?;
        Some(Self { stored: Rc::clone(&self.stored), dims, strides, quantization })
    }

    /// The constant whose integers mean this.
    pub(super) fn meaning(self, quantization: Quantization) -> Self {
        Self { quantization: Some(quantization), ..self }
    }

    /// What the integers mean in other dimensions with the same elements in the same order; the outer `None` if the scales
    /// run along no axis of them.
    pub(super) fn meaning_in(&self, dims: &[usize]) -> Option<Option<Quantization>> {
        match &self.quantization {
            None => Some(None),
            Some(quantization) => meaning::reshaped(quantization, &self.dims, dims).map(Some),
        }
    }

    /// The view repeated along axes of size 1, and along new ones in front, to `dims`; `None` if it does not fit.
    pub(super) fn broadcast(&self, dims: &[usize]) -> Option<Self> {
        let added = dims.len().checked_sub(self.dims.len())?;
        let mut strides = vec![0; added];
        for ((&size, &stride), &wanted) in self.dims.iter().zip(&self.strides).zip(&dims[added..]) {
            match size {
                _ if size == wanted => strides.push(stride),
                1 => strides.push(0),
                _ => return None,
            }
        }
        // Scales for one index of an axis are one scale, so no axis that has several is repeated.
        let quantization =
            self.quantization.as_ref().map(|quantization| meaning::widened(quantization, added));
        Some(Self { stored: Rc::clone(&self.stored), dims: dims.to_vec(), strides, quantization })
    }

    /// The elements, row-major.
    pub(super) fn data(&self) -> TensorData {
        match self.stored.dtype {
            DType::F32 => TensorData::F32(self.gather(f32::from_le_bytes)),
            DType::I8 => TensorData::I8(self.gather(i8::from_le_bytes)),
            DType::U8 => TensorData::U8(self.gather(u8::from_le_bytes)),
            DType::I16 => TensorData::I16(self.gather(i16::from_le_bytes)),
            DType::I32 => TensorData::I32(self.gather(i32::from_le_bytes)),
            DType::I64 => TensorData::I64(self.gather(i64::from_le_bytes)),
        }
    }

    /// Copies run along the innermost axis; where that is not the one along which the elements lie side by side, the two
    /// are copied in squares, so that both sides stay in the cache.
    fn gather<T: Copy + Default, const N: usize>(&self, from: fn([u8; N]) -> T) -> Vec<T> {
        let source = self.stored.bytes.as_chunks::<N>().0;
        let mut values = vec![T::default(); self.elements()];
        let Some(((&width, &stride), outer)) =
            self.dims.last().zip(self.strides.last()).zip(self.dims.len().checked_sub(1))
        else {
            values.iter_mut().zip(source).for_each(|(value, bytes)| *value = from(*bytes));
            return values;
        };
        if values.is_empty() {
            return values;
        }
        let written = row_major(&self.dims);
        let dense = (0..outer).find(|&axis| stride != 1 && self.strides[axis] == 1 && self.dims[axis] > 1);
        let walked: Vec<usize> = (0..outer).filter(|&axis| Some(axis) != dense).collect();
        let mut index = vec![0; walked.len()];
        loop {
            let place = |strides: &[usize]| {
                walked.iter().zip(&index).map(|(&axis, &at)| strides[axis] * at).sum::<usize>()
            };
            let (read, write) = (place(&self.strides), place(&written));
            match dense {
                None if stride == 1 => {
                    let target = &mut values[write..write + width];
                    target
                        .iter_mut()
                        .zip(&source[read..read + width])
                        .for_each(|(value, bytes)| *value = from(*bytes));
                }
                None => {
                    let target = &mut values[write..write + width];
                    target
                        .iter_mut()
                        .enumerate()
                        .for_each(|(at, value)| *value = from(source[read + at * stride]));
                }
                Some(axis) => {
                    let (height, step) = (self.dims[axis], written[axis]);
                    for top in (0..height).step_by(TILE) {
                        for left in (0..width).step_by(TILE) {
                            for row in top..height.min(top + TILE) {
                                for column in left..width.min(left + TILE) {
                                    values[write + row * step + column] =
                                        from(source[read + row + column * stride]);
                                }
                            }
                        }
                    }
                }
            }
            let mut axis = walked.len();
            loop {
                let Some(next) = axis.checked_sub(1) else {
                    return values;
                };
                axis = next;
                index[axis] += 1;
                if index[axis] < self.dims[walked[axis]] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Strides of elements that lie row-major.
fn row_major(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis]);
    }
    strides
}

/// Dimensions as sizes.
pub(super) fn sizes(dims: &[i64], subject: &str) -> Result<Vec<usize>> {
    if dims.len() > GREATEST_RANK {
        return Err(FormatError::unsupported(
            subject,
            format!("expected at most {GREATEST_RANK} dimensions, found {}", dims.len()),
        ));
    }
    dims.iter()
        .map(|&size| {
            usize::try_from(size).map_err(|_| {
                FormatError::invalid(subject, format!("expected sizes of at least 0, found {size}"))
            })
        })
        .collect()
}

/// The elements that stand in the message, as bytes.
fn listed(tensor: &mut schema::Tensor, subject: &str, budget: &mut Budget) -> Result<Bytes> {
    if let Some(bytes) = tensor.raw_data.take() {
        return Ok(bytes);
    }
    let floats = std::mem::take(&mut tensor.float_data);
    let integers = std::mem::take(&mut tensor.int32_data);
    let long = std::mem::take(&mut tensor.int64_data);
    let double = std::mem::take(&mut tensor.double_data);
    let count = floats.len() + integers.len() + long.len() + double.len();
    budget.spend(count.saturating_mul(size_of::<i64>()), subject)?;
    let out_of_range = |_| FormatError::invalid(subject, "expected integers that fit their type");
    let bytes: Vec<u8> = match tensor.data_type {
        data_type::FLOAT => floats.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::DOUBLE => double.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::INT64 => long.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::INT32 => integers.iter().flat_map(|value| value.to_le_bytes()).collect(),
        data_type::INT8 => integers
            .iter()
            .map(|&value| i8::try_from(value).map(i8::cast_unsigned))
            .collect::<std::result::Result<_, _>>()
            .map_err(out_of_range)?,
        data_type::UINT8 | data_type::BOOL => integers
            .iter()
            .map(|&value| u8::try_from(value))
            .collect::<std::result::Result<_, _>>()
            .map_err(out_of_range)?,
        data_type::INT16 => narrow(&integers, |value| i16::try_from(value).map(i16::to_le_bytes), subject)?,
        // The bits of a 16-bit float stand in the lower half of the integer.
        _ => narrow(&integers, |value| u16::try_from(value).map(u16::to_le_bytes), subject)?,
    };
    Ok(bytes.into())
}

fn narrow<E>(
    integers: &[i32],
    bytes: impl Fn(i32) -> std::result::Result<[u8; 2], E>,
    subject: &str,
) -> Result<Vec<u8>> {
    let mut narrowed = Vec::with_capacity(2 * integers.len());
    for &value in integers {
        let bytes = bytes(value)
            .map_err(|_| FormatError::invalid(subject, "expected integers that fit their type"))?;
        narrowed.extend(bytes);
    }
    Ok(narrowed)
}

/// Floats of another width as 32-bit ones; all else stays as it is.
fn as_f32(bytes: Bytes, code: i32, subject: &str, budget: &mut Budget) -> Result<Bytes> {
    fn converted<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Bytes {
        let chunks = bytes.as_chunks::<N>().0;
        chunks.iter().flat_map(|&chunk| convert(chunk).to_le_bytes()).collect::<Vec<u8>>().into()
    }
    if matches!(code, data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16) {
        budget.spend(bytes.len().saturating_mul(2), subject)?;
    }
    Ok(match code {
        #[expect(clippy::cast_possible_truncation, reason = "the graph's floats have 32 bits")]
        data_type::DOUBLE => converted(&bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        data_type::FLOAT16 => converted(&bytes, |bytes| half(u16::from_le_bytes(bytes))),
        data_type::BFLOAT16 => {
            converted(&bytes, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }
        _ => bytes,
    })
}

/// The value of an IEEE 754 half-precision float.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(dims: &[usize]) -> Constant {
        let count: u8 = dims.iter().product::<usize>().try_into().expect("small");
        let bytes = (0..count).collect::<Vec<u8>>().into();
        Constant::of(Stored { name: String::new(), dtype: DType::U8, bytes }, dims.to_vec())
    }

    fn data(constant: &Constant) -> Vec<u8> {
        match constant.data() {
            TensorData::U8(values) => values,
            other => panic!("expected bytes, found {}", other.dtype()),
        }
    }

    #[test]
    fn any_transposition_equals_one_by_indices() {
        let dims = [2, 3, 1, 17];
        let constant = counting(&dims);
        for axes in [[0, 1, 2, 3], [3, 2, 1, 0], [0, 3, 1, 2], [1, 0, 3, 2], [3, 0, 1, 2], [0, 2, 3, 1]] {
            let view = constant.transposed(&axes);
            let size = |axis: usize| dims[axes[axis]];
            let mut expected = Vec::new();
            for index in 0..102usize {
                let mut left = index;
                let mut at = [0; 4];
                for axis in (0..4).rev() {
                    at[axes[axis]] = left % size(axis);
                    left /= size(axis);
                }
                expected.push(u8::try_from(((at[0] * 3 + at[1]) + at[2]) * 17 + at[3]).expect("small"));
            }
            assert_eq!(data(&view), expected, "{axes:?}");
        }
    }

    #[test]
    fn reshapes_split_and_merge_where_no_copy_is_needed() {
        let constant = counting(&[4, 6]);
        let split = constant.reshaped(vec![4, 2, 1, 3]).expect("splits");
        assert_eq!(split.dims, [4, 2, 1, 3]);
        assert_eq!(data(&split.transposed(&[1, 0, 2, 3]))[..6], [0, 1, 2, 6, 7, 8]);
        assert_eq!(data(&split.reshaped(vec![24]).expect("merges")), data(&constant));
        assert!(constant.transposed(&[1, 0]).reshaped(vec![24]).is_none());
        assert!(constant.reshaped(vec![5, 5]).is_none());
    }

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0)] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7c01).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }
}
