//! The part of TFLite's schema (version 3) that Taper reads and writes: positions of fields, codes, types.
//!
//! Source: `tensorflow/lite/schema/schema.fbs`. A new field needs one line here.

use taper_graph::{Activation, DType};

/// The file identifier, at byte 4.
pub(super) const IDENTIFIER: &str = "TFL3";
/// The schema's version, in `Model.version`.
pub(super) const VERSION: u32 = 3;
/// Name of the metadata entry that tells the oldest runtime that runs a model.
pub(super) const MIN_RUNTIME_VERSION: &str = "min_runtime_version";

/// Declares the fields of a table: one module per table, one constant per field.
macro_rules! tables {
    ($($(#[$doc:meta])* $module:ident $table:literal { $($field:ident = $index:literal $name:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub(super) mod $module {
            use super::super::flat::Field;
            $(pub(in super::super) const $field: Field = Field::new($index, concat!($table, ".", $name));)*
        }
    )*};
}

tables! {
    model "Model" {
        VERSION = 0 "version",
        OPERATOR_CODES = 1 "operator_codes",
        SUBGRAPHS = 2 "subgraphs",
        DESCRIPTION = 3 "description",
        BUFFERS = 4 "buffers",
        METADATA = 6 "metadata",
        SIGNATURE_DEFS = 7 "signature_defs",
    }
    operator_code "OperatorCode" {
        DEPRECATED_BUILTIN_CODE = 0 "deprecated_builtin_code",
        CUSTOM_CODE = 1 "custom_code",
        VERSION = 2 "version",
        BUILTIN_CODE = 3 "builtin_code",
    }
    subgraph "SubGraph" {
        TENSORS = 0 "tensors",
        INPUTS = 1 "inputs",
        OUTPUTS = 2 "outputs",
        OPERATORS = 3 "operators",
        NAME = 4 "name",
    }
    tensor "Tensor" {
        SHAPE = 0 "shape",
        TYPE = 1 "type",
        BUFFER = 2 "buffer",
        NAME = 3 "name",
        QUANTIZATION = 4 "quantization",
        IS_VARIABLE = 5 "is_variable",
        SPARSITY = 6 "sparsity",
        SHAPE_SIGNATURE = 7 "shape_signature",
    }
    quantization "QuantizationParameters" {
        SCALE = 2 "scale",
        ZERO_POINT = 3 "zero_point",
        DETAILS_TYPE = 4 "details_type",
        QUANTIZED_DIMENSION = 6 "quantized_dimension",
    }
    operator "Operator" {
        OPCODE_INDEX = 0 "opcode_index",
        INPUTS = 1 "inputs",
        OUTPUTS = 2 "outputs",
        OPTIONS_TYPE = 3 "builtin_options_type",
        OPTIONS = 4 "builtin_options",
        CUSTOM_OPTIONS = 5 "custom_options",
        MUTATING_VARIABLE_INPUTS = 7 "mutating_variable_inputs",
        INTERMEDIATES = 8 "intermediates",
        LARGE_CUSTOM_OPTIONS_OFFSET = 9 "large_custom_options_offset",
        OPTIONS_2_TYPE = 11 "builtin_options_2_type",
    }
    buffer "Buffer" {
        DATA = 0 "data",
        OFFSET = 1 "offset",
    }
    metadata "Metadata" {
        NAME = 0 "name",
        BUFFER = 1 "buffer",
    }
    signature_def "SignatureDef" {
        INPUTS = 0 "inputs",
        OUTPUTS = 1 "outputs",
        SIGNATURE_KEY = 2 "signature_key",
        SUBGRAPH_INDEX = 4 "subgraph_index",
    }
    tensor_map "TensorMap" {
        NAME = 0 "name",
        TENSOR_INDEX = 1 "tensor_index",
    }
    conv_2d_options "Conv2DOptions" {
        PADDING = 0 "padding",
        STRIDE_W = 1 "stride_w",
        STRIDE_H = 2 "stride_h",
        ACTIVATION = 3 "fused_activation_function",
        DILATION_W = 4 "dilation_w_factor",
        DILATION_H = 5 "dilation_h_factor",
    }
    depthwise_conv_2d_options "DepthwiseConv2DOptions" {
        PADDING = 0 "padding",
        STRIDE_W = 1 "stride_w",
        STRIDE_H = 2 "stride_h",
        DEPTH_MULTIPLIER = 3 "depth_multiplier",
        ACTIVATION = 4 "fused_activation_function",
        DILATION_W = 5 "dilation_w_factor",
        DILATION_H = 6 "dilation_h_factor",
    }
    transpose_conv_options "TransposeConvOptions" {
        PADDING = 0 "padding",
        STRIDE_W = 1 "stride_w",
        STRIDE_H = 2 "stride_h",
        ACTIVATION = 3 "fused_activation_function",
    }
    pool_2d_options "Pool2DOptions" {
        PADDING = 0 "padding",
        STRIDE_W = 1 "stride_w",
        STRIDE_H = 2 "stride_h",
        FILTER_WIDTH = 3 "filter_width",
        FILTER_HEIGHT = 4 "filter_height",
        ACTIVATION = 5 "fused_activation_function",
    }
    fully_connected_options "FullyConnectedOptions" {
        ACTIVATION = 0 "fused_activation_function",
        WEIGHTS_FORMAT = 1 "weights_format",
        KEEP_NUM_DIMS = 2 "keep_num_dims",
    }
    softmax_options "SoftmaxOptions" {
        BETA = 0 "beta",
    }
    reducer_options "ReducerOptions" {
        KEEP_DIMS = 0 "keep_dims",
    }
    leaky_relu_options "LeakyReluOptions" {
        ALPHA = 0 "alpha",
    }
    /// `AddOptions`, `SubOptions`, `MulOptions` and `DivOptions` alike.
    binary_options "AddOptions" {
        ACTIVATION = 0 "fused_activation_function",
    }
    concatenation_options "ConcatenationOptions" {
        AXIS = 0 "axis",
        ACTIVATION = 1 "fused_activation_function",
    }
    strided_slice_options "StridedSliceOptions" {
        BEGIN_MASK = 0 "begin_mask",
        END_MASK = 1 "end_mask",
        ELLIPSIS_MASK = 2 "ellipsis_mask",
        NEW_AXIS_MASK = 3 "new_axis_mask",
        SHRINK_AXIS_MASK = 4 "shrink_axis_mask",
        OFFSET = 5 "offset",
    }
    /// `PackOptions` and `UnpackOptions` alike.
    pack_options "PackOptions" {
        AXIS = 1 "axis",
    }
    arg_max_options "ArgMaxOptions" {
        OUTPUT_TYPE = 0 "output_type",
    }
    resize_bilinear_options "ResizeBilinearOptions" {
        ALIGN_CORNERS = 2 "align_corners",
        HALF_PIXEL_CENTERS = 3 "half_pixel_centers",
    }
    resize_nearest_options "ResizeNearestNeighborOptions" {
        ALIGN_CORNERS = 0 "align_corners",
        HALF_PIXEL_CENTERS = 1 "half_pixel_centers",
    }
}

