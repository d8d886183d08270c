//! The package of a compiled model: its executables, and the layers through which data passes.

use super::flexbuffer;
use crate::budget::Budget;
use crate::error::{FormatError, Result};
use crate::flat::{Field, Table};
use crate::tflite;
use taper_graph::Opaque;

/// The name of the custom operator that stands for all operators that run on the Edge TPU.
pub const CUSTOM_OPERATOR: &str = "edgetpu-custom-op";

/// The key of the package in the operator's options.
const PACKAGE_KEY: &str = "4";
const IDENTIFIER: &[u8] = b"DWN1";

/// What the compiler made of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// The oldest runtime that runs it: 10 to 14 are known.
    pub min_runtime_version: u32,
    /// The compiler's own words about its version; empty where it says nothing.
    pub compiler_version: String,
    /// What runs on the device, in the order of the file.
    pub executables: Vec<Executable>,
}

/// Instructions with parameters, or one of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Executable {
    /// What it is for.
    pub kind: ExecutableType,
    /// The chip that it was compiled for.
    pub chip: String,
    /// Inputs that are processed at once.
    pub batch_size: u32,
    /// Bytes of parameters. Those of an executable that does not cache are streamed to the device in every inference.
    pub parameter_bytes: usize,
    /// Bytes of instructions.
    pub instruction_bytes: usize,
    /// Bytes of the host's memory that the device uses to spill activations.
    pub scratch_bytes: u32,
    /// Bytes of narrow memory used in each of the 16 tiles, at most 192 KiB.
    pub narrow_memory_bytes_per_tile: u32,
    /// Executables of equal tokens can cache their parameters together.
    pub parameter_caching_token: u64,
    /// What the device receives.
    pub inputs: Vec<Layer>,
    /// What the device sends back.
    pub outputs: Vec<Layer>,
}

/// What an executable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExecutableType {
    /// Holds all that an inference needs.
    StandAlone,
    /// Brings parameters to the device's memory, once.
    ParameterCaching,
    /// Computes with parameters that were cached before.
    ExecutionOnly,
}

/// An input or output of an executable.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its tensor's name.
    pub name: String,
    /// Bytes that travel, with padding.
    pub bytes: u32,
    /// Rows, columns and channels; 1 for dimensions that it does not have.
    pub shape: [u32; 3],
    /// The type of its elements.
    pub data_type: DataType,
    /// The integer that stands for 0.
    pub zero_point: i32,
    /// Real size of one integer step.
    pub scale: f32,
    /// How often it travels in an inference.
    pub executions: u32,
}

/// The type of a layer's elements, by the names of libedgetpu's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// 8-bit unsigned with scale and zero point.
    FixedPoint8,
    /// 16-bit unsigned with scale and zero point.
    FixedPoint16,
    /// 32-bit signed with a scale.
    SignedFixedPoint32,
    /// 16-bit float with the exponent of a 32-bit one.
    Bfloat,
    /// 16-bit float of IEEE 754.
    Half,
    /// 32-bit float of IEEE 754.
    Single,
    /// 8-bit signed with a scale.
    SignedFixedPoint8,
    /// 16-bit signed with a scale.
    SignedFixedPoint16,
}

/// Fields of libedgetpu's tables.
mod fields {
    use super::Field;

    pub(super) mod package {
        use super::Field;
        pub(in super::super) const MIN_RUNTIME: Field = Field::new(0, "Package.min_runtime_version");
        pub(in super::super) const EXECUTABLES: Field = Field::new(1, "Package.serialized_multi_executable");
        pub(in super::super) const COMPILER: Field = Field::new(4, "Package.compiler_version");
    }
    pub(super) const EXECUTABLES: Field = Field::new(0, "MultiExecutable.serialized_executables");
    pub(super) const BITSTREAM: Field = Field::new(0, "InstructionBitstream.bitstream");
    pub(super) const ZERO_POINT: Field = Field::new(0, "NumericsConstants.zero_point");
    pub(super) const SCALE: Field = Field::new(1, "NumericsConstants.dequantization_factor");

