//! Arithmetic on shapes, done while reading: exporters compute the sizes of reshapes and resizes by chains of operators.

use super::constant::{Constant, sizes};
use super::importer::{Importer, Value};
use super::meaning;
use super::operation::Operation;
use super::schema::data_type;
use crate::budget::Budget;
use crate::error::Result;
use taper_graph::{DType, Dim, TensorData};

/// Elements that are computed while reading; beyond that it is no arithmetic on shapes.
const GREATEST_COUNT: usize = 1 << 16;

/// One number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// An integer or truth value.
    Integer(i64),
    /// A real number.
    Real(f32),
    /// The size of the batch.
    Batch,
}

/// Few numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Folded {
    pub(super) dims: Vec<usize>,
    pub(super) numbers: Vec<Number>,
}

impl Folded {
    /// The numbers of a constant.
    pub(super) fn of(constant: &Constant, operation: Operation<'_>, budget: &mut Budget) -> Result<Self> {
        check_count(constant.elements(), operation, budget)?;
        fn integers<T: Copy + Into<i64>>(values: &[T]) -> Vec<Number> {
            values.iter().map(|&value| Number::Integer(value.into())).collect()
        }
        let numbers = match meaning::floats(constant).data() {
            TensorData::F32(values) => values.into_iter().map(Number::Real).collect(),
            TensorData::I8(values) => integers(&values),
            TensorData::U8(values) => integers(&values),
            TensorData::I16(values) => integers(&values),
            TensorData::I32(values) => integers(&values),
            TensorData::I64(values) => integers(&values),
        };
        Ok(Self { dims: constant.dims.clone(), numbers })
    }

    /// A list of numbers.
    pub(super) fn list(numbers: Vec<Number>) -> Self {
        Self { dims: vec![numbers.len()], numbers }
    }

    /// The numbers as a constant of this name; `None` if one is the batch.
    pub(super) fn constant(&self, name: &str) -> Option<Constant> {
        let real = self.numbers.iter().any(|number| matches!(number, Number::Real(_)));
        let (dtype, bytes) = if real {
            (DType::F32, self.floats()?.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
        } else {
            (DType::I64, self.integers()?.iter().flat_map(|value| value.to_le_bytes()).collect())
        };
        Some(Constant::new(name, dtype, bytes, self.dims.clone()))
    }

    /// The numbers, if all are integers.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let integer = |number: &Number| match *number {
            Number::Integer(value) => Some(value),
            Number::Real(_) | Number::Batch => None,
        };
        self.numbers.iter().map(integer).collect()
    }

    /// The numbers, if none is the batch.
    #[expect(clippy::cast_precision_loss, reason = "sizes are exact as floats, or too large for any image")]
    pub(super) fn floats(&self) -> Option<Vec<f32>> {
        let real = |number: &Number| match *number {
            Number::Integer(value) => Some(value as f32),
            Number::Real(value) => Some(value),
            Number::Batch => None,
        };
        self.numbers.iter().map(real).collect()
    }
}

fn check_count(count: usize, operation: Operation<'_>, budget: &mut Budget) -> Result<()> {
    if count > GREATEST_COUNT {
        return Err(operation.unsupported(format!(
            "expected at most {GREATEST_COUNT} elements to compute while reading, found {count}"
        )));
    }
    budget.spend(count * size_of::<Number>(), "constants")
}

/// Computes the node if all that it reads is known; `None` if it is not.
pub(super) fn fold<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Option<Value>> {
    if let "Shape" | "Size" = operation.kind() {
        return shape_of(importer, operation).map(Some);
    }
    for position in 0..operation.0.input.len() {
        if let Some(Value::Activation(_)) = importer.optional(operation, position)? {
            return Ok(None);
        }
    }
    let folded = match operation.kind() {
        "Cast" => cast(importer, operation)?,
        "Gather" => gather(importer, operation)?,
        "Slice" => slice(importer, operation)?,
        "Concat" => concat(importer, operation)?,
        "ConstantOfShape" => constant_of_shape(importer, operation)?,
        "ReduceProd" => product(importer, operation)?,
        "Expand" => expand(importer, operation)?,
        "Where" => choose(importer, operation)?,
        "Floor" | "Ceil" | "Neg" | "Sqrt" => unary(importer, operation)?,
        "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Equal" => binary(importer, operation)?,
        _ => return Ok(None),
    };
    Ok(Some(Value::Folded(folded)))
}

/// The numbers of a required input.
fn given<'m>(importer: &mut Importer<'m>, operation: Operation<'m>, position: usize) -> Result<Folded> {
    importer
        .numbers(operation, position)?
        .ok_or_else(|| operation.invalid(format!("expected an input {position}, found none")))
}

