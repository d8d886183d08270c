//! Laws step by step, and over random laws for ever.

use super::*;
use proptest::prelude::*;

fn law(start: f64, step: Step, max: Option<f64>) -> Law {
    Law { start, step, min: None, max }
}

fn context() -> Step {
    Step::Context { gains: Gains::default() }
}

fn check(
    law: &Law,
    parameter: HyperParameter,
    previous: Option<f64>,
    changes: Changes,
    value: f64,
    reason: &str,
) {
    let decision = law.next(parameter, previous, &changes);
    assert_eq!((decision.value, decision.reason.as_str()), (value, reason));
}

#[test]
fn each_law_says_what_it_set_and_why() {
    use HyperParameter::{Batch, CMin, Cut, Epochs, WeightDecay};
    let still = Changes::default();
    let double = law(256.0, Step::Multiplicative { beta: 2.0 }, Some(4096.0));
    check(&double, Batch, None, still, 256.0, "multiplicative: starts at 256");
    check(&double, Batch, Some(256.0), still, 512.0, "multiplicative: 256 × 2 = 512");
    check(
        &double,
        Batch,
        Some(4096.0),
        still,
        4096.0,
        "multiplicative: 4096 × 2 = 8192, limited to 4096 by max",
    );
    let slow = law(1.0, Step::Multiplicative { beta: 1.3 }, None);
    check(&slow, Epochs, Some(1.3), still, 2.0, "multiplicative: 1.3 × 1.3 = 1.69, rounded to 2");
    check(&Law::constant(5.0), CMin, Some(5.0), still, 5.0, "constant: 5");
    let down = law(3.0, Step::Linear { alpha: -2.0 }, None);
    check(&down, Batch, Some(2.0), still, 1.0, "linear: 2 − 2 = 0, limited to 1 by what it can be");
    let cut = law(0.2, context(), None);
    check(&cut, Cut(CutRule::Deviations), Some(0.2), still, 0.2, "context: 0.2 becomes 0.2 (no change)");
    let worse = Changes { size: -0.7, loss: 0.5, time: -0.3 };
    check(
        &cut,
        Cut(CutRule::Deviations),
        Some(0.2),
        worse,
        0.2 * 0.25_f64.exp(),
        "context: 0.2 becomes 0.256805 (loss +64.9 % at gain 0.5)",
    );
    check(&Law::constant(0.0), WeightDecay, Some(0.0), worse, 0.0, "constant: 0");
}

#[test]
fn context_turns_the_right_way() {
    use HyperParameter::{Batch, CMin, Cut, Epochs, LearningRate, WeightDecay};
    let smaller_and_worse = Changes { size: -0.7, loss: 0.5, time: 0.0 };
    let law = law(0.5, context(), None);
    let next = |parameter, previous| law.next(parameter, Some(previous), &smaller_and_worse).exact;
    assert!(next(Batch, 64.0) > 64.0);
    assert!(next(Epochs, 2.0) > 2.0);
    assert!(next(CMin, 5.0) > 5.0);
    assert!(next(Cut(CutRule::Deviations), 0.2) > 0.2);
    assert!(next(Cut(CutRule::Threshold), 0.5) > 0.5);
    assert!(next(Cut(CutRule::Fraction), 0.5) < 0.5);
    assert!(next(LearningRate, 1e-3) > 1e-3);
    assert!(next(WeightDecay, 1e-4) < 1e-4);
}

#[test]
fn a_loss_of_nothing_or_of_nan_makes_no_infinite_change() {
    let earlier = Measure { parameters: 100.0, loss: 0.0, time: 1.0 };
    let later = Measure { parameters: 50.0, loss: 0.1, time: f64::NAN };
    let changes = Changes::between(&earlier, &later);
    assert_eq!(changes.size, 0.5_f64.ln());
    assert!(changes.loss.is_finite() && changes.loss > 0.0);
    assert_eq!(changes.time, 0.0);
}