    pub(super) mod executable {
        use super::Field;
        pub(in super::super) const BATCH_SIZE: Field = Field::new(3, "Executable.batch_size");
        pub(in super::super) const SCRATCH: Field = Field::new(4, "Executable.scratch_size_bytes");
        pub(in super::super) const BITSTREAMS: Field = Field::new(5, "Executable.instruction_bitstreams");
        pub(in super::super) const PARAMETERS: Field = Field::new(6, "Executable.parameters");
        pub(in super::super) const INPUTS: Field = Field::new(8, "Executable.input_layers");
        pub(in super::super) const OUTPUTS: Field = Field::new(9, "Executable.output_layers");
        pub(in super::super) const CHIP: Field = Field::new(10, "Executable.chip");
        pub(in super::super) const NARROW_MEMORY: Field =
            Field::new(12, "Executable.used_narrow_memory_bytes_per_tile");
        pub(in super::super) const TYPE: Field = Field::new(13, "Executable.type");
        pub(in super::super) const TOKEN: Field = Field::new(14, "Executable.parameter_caching_token");
    }

    pub(super) mod layer {
        use super::Field;
        pub(in super::super) const NAME: Field = Field::new(0, "Layer.name");
        pub(in super::super) const BYTES: Field = Field::new(1, "Layer.size_bytes");
        pub(in super::super) const SHAPE: [Field; 3] =
            [Field::new(2, "Layer.y_dim"), Field::new(3, "Layer.x_dim"), Field::new(4, "Layer.z_dim")];
        pub(in super::super) const NUMERICS: Field = Field::new(5, "Layer.numerics");
        pub(in super::super) const DATA_TYPE: Field = Field::new(6, "Layer.data_type");
        pub(in super::super) const EXECUTIONS: Field = Field::new(9, "Layer.execution_count_per_inference");
    }
}

impl Package {
    /// The package of an opaque operator; `None` if it is not the Edge TPU's.
    ///
    /// # Errors
    /// If the operator is the Edge TPU's but its options break the format's rules; the error names the field.
    pub fn of(opaque: &Opaque) -> Result<Option<Self>> {
        if opaque.code != CUSTOM_OPERATOR {
            return Ok(None);
        }
        Self::parse(tflite::custom_options(opaque)?).map(Some)
    }

    /// Reads the package in the options of the Edge TPU's custom operator, as a `.tflite` file holds them.
    ///
    /// # Errors
    /// If the bytes break the format's rules; the error names the field.
    pub fn parse(custom_options: &[u8]) -> Result<Self> {
        let bytes = flexbuffer::map_entry(custom_options, PACKAGE_KEY)?.ok_or_else(|| {
            FormatError::invalid(
                "custom options",
                format!("expected a package under the key `{PACKAGE_KEY}`, found none"),
            )
        })?;
        if bytes.get(4..8) != Some(IDENTIFIER) {
            return Err(FormatError::invalid("Package", "expected the identifier DWN1, found other bytes"));
        }
        let mut budget = Budget::of(custom_options.len());
        let package = Table::root(bytes, "Package")?;
        let nested = package.byte_vector(fields::package::EXECUTABLES)?.ok_or_else(|| {
            FormatError::unsupported(fields::package::EXECUTABLES.name, "expected executables, found none")
        })?;
        let mut executables = Vec::new();
        for bytes in Table::root(nested, "MultiExecutable")?.byte_vectors(fields::EXECUTABLES)? {
            executables.push(executable(&Table::root(bytes?, "Executable")?, &mut budget)?);
        }
        Ok(Self {
            min_runtime_version: count(&package, fields::package::MIN_RUNTIME, 0)?,
            compiler_version: text(&package, fields::package::COMPILER, &mut budget)?,
            executables,
        })
    }

    /// Bytes of parameters that are brought to the device's memory once.
    #[must_use]
    pub fn cached_parameter_bytes(&self) -> usize {
        let caching = self.executables.iter().filter(|part| part.kind == ExecutableType::ParameterCaching);
        caching.map(|part| part.parameter_bytes).sum()
    }

    /// Bytes of parameters that travel to the device in every inference.
    #[must_use]
    pub fn streamed_parameter_bytes(&self) -> usize {
        self.running().map(|part| part.parameter_bytes).sum()
    }

    /// Bytes of instructions of what runs in every inference.
    #[must_use]
    pub fn instruction_bytes(&self) -> usize {
        self.running().map(|part| part.instruction_bytes).sum()
    }

    /// What runs in every inference: all executables but those that cache parameters.
    pub fn running(&self) -> impl Iterator<Item = &Executable> {
        self.executables.iter().filter(|part| part.kind != ExecutableType::ParameterCaching)
    }
}