fn shape_of<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=1, &["start", "end"])?;
    let dims = match importer.value(operation, 0)? {
        Value::Activation(x) => importer.dims(operation, &x.clone())?,
        Value::Constant(constant) => constant.dims.iter().copied().map(Dim::Fixed).collect(),
        Value::Folded(folded) => folded.dims.iter().copied().map(Dim::Fixed).collect(),
    };
    let numbers: Vec<Number> = dims.into_iter().map(|dim| of_dim(dim, operation)).collect::<Result<_>>()?;
    if operation.kind() == "Size" {
        let mut all = Number::Integer(1);
        for &number in &numbers {
            all = combine(operation, all, number)?;
        }
        return Ok(Value::Folded(Folded { dims: Vec::new(), numbers: vec![all] }));
    }
    let bound = |name, default| clamp(operation.integer(name).unwrap_or(default), numbers.len());
    let (start, end) = (bound("start", 0), bound("end", i64::MAX));
    Ok(Value::Folded(Folded::list(numbers.get(start..end).unwrap_or_default().to_vec())))
}

/// A bound of a slice that may count from the end.
fn clamp(bound: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
    usize::try_from(bound.clamp(0, length)).unwrap_or(0)
}

fn of_dim(dim: Dim, operation: Operation<'_>) -> Result<Number> {
    match dim {
        Dim::Batch(_) => Ok(Number::Batch),
        Dim::Fixed(size) => i64::try_from(size)
            .map(Number::Integer)
            .map_err(|_| operation.invalid(format!("the size {size} exceeds what can be counted"))),
    }
}

fn cast<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=1, &["to", "saturate"])?;
    let mut folded = given(importer, operation, 0)?;
    let code = operation.integer("to").and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    for number in &mut folded.numbers {
        *number = match (code, *number) {
            (_, Number::Batch) => Number::Batch,
            #[expect(clippy::cast_precision_loss, reason = "sizes are exact as floats")]
            (data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16, Number::Integer(value)) => {
                Number::Real(value as f32)
            }
            (data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16, real @ Number::Real(_)) => real,
            (data_type::INT64 | data_type::INT32, whole @ Number::Integer(_)) => whole,
            (data_type::INT64 | data_type::INT32, Number::Real(value)) => truncated(value, operation)?,
            (data_type::BOOL, Number::Integer(value)) => Number::Integer(i64::from(value != 0)),
            (_, Number::Integer(_) | Number::Real(_)) => {
                return Err(operation.unsupported(format!(
                    "expected a cast of constants to float, double, int32, int64 or bool, found {}",
                    data_type::name(code)
                )));
            }
        };
    }
    Ok(folded)
}

/// A real number without its fraction.
fn truncated(value: f32, operation: Operation<'_>) -> Result<Number> {
    // Within these bounds a float's whole part is exact as an integer.
    #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
    match value.abs() < 9e18 {
        true => Ok(Number::Integer(value as i64)),
        false => Err(operation.invalid(format!("expected a number that fits an integer, found {value}"))),
    }
}

fn gather<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(2..=2, &["axis"])?;
    let (folded, indices) = (given(importer, operation, 0)?, given(importer, operation, 1)?);
    if folded.dims.len() != 1 || operation.axis(operation.integer("axis").unwrap_or(0), 1).is_err() {
        return Err(operation.unsupported(format!("expected a list of constants, found {:?}", folded.dims)));
    }
    let places = indices
        .integers()
        .ok_or_else(|| operation.invalid("expected integers as indices, found others"))?
        .into_iter()
        .map(|index| operation.axis(index, folded.numbers.len()).map(|index| folded.numbers[index]))
        .collect::<Result<_>>()?;
    Ok(Folded { dims: indices.dims, numbers: places })
}

fn slice<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=5, &["starts", "ends", "axes"])?;
    let mut folded = given(importer, operation, 0)?;
    for (start, end, axis, step) in slice_bounds(importer, operation)? {
        let axis = operation.axis(axis, folded.dims.len())?;
        let size = folded.dims[axis];
        check_count(size, operation, &mut importer.budget)?;
        let places = places(start, end, step, size)
            .ok_or_else(|| operation.invalid("expected a step other than 0, found 0"))?;
        let outer: usize = folded.dims[..axis].iter().product();
        let inner = folded.numbers.len() / (outer * size).max(1);
        let rows = |block: usize| places.iter().map(move |place| block * size + place);
        let taken = (0..outer).flat_map(rows).flat_map(|row| &folded.numbers[row * inner..][..inner]);
        folded = Folded { numbers: taken.copied().collect(), dims: folded.dims.clone() };
        folded.dims[axis] = places.len();
    }
    Ok(folded)
}

