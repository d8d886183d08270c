//! BatchNormalization and Dropout.

use crate::error::{FormatError, Result};
use crate::onnx::emitter::{Emitter, Field};
use crate::onnx::importer::{Importer, Value};
use crate::onnx::operation::Operation;
use taper_graph::{BatchNorm, Dropout, Node, Op};

pub(super) fn read<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(5..=5, &["epsilon", "momentum", "spatial", "training_mode"])?;
    if operation.flag("training_mode") || operation.integer("spatial") == Some(0) {
        return Err(operation.unsupported("expected statistics of channels from training, found others"));
    }
    let x = importer.activation(operation, 0)?;
    let rank = x.view.rank();
    if rank < 2 {
        return Err(operation.invalid(format!("expected an input [N, C, …], found {rank} dimensions")));
    }
    // The channels, axis 1 of the model, lie innermost in the graph.
    let order: Vec<usize> = std::iter::once(0).chain(2..rank).chain(std::iter::once(1)).collect();
    let mut inputs = vec![importer.arranged(operation, &x, &order)?];
    for position in 1..5 {
        let constant = importer.required(operation, position)?;
        inputs.push(importer.parameter(&constant)?);
    }
    let epsilon = operation.float("epsilon", 1e-5)?;
    let y = importer.add(operation, Op::BatchNorm(BatchNorm { epsilon }), &inputs)?;
    Ok(importer.ordered(y, &order))
}

pub(super) fn read_dropout<'m>(importer: &mut Importer<'m>, operation: Operation<'m>) -> Result<Value> {
    operation.expect(1..=3, &["ratio", "seed"])?;
    let x = importer.activation(operation, 0)?;
    let rate = match importer.number(operation, 1)? {
        Some(ratio) => ratio,
        None => operation.float("ratio", 0.5)?,
    };
    if importer.number(operation, 2)?.is_some_and(|training| training != 0.0) {
        return Err(operation.unsupported("expected dropout that only training applies, found it always on"));
    }
    let y = importer.add(operation, Op::Dropout(Dropout { rate }), &[x.tensor])?;
    Ok(super::viewed(y, &x))
}

pub(super) fn write(emitter: &mut Emitter<'_>, node: &Node, norm: &BatchNorm) -> Result<()> {
    let shape = &emitter.tensor(node, 0).shape;
    if !matches!(shape.rank(), 2 | 4) {
        return Err(FormatError::unsupported(
            format!("node `{}`", node.name),
            format!("expected batch normalisation of images or vectors, found {shape}"),
        ));
    }
    let mut inputs = vec![emitter.input(node, 0)?];
    for position in 1..5 {
        inputs.push(emitter.constant(node, position, &[0])?);
    }
    emitter.layer(node, "BatchNormalization", inputs, vec![("epsilon", Field::Float(norm.epsilon))])
}

pub(super) fn write_dropout(emitter: &mut Emitter<'_>, node: &Node, dropout: &Dropout) -> Result<()> {
    let inputs = vec![emitter.input(node, 0)?, emitter.scalar(dropout.rate)?];
    emitter.layer(node, "Dropout", inputs, Vec::new())
}
