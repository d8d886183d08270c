//! Training: the same bytes however it is interrupted or spread over threads, and what it learns.

use crate::data::{PREPROCESS, halves, vgg};
use taper_adapt::AdaptError;
use taper_adapt::train::{
    Cpu, EarlyStopping, EpochRecord, Fit, FitSettings, FitState, OptimizerKind, Schedule, TrainConfig,
};
use taper_data::{AugmentConfig, Dataset};
use taper_graph::Graph;
use taper_zoo::Normalisation;

const NORMALISATIONS: [Normalisation; 2] = [Normalisation::None, Normalisation::Batch];
const OPTIMIZERS: [OptimizerKind; 2] = [OptimizerKind::Adam, OptimizerKind::Sgd];

fn settings(optimizer: OptimizerKind) -> FitSettings {
    let train = TrainConfig {
        epochs: 5,
        batch: 16,
        optimizer,
        learning_rate: 0.01,
        schedule: Schedule::Constant,
        warm_up_steps: 0,
        ..TrainConfig::default()
    };
    FitSettings { train, preprocess: PREPROCESS, augment: AugmentConfig::NONE, seed: 3 }
}

fn changed(mut settings: FitSettings, change: impl FnOnce(&mut TrainConfig)) -> FitSettings {
    change(&mut settings.train);
    settings
}

fn prepare<'a>(graph: &Graph, [train, validation]: [&'a Dataset; 2], settings: &FitSettings) -> Fit<'a> {
    Fit::new(&Cpu, graph, train, validation, settings.clone()).expect("the network fits the data")
}

/// The records of at most `epochs` epochs, without their times.
fn advance(fit: &mut Fit, epochs: usize) -> Vec<EpochRecord> {
    let next = || fit.epoch(&mut |_| {}).expect("the numbers stay finite");
    let records = std::iter::from_fn(next).take(epochs);
    records.map(|record| EpochRecord { seconds: 0.0, ..record }).collect()
}

fn train(graph: &Graph, data: [&Dataset; 2], settings: &FitSettings) -> (Vec<EpochRecord>, Graph) {
    let mut fit = prepare(graph, data, settings);
    (advance(&mut fit, usize::MAX), fit.finish())
}

/// As a checkpoint keeps it: the scalars as JSON.
fn stored(state: FitState) -> FitState {
    let json = serde_json::to_string(&state.progress).expect("finite numbers");
    FitState { progress: serde_json::from_str(&json).expect("as written"), ..state }
}

