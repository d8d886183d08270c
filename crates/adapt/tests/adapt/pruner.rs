//! Pruning with scripted evaluations: what is accepted, rolled back, tried again, and why it ends.

use crate::data::{PREPROCESS, halves, vgg};
use taper_adapt::prune::{
    CutRule, Gains, Iteration, Law, Laws, Proposal, PruneConfig, Pruner, Step, estimated_seconds,
};
use taper_adapt::train::{Cpu, Evaluation};
use taper_graph::{Graph, GraphCost, cost, remove_channels};
use taper_zoo::Normalisation;

const BASELINE: Evaluation = Evaluation { loss: 0.5, accuracy: 0.9 };
const GOOD: Evaluation = Evaluation { loss: 0.5, accuracy: 0.895 };
const BAD: Evaluation = Evaluation { loss: 2.0, accuracy: 0.8 };

/// Convolutions of 16, 16 and 32 channels.
fn network() -> Graph {
    vgg(32, Normalisation::None)
}

/// Cuts half of the channels of each layer; the batch doubles.
fn config() -> PruneConfig {
    let laws = Laws {
        batch: Law { step: Step::Multiplicative { beta: 2.0 }, ..Law::constant(64.0) },
        c_min: Law::constant(1.0),
        cut: Law::constant(0.5),
        ..Laws::default()
    };
    PruneConfig { rule: CutRule::Fraction, laws, ..PruneConfig::default() }
}

/// Pruning in progress, with the network accepted last, as a driver keeps it.
struct Driver {
    pruner: Pruner,
    graph: Graph,
}

impl Driver {
    fn new(config: PruneConfig) -> Self {
        let graph = network();
        Self { pruner: Pruner::new(config, 0.01, &graph, BASELINE), graph }
    }

    fn propose(&mut self) -> Option<Proposal> {
        self.pruner.propose(&Cpu, &self.graph, &halves(2, 20), PREPROCESS).expect("the network can be pruned")
    }

    /// Proposes, and judges as if retraining had come to `after`.
    fn iterate(&mut self, after: Evaluation) -> Iteration {
        let proposal = self.propose().expect("pruning goes on");
        let replayed = remove_channels(&self.graph, &proposal.removals).expect("the record fits");
        assert!(replayed == proposal.graph);
        let iteration = self.pruner.conclude(&proposal, after);
        assert_eq!(iteration.parameters, cost(&proposal.graph).parameters);
        assert_eq!(iteration.macs, cost(&proposal.graph).macs);
        if iteration.accepted {
            self.graph = proposal.graph;
        }
        iteration
    }

    fn ends_with(&mut self, reason: &str) {
        assert!(self.propose().is_none());
        assert_eq!(self.pruner.state().ended.as_deref(), Some(reason));
        assert!(self.propose().is_none(), "once ended, it stays so");
    }
}

fn removed(iteration: &Iteration) -> Vec<usize> {
    iteration.layers.iter().map(|layer| layer.removed).collect()
}

#[test]
fn what_misses_the_budget_is_rolled_back_and_tried_more_gently_until_the_tries_are_used_up() {
    let mut driver = Driver::new(PruneConfig { tries: 9, ..config() });
    let first = driver.iterate(GOOD);
    assert!(first.accepted);
    assert_eq!((first.iteration, first.attempt, removed(&first)), (1, 1, vec![8, 8, 16]));

    let accepted = driver.graph.clone();
    for (attempt, cut, gone) in
        [(1, 0.5, [4, 4, 8]), (2, 0.25, [2, 2, 4]), (3, 0.125, [1, 1, 2]), (4, 0.0625, [0, 0, 1])]
    {
        let iteration = driver.iterate(BAD);
        assert!(!iteration.accepted);
        assert_eq!((iteration.iteration, iteration.attempt), (2, attempt));
        assert_eq!((iteration.decisions.cut.value, removed(&iteration)), (cut, gone.to_vec()));
        assert_eq!(iteration.decisions.cut.reason.contains("made gentler"), attempt > 1);
        assert!(driver.graph == accepted);
    }
    driver.ends_with("no channel passes the cut of 0.03125 with a c_min of 1");

    let mut driver = Driver::new(PruneConfig { tries: 2, ..config() });
    driver.iterate(BAD);
    driver.iterate(BAD);
    driver.ends_with("iteration 1 lost more than 0.01 of accuracy in each of 2 tries");
    assert!(driver.graph == network());
    assert_eq!(driver.pruner.state().iterations, 0);
}

