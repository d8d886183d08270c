//! QUANTIZE: from floats to integers, or from integers to others.

use super::{Arithmetic, Emitter, Options, Reading, Source, Versions, unwritable};
use crate::error::Result;
use crate::tflite::schema::{builtin, options};
use taper_graph::{Node, Op, Quantization, Tensor};

const VERSIONS: Versions = Versions::new(1, [1, 14, 0], 1, [1, 14, 0]);

pub(super) fn write<'g>(emitter: &mut Emitter<'g>, node: &'g Node) -> Result<()> {
    let (x, y) = (emitter.tensor(node, 0)?, emitter.output(node)?);
    let arithmetic = quantizes(x, y).ok_or_else(|| {
        unwritable(
            node,
            &format!(
                "expected f32, i8 or u8 to be quantized to i8 or u8 with one scale and zero point each, found {} to {}",
                x.dtype, y.dtype
            ),
        )
    })?;
    let options = Options::Fields { options_type: options::QUANTIZE, fields: Vec::new() };
    emitter.plain(node, builtin::QUANTIZE, VERSIONS.of(arithmetic), options)
}

pub(super) fn read(source: &Source<'_>) -> Reading {
    let (Some(inputs), Some(x), Some(y)) = (source.first_inputs(1), source.tensor(0), source.output()) else {
        return Ok(None);
    };
    let fits = quantizes(x, y).is_some() && source.inputs.len() == 1;
    Ok(fits.then_some((Op::Quantize { dtype: y.dtype }, inputs)))
}

/// The arithmetic of the output, if the pair of tensors is one that the graph's operator means.
fn quantizes(x: &Tensor, y: &Tensor) -> Option<Arithmetic> {
    let per_tensor = |tensor: &Tensor| matches!(tensor.quantization, Some(Quantization::PerTensor { .. }));
    let from = Arithmetic::of(x.dtype).filter(|&from| from == Arithmetic::Float || per_tensor(x));
    let to = Arithmetic::of(y.dtype).filter(|&to| to != Arithmetic::Float && per_tensor(y));
    from.and(to)
}