/// Values of `BuiltinOperator`.
pub(super) mod builtin {
    pub(in super::super) const ADD: i32 = 0;
    pub(in super::super) const AVERAGE_POOL_2D: i32 = 1;
    pub(in super::super) const CONCATENATION: i32 = 2;
    pub(in super::super) const CONV_2D: i32 = 3;
    pub(in super::super) const DEPTHWISE_CONV_2D: i32 = 4;
    pub(in super::super) const FULLY_CONNECTED: i32 = 9;
    pub(in super::super) const LOGISTIC: i32 = 14;
    pub(in super::super) const MAX_POOL_2D: i32 = 17;
    pub(in super::super) const MUL: i32 = 18;
    pub(in super::super) const RELU: i32 = 19;
    pub(in super::super) const RELU_N1_TO_1: i32 = 20;
    pub(in super::super) const RELU6: i32 = 21;
    pub(in super::super) const RESHAPE: i32 = 22;
    pub(in super::super) const RESIZE_BILINEAR: i32 = 23;
    pub(in super::super) const SOFTMAX: i32 = 25;
    pub(in super::super) const TANH: i32 = 28;
    pub(in super::super) const CUSTOM: i32 = 32;
    pub(in super::super) const PAD: i32 = 34;
    pub(in super::super) const MEAN: i32 = 40;
    pub(in super::super) const SUB: i32 = 41;
    pub(in super::super) const DIV: i32 = 42;
    pub(in super::super) const SQUEEZE: i32 = 43;
    pub(in super::super) const STRIDED_SLICE: i32 = 45;
    pub(in super::super) const SPLIT: i32 = 49;
    pub(in super::super) const PRELU: i32 = 54;
    pub(in super::super) const MAXIMUM: i32 = 55;
    pub(in super::super) const ARG_MAX: i32 = 56;
    pub(in super::super) const MINIMUM: i32 = 57;
    pub(in super::super) const PADV2: i32 = 60;
    pub(in super::super) const SLICE: i32 = 65;
    pub(in super::super) const TRANSPOSE_CONV: i32 = 67;
    pub(in super::super) const TILE: i32 = 69;
    pub(in super::super) const EXPAND_DIMS: i32 = 70;
    pub(in super::super) const REDUCE_MAX: i32 = 82;
    pub(in super::super) const PACK: i32 = 83;
    pub(in super::super) const UNPACK: i32 = 88;
    pub(in super::super) const RESIZE_NEAREST_NEIGHBOR: i32 = 97;
    pub(in super::super) const LEAKY_RELU: i32 = 98;
    pub(in super::super) const SPLIT_V: i32 = 102;
    pub(in super::super) const ELU: i32 = 111;
    pub(in super::super) const QUANTIZE: i32 = 114;
    pub(in super::super) const HARD_SWISH: i32 = 117;
    /// Stands in the old one-byte field for all codes that do not fit in it.
    pub(in super::super) const PLACEHOLDER: i8 = 127;
}

