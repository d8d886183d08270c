//! Reading flatbuffers with every access checked.
//!
//! The `flatbuffers` crate reads tables only through `unsafe` calls that trust a verification made before; Taper's
//! readers hold no `unsafe`, so each access here checks its own bounds. A table's bytes are never copied on the way.
//! Offsets to what a table holds lead forward only, so that no chain of them comes back to where it began.

use crate::error::{FormatError, Result};

/// A field of a table: its position in the schema, and its name for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) index: u16,
    pub(crate) name: &'static str,
}

impl Field {
    pub(crate) const fn new(index: u16, name: &'static str) -> Self {
        Self { index, name }
    }

    /// The field's offset in a vtable, whose first two entries are sizes.
    pub(crate) const fn slot(self) -> u16 {
        4 + 2 * self.index
    }
}

/// A scalar as a flatbuffer stores it: little-endian.
pub(crate) trait Scalar: Sized + Copy {
    const BYTES: usize;
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! scalar {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            const BYTES: usize = size_of::<$type>();
            fn decode(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            }
        }
    )*};
}
scalar!(u8, i8, u16, i16, i32, u32, f32, i64, u64);

fn scalar_at<T: Scalar>(bytes: &[u8], position: usize, name: &str) -> Result<T> {
    slice_at(bytes, position, T::BYTES, name).and_then(|bytes| {
        T::decode(bytes).ok_or_else(|| FormatError::invalid(name, "expected a scalar of another size"))
    })
}

fn slice_at<'a>(bytes: &'a [u8], position: usize, length: usize, name: &str) -> Result<&'a [u8]> {
    position.checked_add(length).and_then(|end| bytes.get(position..end)).ok_or_else(|| {
        FormatError::invalid(
            name,
            format!("expected {length} bytes at {position}, found the end of {} bytes", bytes.len()),
        )
    })
}

fn index(value: u32, name: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| FormatError::invalid(name, format!("offset {value} is too large")))
}

/// Follows the unsigned offset stored at `position`.
fn follow(bytes: &[u8], position: usize, name: &str) -> Result<usize> {
    let offset = index(scalar_at(bytes, position, name)?, name)?;
    position.checked_add(offset).filter(|&target| offset != 0 && target < bytes.len()).ok_or_else(|| {
        FormatError::invalid(
            name,
            format!("expected an offset within {} bytes at {position}, found {offset}", bytes.len()),
        )
    })
}

/// A table within a flatbuffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Field offsets, without the two sizes in front.
    slots: &'a [u8],
    /// Bytes of the table itself, its offset to the vtable included.
    size: usize,
}

impl<'a> Table<'a> {
    /// The root table of a flatbuffer.
    pub(crate) fn root(bytes: &'a [u8], name: &str) -> Result<Self> {
        Self::at(bytes, follow(bytes, 0, name)?, name)
    }

    fn at(bytes: &'a [u8], position: usize, name: &str) -> Result<Self> {
        let back: i32 = scalar_at(bytes, position, name)?;
        let vtable = i64::try_from(position)
            .ok()
            .and_then(|position| usize::try_from(position - i64::from(back)).ok())
            .ok_or_else(|| {
                FormatError::invalid(name, format!("expected a table at {position}, found none"))
            })?;
        let length = usize::from(scalar_at::<u16>(bytes, vtable, name)?);
        let size = usize::from(scalar_at::<u16>(bytes, vtable.saturating_add(2), name)?);
        if length < 4 || length % 2 != 0 || size < 4 {
            return Err(FormatError::invalid(name, format!("expected a table at {position}, found none")));
        }
        let slots = &slice_at(bytes, vtable, length, name)?[4..];
        slice_at(bytes, position, size, name)?;
        Ok(Self { bytes, position, slots, size })
    }

    /// Where the field's `length` bytes lie, or `None` if it is absent.
    fn locate(&self, field: Field, length: usize) -> Result<Option<usize>> {
        let entry = usize::from(field.index) * 2;
        let Some(slot) = self.slots.get(entry..entry + 2).and_then(u16::decode) else {
            return Ok(None);
        };
        let offset = usize::from(slot);
        match offset {
            0 => Ok(None),
            _ if offset >= 4 && offset + length <= self.size => Ok(Some(self.position + offset)),
            _ => Err(FormatError::invalid(
                field.name,
                format!("expected {length} bytes within a table of {}, found offset {offset}", self.size),
            )),
        }
    }

    /// The scalar in `field`, or `default` if it is absent.
    pub(crate) fn scalar<T: Scalar>(&self, field: Field, default: T) -> Result<T> {
        match self.locate(field, T::BYTES)? {
            Some(position) => scalar_at(self.bytes, position, field.name),
            None => Ok(default),
        }
    }

