//! Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere.

#![expect(clippy::print_stderr, reason = "progress goes to the user, and must not disturb standard output")]

use crate::text::{grouped, percent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taper_toolkit::{Event, Observer, Phase, Progress};

/// Tells of a likely mistake.
pub(crate) fn warn(note: &str) {
    eprintln!("warning: {note}");
}

/// Draws what a run tells.
pub(crate) struct Console {
    /// There only on a terminal.
    bar: Option<Bar>,
    /// Directory of the run, once it can be resumed.
    run: Option<PathBuf>,
}

impl Console {
    /// A console for standard error as it is.
    pub(crate) fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(Bar::new), run: None }
    }

    /// Clears the bar, and returns the directory of the run if one was opened.
    pub(crate) fn finish(self) -> Option<PathBuf> {
        if let Some(bar) = &self.bar {
            bar.drawn.finish_and_clear();
        }
        self.run
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if bar.is_drawn() => bar.drawn.suspend(|| eprintln!("{text}")),
            Some(_) | None => eprintln!("{text}"),
        }
    }
}

impl Observer for Console {
    fn opened(&mut self, run: &Path) {
        self.line(&format!("run {}", run.display()));
        self.run = Some(run.to_owned());
    }

    fn event(&mut self, event: &Event) {
        if let Some(text) = describe(event) {
            self.line(&text);
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let Some(bar) = &mut self.bar else { return };
        match progress {
            Progress::Training { phase, step } => {
                let epochs = format!("epoch {}/{}", step.epoch, step.epochs);
                let note = if step.samples < step.samples_in_all {
                    format!("{epochs}  loss {:.4}", step.loss)
                } else {
                    format!("{epochs}  validating")
                };
                let done = (step.epoch - 1) * step.samples_in_all + step.samples;
                bar.advance(&name(*phase), done, step.epochs * step.samples_in_all, &note);
            }
            Progress::Images { what, done, total } => bar.advance(what, *done, *total, ""),
        }
    }
}

/// The bar of the work at hand, counted in images.
struct Bar {
    drawn: ProgressBar,
    /// When the work at hand was first told of.
    since: Instant,
    /// Images that were done by then.
    from: usize,
}

impl Bar {
    fn new() -> Self {
        let drawn = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
        // The template is fixed, and without a style the bar would still tell its position.
        if let Ok(style) = ProgressStyle::with_template("{prefix}  {wide_bar} {percent:>3} %  {msg}") {
            drawn.set_style(style);
        }
        Self { drawn, since: Instant::now(), from: 0 }
    }

    /// Whether there was any work yet; a line before it must not draw an empty bar.
    fn is_drawn(&self) -> bool {
        !self.drawn.prefix().is_empty()
    }

    fn advance(&mut self, what: &str, done: usize, total: usize, note: &str) {
        let drawn = &self.drawn;
        if drawn.prefix() != what || (done as u64) < drawn.position() {
            (self.since, self.from) = (Instant::now(), done);
            drawn.set_prefix(what.to_owned());
        }
        drawn.set_length(total as u64);
        drawn.set_position(done as u64);
        let pace = pace(done - self.from, total.saturating_sub(done), self.since.elapsed());
        drawn.set_message(if note.is_empty() { pace } else { format!("{pace}  {note}") });
    }
}

/// Rate and time left, once there is something to tell them from.
fn pace(done: usize, left: usize, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64();
    if done == 0 || !rate.is_finite() {
        return String::new();
    }
    let seconds = (left as f64 / rate).ceil();
    let time = match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 6000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    };
    format!("{rate:.0} images/s  {time} left")
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
    Some(match event {
        Event::Started(started) => {
            let data = &started.data;
            format!(
                "data {}: {} training, {} validation, {} test images of {} classes",
                data.source,
                grouped(data.train.samples as u64),
                grouped(data.validation.samples as u64),
                grouped(data.test.samples as u64),
                data.classes.len()
            )
        }
        Event::Resumed { .. } => "resumed".to_owned(),
        Event::Noted { text } => format!("warning: {text}"),
        Event::Epoch { phase, record } => format!(
            "{}, epoch {}: loss {:.4}, accuracy {}; validation {:.4}, {}; {:.1} s",
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
        Event::Proposed { iteration, attempt, decisions, layers, before } => {
            let (removed, channels) =
                layers.iter().fold((0, 0), |(r, c), layer| (r + layer.removed, c + layer.channels));
            format!(
                "{}: cut {:.3}, {} of {} channels removed, validation accuracy {} before retraining ({} epochs, batch {})",
                name(Phase::Retrain { iteration: *iteration, attempt: *attempt }),
                decisions.cut.value,
                grouped(removed as u64),
                grouped(channels as u64),
                percent(before.accuracy),
                decisions.epochs.count(),
                decisions.batch.count()
            )
        }
        Event::Judged { iteration, .. } => format!(
            "{}: {}: {} parameters, validation accuracy {} after retraining",
            name(Phase::Retrain { iteration: iteration.iteration, attempt: iteration.attempt }),
            if iteration.accepted { "accepted" } else { "rolled back" },
            grouped(iteration.parameters),
            percent(iteration.after.accuracy)
        ),
        Event::Diverged { iteration, attempt, reason, .. } => {
            format!(
                "{}: rolled back: {reason}",
                name(Phase::Retrain { iteration: *iteration, attempt: *attempt })
            )
        }
        Event::Pruned { iterations, reason } => format!("pruned in {iterations} iterations: {reason}"),
        Event::Quantized { bytes, samples } => {
            format!("quantized on {samples} samples: a TFLite file of {} bytes", grouped(*bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_names_its_unit_and_what_is_left() {
        let cases = [
            (0, 100, 5, ""),
            (100, 100, 0, ""),
            (100, 900, 1, "100 images/s  9 s left"),
            (100, 0, 1, "100 images/s  0 s left"),
            (100, 60_000, 1, "100 images/s  10 min left"),
            (1, 7200, 1, "1 images/s  2.0 h left"),
        ];
        for (done, left, seconds, expected) in cases {
            assert_eq!(pace(done, left, Duration::from_secs(seconds)), expected);
        }
    }
}
