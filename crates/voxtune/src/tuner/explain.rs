//! Why a key runs what it runs.

use std::fmt;

use voxtune_cache::{CacheDir, Decision, DecisionRef, Environment, Evidence, Timing, Workload};
use voxtune_types::{AlgoId, DeviceIdentity, ShapeKey, printable};

use super::search::{Found, SkippedStep};
use super::{Grade, GradeKind, SkipReason, Source};
use crate::ConvError;

/// What a key runs on a device, what that follows from, and why no better grade answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// What was looked up.
    pub key: ShapeKey,
    /// Where it is to run.
    pub device: DeviceIdentity,
    /// The grades before the one that answered.
    pub skipped: Vec<SkippedGrade>,
    /// The algorithm that runs, or the error that a call returns.
    pub answer: Result<ExplainedChoice, String>,
}

/// A grade that did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedGrade {
    /// The grade.
    pub kind: GradeKind,
    /// The cache that was asked, where the grade asks caches.
    pub source: Option<Source>,
    /// Why it did not answer.
    pub reason: SkipReason,
}

/// The algorithm that a key resolves to, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedChoice {
    /// The algorithm that runs.
    pub algorithm: AlgoId,
    /// How it was found.
    pub grade: Grade,
    /// The decision that it follows from, where a cache answered.
    pub entry: Option<Decision>,
    /// What was measured for that decision, where the evidence lies beside it.
    pub measured: Vec<MeasuredWorkload>,
}

/// A race behind a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredWorkload {
    /// What was computed.
    pub workload: Workload,
    /// How fast the winner was.
    pub winner: Option<Timing>,
    /// How fast the runner-up was.
    pub runner_up: Option<Timing>,
    /// With what the winner was measured.
    pub environment: Option<Environment>,
}

impl MeasuredWorkload {
    /// By which fraction of the winner's time the runner-up was slower, by
    /// [`Timing::charged_centre_ns`]; negative where it was faster, since a decision weighs all
    /// races of its key.
    #[must_use]
    pub fn margin(&self) -> Option<f64> {
        let (winner, runner_up) = (self.winner?, self.runner_up?);
        Some(runner_up.charged_centre_ns() / winner.charged_centre_ns() - 1.0)
    }
}

impl Explanation {
    pub(super) fn new(
        device: &DeviceIdentity,
        key: &ShapeKey,
        skipped: Vec<SkippedStep>,
        found: Result<Found<'_>, ConvError>,
        folders: &[CacheDir],
    ) -> Self {
        let answer = found.map_err(|error| error.to_string()).map(|found| ExplainedChoice {
            algorithm: found.algorithm.id().clone(),
            grade: found.grade,
            entry: found.entry.map(DecisionRef::to_decision),
            measured: found.entry.map_or_else(Vec::new, |entry| measured(folders, entry)),
        });
        let skipped = skipped
            .into_iter()
            .map(|SkippedStep { kind, source, reason }| SkippedGrade { kind, source, reason });
        Self { key: *key, device: device.clone(), skipped: skipped.collect(), answer }
    }
}

/// The races behind a decision, from the first folder that decided so and whose evidence has any:
/// what another folder measured is not why.
fn measured(folders: &[CacheDir], entry: DecisionRef<'_>) -> Vec<MeasuredWorkload> {
    let arch = entry.device().arch;
    let from = |folder: &CacheDir| {
        let both = folder.read_together(arch, |folder| {
            Some((folder.read_decisions(arch).ok()??, folder.read_evidence(arch).ok()??))
        });
        let (decisions, evidence) = both?;
        let beside = decisions.get(entry.device(), &entry.key())?;
        if beside != entry.to_decision() {
            return None;
        }
        let races = races(&evidence, entry);
        (!races.is_empty()).then_some(races)
    };
    folders.iter().find_map(from).unwrap_or_default()
}

fn races(evidence: &Evidence, entry: DecisionRef<'_>) -> Vec<MeasuredWorkload> {
    let key = entry.key();
    let of_key = evidence.decisive_workloads(entry.device(), &key);
    let races = of_key.map(|(measured, records)| {
        let records = records.preferred();
        let of = |id: &AlgoId| records.iter().find(|record| record.algo == *id);
        let winner = of(entry.winner());
        MeasuredWorkload {
            workload: measured.workload.clone(),
            winner: winner.and_then(|record| record.timing().copied()),
            runner_up: entry.runner_up().and_then(|id| of(id)?.timing().copied()),
            environment: winner.map(|record| record.environment.clone()),
        }
    });
    races.filter(|race| race.winner.is_some()).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.key)?;
        writeln!(f, "  on         {}", self.device)?;
        match &self.answer {
            Ok(answer) => {
                writeln!(f, "  runs       {}", answer.algorithm)?;
                writeln!(f, "  grade      {}", answer.grade)?;
                answer.entry.as_ref().map_or(Ok(()), |entry| write_entry(f, entry))?;
                answer.measured.iter().try_for_each(|race| write_race(f, race))?;
                if answer.entry.is_some() && answer.measured.is_empty() {
                    writeln!(f, "  measured   no evidence of it can be read beside the decision")?;
                }
            }
            Err(error) => writeln!(f, "  fails      {error}")?,
        }
        for SkippedGrade { kind, source, reason } in &self.skipped {
            let source = source.map_or_else(String::new, |source| format!(" ({source})"));
            writeln!(f, "  not        {kind}{source}: {reason}")?;
        }
        Ok(())
    }
}

fn write_entry(f: &mut fmt::Formatter<'_>, entry: &Decision) -> fmt::Result {
    writeln!(f, "  entry      {} on {}", entry.key, entry.device)?;
    writeln!(f, "  winner     {}", entry.winner)?;
    if let Some(runner_up) = &entry.runner_up {
        writeln!(f, "  runner-up  {runner_up}")?;
    }
    if let Some(id) = &entry.without_libraries {
        writeln!(f, "  without libraries  {id}")?;
    }
    let safe: Vec<&str> = entry.safe.iter().map(AlgoId::as_str).collect();
    writeln!(f, "  safe       {}", safe.join(", "))
}

fn write_race(f: &mut fmt::Formatter<'_>, race: &MeasuredWorkload) -> fmt::Result {
    let Workload { cloud, rows_out, pairs, .. } = &race.workload;
    let density = *pairs as f64 / (*rows_out).max(1) as f64;
    let cloud = printable(cloud);
    write!(f, "  measured   {cloud} of {rows_out} voxels, {density:.2} pairs per row: ")?;
    if let Some(winner) = race.winner {
        let spread = winner.relative_spread() * 100.0;
        write!(f, "{:.2} us ±{spread:.1} %", winner.median_ns as f64 / 1e3)?;
        if winner.share_ns() > 0 {
            write!(f, ", +{:.2} us for parts of its map", winner.share_ns() as f64 / 1e3)?;
        }
    }
    if let Some(margin) = race.margin() {
        write!(f, ", runner-up {:+.1} %", margin * 100.0)?;
    }
    if let Some(ratio) = race.winner.and_then(|winner| winner.ratio_to_default) {
        write!(f, ", {:.3} [{:.3}, {:.3}] of the default", ratio.median, ratio.low, ratio.high)?;
    }
    writeln!(f)?;
    let Some(Environment { tool, driver, toolkit }) = &race.environment else { return Ok(()) };
    let named = |label: &str, text: &str| match text {
        "" => String::new(),
        text => format!(", {label} {}", printable(text)),
    };
    let tool = printable(tool);
    writeln!(f, "  with       {tool}{}{}", named("driver", driver), named("toolkit", toolkit))
}