    /// The truth value in `field`, or false if it is absent.
    pub(crate) fn flag(&self, field: Field) -> Result<bool> {
        Ok(self.scalar::<u8>(field, 0)? != 0)
    }

    fn target(&self, field: Field) -> Result<Option<usize>> {
        self.locate(field, 4)?.map(|position| follow(self.bytes, position, field.name)).transpose()
    }

    /// The table in `field`.
    pub(crate) fn table(&self, field: Field) -> Result<Option<Table<'a>>> {
        self.target(field)?.map(|target| Table::at(self.bytes, target, field.name)).transpose()
    }

    /// The vector of tables in `field`; empty if it is absent.
    pub(crate) fn tables(&self, field: Field) -> Result<Tables<'a>> {
        let (position, length) = self.vector(field, 4)?.unwrap_or_default();
        Ok(Tables { bytes: self.bytes, position, length, name: field.name })
    }

    /// The vector of scalars in `field`.
    pub(crate) fn scalars<T: Scalar + 'a>(
        &self,
        field: Field,
    ) -> Result<Option<impl ExactSizeIterator<Item = T> + use<'a, T>>> {
        let Some((position, length)) = self.vector(field, T::BYTES)? else {
            return Ok(None);
        };
        let bytes = slice_at(self.bytes, position, length * T::BYTES, field.name)?;
        Ok(Some(
            bytes
                .chunks_exact(T::BYTES)
                .map(|chunk| T::decode(chunk).expect("every chunk has the bytes of one scalar")),
        ))
    }

    /// The vector of bytes in `field`.
    pub(crate) fn byte_vector(&self, field: Field) -> Result<Option<&'a [u8]>> {
        self.raw_vector(field, 1)
    }

    /// The bytes of a vector whose elements take `element` bytes each.
    pub(crate) fn raw_vector(&self, field: Field, element: usize) -> Result<Option<&'a [u8]>> {
        let Some((position, length)) = self.vector(field, element)? else {
            return Ok(None);
        };
        slice_at(self.bytes, position, length * element, field.name).map(Some)
    }

    /// The vector of byte vectors (or strings that are none) in `field`; empty if it is absent.
    pub(crate) fn byte_vectors(
        &self,
        field: Field,
    ) -> Result<impl ExactSizeIterator<Item = Result<&'a [u8]>> + use<'a>> {
        let (position, length) = self.vector(field, 4)?.unwrap_or_default();
        let bytes = self.bytes;
        Ok((0..length).map(move |element| {
            let target = follow(bytes, position + 4 * element, field.name)?;
            let length = index(scalar_at(bytes, target, field.name)?, field.name)?;
            slice_at(bytes, target + 4, length, field.name)
        }))
    }

    /// The string in `field`.
    pub(crate) fn string(&self, field: Field) -> Result<Option<&'a str>> {
        let Some(bytes) = self.byte_vector(field)? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes).map(Some).map_err(|error| {
            FormatError::invalid(field.name, format!("expected text in UTF-8, found other bytes ({error})"))
        })
    }

    /// Position and length of the vector in `field`, whose elements take `element` bytes each and lie in bounds.
    fn vector(&self, field: Field, element: usize) -> Result<Option<(usize, usize)>> {
        let Some(target) = self.target(field)? else {
            return Ok(None);
        };
        let length = index(scalar_at(self.bytes, target, field.name)?, field.name)?;
        let bytes = length.saturating_mul(element);
        slice_at(self.bytes, target + 4, bytes, field.name)?;
        Ok(Some((target + 4, length)))
    }

    /// The field offsets and the bytes behind the table's own offset, as they stand.
    pub(crate) fn verbatim(&self) -> (&'a [u8], &'a [u8]) {
        (self.slots, &self.bytes[self.position + 4..self.position + self.size])
    }

    /// Where the table lies, in bytes from the flatbuffer's start.
    pub(crate) fn position(&self) -> usize {
        self.position
    }
}

/// A vector of tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables<'a> {
    bytes: &'a [u8],
    position: usize,
    length: usize,
    name: &'static str,
}

impl<'a> Tables<'a> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, position: usize) -> Option<Result<Table<'a>>> {
        (position < self.length).then(|| {
            let target = follow(self.bytes, self.position + 4 * position, self.name)?;
            Table::at(self.bytes, target, self.name)
        })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Result<Table<'a>>> {
        (0..self.length).filter_map(move |position| self.get(position))
    }
}
