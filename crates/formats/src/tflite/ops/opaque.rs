//! Operators that the graph carries through unchanged.
//!
//! Their attributes are a flatbuffer of their own with the operator's two tables, `OperatorCode` and `Operator`, as the
//! file holds them, and the tensors that are the operator's alone: its state, and what it keeps between its inner steps.
//! A tensor's position is there that among the node's inputs, −1 where an optional input is absent, and −2 − k for the
//! k-th tensor of its own.

use super::{Carried, Code, Emitter, Operator, Options, Source, to_i32, unwritable};
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use crate::tflite::build::{Builder, Value};
use crate::tflite::flat::{Field, Table};
use crate::tflite::schema::{self, operator as fields, options};
use crate::tflite::tensor::{self, Role};
use crate::tflite::{reader, writer};
use taper_graph::{Node, Op, Opaque, Tensor, TensorId};

/// Tells attributes that come from TFLite from those of other formats.
const IDENTIFIER: &str = "TFLO";
const OPERATOR_CODE: Field = Field::new(0, "opaque operator code");
const OPERATOR: Field = Field::new(1, "opaque operator");
const TENSORS: Field = Field::new(2, "opaque operator's tensors");

/// The position of an absent input.
const ABSENT: i32 = -1;
/// The position of an operator's first own tensor; the others lie below.
const FIRST_OWN: i32 = -2;

/// The tables in an opaque operator's attributes.
pub(in crate::tflite) struct Record<'a> {
    pub(in crate::tflite) code: Code<'a>,
    root: Table<'a>,
    table: Table<'a>,
}

impl<'a> Record<'a> {
    /// The options of a custom operator.
    pub(in crate::tflite) fn custom_options(&self) -> Result<Option<&'a [u8]>> {
        self.table.byte_vector(fields::CUSTOM_OPTIONS)
    }
}

/// Reads the attributes of an opaque operator that came from TFLite.
pub(in crate::tflite) fn record(opaque: &Opaque) -> Result<Record<'_>> {
    let subject = || format!("operator {}", opaque.code);
    if opaque.attributes.get(4..8) != Some(IDENTIFIER.as_bytes()) {
        return Err(FormatError::unsupported(
            subject(),
            "expected an operator that came from TFLite, found another",
        ));
    }
    let root = Table::root(&opaque.attributes, "opaque operator")?;
    match (root.table(OPERATOR_CODE)?, root.table(OPERATOR)?) {
        (Some(code), Some(table)) => Ok(Record { code: reader::operator_code(&code)?, root, table }),
        _ => Err(FormatError::invalid(subject(), "expected the tables of an operator, found none")),
    }
}

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, opaque: &'g Opaque) -> Result<()> {
    let record = record(opaque)?;
    let Record { code, root, table } = record;
    let mut budget = Budget::of(opaque.attributes.len());
    let mut own = Vec::new();
    for (position, table) in root.tables(TENSORS)?.iter().enumerate() {
        let table = table?;
        let position = emitter.add(tensor::read(&table, position, |_| Ok(&[]), &mut budget)?)?;
        if table.flag(schema::tensor::IS_VARIABLE)? {
            emitter.variables.insert(position);
        }
        own.push(position);
    }
    let positions = |field: Field| -> Result<Vec<i32>> {
        let stored = table.scalars::<i32>(field)?.into_iter().flatten();
        stored.map(|stored| position(node, &own, stored)).collect()
    };
    let (inputs, intermediates) = (positions(fields::INPUTS)?, positions(fields::INTERMEDIATES)?);
    let outputs = emitter.positions(&node.outputs)?;
    emitter.operators.push(Operator {
        code,
        since: None,
        inputs,
        outputs,
        options: verbatim_options(&table)?,
        carried: Carried {
            custom_options: record.custom_options()?,
            intermediates,
            mutating_inputs: table.byte_vector(fields::MUTATING_VARIABLE_INPUTS)?.unwrap_or_default(),
        },
    });
    Ok(())
}

/// The position in the file of what stands in an operator's attributes as `stored`.
fn position(node: &Node, own: &[i32], stored: i32) -> Result<i32> {
    if stored == ABSENT {
        return Ok(ABSENT);
    }
    let input = usize::try_from(stored).ok().and_then(|stored| node.inputs.get(stored));
    let own = usize::try_from(i64::from(FIRST_OWN) - i64::from(stored))
        .ok()
        .and_then(|own_position| own.get(own_position));
    match (input, own) {
        (Some(input), _) => to_i32(input.0, "tensor position"),
        (None, Some(&own)) => Ok(own),
        (None, None) => Err(unwritable(
            node,
            &format!("expected an input below {} or a tensor of its own, found {stored}", node.inputs.len()),
        )),
    }
}

