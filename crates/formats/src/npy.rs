//! NumPy's `.npy` files: one array each (format versions 1 to 3, NumPy's `numpy.lib.format`).
//!
//! The header is a Python dictionary of three known keys. It is read by hand, because a reader of Python's whole syntax
//! recurses as deep as a hostile header asks it to.

use crate::error::{FormatError, Result};
use taper_graph::{DType, TensorData};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers are padded so that the values begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// NumPy's own arrays have at most as many dimensions.
const MAX_RANK: usize = 64;

/// An array in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its sizes, outermost first.
    pub sizes: Vec<usize>,
    /// Its elements.
    pub data: TensorData,
}

/// Reads an array. Floats of 16 and 64 bits become such of 32, booleans 0 and 1; columns-first arrays are turned.
///
/// # Errors
/// If the bytes are no `.npy` file, or its elements have a type that no tensor has.
pub fn read(bytes: &[u8]) -> Result<Array> {
    let (header, values) = split(bytes)?;
    let header = Header::parse(header)?;
    let count =
        header.sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size)).ok_or_else(|| {
            invalid(format!("expected sizes that can be counted, found {:?}", header.sizes))
        })?;
    let expected = count.checked_mul(header.element.bytes());
    if expected != Some(values.len()) {
        let expected = expected.map_or_else(|| "too many".to_owned(), |bytes| bytes.to_string());
        return Err(invalid(format!(
            "expected {expected} bytes for {count} elements, found {} bytes",
            values.len()
        )));
    }
    let data = header.element.decode(values, header.big_endian)?;
    let data = if header.columns_first { by_rows(&data, &header.sizes) } else { data };
    Ok(Array { sizes: header.sizes, data })
}

/// The array as the bytes of a `.npy` file, row-major and little-endian.
#[must_use]
pub fn write(array: &Array) -> Vec<u8> {
    let descr = match array.data.dtype() {
        DType::F32 => "<f4",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
    };
    let sizes: String = array.sizes.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // Magic, version and the header's length come before it, a line's end closes it.
    let begun = MAGIC.len() + 4;
    let padding = (begun + header.len() + 1).next_multiple_of(ALIGNMENT) - (begun + header.len() + 1);
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("64 sizes of 20 digits fit");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(array.data.to_le_bytes());
    bytes
}

fn invalid(message: String) -> FormatError {
    FormatError::invalid("array", message)
}

/// The header's text and the bytes behind it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let no_array = || invalid("expected a `.npy` file, found something else".to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(no_array)?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or_else(no_array)?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(no_array)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(no_array)?;
            (usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX), rest)
        }
        _ => return Err(invalid(format!("expected a format version from 1 to 3, found {major}"))),
    };
    if length > rest.len() {
        return Err(invalid(format!("expected a header of {length} bytes, found {} bytes", rest.len())));
    }
    let (header, values) = rest.split_at(length);
    let header = std::str::from_utf8(header);
    Ok((header.map_err(|_| invalid("expected a header of text, found other bytes".to_owned()))?, values))
}

/// What an array's elements are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Element {
    Tensor(DType),
    Bool,
    F16,
    F64,
}

impl Element {
    /// By NumPy's letter and number of bytes.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "f4" => Self::Tensor(DType::F32),
            "i1" => Self::Tensor(DType::I8),
            "u1" => Self::Tensor(DType::U8),
            "i2" => Self::Tensor(DType::I16),
            "i4" => Self::Tensor(DType::I32),
            "i8" => Self::Tensor(DType::I64),
            "b1" => Self::Bool,
            "f2" => Self::F16,
            "f8" => Self::F64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Tensor(dtype) => dtype.bytes(),
            Self::Bool => 1,
            Self::F16 => 2,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8], big_endian: bool) -> Result<TensorData> {
        let turned;
        let bytes = if big_endian {
            turned = bytes
                .chunks(self.bytes())
                .flat_map(|element| element.iter().rev().copied())
                .collect::<Vec<_>>();
            &turned
        } else {
            bytes
        };
        let whole = || invalid("expected whole elements, found a part of one".to_owned());
        match self {
            Self::Tensor(dtype) => TensorData::from_le_bytes(dtype, bytes).ok_or_else(whole),
            Self::Bool => Ok(TensorData::U8(bytes.iter().map(|&byte| u8::from(byte != 0)).collect())),
            Self::F16 => {
                let values =
                    bytes.as_chunks::<2>().0.iter().map(|half| half_to_f32(u16::from_le_bytes(*half)));
                Ok(TensorData::F32(values.collect()))
            }
            Self::F64 => {
                let values = bytes.as_chunks::<8>().0.iter().map(|double| f64::from_le_bytes(*double) as f32);
                Ok(TensorData::F32(values.collect()))
            }
        }
    }
}

/// The number that 16 bits of IEEE 754 stand for.
fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    sign * match (bits >> 10) & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    }
}

struct Header {
    element: Element,
    big_endian: bool,
    columns_first: bool,
    sizes: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            let quoted = [format!("'{key}':"), format!("\"{key}\":")];
            let value = quoted
                .iter()
                .find_map(|key| text.split_once(key.as_str()))
                .map(|(_, value)| value.trim_start());
            value.ok_or_else(|| {
                invalid(format!("expected the key `{key}` in its header, found `{}`", text.trim()))
            })
        };
        let descr = value("descr")?;
        let name = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next());
        let unknown = || {
            FormatError::unsupported(
                "array",
                format!(
                    "expected elements of float16, float32, float64, bool, uint8 or a signed integer, found `{}`",
                    name.unwrap_or(descr.split(',').next().unwrap_or_default()).trim()
                ),
            )
        };
        let name_of_type = name.ok_or_else(unknown)?;
        let element = Element::named(name_of_type.trim_start_matches(['<', '>', '|', '=']));
        let order = value("fortran_order")?;
        let columns_first = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            (false, false) => return Err(invalid("expected `fortran_order` to be True or False".to_owned())),
        };
        Ok(Self {
            element: element.ok_or_else(unknown)?,
            big_endian: name_of_type.starts_with('>'),
            columns_first,
            sizes: sizes(value("shape")?)?,
        })
    }
}

