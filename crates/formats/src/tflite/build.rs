//! Writing flatbuffers over the `flatbuffers` crate: tables as lists of fields, and vectors aligned to 16 bytes.

use super::flat::{Field, Table};
use super::schema;
use crate::error::{FormatError, Result};
use flatbuffers::{FlatBufferBuilder, Push, UnionWIPOffset, WIPOffset};

/// Alignment of tensor data, so that a runtime can map a file and compute on it in place.
const DATA_ALIGNMENT: usize = 16;
/// The largest flatbuffer: offsets are 31 bits wide.
const LARGEST: usize = (1 << 31) - 1;
/// The largest table or vector of builtin options.
const LARGEST_OPTION: usize = 65_535;
/// What precedes the root table: its offset and the identifier.
const HEADER: usize = 8;

/// Where something already written lies.
pub(super) type Offset = WIPOffset<UnionWIPOffset>;

/// The value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Flag(bool),
    I8(i8),
    U8(u8),
    I32(i32),
    U32(u32),
    F32(f32),
    /// A table, vector or string.
    Offset(Offset),
}

/// A flatbuffer in the making; it grows from its end to its start, so children come before their parents.
pub(super) struct Builder(FlatBufferBuilder<'static>);

impl Builder {
    /// A builder with room for about `bytes`.
    pub(super) fn with_capacity(bytes: usize, subject: &str) -> Result<Self> {
        if bytes > LARGEST {
            return Err(FormatError::unsupported(
                subject,
                format!("expected at most {LARGEST} bytes for a flatbuffer, found {bytes}"),
            ));
        }
        Ok(Self(FlatBufferBuilder::with_capacity(bytes)))
    }

    /// Writes a table. Fields that hold their default are written too: the file says what it means.
    pub(super) fn table(&mut self, fields: impl IntoIterator<Item = (Field, Value)>) -> Offset {
        let start = self.0.start_table();
        for (field, value) in fields {
            let slot = field.slot();
            match value {
                Value::Flag(value) => self.0.push_slot_always(slot, value),
                Value::I8(value) => self.0.push_slot_always(slot, value),
                Value::U8(value) => self.0.push_slot_always(slot, value),
                Value::I32(value) => self.0.push_slot_always(slot, value),
                Value::U32(value) => self.0.push_slot_always(slot, value),
                Value::F32(value) => self.0.push_slot_always(slot, value),
                Value::Offset(value) => self.0.push_slot_always(slot, value),
            }
        }
        self.0.end_table(start).as_union_value()
    }

    /// Writes a vector of scalars, or of what is already written.
    pub(super) fn vector<T: Push<Output: 'static>>(&mut self, values: &[T]) -> Value {
        Value::Offset(self.0.create_vector(values).as_union_value())
    }

    pub(super) fn string(&mut self, text: &str) -> Value {
        Value::Offset(self.0.create_string(text).as_union_value())
    }

    /// Writes a vector of bytes whose first element lies at a multiple of 16 bytes.
    pub(super) fn aligned_bytes(&mut self, bytes: &[u8]) -> Value {
        self.pad_until(|used| (used + bytes.len()).is_multiple_of(DATA_ALIGNMENT));
        self.vector(bytes)
    }

    /// Copies a table of builtin options whose layout is not known: its scalars as they stand, its vectors by
    /// the table of those that have some.
    pub(super) fn copy(&mut self, table: &Table<'_>, options_type: u8) -> Result<Offset> {
        let vectors = vector_fields(options_type)
            .iter()
            .filter_map(|&field| table.raw_vector(field, 4).transpose().map(|bytes| Ok((field, bytes?))))
            .collect::<Result<Vec<_>>>()?;
        if let Some((_, bytes)) = vectors.iter().find(|(_, bytes)| bytes.len() > LARGEST_OPTION) {
            return Err(too_large(bytes.len()));
        }
        let (slots, inline) = table.verbatim();
        let mut inline = inline.to_vec();
        let vectors: Vec<_> = vectors
            .into_iter()
            .map(|(field, bytes)| {
                let (words, _) = bytes.as_chunks::<4>();
                let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
                (field, self.0.create_vector(&words).value())
            })
            .collect();

        let size = inline.len() + 4;
        for &byte in slots.iter().rev() {
            self.0.push(byte);
        }
        self.pad_until(|used| used.is_multiple_of(2));
        self.0.push(u16::try_from(size).map_err(|_| too_large(size))?);
        let length = slots.len() + 4;
        let vtable = self.0.push(u16::try_from(length).map_err(|_| too_large(length))?).value();

        // Scalars keep their alignment if the table lies as it did, up to a multiple of 8 bytes from the end.
        let position = table.position();
        self.pad_until(|used| (used + size + position).is_multiple_of(8));
        let start = u32::try_from(self.used() + size).map_err(|_| too_large(size))?;
        for (field, vector) in vectors {
            let entry = usize::from(field.index) * 2;
            let offset = u16::from_le_bytes([slots[entry], slots[entry + 1]]);
            let at = usize::from(offset) - 4;
            inline[at..at + 4].copy_from_slice(&(start - u32::from(offset) - vector).to_le_bytes());
        }
        for &byte in inline.iter().rev() {
            self.0.push(byte);
        }
        let back = i64::from(vtable) - i64::from(start);
        let table = self.0.push(i32::try_from(back).map_err(|_| too_large(size))?);
        Ok(WIPOffset::new(table.value()))
    }

    /// Ends the flatbuffer.
    pub(super) fn finish(mut self, root: Offset, identifier: &str) -> Vec<u8> {
        self.pad_until(|used| (used + HEADER).is_multiple_of(DATA_ALIGNMENT));
        self.0.finish(root, Some(identifier));
        let (mut bytes, start) = self.0.collapse();
        bytes.drain(..start);
        bytes
    }

    fn used(&self) -> usize {
        self.0.unfinished_data().len()
    }

    fn pad_until(&mut self, aligned: impl Fn(usize) -> bool) {
        while !aligned(self.used()) {
            self.0.push(0u8);
        }
    }
}

fn too_large(bytes: usize) -> FormatError {
    FormatError::unsupported(
        "builtin options",
        format!("expected at most {LARGEST_OPTION} bytes in a table or vector, found {bytes}"),
    )
}

/// The fields of a table of builtin options that hold vectors, all of them of four-byte elements.
fn vector_fields(options_type: u8) -> &'static [Field] {
    const CONCAT_EMBEDDINGS: &[Field] = &[
        Field::new(1, "ConcatEmbeddingsOptions.num_columns_per_channel"),
        Field::new(2, "ConcatEmbeddingsOptions.embedding_dim_per_channel"),
    ];
    const RESHAPE: &[Field] = &[Field::new(0, "ReshapeOptions.new_shape")];
    const SQUEEZE: &[Field] = &[Field::new(0, "SqueezeOptions.squeeze_dims")];
    const BUCKETIZE: &[Field] = &[Field::new(0, "BucketizeOptions.boundaries")];
    match options_type {
        schema::options::CONCAT_EMBEDDINGS => CONCAT_EMBEDDINGS,
        schema::options::RESHAPE => RESHAPE,
        schema::options::SQUEEZE => SQUEEZE,
        schema::options::BUCKETIZE => BUCKETIZE,
        _ => &[],
    }
}