/// The places of an axis that a slice takes, in its order; `None` for a step of 0.
fn places(start: i64, end: i64, step: i64, size: usize) -> Option<Vec<usize>> {
    let length = i64::try_from(size).ok()?;
    let from_start = |bound: i64| if bound < 0 { bound.saturating_add(length) } else { bound };
    // Backwards, −1 stands for the place before the first.
    let [least, greatest] = if step > 0 { [0, length] } else { [-1, length - 1] };
    let (start, end) = (from_start(start), from_start(end).clamp(least, greatest));
    let start = if step > 0 { start.clamp(0, length) } else { start.min(length - 1) };
    let places = std::iter::successors(Some(start), |place| place.checked_add(step));
    let inside = |place: &i64| if step > 0 { *place < end } else { *place > end };
    (step != 0).then(|| places.take_while(inside).filter_map(|place| usize::try_from(place).ok()).collect())
}

/// Start, end, axis and step of each axis that is cut.
pub(super) fn slice_bounds<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
) -> Result<Vec<(i64, i64, i64, i64)>> {
    let mut given = |name: &str, position: usize| match operation.integers(name) {
        Some(values) => Ok(Some(values.to_vec())),
        None => importer.integers(operation, position),
    };
    let (starts, ends) = (given("starts", 1)?.unwrap_or_default(), given("ends", 2)?.unwrap_or_default());
    let axes = given("axes", 3)?.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = given("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(operation.invalid("expected as many starts as ends, axes and steps"));
    }
    Ok((0..starts.len()).map(|at| (starts[at], ends[at], axes[at], steps[at])).collect())
}

fn concat<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=usize::MAX, &["axis"])?;
    let mut numbers = Vec::new();
    for position in 0..operation.0.input.len() {
        let part = given(importer, operation, position)?;
        if part.dims.len() != 1 {
            return Err(operation.unsupported(format!("expected lists of constants, found {:?}", part.dims)));
        }
        numbers.extend(part.numbers);
        check_count(numbers.len(), operation, &mut importer.budget)?;
    }
    Ok(Folded::list(numbers))
}

fn constant_of_shape<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=1, &["value"])?;
    let dims = filled_dims(importer, operation, 0)?;
    let number = match operation.attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        None => Number::Real(0.0),
        Some(tensor) => {
            let constant = Constant::load(
                tensor.clone(),
                &mut super::external::Folder::new(None),
                &mut importer.budget,
            )?;
            match Folded::of(&constant, operation, &mut importer.budget)?.numbers[..] {
                [number] => number,
                _ => return Err(operation.invalid("expected one element as value, found others")),
            }
        }
    };
    let count = dims.iter().product();
    Ok(Folded { dims, numbers: vec![number; count] })
}

/// Dimensions that input `position` tells, few enough to fill.
fn filled_dims<'m>(
    importer: &mut Importer<'m>,
    operation: Operation<'m>,
    position: usize,
) -> Result<Vec<usize>> {
    let dims = importer
        .integers(operation, position)?
        .ok_or_else(|| operation.invalid(format!("expected an input {position}, found none")))?;
    let dims = sizes(&dims, &operation.subject())?;
    let count = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    check_count(count.unwrap_or(usize::MAX), operation, &mut importer.budget)?;
    Ok(dims)
}

fn product<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=2, &["axes", "keepdims", "noop_with_empty_axes"])?;
    let folded = given(importer, operation, 0)?;
    if folded.dims.len() > 1 {
        return Err(operation.unsupported(format!("expected a list of constants, found {:?}", folded.dims)));
    }
    let mut all = Number::Integer(1);
    for &number in &folded.numbers {
        all = combine(operation, all, number)?;
    }
    let dims = if operation.integer("keepdims").unwrap_or(1) == 0 { Vec::new() } else { vec![1] };
    Ok(Folded { dims, numbers: vec![all] })
}

/// A product, or what stays of it with the batch.
fn combine(operation: Operation<'_>, a: Number, b: Number) -> Result<Number> {
    arithmetic("Mul", a, b).ok_or_else(|| {
        operation.unsupported(format!("expected arithmetic on fixed sizes, found {a:?} times {b:?}"))
    })
}

fn expand<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(2..=2, &[])?;
    let folded = given(importer, operation, 0)?;
    let dims = filled_dims(importer, operation, 1)?;
    let count = dims.iter().product();
    match folded.numbers[..] {
        [number] if dims.len() >= folded.dims.len() => Ok(Folded { dims, numbers: vec![number; count] }),
        _ if dims == folded.dims => Ok(folded),
        _ => Err(operation.unsupported("expected one constant to be repeated, found several")),
    }
}