#[test]
fn senseless_numbers_are_refused_by_key() {
    use HyperParameter::{Batch, CMin, Cut, Epochs, LearningRate, WeightDecay};
    let cases = [
        (Batch, Law::constant(0.0), "start"),
        (Batch, Law::constant(f64::INFINITY), "start"),
        (Epochs, Law::constant(-1.0), "start"),
        (CMin, Law::constant(0.5), "start"),
        (Cut(CutRule::Deviations), Law::constant(f64::NAN), "start"),
        (Cut(CutRule::Fraction), Law::constant(1.5), "start"),
        (LearningRate, Law::constant(0.0), "start"),
        (WeightDecay, Law::constant(-0.1), "start"),
        (Batch, law(1.0, Step::Linear { alpha: f64::NAN }, None), "alpha"),
        (Batch, law(1.0, Step::Multiplicative { beta: -2.0 }, None), "beta"),
        (
            Batch,
            law(1.0, Step::Context { gains: Gains { time: Some(f64::NAN), ..Gains::default() } }, None),
            "time",
        ),
        (Batch, law(1.0, Step::Constant, Some(0.0)), "max"),
        (Batch, Law { min: Some(8.0), max: Some(4.0), ..Law::constant(5.0) }, "min"),
    ];
    for (parameter, law, key) in cases {
        let error = law.validate("k", parameter).expect_err(&format!("{law:?} must be refused"));
        assert_eq!(error.key, format!("k.{key}"), "{law:?}: {error}");
    }
}

fn parameter() -> impl Strategy<Value = HyperParameter> {
    use HyperParameter::{Batch, CMin, Cut, Epochs, LearningRate, WeightDecay};
    proptest::sample::select(vec![
        Batch,
        Epochs,
        CMin,
        Cut(CutRule::Deviations),
        Cut(CutRule::Threshold),
        Cut(CutRule::Fraction),
        LearningRate,
        WeightDecay,
    ])
}

fn any_step() -> impl Strategy<Value = Step> {
    let finite = prop_oneof![-4.0..4.0, Just(1e308), Just(-1e308)];
    prop_oneof![
        Just(Step::Constant),
        finite.clone().prop_map(|alpha| Step::Linear { alpha }),
        prop_oneof![0.01..10.0, Just(1e308)].prop_map(|beta| Step::Multiplicative { beta }),
        proptest::array::uniform3(proptest::option::of(finite))
            .prop_map(|[size, loss, time]| { Step::Context { gains: Gains { size, loss, time } } }),
    ]
}

proptest! {
    #[test]
    fn values_stay_within_the_limits_for_ever(
        parameter in parameter(), step in any_step(), start in 0.01..0.99_f64,
        change in proptest::array::uniform3(-3.0..3.0_f64),
    ) {
        let natural = parameter.bounds();
        let law = Law { start: natural.min.max(start), step, min: None, max: None };
        law.validate("k", parameter).expect("the law is sound");
        let changes = Changes { size: change[0], loss: change[1], time: change[2] };
        let mut previous = None;
        for _ in 0..40 {
            let decision = law.next(parameter, previous, &changes);
            prop_assert!((natural.min..=natural.max).contains(&decision.value), "{decision:?}");
            prop_assert!((natural.min..=natural.max).contains(&decision.exact), "{decision:?}");
            previous = Some(decision.exact);
        }
    }

    #[test]
    fn opposite_changes_cancel(parameter in parameter(), change in proptest::array::uniform3(-0.5..0.5_f64)) {
        let changes = Changes { size: change[0], loss: change[1], time: change[2] };
        let back = Changes { size: -change[0], loss: -change[1], time: -change[2] };
        let law = law(1.0, context(), None);
        let there = Step::apply(&law.step, parameter, 0.5, &changes).0;
        let again = Step::apply(&law.step, parameter, there, &back).0;
        prop_assert!((again - 0.5).abs() < 1e-12);
    }
}
