//! Each loss at the end of a network: gradients, chunks, threads, and what it takes in of the network's end.

use super::*;
use taper_kernels::lanes::RegressionLoss;

fn losses() -> Vec<Loss> {
    let hard = SoftmaxCrossEntropy {
        ignored_label: Some(255),
        class_weights: Some(vec![0.5, 2.0, 1.0]),
        label_smoothing: 0.1,
    };
    vec![
        Loss::default(),
        Loss::SoftmaxCrossEntropy(hard.clone()),
        Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { ignored_label: Some(1), ..Default::default() }),
        Loss::SigmoidCrossEntropy { positive_weights: None },
        Loss::SigmoidCrossEntropy { positive_weights: Some(vec![3.0, 0.5, 1.0]) },
        Loss::Regression(RegressionLoss::SquaredError),
        Loss::Regression(RegressionLoss::Huber { delta: 0.7 }),
        Loss::Distillation { hard, temperature: 2.5, soft_weight: 0.6 },
        Loss::Distillation { hard: SoftmaxCrossEntropy::default(), temperature: 1.0, soft_weight: 1.0 },
    ]
}

/// Networks with an output per pixel and with one per image.
fn ends() -> [Chain; 2] {
    let begin = Chain::new(11, &[3, 5, 2]).conv(4, [3, 3], same(3)).activation(Activation::Tanh);
    [begin.clone().conv(3, [1, 1], same(1)), begin.flatten().dense(3, None)]
}

fn of(loss: &Loss) -> NetworkSettings {
    NetworkSettings { loss: loss.clone(), ..NetworkSettings::default() }
}

#[test]
fn have_gradients() {
    for loss in losses() {
        ends().into_iter().for_each(|end| check_with(&end.finish(), &of(&loss)));
    }
    let squashed = ends().map(|end| end.activation(Activation::Sigmoid).finish());
    squashed.iter().for_each(|graph| check_with(graph, &of(&Loss::Regression(RegressionLoss::SquaredError))));
}

#[test]
fn of_chunks_add_up_to_the_batchs() {
    for loss in losses() {
        ends().into_iter().for_each(|end| check_chunks(&end.finish(), &loss));
    }
}

#[test]
fn are_the_same_bytes_at_any_number_of_threads() {
    for loss in losses() {
        ends().into_iter().for_each(|end| check_threads(&end.finish(), &of(&loss)));
    }
}

#[test]
fn take_in_the_nonlinearity_that_is_theirs() {
    for loss in losses() {
        for end in ends() {
            let squashed = match loss {
                Loss::SoftmaxCrossEntropy(_) | Loss::Distillation { .. } => end.clone().softmax(),
                Loss::SigmoidCrossEntropy { .. } => end.clone().activation(Activation::Sigmoid),
                Loss::Regression(_) => continue,
            };
            let [found, expected] =
                [squashed, end].map(|chain| Subject::with_settings(&chain.finish(), &of(&loss), 5).learn());
            assert_eq!(found, expected, "{loss:?}");
        }
    }
}

#[test]
fn of_a_student_are_evaluated_without_its_teacher() {
    let [_, graph] = ends().map(Chain::finish);
    let hard = SoftmaxCrossEntropy { label_smoothing: 0.2, ..SoftmaxCrossEntropy::default() };
    let alone = Loss::SoftmaxCrossEntropy(hard.clone());
    let taught = Loss::Distillation { hard, temperature: 2.0, soft_weight: 0.5 };
    let [found, expected] = [taught, alone].map(|loss| {
        let Subject { mut network, images, targets, .. } = Subject::with_settings(&graph, &of(&loss), 20);
        network.evaluate(&images, &targets.labels).expect("labels are enough")
    });
    assert_eq!(found, expected);
}