/// Values of the union `BuiltinOptions`.
pub(super) mod options {
    pub(in super::super) const CONV_2D: u8 = 1;
    pub(in super::super) const DEPTHWISE_CONV_2D: u8 = 2;
    pub(in super::super) const CONCAT_EMBEDDINGS: u8 = 3;
    pub(in super::super) const POOL_2D: u8 = 5;
    pub(in super::super) const FULLY_CONNECTED: u8 = 8;
    pub(in super::super) const SOFTMAX: u8 = 9;
    pub(in super::super) const CONCATENATION: u8 = 10;
    pub(in super::super) const ADD: u8 = 11;
    pub(in super::super) const RESIZE_BILINEAR: u8 = 15;
    pub(in super::super) const RESHAPE: u8 = 17;
    pub(in super::super) const MUL: u8 = 21;
    pub(in super::super) const PAD: u8 = 22;
    pub(in super::super) const REDUCER: u8 = 27;
    pub(in super::super) const SUB: u8 = 28;
    pub(in super::super) const DIV: u8 = 29;
    pub(in super::super) const SQUEEZE: u8 = 30;
    pub(in super::super) const STRIDED_SLICE: u8 = 32;
    pub(in super::super) const MAXIMUM_MINIMUM: u8 = 39;
    pub(in super::super) const ARG_MAX: u8 = 40;
    pub(in super::super) const PADV2: u8 = 43;
    pub(in super::super) const SLICE: u8 = 48;
    pub(in super::super) const TRANSPOSE_CONV: u8 = 49;
    pub(in super::super) const TILE: u8 = 51;
    pub(in super::super) const PACK: u8 = 59;
    pub(in super::super) const UNPACK: u8 = 64;
    pub(in super::super) const RESIZE_NEAREST_NEIGHBOR: u8 = 74;
    pub(in super::super) const LEAKY_RELU: u8 = 75;
    pub(in super::super) const QUANTIZE: u8 = 89;
    pub(in super::super) const HARD_SWISH: u8 = 91;
    pub(in super::super) const VAR_HANDLE: u8 = 111;
    pub(in super::super) const BUCKETIZE: u8 = 115;
    /// The last one that Taper knows the layout of.
    pub(in super::super) const LAST: u8 = 126;
}

/// Values of `Padding`.
pub(super) mod padding {
    pub(in super::super) const SAME: i8 = 0;
    pub(in super::super) const VALID: i8 = 1;
}

/// The value of `TensorType` for an element type.
pub(super) fn tensor_type(dtype: DType) -> i8 {
    match dtype {
        DType::F32 => 0,
        DType::I32 => 2,
        DType::U8 => 3,
        DType::I64 => 4,
        DType::I16 => 7,
        DType::I8 => 9,
    }
}

/// The element type for a value of `TensorType`; `None` for those that Taper does not hold.
pub(super) fn dtype(tensor_type: i8) -> Option<DType> {
    match tensor_type {
        0 => Some(DType::F32),
        2 => Some(DType::I32),
        3 => Some(DType::U8),
        4 => Some(DType::I64),
        7 => Some(DType::I16),
        9 => Some(DType::I8),
        _ => None,
    }
}

/// `ActivationFunctionType` for no fused nonlinearity.
pub(super) const NO_ACTIVATION: i8 = 0;

/// The value of `ActivationFunctionType` for a fused nonlinearity; `None` for those that runtimes do not fuse.
pub(super) fn activation_type(activation: Option<Activation>) -> Option<i8> {
    match activation {
        None => Some(NO_ACTIVATION),
        Some(Activation::Relu) => Some(1),
        Some(Activation::ReluN1To1) => Some(2),
        Some(Activation::Relu6) => Some(3),
        Some(
            Activation::LeakyRelu { .. }
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::HardSwish
            | Activation::HardSigmoid
            | Activation::Elu { .. }
            | Activation::Silu,
        ) => None,
    }
}

/// The fused nonlinearity for a value of `ActivationFunctionType`; `None` for those that Taper does not know.
pub(super) fn activation(activation_type: i8) -> Option<Option<Activation>> {
    match activation_type {
        0 => Some(None),
        1 => Some(Some(Activation::Relu)),
        2 => Some(Some(Activation::ReluN1To1)),
        3 => Some(Some(Activation::Relu6)),
        _ => None,
    }
}

/// The schema's name of a builtin operator.
pub(super) fn builtin_name(code: i32) -> String {
    match usize::try_from(code).ok().and_then(|code| BUILTIN_NAMES.get(code)) {
        Some(name) => (*name).to_owned(),
        None => format!("BUILTIN_{code}"),
    }
}

/// The schema's names of builtin operators, by code; StableHLO's follow and are not named here.
#[rustfmt::skip]
const BUILTIN_NAMES: [&str; 162] = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU",
    "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH",
    "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN",
    "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN",
    "EXP", "TOPK_V2", "SPLIT", "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU",
    "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS", "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL",
    "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL",
    "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW", "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD",
    "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN",
    "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE",
    "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE",
    "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU", "REVERSE_SEQUENCE",
    "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM",
    "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D",
    "CONV_3D", "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT",
    "HASHTABLE_SIZE", "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE",
    "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU",
    "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX",
    "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT",
];
