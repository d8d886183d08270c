//! Operators that the graph carries through unchanged.
//!
//! Their attributes are a flatbuffer of their own with the operator's two tables, `OperatorCode` and `Operator`, as the
//! file holds them; the operator's inputs are positions among the node's inputs, −1 where an optional one is absent.

use super::{Code, Emitter, Operator, Options, Source, to_i32, unwritable};
use crate::error::{FormatError, Result};
use crate::tflite::build::{Builder, Value};
use crate::tflite::flat::{Field, Table};
use crate::tflite::schema::{operator as fields, options};
use crate::tflite::{reader, writer};
use taper_graph::{Node, Op, Opaque, TensorId};

/// Tells attributes that come from TFLite from those of other formats.
const IDENTIFIER: &str = "TFLO";
const OPERATOR_CODE: Field = Field::new(0, "opaque operator code");
const OPERATOR: Field = Field::new(1, "opaque operator");

/// The tables in an opaque operator's attributes.
pub(in crate::tflite) struct Record<'a> {
    pub(in crate::tflite) code: Code<'a>,
    table: Table<'a>,
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
        (Some(code), Some(table)) => Ok(Record { code: reader::operator_code(&code)?, table }),
        _ => Err(FormatError::invalid(subject(), "expected the tables of an operator, found none")),
    }
}

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node, opaque: &'g Opaque) -> Result<()> {
    let Record { code, table } = record(opaque)?;
    let inputs = match table.scalars::<i32>(fields::INPUTS)? {
        Some(positions) => positions.map(|position| input_position(node, position)).collect::<Result<_>>()?,
        None => Vec::new(),
    };
    let outputs = emitter.positions(&node.outputs)?;
    let options_type = table.scalar(fields::OPTIONS_TYPE, 0)?;
    emitter.operators.push(Operator {
        code,
        since: None,
        inputs,
        outputs,
        options: table
            .table(fields::OPTIONS)?
            .map_or(Options::None, |table| Options::Verbatim { options_type, table }),
        custom_options: table.byte_vector(fields::CUSTOM_OPTIONS)?,
    });
    Ok(())
}

fn input_position(node: &Node, position: i32) -> Result<i32> {
    if position == -1 {
        return Ok(-1);
    }
    let input = usize::try_from(position).ok().and_then(|position| node.inputs.get(position));
    match input {
        Some(input) => to_i32(input.0, "tensor position"),
        None => {
            Err(unwritable(node, &format!("expected an input below {}, found {position}", node.inputs.len())))
        }
    }
}

pub(super) fn read(source: &Source<'_>) -> Result<(Op, Vec<TensorId>)> {
    refuse_what_cannot_be_carried(source)?;
    let inputs: Vec<TensorId> = source.inputs.iter().copied().flatten().collect();
    let mut present = 0;
    let pattern = source.inputs.iter().map(|input| match input {
        Some(_) => {
            present += 1;
            to_i32(present - 1, "input")
        }
        None => Ok(-1),
    });
    let options_type = source.table.scalar(fields::OPTIONS_TYPE, 0)?;
    let operator = Operator {
        code: source.code,
        since: None,
        inputs: pattern.collect::<Result<_>>()?,
        outputs: Vec::new(),
        options: source
            .table
            .table(fields::OPTIONS)?
            .map_or(Options::None, |table| Options::Verbatim { options_type, table }),
        custom_options: source.table.byte_vector(fields::CUSTOM_OPTIONS)?,
    };
    Ok((Op::Opaque(Opaque { code: source.name(), attributes: attributes(&operator)? }), inputs))
}

/// The flatbuffer that an opaque operator carries.
pub(in crate::tflite) fn attributes(operator: &Operator<'_>) -> Result<Vec<u8>> {
    let custom_bytes = operator.custom_options.map_or(0, <[u8]>::len);
    let mut builder = Builder::with_capacity(custom_bytes + 256, "opaque operator")?;
    let table = writer::operator(&mut builder, 0, operator)?;
    let code = writer::operator_code(&mut builder, &operator.code);
    let root = builder.table([(OPERATOR_CODE, Value::Offset(code)), (OPERATOR, Value::Offset(table))]);
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
    if table.scalars::<i32>(fields::INTERMEDIATES)?.is_some_and(|ids| ids.len() > 0) {
        return refuse("intermediate tensors cannot be carried through".to_owned());
    }
    if table
        .byte_vector(fields::MUTATING_VARIABLE_INPUTS)?
        .is_some_and(|flags| flags.iter().any(|&flag| flag != 0))
    {
        return refuse("inputs that the operator changes cannot be carried through".to_owned());
    }
    Ok(())
}
