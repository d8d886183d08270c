//! Learning rates over the epochs, early stopping, and which epoch's network is kept.

use crate::data::{PREPROCESS, halves, shape, vgg};
use std::f64::consts::PI;
use taper_adapt::train::{
    Cpu, EarlyStopping, EpochRecord, Fit, FitSettings, OptimizerKind, Schedule, TrainConfig,
};
use taper_data::{AugmentConfig, Dataset};
use taper_graph::Graph;
use taper_zoo::Normalisation;

/// So small that no weight changes, and with it no loss: after the first, no epoch improves.
const NEGLIGIBLE: f64 = 1e-30;

/// One step per epoch, so that each epoch's record shows each step's learning rate.
fn settings(epochs: usize, learning_rate: f64) -> FitSettings {
    let train = TrainConfig {
        epochs,
        batch: 20,
        optimizer: OptimizerKind::Sgd,
        learning_rate,
        schedule: Schedule::Constant,
        warm_up_steps: 0,
        ..TrainConfig::default()
    };
    FitSettings { train, preprocess: PREPROCESS, augment: AugmentConfig::NONE, seed: 3 }
}

fn train(train: &Dataset, validation: &Dataset, settings: &FitSettings) -> (Vec<EpochRecord>, Graph) {
    let mut fit = Fit::new(&Cpu, &vgg(8, Normalisation::None), train, validation, settings.clone())
        .expect("the data fit");
    let next = || fit.epoch(&mut |_| {}).expect("the numbers stay finite");
    let records = std::iter::from_fn(next).collect();
    (records, fit.finish())
}

/// Checks the learning rate of each step, as a multiple of the start.
fn check(schedule: Schedule, warm_up_steps: usize, expected: &[f64]) {
    let data = halves(1, 20);
    let mut settings = settings(expected.len(), NEGLIGIBLE);
    (settings.train.schedule, settings.train.warm_up_steps) = (schedule, warm_up_steps);
    let (records, _) = train(&data, &data, &settings);
    let found: Vec<f64> = records.iter().map(|record| record.learning_rate / NEGLIGIBLE).collect();
    assert_eq!(found.len(), expected.len(), "{schedule:?}");
    let close = expected.iter().zip(&found).all(|(expected, found)| (expected - found).abs() < 1e-12);
    assert!(close, "{schedule:?}: expected {expected:?}, found {found:?}");
}

#[test]
fn each_schedule_gives_the_learning_rates_that_it_documents() {
    check(Schedule::Constant, 0, &[1.0; 4]);
    check(Schedule::Constant, 4, &[0.25, 0.5, 0.75, 1.0, 1.0]);
    check(Schedule::Step { every: 2, factor: 0.1 }, 0, &[1.0, 1.0, 0.1, 0.1, 0.01]);
    check(Schedule::Step { every: 1, factor: 0.5 }, 2, &[0.5, 0.5, 0.25]);
    let cosine = |share: f64| 0.2 + 0.8 * (1.0 + (PI * share).cos()) / 2.0;
    check(Schedule::Cosine { floor: 0.2 }, 0, &[1.0, cosine(0.25), 0.6, cosine(0.75), 0.2]);
    check(Schedule::Cosine { floor: 0.2 }, 0, &[1.0]);
    check(Schedule::Plateau { patience: 1, factor: 0.5 }, 0, &[1.0, 1.0, 0.5, 0.25, 0.125]);
    check(Schedule::Plateau { patience: 2, factor: 0.5 }, 0, &[1.0, 1.0, 1.0, 0.5, 0.5, 0.25]);
}

#[test]
fn no_epochs_leave_the_network_as_it_is() {
    let data = halves(1, 20);
    let (records, graph) = train(&data, &data, &settings(0, 0.1));
    assert!(records.is_empty() && graph == vgg(8, Normalisation::None));
}

#[test]
fn training_stops_after_epochs_without_improvement() {
    let data = halves(1, 20);
    let epochs = |learning_rate, patience, min_delta| {
        let mut settings = settings(8, learning_rate);
        settings.train.early_stopping = EarlyStopping { patience, min_delta };
        train(&data, &data, &settings).0.len()
    };
    assert_eq!(epochs(NEGLIGIBLE, 0, 0.0), 8);
    assert_eq!(epochs(NEGLIGIBLE, 1, 0.0), 2);
    assert_eq!(epochs(NEGLIGIBLE, 3, 0.0), 4);
    assert_eq!(epochs(0.01, 3, 0.0), 8, "every epoch improves");
    assert_eq!(epochs(0.01, 3, 100.0), 4, "no epoch improves by 100");
}

#[test]
fn the_epoch_with_the_lowest_validation_loss_is_kept() {
    let data = halves(1, 20);
    // With the labels of the other half, every step on the training set makes validation worse.
    let images = (0..20).flat_map(|sample| data.image(sample).expect("in memory").to_vec()).collect();
    let labels = data.labels().iter().map(|label| 1 - label).collect();
    let opposite = Dataset::new(shape([8, 8, 1]), data.classes().to_vec(), images, labels);

    let (records, kept) = train(&data, &opposite, &settings(6, 0.05));
    let losses: Vec<f64> = records.iter().map(|record| record.validation_loss).collect();
    let best = (0..6).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("six epochs");
    assert!(best < 5, "the case shows nothing: {losses:?}");
    assert!(kept == train(&data, &data, &settings(best + 1, 0.05)).1);
}