fn verbatim_options<'a>(table: &Table<'a>) -> Result<Options<'a>> {
    let options_type = table.scalar(fields::OPTIONS_TYPE, 0)?;
    let options = table.table(fields::OPTIONS)?;
    Ok(options.map_or(Options::None, |table| Options::Verbatim { options_type, table }))
}

pub(super) fn read(source: &Source<'_>) -> Result<(Op, Vec<TensorId>)> {
    refuse_what_cannot_be_carried(source)?;
    let (mut inputs, mut own) = (Vec::new(), Vec::new());
    let mut pattern = Vec::with_capacity(source.inputs.len());
    for input in source.inputs {
        pattern.push(match *input {
            Some(id) if source.is_variable(id) => adopt(source, id, Role::Variable, &mut own)?,
            Some(id) => {
                inputs.push(id);
                to_i32(inputs.len() - 1, "input")?
            }
            None => ABSENT,
        });
    }
    let intermediates = source.intermediates.iter().map(|&id| adopt(source, id, Role::Plain, &mut own));
    let intermediates = intermediates.collect::<Result<_>>()?;
    let operator = Operator {
        code: source.code,
        since: None,
        inputs: pattern,
        outputs: Vec::new(),
        options: verbatim_options(&source.table)?,
        carried: Carried {
            custom_options: source.table.byte_vector(fields::CUSTOM_OPTIONS)?,
            intermediates,
            mutating_inputs: source.table.byte_vector(fields::MUTATING_VARIABLE_INPUTS)?.unwrap_or_default(),
        },
    };
    Ok((Op::Opaque(Opaque { code: source.name(), attributes: attributes(&operator, &own)? }), inputs))
}

/// Takes a tensor that is to be the operator's alone, and returns its position in the attributes.
fn adopt<'a>(
    source: &Source<'a>,
    id: TensorId,
    role: Role,
    own: &mut Vec<(&'a Tensor, Role)>,
) -> Result<i32> {
    let tensor = &source.tensors[id.0];
    let uses = source.uses[id.0].reads + source.uses[id.0].others;
    if uses != 1 || tensor.data.is_some() {
        return Err(FormatError::unsupported(
            format!("tensor `{}`", tensor.name),
            format!(
                "expected the state or an intermediate tensor of {} without data of its own and used once, found it \
                 used {uses} times",
                source.name()
            ),
        ));
    }
    own.push((tensor, role));
    Ok(FIRST_OWN - to_i32(own.len() - 1, "tensor position")?)
}

/// The flatbuffer that an opaque operator carries, with the tensors that are its alone.
pub(in crate::tflite) fn attributes(operator: &Operator<'_>, own: &[(&Tensor, Role)]) -> Result<Vec<u8>> {
    let custom_bytes = operator.carried.custom_options.map_or(0, <[u8]>::len);
    let mut builder = Builder::with_capacity(custom_bytes + 256, "opaque operator")?;
    let table = writer::operator(&mut builder, 0, operator)?;
    let code = writer::operator_code(&mut builder, &operator.code);
    let mut row = vec![(OPERATOR_CODE, Value::Offset(code)), (OPERATOR, Value::Offset(table))];
    if !own.is_empty() {
        let tensors = own
            .iter()
            .map(|&(tensor, role)| tensor::write(&mut builder, tensor, 0, role))
            .collect::<Result<Vec<_>>>()?;
        row.push((TENSORS, builder.vector(&tensors)));
    }
    let root = builder.table(row);
    Ok(builder.finish(root, IDENTIFIER))
}

fn refuse_what_cannot_be_carried(source: &Source<'_>) -> Result<()> {
    let table = &source.table;
    let refuse =
        |message: String| Err(FormatError::unsupported(format!("operator {}", source.name()), message));
    let options_type = table.scalar::<u8>(fields::OPTIONS_TYPE, 0)?;
    if options_type > options::LAST || options_type == options::VAR_HANDLE {
        return refuse(format!("builtin options of type {options_type} cannot be carried through"));
    }
    if table.scalar::<u8>(fields::OPTIONS_2_TYPE, 0)? != 0 {
        return refuse("builtin options of the second kind (StableHLO) cannot be carried through".to_owned());
    }
    if table.scalar::<u64>(fields::LARGE_CUSTOM_OPTIONS_OFFSET, 0)? > 1 {
        return refuse("custom options outside the flatbuffer cannot be carried through".to_owned());
    }
    Ok(())
}
