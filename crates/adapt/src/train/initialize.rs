//! Starting weights for a network that was never trained.

use taper_data::Rng;
use taper_graph::{Graph, Op, TensorData, TensorId};

/// Key of the random stream, so that no other use of the same seed draws the same numbers.
const STREAM: u64 = u64::from_le_bytes(*b"weights\0");

/// Fills the weights of every convolution, transposed too, and fully connected layer from `seed`.
///
/// Weights are normal with the variance `2 / fan_in` (He et al., 2015, for ReLU networks), those of a layer that no
/// nonlinearity follows with `1 / fan_in`. Biases and batch normalisation keep what they are. Each layer has a random
/// stream of its own, so a network's weights do not depend on the other layers' sizes.
pub fn initialize(graph: &mut Graph, seed: u64) {
    let layers: Vec<(u64, TensorId, f64)> = graph
        .nodes_with_ids()
        .filter(|(_, node)| matches!(node.op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_)))
        .map(|(id, node)| {
            let gain = if taper_graph::nonlinearity_output(graph, id).is_some() { 2.0 } else { 1.0 };
            (id.0 as u64, node.inputs[1], gain)
        })
        .collect();
    for (layer, weights, gain) in layers {
        let sizes = graph.tensor(weights).shape.with_batch(1);
        let fan_in: usize = sizes[1..].iter().product();
        let deviation = (gain / fan_in as f64).sqrt();
        let mut normal = Normal { rng: Rng::keyed(seed, &[STREAM, layer]), spare: None };
        let values =
            (0..sizes.iter().product::<usize>()).map(|_| (normal.next() * deviation) as f32).collect();
        graph.tensor_mut(weights).data = Some(TensorData::F32(values));
    }
}

/// Standard normal numbers by Marsaglia's polar method, which gives them in pairs.
struct Normal {
    rng: Rng,
    spare: Option<f64>,
}

impl Normal {
    fn next(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        loop {
            let (a, b) = (2.0 * self.rng.uniform() - 1.0, 2.0 * self.rng.uniform() - 1.0);
            let square = a * a + b * b;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(b * factor);
                return a * factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_zoo::{Task, by_name};

    #[test]
    fn weights_have_the_variance_that_he_asks_for_and_follow_the_seed() {
        let network = |seed| {
            let mut graph = by_name("vgg16", Task { input: [28, 28, 1], classes: 10 }).unwrap();
            initialize(&mut graph, seed);
            graph
        };
        let graph = network(1);
        for (name, variance) in [("block2_conv1/weights", 2.0 / 576.0), ("predictions/weights", 1.0 / 512.0)]
        {
            let tensor = graph.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            let values = tensor.f32_data().unwrap();
            let found = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((found / variance - 1.0).abs() < 0.05, "{name}: expected {variance}, found {found}");
        }
        assert!(graph == network(1));
        assert!(graph != network(2));
    }
}