fn choose<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(3..=3, &[])?;
    let parts = [0, 1, 2].map(|position| given(importer, operation, position));
    let [condition, yes, no] = parts;
    let (condition, yes, no) = (condition?, yes?, no?);
    let dims = [&condition, &yes, &no].into_iter().max_by_key(|part| part.numbers.len());
    let dims = dims.map_or_else(Vec::new, |part| part.dims.clone());
    let count = dims.iter().product();
    let at = |part: &Folded, index| element(part, index, count, operation);
    let numbers = (0..count)
        .map(|index| match at(&condition, index)? {
            Number::Integer(0) => at(&no, index),
            Number::Integer(_) => at(&yes, index),
            Number::Real(_) | Number::Batch => Err(operation.invalid("expected truth values to choose by")),
        })
        .collect::<Result<_>>()?;
    Ok(Folded { dims, numbers })
}

/// Element `index` of numbers that are `count` or one.
fn element(part: &Folded, index: usize, count: usize, operation: Operation<'_>) -> Result<Number> {
    match part.numbers[..] {
        [number] => Ok(number),
        ref numbers if numbers.len() == count => Ok(numbers[index]),
        ref numbers => {
            Err(operation.unsupported(format!("expected {count} constants or one, found {}", numbers.len())))
        }
    }
}

fn unary<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(1..=1, &[])?;
    let mut folded = given(importer, operation, 0)?;
    for number in &mut folded.numbers {
        *number = match (operation.kind(), *number) {
            ("Floor", Number::Real(value)) => Number::Real(value.floor()),
            ("Ceil", Number::Real(value)) => Number::Real(value.ceil()),
            ("Sqrt", Number::Real(value)) => Number::Real(value.sqrt()),
            ("Neg", Number::Real(value)) => Number::Real(-value),
            ("Neg", Number::Integer(value)) => Number::Integer(value.wrapping_neg()),
            ("Floor" | "Ceil", other) => other,
            (_, other) => {
                return Err(operation.unsupported(format!("expected fixed sizes, found {other:?}")));
            }
        };
    }
    Ok(folded)
}

fn binary<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Folded> {
    operation.expect(2..=2, &[])?;
    let (a, b) = (given(importer, operation, 0)?, given(importer, operation, 1)?);
    let larger = if (a.numbers.len(), a.dims.len()) >= (b.numbers.len(), b.dims.len()) { &a } else { &b };
    let dims = larger.dims.clone();
    let count = dims.iter().product();
    check_count(count, operation, &mut importer.budget)?;
    let numbers = (0..count)
        .map(|index| {
            let (a, b) = (element(&a, index, count, operation)?, element(&b, index, count, operation)?);
            arithmetic(operation.kind(), a, b).ok_or_else(|| {
                operation.unsupported(format!("expected arithmetic on fixed sizes, found {a:?} and {b:?}"))
            })
        })
        .collect::<Result<_>>()?;
    Ok(Folded { dims, numbers })
}

/// The function of two numbers; `None` where it is not defined, or would compute with the batch.
#[expect(clippy::cast_precision_loss, reason = "sizes are exact as floats")]
fn arithmetic(kind: &str, a: Number, b: Number) -> Option<Number> {
    match (kind, a, b) {
        (_, Number::Integer(a), Number::Integer(b)) => Some(Number::Integer(match kind {
            "Add" => a.checked_add(b)?,
            "Sub" => a.checked_sub(b)?,
            "Mul" => a.checked_mul(b)?,
            "Div" => a.checked_div(b)?,
            "Min" => a.min(b),
            "Max" => a.max(b),
            "Equal" => i64::from(a == b),
            _ => return None,
        })),
        (_, Number::Real(a), Number::Real(b)) => Some(match kind {
            "Add" => Number::Real(a + b),
            "Sub" => Number::Real(a - b),
            "Mul" => Number::Real(a * b),
            "Div" => Number::Real(a / b),
            "Min" => Number::Real(a.min(b)),
            "Max" => Number::Real(a.max(b)),
            "Equal" => Number::Integer((a == b).into()),
            _ => return None,
        }),
        (_, Number::Integer(a), Number::Real(_)) => arithmetic(kind, Number::Real(a as f32), b),
        (_, Number::Real(_), Number::Integer(b)) => arithmetic(kind, a, Number::Real(b as f32)),
        ("Mul" | "Div", Number::Batch, Number::Integer(1)) | ("Mul", Number::Integer(1), Number::Batch) => {
            Some(Number::Batch)
        }
        ("Mul" | "Div", Number::Batch, Number::Real(1.0)) | ("Mul", Number::Real(1.0), Number::Batch) => {
            Some(Number::Batch)
        }
        // A size is positive, and never one of the marks of a reshape.
        ("Equal", Number::Batch, Number::Integer(..=0)) | ("Equal", Number::Integer(..=0), Number::Batch) => {
            Some(Number::Integer(0))
        }
        ("Equal", Number::Batch, Number::Batch) => Some(Number::Integer(1)),
        (_, Number::Batch, _) | (_, _, Number::Batch) => None,
    }
}