fn executable(table: &Table<'_>, budget: &mut Budget) -> Result<Executable> {
    use fields::executable as fields;
    budget.spend(size_of::<Executable>(), "executables")?;
    let mut instruction_bytes = 0usize;
    for bitstream in table.tables(fields::BITSTREAMS)?.iter() {
        // Nothing is stored, but executables can share their bitstreams: this bounds the time.
        budget.spend(size_of::<usize>(), fields::BITSTREAMS.name)?;
        let bytes = bitstream?.byte_vector(self::fields::BITSTREAM)?.unwrap_or_default();
        instruction_bytes = instruction_bytes.saturating_add(bytes.len());
    }
    let kind = match table.scalar::<i16>(fields::TYPE, 0)? {
        0 => ExecutableType::StandAlone,
        1 => ExecutableType::ParameterCaching,
        2 => ExecutableType::ExecutionOnly,
        other => {
            return Err(FormatError::unsupported(
                fields::TYPE.name,
                format!(
                    "expected stand-alone (0), parameter caching (1) or execution only (2), found {other}"
                ),
            ));
        }
    };
    Ok(Executable {
        kind,
        chip: text(table, fields::CHIP, budget)?,
        batch_size: count(table, fields::BATCH_SIZE, 0)?,
        parameter_bytes: table.byte_vector(fields::PARAMETERS)?.map_or(0, <[u8]>::len),
        instruction_bytes,
        scratch_bytes: count(table, fields::SCRATCH, 0)?,
        narrow_memory_bytes_per_tile: count(table, fields::NARROW_MEMORY, 0)?,
        parameter_caching_token: table.scalar(fields::TOKEN, 0)?,
        inputs: layers(table, fields::INPUTS, budget)?,
        outputs: layers(table, fields::OUTPUTS, budget)?,
    })
}

fn layers(table: &Table<'_>, field: Field, budget: &mut Budget) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for table in table.tables(field)?.iter() {
        budget.spend(2 * size_of::<Layer>(), field.name)?;
        layers.push(layer(&table?, budget)?);
    }
    Ok(layers)
}

fn layer(table: &Table<'_>, budget: &mut Budget) -> Result<Layer> {
    use fields::layer as fields;
    let (zero_point, scale) = match table.table(fields::NUMERICS)? {
        Some(numerics) => {
            (numerics.scalar(self::fields::ZERO_POINT, 0)?, numerics.scalar(self::fields::SCALE, 0.0)?)
        }
        None => (0, 0.0),
    };
    let data_type = table.scalar::<i16>(fields::DATA_TYPE, 0)?;
    let [rows, columns, channels] = fields::SHAPE;
    Ok(Layer {
        name: text(table, fields::NAME, budget)?,
        bytes: count(table, fields::BYTES, 0)?,
        shape: [count(table, rows, 0)?, count(table, columns, 0)?, count(table, channels, 0)?],
        data_type: DataType::of(data_type).ok_or_else(|| {
            FormatError::unsupported(
                fields::DATA_TYPE.name,
                format!("expected a type from 0 to 5 or 8 or 9, found {data_type}"),
            )
        })?,
        zero_point,
        scale,
        executions: count(table, fields::EXECUTIONS, 1)?,
    })
}

impl ExecutableType {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StandAlone => "stand-alone",
            Self::ParameterCaching => "parameter-caching",
            Self::ExecutionOnly => "execution-only",
        }
    }
}

impl DataType {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FixedPoint8 => "u8",
            Self::FixedPoint16 => "u16",
            Self::SignedFixedPoint32 => "i32",
            Self::Bfloat => "bf16",
            Self::Half => "f16",
            Self::Single => "f32",
            Self::SignedFixedPoint8 => "i8",
            Self::SignedFixedPoint16 => "i16",
        }
    }

    /// The type that a file stores as `value`.
    fn of(value: i16) -> Option<Self> {
        match value {
            0 => Some(Self::FixedPoint8),
            1 => Some(Self::FixedPoint16),
            2 => Some(Self::SignedFixedPoint32),
            3 => Some(Self::Bfloat),
            4 => Some(Self::Half),
            5 => Some(Self::Single),
            8 => Some(Self::SignedFixedPoint8),
            9 => Some(Self::SignedFixedPoint16),
            _ => None,
        }
    }
}

/// A count, which the format stores as a signed number.
fn count(table: &Table<'_>, field: Field, default: i32) -> Result<u32> {
    let value = table.scalar(field, default)?;
    u32::try_from(value)
        .map_err(|_| FormatError::invalid(field.name, format!("expected at least 0, found {value}")))
}

fn text(table: &Table<'_>, field: Field, budget: &mut Budget) -> Result<String> {
    let text = table.string(field)?.unwrap_or_default();
    budget.spend(text.len(), field.name)?;
    Ok(text.to_owned())
}
