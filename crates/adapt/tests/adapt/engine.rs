//! Engines: one from outside can take the CPU's place, and what a recipe asks of an engine reaches it.

use crate::data::{PREPROCESS, halves, vgg};
use std::sync::atomic::{AtomicUsize, Ordering};
use taper_adapt::Result;
use taper_adapt::train::{
    Cpu, Engine, Evaluator, Fit, FitSettings, Learner, NetworkSettings, OptimizerSettings, TrainConfig,
};
use taper_data::AugmentConfig;
use taper_graph::{Graph, TensorData};
use taper_zoo::Normalisation;

/// Another engine, which counts what it is asked for.
#[derive(Default)]
struct Counting {
    learners: AtomicUsize,
}

impl Engine for Counting {
    fn evaluator(&self, graph: &Graph, settings: &NetworkSettings) -> Result<Box<dyn Evaluator>> {
        Cpu.evaluator(graph, settings)
    }

    fn learner(
        &self,
        graph: &Graph,
        settings: &NetworkSettings,
        optimizer: OptimizerSettings,
    ) -> Result<Box<dyn Learner>> {
        self.learners.fetch_add(1, Ordering::Relaxed);
        Cpu.learner(graph, settings, optimizer)
    }
}

fn fit(engine: &dyn Engine, train: TrainConfig) -> Result<Graph> {
    let data = halves(1, 40);
    let settings = FitSettings { train, preprocess: PREPROCESS, augment: AugmentConfig::NONE, seed: 3 };
    let mut fit = Fit::new(engine, &vgg(8, Normalisation::None), &data, &data, settings)?;
    while fit.epoch(&mut |_| {})?.is_some() {}
    Ok(fit.finish())
}

fn floats<'a>(graph: &'a Graph, layer: &str) -> Vec<&'a [f32]> {
    let of_layer = graph.tensors.iter().filter(|tensor| tensor.name.starts_with(&format!("{layer}/")));
    let values = of_layer.filter_map(|tensor| match &tensor.data {
        Some(TensorData::F32(values)) => Some(values.as_slice()),
        _ => None,
    });
    values.collect()
}

#[test]
fn training_knows_an_engine_by_its_trait_alone() {
    let other = Counting::default();
    let train = || TrainConfig { epochs: 2, batch: 16, ..TrainConfig::default() };
    assert!(fit(&other, train()).expect("learns") == fit(&Cpu, train()).expect("learns"));
    assert_eq!(other.learners.into_inner(), 1);
}

#[test]
fn frozen_layers_stay_as_they_are() {
    let before = vgg(8, Normalisation::None);
    let freeze = vec!["block1*".to_owned()];
    let after = fit(&Cpu, TrainConfig { freeze, ..TrainConfig::default() }).expect("learns");
    assert_eq!(floats(&before, "block1_conv1"), floats(&after, "block1_conv1"));
    assert_ne!(floats(&before, "predictions"), floats(&after, "predictions"));

    let freeze = vec!["blok1*".to_owned()];
    let error = fit(&Cpu, TrainConfig { freeze, ..TrainConfig::default() }).map(|_| ()).expect_err("a typo");
    assert_eq!(error.to_string(), "cannot train `vgg`: expected layers to freeze named `blok1*`, found none");
}