#[test]
fn interrupted_between_any_epochs_it_gives_the_same_bytes() {
    let (seen, unseen) = (halves(1, 70), halves(2, 20));
    let data = [&seen, &unseen];
    for optimizer in OPTIMIZERS {
        for normalisation in NORMALISATIONS {
            let graph = vgg(8, normalisation);
            let settings = settings(optimizer);
            let plateau = Schedule::Plateau { patience: 1, factor: 0.5 };
            let patient = EarlyStopping { patience: 2, min_delta: 0.05 };
            let augment = AugmentConfig { shift: 0.1, rotation: 10.0, scale: 0.1 };
            let variants = [
                changed(settings.clone(), |train| {
                    train.schedule = plateau;
                    train.early_stopping = patient;
                    train.learning_rate = 0.05;
                }),
                changed(FitSettings { augment, ..settings }, |train| {
                    train.schedule = Schedule::Cosine { floor: 0.1 };
                    train.warm_up_steps = 7;
                    train.weight_decay = 0.01;
                    train.clip_norm = Some(0.5);
                }),
            ];
            for settings in variants {
                let mut undisturbed = prepare(&graph, data, &settings);
                let expected = advance(&mut undisturbed, usize::MAX);
                for epochs in 0..=expected.len() {
                    let mut first = prepare(&graph, data, &settings);
                    let mut records = advance(&mut first, epochs);
                    let mut second = prepare(&graph, data, &settings);
                    second.restore(stored(first.state())).expect("of the same network");
                    records.extend(advance(&mut second, usize::MAX));
                    assert_eq!(records, expected, "after {epochs} epochs, {settings:?}");
                    assert!(second.state() == undisturbed.state(), "after {epochs} epochs, {settings:?}");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (seen, unseen) = (halves(1, 70), halves(2, 20));
    for normalisation in NORMALISATIONS {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| train(&vgg(8, normalisation), [&seen, &unseen], &settings(OptimizerKind::Adam)))
        };
        let expected = run(1);
        assert!(run(2) == expected, "2 threads");
        assert!(run(3) == expected, "3 threads");
    }
}

#[test]
fn a_state_of_another_network_is_refused_by_name() {
    let data = halves(1, 20);
    let plain = prepare(&vgg(8, Normalisation::None), [&data; 2], &settings(OptimizerKind::Adam));
    let check = |change: &dyn Fn(&mut FitState), culprit: &str| {
        let mut state = plain.state();
        change(&mut state);
        let mut fit = prepare(&vgg(8, Normalisation::None), [&data; 2], &settings(OptimizerKind::Adam));
        let message = fit.restore(state).expect_err(culprit).to_string();
        assert!(message.contains(culprit), "{message}");
    };
    let mut sgd = prepare(&vgg(8, Normalisation::None), [&data; 2], &settings(OptimizerKind::Sgd));
    let message = sgd.restore(plain.state()).expect_err("of Adam").to_string();
    assert!(message.contains("`moment1/block1_conv1/bias` has no place in it"), "{message}");
    let value = "value/block1_conv1/weights";
    check(&|state| drop(state.tensors.remove(value)), &format!("`{value}` is missing"));
    check(&|state| state.tensors.entry(value.to_owned()).or_default().push(0.0), "of 36 values, found 37");
    check(
        &|state| state.tensors.retain(|name, _| !name.starts_with("moment1")),
        "moment1/block1_conv1/weights",
    );
    check(
        &|state| drop(state.tensors.insert("value/more".to_owned(), vec![])),
        "`value/more` has no place in it",
    );
    check(&|state| state.progress.best_loss = Some(1.0), "best/block1_conv1/weights");
}

#[test]
fn it_learns_what_is_easy() {
    let (seen, unseen) = (halves(1, 64), halves(2, 64));
    for optimizer in OPTIMIZERS {
        for normalisation in NORMALISATIONS {
            let (records, _) = train(&vgg(8, normalisation), [&seen, &unseen], &settings(optimizer));
            let last = records.last().expect("there are epochs");
            assert!(last.validation_accuracy >= 0.95, "{optimizer:?}, {normalisation:?}: {last:?}");
            assert!(last.train_loss < records[0].train_loss, "{optimizer:?}, {normalisation:?}: {last:?}");
        }
    }
}

#[test]
fn a_batch_larger_than_the_set_is_the_set() {
    let data = halves(1, 20);
    let graph = vgg(8, Normalisation::Batch);
    let run = |batch| {
        let settings =
            changed(settings(OptimizerKind::Sgd), |train| (train.batch, train.epochs) = (batch, 2));
        train(&graph, [&data; 2], &settings)
    };
    assert!(run(1000) == run(20));
}

#[test]
fn progress_counts_samples_to_the_last() {
    let data = halves(1, 40);
    let mut fit = prepare(&vgg(8, Normalisation::None), [&data; 2], &settings(OptimizerKind::Adam));
    let mut seen = Vec::new();
    fit.epoch(&mut |step| seen.push((step.epoch, step.epochs, step.samples, step.samples_in_all)))
        .expect("the numbers stay finite");
    assert_eq!(seen, [(1, 5, 16, 40), (1, 5, 32, 40), (1, 5, 40, 40)]);
}

#[test]
fn weight_decay_shrinks_weights_alone() {
    let data = halves(1, 20);
    for optimizer in OPTIMIZERS {
        let graph = vgg(8, Normalisation::Batch);
        let step = |weight_decay| {
            let settings = changed(settings(optimizer), |train| {
                (train.epochs, train.batch, train.weight_decay) = (1, 20, weight_decay);
            });
            train(&graph, [&data; 2], &settings).1
        };
        let (without, with) = (step(0.0), step(0.1));
        for (position, before) in graph.tensors.iter().enumerate() {
            let (Some(before), name) = (before.f32_data(), &before.name) else { continue };
            let [without, with] =
                [&without, &with].map(|graph| graph.tensors[position].f32_data().expect("as before"));
            if name.ends_with("/weights") {
                for ((before, without), with) in before.iter().zip(without).zip(with) {
                    // The learning rate is 0.01, the decay 0.1.
                    let (expected, found) = (-0.001 * before, with - without);
                    assert!((expected - found).abs() < 1e-6, "{optimizer:?}, `{name}`: {expected}, {found}");
                }
            } else {
                assert_eq!(without, with, "{optimizer:?}, `{name}`");
            }
        }
    }
}

#[test]
fn a_training_that_leaves_the_floats_names_epoch_step_and_layer() {
    let data = halves(1, 40);
    for optimizer in OPTIMIZERS {
        for batch in [16, 40] {
            let settings = changed(settings(optimizer), |train| {
                train.learning_rate = 1e10;
                train.clip_norm = None;
                (train.batch, train.epochs) = (batch, 50);
            });
            let mut fit = prepare(&vgg(8, Normalisation::None), [&data; 2], &settings);
            let error = loop {
                match fit.epoch(&mut |_| {}) {
                    Ok(Some(record)) => assert!(record.validation_loss.is_finite(), "{record:?}"),
                    Ok(None) => panic!("{optimizer:?} has not diverged"),
                    Err(error) => break error,
                }
            };
            let AdaptError::Diverged { epoch, step, what } = error else { panic!("{error}") };
            assert!(epoch >= 1 && (1..=40_usize.div_ceil(batch)).contains(&step), "{epoch}, {step}");
            let layers = ["conv", "predictions"];
            assert!(layers.iter().any(|layer| what.contains(layer)), "{what}");
            let finite = |(_, values): (&String, &Vec<f32>)| values.iter().all(|value| value.is_finite());
            assert!(
                fit.state().tensors.iter().all(finite),
                "no step was taken on a gradient that is not finite"
            );
            assert_eq!(fit.best().is_some(), epoch > 1);
        }
    }
}
