//! Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere.

#![expect(clippy::print_stderr, reason = "progress goes to the user, and must not disturb standard output")]

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use taper_toolkit::{Event, Observer, Phase, Progress};

/// Draws what a run tells.
pub(crate) struct Console {
    /// There only on a terminal.
    bar: Option<ProgressBar>,
}

impl Console {
    /// A console for standard error as it is.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template(
                "{prefix:<26} {bar:28} {pos:>6}/{len:<6} {per_sec:>14} {eta:>4} left  {msg}",
            ) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// Clears the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn advance(&self, what: &str, done: usize, total: usize, message: String) {
        let Some(bar) = &self.bar else { return };
        let (done, total) = (done as u64, total as u64);
        if bar.prefix() != what || bar.length() != Some(total) || done < bar.position() {
            bar.reset();
            bar.set_length(total);
            bar.set_prefix(what.to_owned());
        }
        bar.set_message(message);
        bar.set_position(done);
        if done == total {
            bar.set_message("");
        }
    }
}

impl Observer for Console {
    fn event(&mut self, event: &Event) {
        if let Some(text) = describe(event) {
            self.line(&text);
        }
    }

    fn progress(&mut self, progress: &Progress) {
        match progress {
            Progress::Training { phase, step } => {
                let what = format!("{} epoch {}/{}", name(*phase), step.epoch, step.epochs);
                self.advance(&what, step.samples, step.samples_in_all, format!("loss {:.4}", step.loss));
            }
            Progress::Images { what, done, total } => self.advance(what, *done, *total, String::new()),
        }
    }
}

fn name(phase: Phase) -> String {
    match phase {
        Phase::Train => "training".to_owned(),
        Phase::Retrain { iteration, attempt: 1 } => format!("iteration {iteration}"),
        Phase::Retrain { iteration, attempt } => format!("iteration {iteration}, try {attempt}"),
    }
}

/// One line about an event; `None` for what another line tells.
fn describe(event: &Event) -> Option<String> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    Some(match event {
        Event::Started(started) => {
            let data = &started.data;
            format!(
                "data {}: {} training, {} validation, {} test images of {} classes",
                data.source,
                data.train.samples,
                data.validation.samples,
                data.test.samples,
                data.classes.len()
            )
        }
        Event::Resumed { .. } => "resumed".to_owned(),
        Event::Epoch { phase, record } => format!(
            "{} epoch {}: loss {:.4}, accuracy {}, validation loss {:.4}, accuracy {}, {:.1} s",
            name(*phase),
            record.epoch,
            record.train_loss,
            percent(record.train_accuracy),
            record.validation_loss,
            percent(record.validation_accuracy),
            record.seconds
        ),
        Event::Trained { in_this_run, validation } => format!(
            "{}: validation accuracy {}",
            if *in_this_run { "trained" } else { "the network comes trained" },
            percent(validation.accuracy)
        ),
        Event::Proposed { iteration, attempt, layers, before, .. } => {
            let (removed, channels) =
                layers.iter().fold((0, 0), |(r, c), layer| (r + layer.removed, c + layer.channels));
            format!(
                "{}: {removed} of {channels} channels cut, validation accuracy {} before retraining",
                name(Phase::Retrain { iteration: *iteration, attempt: *attempt }),
                percent(before.accuracy)
            )
        }
        Event::Judged { iteration, .. } => format!(
            "{}: {}: {} parameters, validation accuracy {} after retraining",
            name(Phase::Retrain { iteration: iteration.iteration, attempt: iteration.attempt }),
            if iteration.accepted { "accepted" } else { "rolled back" },
            iteration.parameters,
            percent(iteration.after.accuracy)
        ),
        Event::Pruned { iterations, reason } => format!("pruned in {iterations} iterations: {reason}"),
        Event::Quantized { bytes, samples } => {
            format!("quantized on {samples} samples: a TFLite file of {bytes} bytes")
        }
        Event::Tested(tested) => {
            let integers = tested
                .integers
                .as_ref()
                .map_or_else(String::new, |integers| format!(", INT8 {}", percent(integers.accuracy)));
            format!(
                "test accuracy: before {}, after {} (float){integers}",
                percent(tested.before),
                percent(tested.after)
            )
        }
        Event::Timed { .. } => return None,
        Event::Finished { seconds } => format!("finished in {seconds:.0} s"),
    })
}
