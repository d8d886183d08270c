//! What happens in a run: events for the journal, and progress for whoever watches.

use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::path::Path;
use taper_adapt::prune::{Decisions, Iteration, LayerCut, PruneState};
use taper_adapt::train::{EpochRecord, Evaluation, StepProgress};

/// One line of the journal: what was decided, by which law, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The run begins.
    Started(Started),
    /// The run goes on after an interruption.
    Resumed {
        /// Version of Taper.
        taper: String,
    },
    /// Something that is likely a mistake, but stands in nobody's way.
    Noted {
        /// What, as a sentence without its end.
        text: String,
    },
    /// An epoch of training or retraining is done. After an interruption an epoch may be told twice.
    Epoch {
        /// What the epoch belongs to.
        phase: Phase,
        /// What it came to.
        record: EpochRecord,
    },
    /// The network before pruning stands in `iteration-00.taper`.
    Trained {
        /// Whether it was trained in this run, or came trained.
        in_this_run: bool,
        /// The network on the validation split.
        validation: Evaluation,
    },
    /// Channels were cut; the smaller network is about to be retrained.
    Proposed {
        /// The iteration, from 1.
        iteration: usize,
        /// The attempt at it, from 1.
        attempt: usize,
        /// What the laws set, and why.
        decisions: Box<Decisions>,
        /// What happened to each layer.
        layers: Vec<LayerCut>,
        /// The smaller network on the validation split before retraining.
        before: Evaluation,
    },
    /// A retrained network was judged; if accepted, it stands in `iteration-NN.taper`.
    Judged {
        /// The iteration.
        iteration: Box<Iteration>,
        /// Where pruning stands now.
        state: Box<PruneState>,
    },
    /// The retraining of a smaller network diverged; the attempt was rolled back.
    Diverged {
        /// The iteration, from 1.
        iteration: usize,
        /// The attempt at it, from 1.
        attempt: usize,
        /// Where it diverged, and what was not finite.
        reason: String,
        /// Where pruning stands now.
        state: Box<PruneState>,
    },
    /// Pruning has ended; its best network stands in `model.taper`.
    Pruned {
        /// Iterations that stand.
        iterations: usize,
        /// Why it ended.
        reason: String,
    },
    /// The integer network stands in `model.tflite`.
    Quantized {
        /// Size of the file.
        bytes: u64,
        /// Representative samples that the ranges were found on.
        samples: usize,
    },
    /// The networks were judged on the test split, which nothing was chosen on.
    Tested(Tested),
    /// The networks were timed.
    Timed {
        /// Each network, alternating in one session.
        times: Vec<NetworkTime>,
    },
    /// All outputs are written.
    Finished {
        /// Time from the last start or resumption to here.
        seconds: f64,
    },
}

/// What a run begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// Version of Taper.
    pub taper: String,
    /// What is to be done.
    pub scope: Scope,
    /// The machine.
    pub machine: Machine,
    /// The data.
    pub data: DataSummary,
}

/// Which adaptations a run performs. Training comes first in each if the network needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Training alone.
    Train,
    /// Pruning, without quantization.
    Prune,
    /// Quantization, without pruning.
    Quantize,
    /// Everything.
    Adapt,
}

/// What an epoch belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Phase {
    /// Training before pruning.
    Train,
    /// Retraining after a cut.
    Retrain {
        /// The iteration, from 1.
        iteration: usize,
        /// The attempt at it, from 1.
        attempt: usize,
    },
}

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSummary {
    /// Where it came from.
    pub source: String,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The training split.
    pub train: SplitSummary,
    /// The validation split.
    pub validation: SplitSummary,
    /// The test split.
    pub test: SplitSummary,
}

/// One split of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSummary {
    /// Number of samples.
    pub samples: usize,
    /// SHA-256 over images, labels and shape.
    pub sha256: String,
}

/// The networks on the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// Share of right classes of the network before pruning.
    pub before: f64,
    /// Share of right classes of the adapted float network.
    pub after: f64,
    /// The integer network, if there is one.
    pub integers: Option<IntegersTested>,
}

/// The integer network on the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegersTested {
    /// Share of right classes.
    pub accuracy: f64,
    /// Share of images on which it names the same class as the float network.
    pub agreement: f64,
    /// Per class: images, right in float, right in integers.
    pub classes: Vec<[usize; 3]>,
}

/// Time of one network for one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkTime {
    /// Which network.
    pub network: TimedNetwork,
    /// Median time for one image, batch 1, one thread.
    pub median: f64,
    /// Least time.
    pub min: f64,
    /// Bytes of activations while it runs.
    pub arena_bytes: usize,
}

/// A network that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimedNetwork {
    /// The float network after an iteration; 0 is before pruning.
    Iteration(usize),
    /// The integer network.
    Integers,
}

/// What a run tells while it works.
pub trait Observer: Send {
    /// The run in this directory begins or goes on; whatever stops it from now on, it can be resumed.
    fn opened(&mut self, run: &Path);

    /// An event has been written to the journal.
    fn event(&mut self, event: &Event);

    /// Work goes on; called often.
    fn progress(&mut self, progress: &Progress);
}

/// How far the work at hand has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A network is being trained.
    Training {
        /// What the training belongs to.
        phase: Phase,
        /// How far its epoch has come.
        step: StepProgress,
    },
    /// Some other work, counted in images.
    Images {
        /// What is being done.
        what: &'static str,
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
}
