//! What the integers of constants mean: scales and zero points as views change, and the way from floats to integers and
//! back.

use super::constant::Constant;
use taper_graph::{DType, Quantization, TensorData};

/// The meaning after a transposition: axis `k` is what was axis `axes[k]`.
pub(super) fn transposed(quantization: &Quantization, axes: &[usize]) -> Quantization {
    match quantization {
        Quantization::PerTensor { .. } => quantization.clone(),
        Quantization::PerAxis { axis, scales } => {
            let moved = axes.iter().position(|old| old == axis).unwrap_or(*axis);
            Quantization::PerAxis { axis: moved, scales: scales.clone() }
        }
    }
}

/// The meaning in other dimensions with the same elements in the same order; `None` if the scales run along no axis of
/// those.
pub(super) fn reshaped(quantization: &Quantization, from: &[usize], to: &[usize]) -> Option<Quantization> {
    match quantization {
        Quantization::PerTensor { .. } => Some(quantization.clone()),
        Quantization::PerAxis { axis, scales } => {
            let outer = |dims: &[usize]| dims.iter().product::<usize>();
            let place =
                |&place: &usize| to[place] == scales.len() && outer(&to[..place]) == outer(&from[..*axis]);
            let axis = (0..to.len()).find(place)?;
            Some(Quantization::PerAxis { axis, scales: scales.clone() })
        }
    }
}

/// The meaning behind new axes in front.
pub(super) fn widened(quantization: &Quantization, added: usize) -> Quantization {
    match quantization {
        Quantization::PerTensor { .. } => quantization.clone(),
        Quantization::PerAxis { axis, scales } => {
            Quantization::PerAxis { axis: axis + added, scales: scales.clone() }
        }
    }
}

/// The floats that a constant's integers stand for; a constant of floats as it is.
#[expect(clippy::cast_precision_loss, reason = "ONNX computes what integers stand for in 32-bit floats")]
pub(super) fn floats(constant: &Constant) -> Constant {
    let Some(quantization) = &constant.quantization else {
        return constant.clone();
    };
    let steps = Steps::new(quantization, &constant.dims);
    let values: Vec<i64> = match constant.data() {
        TensorData::I8(values) => values.into_iter().map(i64::from).collect(),
        TensorData::U8(values) => values.into_iter().map(i64::from).collect(),
        TensorData::I16(values) => values.into_iter().map(i64::from).collect(),
        TensorData::I32(values) => values.into_iter().map(i64::from).collect(),
        TensorData::I64(values) => values,
        TensorData::F32(_) => return constant.clone(),
    };
    let bytes = values.into_iter().enumerate().flat_map(|(position, value)| {
        let (scale, zero_point) = steps.at(position);
        (value.saturating_sub(zero_point.into()) as f32 * scale).to_le_bytes()
    });
    Constant::new(&constant.stored.name, DType::F32, bytes.collect(), constant.dims.clone())
}

/// The integers of type `dtype` that stand for a constant's values, rounded half to even and saturated as ONNX's
/// QuantizeLinear does.
pub(super) fn integers(constant: &Constant, dtype: DType, quantization: &Quantization) -> Constant {
    let steps = Steps::new(quantization, &constant.dims);
    let real = floats(constant);
    let TensorData::F32(values) = real.data() else {
        return constant.clone();
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "only the greatest of 32 bits is rounded, and casts saturate"
    )]
    let (least, greatest) = dtype.integer_range().map_or((0.0, 0.0), |(low, high)| (low as f64, high as f64));
    let bytes = values.into_iter().enumerate().flat_map(|(position, value)| {
        let (scale, zero_point) = steps.at(position);
        let value =
            (f64::from(value / scale).round_ties_even() + f64::from(zero_point)).clamp(least, greatest);
        #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within the type's range")]
        let bytes = (value as i64).to_le_bytes();
        bytes.into_iter().take(dtype.bytes())
    });
    Constant::new(&constant.stored.name, dtype, bytes.collect(), constant.dims.clone())
        .meaning(quantization.clone())
}

/// Unsigned integers as signed ones, which stand for the same if their zero point is 128 lower too.
pub(super) fn signed(constant: &Constant) -> Constant {
    let bytes = constant.data().to_le_bytes().into_iter().map(|byte| byte ^ 0x80).collect();
    Constant::new(&constant.stored.name, DType::I8, bytes, constant.dims.clone())
}

/// Scales and zero points of the elements of a constant.
struct Steps<'q> {
    quantization: &'q Quantization,
    /// Elements behind one index of the scales' axis.
    inner: usize,
}

impl<'q> Steps<'q> {
    fn new(quantization: &'q Quantization, dims: &[usize]) -> Self {
        let inner = match quantization {
            Quantization::PerTensor { .. } => 1,
            Quantization::PerAxis { axis, .. } => dims.iter().skip(axis + 1).product::<usize>().max(1),
        };
        Self { quantization, inner }
    }

    /// Scale and zero point of the element at a row-major position.
    fn at(&self, position: usize) -> (f32, i32) {
        match self.quantization {
            Quantization::PerTensor { scale, zero_point } => (*scale, *zero_point),
            Quantization::PerAxis { scales, .. } => (scales[position / self.inner % scales.len()], 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four rows of two, with a scale for each row.
    fn rows() -> Constant {
        let bytes = (0..8i8).map(i8::cast_unsigned).collect();
        let mut constant = Constant::new("rows", DType::I8, bytes, vec![4, 2]);
        let scales = vec![1.0, 0.5, 0.25, 0.125];
        constant.quantization = Some(Quantization::PerAxis { axis: 0, scales });
        constant
    }

    #[test]
    fn scales_follow_their_axis() {
        let expected = TensorData::F32(vec![0.0, 1.0, 1.0, 1.5, 1.0, 1.25, 0.75, 0.875]);
        assert_eq!(floats(&rows()).data(), expected);
        let turned = rows().transposed(&[1, 0]);
        assert_eq!(floats(&turned).transposed(&[1, 0]).data(), expected);
        for dims in [vec![4, 1, 2], vec![1, 4, 2], vec![1, 4, 2, 1]] {
            assert_eq!(floats(&rows().reshaped(dims).expect("keeps the rows")).data(), expected);
        }
        assert!(rows().reshaped(vec![8]).is_none());
        assert!(rows().reshaped(vec![2, 4]).is_none());
        let wide = rows().broadcast(&[3, 4, 2]).expect("repeats");
        assert_eq!(
            floats(&wide).data(),
            TensorData::F32([0.0, 1.0, 1.0, 1.5, 1.0, 1.25, 0.75, 0.875].repeat(3))
        );
    }

    #[test]
    fn floats_become_the_nearest_integers() {
        let bytes = [0.5f32, 1.5, -2.0, 1e9].iter().flat_map(|value| value.to_le_bytes()).collect();
        let constant = Constant::new("floats", DType::F32, bytes, vec![4]);
        let quantization = Quantization::PerTensor { scale: 1.0, zero_point: 3 };
        let found = integers(&constant, DType::U8, &quantization);
        assert_eq!(found.data(), TensorData::U8(vec![3, 5, 1, 255]));
        assert_eq!(floats(&found).data(), TensorData::F32(vec![0.0, 2.0, -2.0, 252.0]));
        let shifted = signed(&found);
        assert_eq!(shifted.data(), TensorData::I8(vec![-125, -123, -127, 127]));
    }
}
