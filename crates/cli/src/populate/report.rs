//! A run as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;
use voxtune_cache::{EntryKey, Record};
use voxtune_tune::evidence::phase_times::PhaseTimes;
use voxtune_tune::measure::estimate::Estimate;
use voxtune_tune::plan::grid::{Configuration, layer_text};
use voxtune_tune::run::event::EntryReport;
use voxtune_tune::{Outcome, Plan, Summary};
use voxtune_types::{AlgoId, DType, DeviceIdentity};

use super::table::{committed_text, than_default};

/// A layer over clouds of a size.
#[derive(Debug, Serialize)]
struct Layer {
    voxels: usize,
    c_in: u32,
    c_out: u32,
    groups: u32,
    /// Kernel, and of layers that are not submanifold stride and kind.
    layer: String,
    dtype: DType,
}

impl From<&Configuration> for Layer {
    fn from(configuration: &Configuration) -> Self {
        let Configuration { voxels, channels, groups, layer, dtype } = *configuration;
        let layer = layer_text(&layer);
        Self { voxels, c_in: channels.c_in, c_out: channels.c_out, groups, layer, dtype }
    }
}

/// What a dry run lists.
#[derive(Debug, Serialize)]
pub(super) struct PlanReport {
    configurations: Vec<PlannedLayer>,
    peak_bytes: u64,
}

#[derive(Debug, Serialize)]
struct PlannedLayer {
    #[serde(flatten)]
    layer: Layer,
    clouds: Vec<String>,
}

impl PlanReport {
    pub(super) fn new(plan: &Plan, peak_bytes: u64) -> Self {
        let configurations = plan.configurations.iter().map(|planned| PlannedLayer {
            layer: (&planned.configuration).into(),
            clouds: planned.clouds.iter().map(|cloud| cloud.label().to_owned()).collect(),
        });
        Self { configurations: configurations.collect(), peak_bytes }
    }
}

/// What a run has measured, and when.
#[derive(Debug, Default)]
pub(super) struct RunReport {
    started: Option<Instant>,
    estimate: Option<Estimate>,
    progress: Vec<EndedEntry>,
    configurations: Vec<MeasuredLayer>,
}

/// An entry that ended, in the order in which they did.
#[derive(Debug, Serialize)]
struct EndedEntry {
    /// Numbers of the configuration in the plan, and of the entry in it.
    configuration: usize,
    entry: usize,
    /// Seconds since the estimate, and to the end as the run saw it then.
    at: f64,
    left: f64,
    /// What it took; none if it was left alone.
    spent: Option<PhaseTimes>,
    /// Seconds that its worker was to compile kernels on beside the measurements, if it did.
    compiling: Option<f64>,
}

#[derive(Debug, Serialize)]
struct MeasuredLayer {
    #[serde(flatten)]
    layer: Layer,
    outcome: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    entries: Vec<MeasuredEntry>,
}

#[derive(Debug, Serialize)]
struct MeasuredEntry {
    #[serde(flatten)]
    entry: EntryKey,
    /// What the cache decides for the key; none where every candidate failed.
    winner: Option<AlgoId>,
    /// The winner's time in this race.
    winner_ns: Option<u64>,
    /// The winner's time over the default's, in this race: below 1 is faster.
    time_over_default: Option<f64>,
    /// What became of the measurements: added, kept or replaced.
    cache: &'static str,
    candidates: Vec<Record>,
}

impl RunReport {
    /// Notes the estimate, as of now.
    pub(super) fn started(&mut self, estimate: &Estimate) {
        (self.started, self.estimate) = (Some(Instant::now()), Some(estimate.clone()));
    }

    /// Notes an entry that ends now.
    pub(super) fn entry_ended(
        &mut self,
        (configuration, entry): (usize, usize),
        spent: Option<PhaseTimes>,
        compiling: Option<Duration>,
        remaining: Duration,
    ) {
        let at = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let left = remaining.as_secs_f64();
        let compiling = compiling.map(|time| time.as_secs_f64());
        self.progress.push(EndedEntry { configuration, entry, at, left, spent, compiling });
    }

    /// Adds a configuration that has ended.
    pub(super) fn add(
        &mut self,
        configuration: &Configuration,
        outcome: &Outcome,
        reports: &[EntryReport],
    ) {
        let (outcome, why) = match outcome {
            Outcome::Measured => ("measured", None),
            Outcome::Skipped => ("skipped", None),
            Outcome::Failed(why) => ("failed", Some(why.clone())),
            Outcome::Interrupted => ("interrupted", None),
        };
        let entries = reports.iter().map(MeasuredEntry::new).collect();
        self.configurations.push(MeasuredLayer {
            layer: configuration.into(),
            outcome,
            why,
            entries,
        });
    }

    /// The whole run.
    pub(super) fn ended<'r>(
        &'r self,
        device: &'r DeviceIdentity,
        cache: String,
        summary: &Summary,
        took: Duration,
    ) -> EndedRun<'r> {
        let Summary { requested, measured, skipped, failed, interrupted, spent } = *summary;
        let seconds = took.as_secs_f64();
        let counts = Counts { requested, measured, skipped, failed, interrupted };
        let Self { estimate, progress, configurations, .. } = self;
        EndedRun { device, cache, counts, seconds, spent, estimate, progress, configurations }
    }
}

impl MeasuredEntry {
    fn new(report: &EntryReport) -> Self {
        let winner = report.winner.clone();
        let mut records = report.measured.records.iter();
        let timing = records
            .find(|record| Some(&record.algo) == winner.as_ref())
            .and_then(|record| record.timing());
        Self {
            entry: report.measured.entry.clone(),
            winner_ns: timing.map(|timing| timing.median_ns),
            time_over_default: than_default(report, winner.as_ref()),
            winner,
            cache: committed_text(report.committed),
            candidates: report.measured.records.clone(),
        }
    }
}

/// A run, and how it ended.
#[derive(Debug, Serialize)]
pub(super) struct EndedRun<'r> {
    device: &'r DeviceIdentity,
    /// The decision file.
    cache: String,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    /// Where the time went, that of several devices added up.
    spent: PhaseTimes,
    /// What was expected before the first configuration.
    estimate: &'r Option<Estimate>,
    progress: &'r [EndedEntry],
    configurations: &'r [MeasuredLayer],
}

#[derive(Debug, Serialize)]
struct Counts {
    requested: usize,
    measured: usize,
    skipped: usize,
    failed: usize,
    interrupted: bool,
}
