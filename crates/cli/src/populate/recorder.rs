//! Raw samples of a run, saved beside its results.

use voxtune_analyze::samples::{RaceSamples, SamplesError, SamplesWriter};
use voxtune_tune::{Event, Observer};

use super::progress::Progress;
use super::report::RunReport;

/// Shows progress, and keeps the samples of every entry that was measured.
pub(super) struct Recorder<'p> {
    pub(super) progress: &'p mut Progress,
    pub(super) samples: Option<SamplesWriter>,
    /// What is written as JSON.
    pub(super) report: RunReport,
    /// The first failure to write; nothing is written after it.
    pub(super) failure: Option<SamplesError>,
}

impl Recorder<'_> {
    fn record(&mut self, race: &RaceSamples) {
        let Some(samples) = &mut self.samples else { return };
        if let Err(error) = samples.write(race) {
            self.failure = Some(error);
            self.samples = None;
        }
    }
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started { estimate, .. } => self.report.started(estimate),
            Event::EntryEnded { index, entry, spent, compiling, remaining } => {
                self.report.entry_ended((*index, *entry), *spent, *compiling, *remaining);
            }
            Event::ConfigurationEnded { configuration, outcome, reports, .. } => {
                self.report.add(configuration, outcome, reports);
                for race in reports.iter().filter_map(|report| RaceSamples::of(&report.measured)) {
                    self.record(&race);
                }
            }
            _ => {}
        }
        self.progress.event(event);
    }
}
