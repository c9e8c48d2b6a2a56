//! Progress of a run: a bar on a terminal, plain lines elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use voxtune_tune::plan::grid::Configuration;
use voxtune_tune::run::event::EntryReport;
use voxtune_tune::{Event, Observer, Outcome};
use voxtune_types::{printable, printable_path};

use super::table;
use crate::duration::coarse;
use crate::output;
use crate::styled::Text;

pub(super) struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
    total: usize,
    /// Configurations that have ended.
    ended: usize,
    header_printed: bool,
    eta: Arc<Mutex<Eta>>,
}

/// Expected time to the end, as of a moment.
#[derive(Clone, Copy)]
struct Eta {
    remaining: Option<Duration>,
    as_of: Instant,
}

impl Eta {
    fn text(self) -> String {
        let left = |remaining| left(remaining, self.as_of.elapsed());
        self.remaining.map_or_else(String::new, |one| format!("{} left", coarse(left(one))))
    }
}

/// What is left some time after so much was left. What takes longer than expected goes on for a
/// while: a fourth of how long it has taken.
fn left(remaining: Duration, elapsed: Duration) -> Duration {
    remaining.saturating_sub(elapsed).max(elapsed / 4)
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !output::is_quiet();
        let target =
            if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let eta = Arc::new(Mutex::new(Eta { remaining: None, as_of: Instant::now() }));
        let shown = Arc::clone(&eta);
        let left = move |_: &ProgressState, text: &mut dyn Write| {
            let eta = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = text.write_str(&eta.text());
        };
        // What matters most comes first: a narrow terminal cuts the rest off.
        let template = "{prefix:>12} {pos}/{len} {left} [{bar:16}] {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("left", left).progress_chars("=> "));
        }
        bar.set_prefix("Measuring");
        if on_terminal {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        Self { bar, on_terminal, total, ended: 0, header_printed: false, eta }
    }

    fn set_remaining(&self, remaining: Duration) {
        *self.eta.lock().unwrap_or_else(PoisonError::into_inner) =
            Eta { remaining: Some(remaining), as_of: Instant::now() };
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// A line of status, above the bar where there is one.
    fn status(&self, verb: &str, text: &str) {
        self.bar.suspend(|| output::status(verb, text));
    }

    fn rows(&mut self, configuration: &Configuration, reports: &[EntryReport]) {
        let mut text = Text::default();
        if !std::mem::replace(&mut self.header_printed, true) {
            table::header(&mut text);
        }
        table::rows(&mut text, configuration, reports);
        self.bar.suspend(|| output::print(&text));
    }

    fn ended(&mut self, outcome: &Outcome, text: &str, remaining: Duration) {
        self.ended += 1;
        self.bar.set_position(self.ended as u64);
        let verb = match outcome {
            Outcome::Measured => "Measured",
            Outcome::Skipped => "Skipped",
            Outcome::Failed(_) => "Failed",
            Outcome::Interrupted => "Interrupted",
        };
        let why = match outcome {
            Outcome::Failed(why) => format!(": {why}"),
            _ => String::new(),
        };
        // A terminal has the bar; only what a bar does not say is worth a line there.
        if !self.on_terminal || matches!(outcome, Outcome::Failed(_)) {
            let left = coarse(remaining);
            let (ended, total) = (self.ended, self.total);
            self.status(verb, &format!("{ended}/{total} {text}{why}, {left} left"));
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started { estimate, devices } => {
                let total = estimate.total().div_f64((*devices).max(1) as f64);
                let (time, memory) = (coarse(total), ByteSize(estimate.peak_bytes));
                self.status("Estimate", &format!("{time}, peak memory {memory}"));
                self.set_remaining(total);
            }
            Event::Compiling { kernels } => {
                self.bar.set_message(format!("compiling for {kernels} candidates"));
            }
            Event::SetAside(file) => {
                self.status("Warning", &output::set_aside_line(file));
            }
            Event::CandidateLost { algo, operation, reason, detail } => {
                let place =
                    operation.map_or_else(|| "the calibration".to_owned(), |one| one.to_string());
                self.status("Lost", &format!("{algo} in {place} ({reason}): {detail}"));
            }
            Event::DeviceGivenUp { why } => {
                self.status("Warning", &format!("{why}: the other GPUs go on without this one"));
            }
            Event::SavingWaits { lock, unsaved } => {
                let waiting = format!("configurations that wait to be saved: {unsaved}");
                let lock = printable_path(lock);
                self.status("Warning", &format!("another process has locked {lock}; {waiting}"));
            }
            Event::EntryStarted { operation, cloud } => {
                self.bar.set_message(format!("{operation} on {}", printable(cloud)));
            }
            Event::EntryEnded { remaining, .. } => self.set_remaining(*remaining),
            Event::ConfigurationEnded { configuration, outcome, reports, remaining, .. } => {
                if !reports.is_empty() {
                    self.rows(configuration, reports);
                }
                let text = configuration.to_string();
                self.ended(outcome, text.trim_start(), *remaining);
                self.set_remaining(*remaining);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_runs_down_and_never_out() {
        let after = |elapsed| left(Duration::from_secs(20), Duration::from_secs(elapsed)).as_secs();
        assert_eq!([0, 10, 16, 20, 40].map(after), [20, 10, 4, 5, 10]);
    }
}