/// The sizes of a tuple such as `(3, 28, 28)`, `(5,)` or `()`.
fn sizes(text: &str) -> Result<Vec<usize>> {
    let wrong = || {
        let found = text.split_inclusive(')').next().unwrap_or_default();
        invalid(format!("expected a tuple of at most {MAX_RANK} sizes as `shape`, found `{found}`"))
    };
    let (inside, _) = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(wrong)?;
    let parts = inside.split(',').map(str::trim).filter(|part| !part.is_empty());
    let sizes: Vec<usize> = parts.map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_>>()?;
    if sizes.len() > MAX_RANK { Err(wrong()) } else { Ok(sizes) }
}

/// Elements that lie with their first index running fastest, in row-major order.
fn by_rows(data: &TensorData, sizes: &[usize]) -> TensorData {
    fn turned<T: Copy>(values: &[T], sizes: &[usize]) -> Vec<T> {
        let mut strides = vec![1; sizes.len()];
        for axis in 1..sizes.len() {
            strides[axis] = strides[axis - 1] * sizes[axis - 1];
        }
        let place = |mut index: usize| {
            let mut place = 0;
            for axis in (0..sizes.len()).rev() {
                place += index % sizes[axis] * strides[axis];
                index /= sizes[axis];
            }
            place
        };
        (0..values.len()).map(|index| values[place(index)]).collect()
    }
    match data {
        TensorData::F32(values) => TensorData::F32(turned(values, sizes)),
        TensorData::I8(values) => TensorData::I8(turned(values, sizes)),
        TensorData::U8(values) => TensorData::U8(turned(values, sizes)),
        TensorData::I16(values) => TensorData::I16(turned(values, sizes)),
        TensorData::I32(values) => TensorData::I32(turned(values, sizes)),
        TensorData::I64(values) => TensorData::I64(turned(values, sizes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with this header and these values.
    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn check(header: &str, values: &[u8], sizes: &[usize], data: TensorData) {
        let array = read(&file(header, values)).expect(header);
        assert_eq!(array, Array { sizes: sizes.to_vec(), data }, "{header}");
    }

    #[test]
    fn what_numpy_writes_is_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }   \n";
        check(header, &[0, 0, 128, 63, 0, 0, 0, 192], &[2], TensorData::F32(vec![1.0, -2.0]));
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        check(header, &[1, 2, 3, 4, 5, 6], &[2, 3], TensorData::U8(vec![1, 3, 5, 2, 4, 6]));
        let header = "{'descr': '>i2', 'fortran_order': False, 'shape': (), }";
        check(header, &[1, 2], &[], TensorData::I16(vec![258]));
        let header = "{'descr': '|b1', 'fortran_order': False, 'shape': (1, 2), }";
        check(header, &[0, 7], &[1, 2], TensorData::U8(vec![0, 1]));
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }";
        let halves = [0x00, 0x3c, 0x01, 0x00, 0xff, 0x7b, 0x00, 0xfc];
        let expect = vec![1.0, 2f32.powi(-24), 65504.0, f32::NEG_INFINITY];
        check(header, &halves, &[4], TensorData::F32(expect));
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }";
        check(header, &0.5f64.to_le_bytes(), &[1], TensorData::F32(vec![0.5]));
    }

    #[test]
    fn faults_are_named() {
        let check = |bytes: &[u8], message: &str| {
            let found = read(bytes).expect_err(message).to_string();
            assert!(found.contains(message), "expected `{message}`, found `{found}`");
        };
        check(b"", "expected a `.npy` file");
        check(b"\x93NUMPY\x07\0\0\0", "format version from 1 to 3, found 7");
        check(b"\x93NUMPY\x02\0\xff\xff\xff\xff", "expected a header of 4294967295 bytes, found 0 bytes");
        let header = |descr: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8])
        };
        check(&header("'<c8'", "(1,)"), "found `<c8`");
        check(&header("[('a', '<f4')]", "(1,)"), "found `[('a'`");
        check(&header("'<f4'", "(1,)"), "expected 4 bytes for 1 elements, found 8 bytes");
        check(&header("'<f4'", "(-2,)"), "found `(-2,)`");
        check(&header("'<f4'", &"(".repeat(9999)), "expected a tuple");
        check(&header("'<f4'", "(99999999999, 99999999999)"), "expected sizes that can be counted");
        check(&file("{'descr': '<f4', 'shape': (2,), }", &[0; 8]), "expected the key `fortran_order`");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(sizes in prop::collection::vec(0usize..4, 0..5), seed: u32) {
            let count = sizes.iter().product();
            let values = (0..count).map(|at: usize| (at as u32 ^ seed) as i32).collect();
            let array = Array { sizes, data: TensorData::I32(values) };
            let bytes = write(&array);
            prop_assert_eq!(read(&bytes).expect("as written"), array);
            prop_assert!(bytes.starts_with(MAGIC));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), keep in 0usize..11) {
            for (byte, good) in bytes.iter_mut().zip(b"\x93NUMPY\x01\0\x20\0{".iter().take(keep)) {
                *byte = *good;
            }
            let _ = read(&bytes);
        }
    }
}