#[test]
fn retraining_that_diverges_is_tried_again_at_a_tenth_of_the_learning_rate() {
    let mut driver = Driver::new(PruneConfig { tries: 4, ..config() });
    let rates_and_cuts: Vec<[f64; 2]> = (1..=3)
        .map(|attempt| {
            let proposal = driver.propose().expect("pruning goes on");
            assert_eq!((proposal.iteration, proposal.attempt), (1, attempt));
            driver.pruner.diverge(&proposal);
            [proposal.decisions.learning_rate.value, proposal.decisions.cut.value]
        })
        .collect();
    let start = rates_and_cuts[0][0];
    for (attempt, [rate, cut]) in rates_and_cuts.into_iter().enumerate() {
        assert!((rate / start - 0.1_f64.powi(attempt as i32)).abs() < 1e-12, "{rate}");
        assert_eq!(cut, 0.5, "the cut is not to blame");
    }
    assert!(!driver.iterate(BAD).accepted);
    driver.ends_with("of 4 tries at iteration 1, 1 lost more than 0.01 of accuracy and 3 diverged");

    let mut driver = Driver::new(PruneConfig { tries: 1, ..config() });
    let proposal = driver.propose().expect("pruning begins");
    driver.pruner.diverge(&proposal);
    driver.ends_with("retraining diverged in each of 1 tries at iteration 1");
}

#[test]
fn the_budget_counts_against_the_unpruned_network() {
    let accepted = |accuracy: f64| {
        let mut driver = Driver::new(config());
        driver.iterate(Evaluation { loss: 0.5, accuracy: 0.893 });
        driver.iterate(Evaluation { loss: 0.5, accuracy }).accepted
    };
    assert!(accepted(0.95));
    assert!(accepted(0.89), "exactly the budget");
    assert!(!accepted(0.8899));
    assert!(!accepted(f64::NAN));
}

#[test]
fn laws_advance_with_accepted_iterations_alone() {
    let mut driver = Driver::new(config());
    let seen: Vec<_> = [GOOD, BAD, GOOD, GOOD]
        .map(|after| driver.iterate(after))
        .iter()
        .map(|iteration| {
            (iteration.iteration, iteration.decisions.batch.value, iteration.decisions.cut.value)
        })
        .collect();
    // The cut goes on from the gentler one that was accepted.
    assert_eq!(seen, [(1, 64.0, 0.5), (2, 128.0, 0.5), (2, 128.0, 0.25), (3, 256.0, 0.25)]);
}

#[test]
fn the_context_law_reads_the_changes_of_size_loss_and_time() {
    let gains = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-0.5, 0.3, 0.2)];
    for (size, loss, time) in gains {
        let context = Step::Context { gains: Gains { size: Some(size), loss: Some(loss), time: Some(time) } };
        let mut config = config();
        config.laws.batch = Law { step: context, ..Law::constant(1000.0) };
        let mut driver = Driver::new(config);
        let before = cost(&driver.graph);
        driver.iterate(Evaluation { loss: 0.8, ..GOOD });
        let after = cost(&driver.graph);
        let change = |of: &dyn Fn(&GraphCost) -> f64| of(&after) / of(&before);
        let expected = 1000.0
            * change(&|cost| cost.parameters as f64).powf(size)
            * (0.8_f64 / 0.5).powf(loss)
            * change(&estimated_seconds).powf(time);
        // A roll-back changes nothing that the law sees.
        for after in [BAD, GOOD] {
            let found = driver.iterate(after).decisions.batch.exact;
            assert!((found / expected - 1.0).abs() < 1e-9, "{gains:?}: expected {expected}, found {found}");
        }
        // The loss fell back from 0.8 to 0.5.
        let batch = driver.propose().expect("pruning goes on").decisions.batch;
        assert_eq!(batch.reason.contains("loss -37.5 %"), loss != 0.0, "{}", batch.reason);
    }
}

#[test]
fn pruning_ends_for_a_reason() {
    let check = |change: &dyn Fn(&mut PruneConfig), iterations: usize, reason: &str| {
        let mut config = config();
        change(&mut config);
        let mut driver = Driver::new(config);
        (0..iterations).for_each(|_| assert!(driver.iterate(GOOD).accepted));
        driver.ends_with(reason);
    };
    check(&|c| c.iterations = 0, 0, "all 0 iterations are done");
    check(&|c| c.iterations = 2, 2, "all 2 iterations are done");
    let parameters = cost(&network()).parameters;
    check(
        &|c| c.target_parameters = Some(parameters as usize),
        0,
        &format!("the network has {parameters} parameters, at most the {parameters} asked for"),
    );
    check(
        &|c| c.target_parameters = Some(2000),
        1,
        "the network has 1962 parameters, at most the 2000 asked for",
    );
    check(&|c| c.laws.c_min = Law::constant(32.0), 0, "no channel passes the cut of 0.5 with a c_min of 32");
}

#[test]
fn a_stored_state_goes_on_as_if_nothing_had_happened() {
    let script = [GOOD, BAD, GOOD, BAD, GOOD];
    for stop in 0..script.len() {
        let mut driver = Driver::new(config());
        script[..stop].iter().for_each(|after| drop(driver.iterate(*after)));
        let json = serde_json::to_string(driver.pruner.state()).expect("finite numbers");
        let state = serde_json::from_str(&json).expect("as written");
        let pruner = Pruner::restore(config(), 0.01, state);
        let mut restored = Driver { pruner, graph: driver.graph.clone() };
        for after in &script[stop..] {
            assert_eq!(restored.iterate(*after), driver.iterate(*after), "stopped at {stop}");
        }
        assert_eq!(restored.pruner.state(), driver.pruner.state());
        assert!(restored.graph == driver.graph);
    }
}
