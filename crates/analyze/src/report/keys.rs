//! Keys of a population: who wins, by how much, and how surely.

use std::collections::BTreeMap;

use serde::Serialize;
use voxtune_cache::decide::Timer;
use voxtune_cache::{Decision, Outcome, Record, Records, Timing, Workload, distance};
use voxtune_types::{AlgoId, Arch, ShapeKey};

use super::numbers::{geometric_mean, short};
use super::{Part, Tables};
use crate::regret::Population;

/// A key of a population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyRow {
    /// Which population.
    pub population: usize,
    /// Which operation.
    pub operation: usize,
    /// Class of input rows.
    pub bucket_in: u8,
    /// Class of output rows.
    pub bucket_out: u8,
    /// Class of density.
    pub density: u8,
    /// Who runs; absent where every candidate is quarantined.
    pub winner: Option<usize>,
    /// Who is next.
    pub runner_up: Option<usize>,
    /// Whether the winner is what runs where nothing is known.
    pub default: bool,
    /// The default's time over the winner's: above 1, tuning was worth it.
    pub over_default: Option<f64>,
    /// By which fraction of the winner's time the runner-up takes longer.
    pub margin: Option<f64>,
    /// Whether noise explains that.
    pub tied: bool,
    /// The winner's median absolute deviation over its median, the largest of its workloads.
    pub spread: Option<f64>,
    /// The winner's time with its charge, the geometric mean over the workloads that decide.
    pub winner_ns: Option<f64>,
    /// What was measured.
    pub workloads: Vec<WorkloadRow>,
}

/// A key on a cloud.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadRow {
    /// Which cloud.
    pub cloud: usize,
    /// Rows that the layer reads.
    pub rows_in: u64,
    /// Rows that it makes.
    pub rows_out: u64,
    /// Pairs of its map.
    pub pairs: u64,
    /// Samples of the batch.
    pub batch: u32,
    /// Whether the last-level cache was empty.
    pub cold: bool,
    /// Candidates that were timed.
    pub timed: usize,
    /// Candidates that may not win here.
    pub quarantined: usize,
    /// Winner, runner-up, default and the fastest others, the fastest first.
    pub best: Vec<CandidateRow>,
}

/// An algorithm, its time in nanoseconds with what the layer is charged for parts of its map, the
/// relative deviation of its samples, their number, whether it was beaten before it was verified at
/// full size, and the charge alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateRow(pub usize, pub u64, pub f64, pub u32, pub bool, pub u64);

/// How many candidates of a workload are kept beside those that have a part.
const FASTEST: usize = 6;

/// The keys of a part, in their order.
pub(super) fn rows(population: usize, part: &Part<'_>, tables: &mut Tables) -> Vec<KeyRow> {
    let mut decisions: BTreeMap<ShapeKey, Option<Decision>> = BTreeMap::new();
    for decision in part.population.decisions.iter() {
        decisions.insert(decision.key, Some(decision));
    }
    for (entry, _) in part.population.evidence.entries() {
        decisions.entry(entry.key).or_default();
    }
    decisions
        .into_iter()
        .map(|(key, decision)| row(population, part, &key, decision.as_ref(), tables))
        .collect()
}

fn row(
    population: usize,
    part: &Part<'_>,
    key: &ShapeKey,
    decision: Option<&Decision>,
    tables: &mut Tables,
) -> KeyRow {
    let Part { device, population: Population { evidence, .. }, .. } = part;
    let decisive: Vec<&Records> =
        evidence.decisive_workloads(device, key).map(|(_, records)| records).collect();
    let winner = decision.map(|decision| &decision.winner);
    let runner_up = decision.and_then(|decision| decision.runner_up.as_ref());
    let default = decisive.iter().flat_map(|records| records.iter()).find(|one| one.default);
    let default = default.map(|record| &record.algo);
    let away = |other: Option<&AlgoId>| {
        distance([winner?, other?], &device.arch, decisive.iter().copied())
    };
    let next = away(runner_up);
    let timings = decisive.iter().filter_map(|records| {
        let own = records.preferred().into_iter().find(|one| Some(&one.algo) == winner);
        own.and_then(Record::timing)
    });
    let timings: Vec<&Timing> = timings.collect();
    let timer = Timer::of(&device.arch);
    let workloads = evidence.workloads(device, key);
    let named = [winner, runner_up, default];
    KeyRow {
        population,
        operation: tables.operation(&key.operation),
        bucket_in: key.bucket_in.index(),
        bucket_out: key.bucket_out.index(),
        density: key.density.index(),
        winner: winner.map(|algo| tables.algorithm(algo)),
        runner_up: runner_up.map(|algo| tables.algorithm(algo)),
        default: winner.is_some() && winner == default,
        over_default: away(default).map(|one| short(1.0 + one.slower_by)),
        margin: next.map(|one| short(one.slower_by)),
        tied: next.is_some_and(|one| one.is_noise),
        spread: timings.iter().map(|one| one.relative_spread()).reduce(f64::max).map(short),
        winner_ns: geometric_mean(timings.iter().map(|one| timer.time_ns(one))).map(short),
        workloads: workloads
            .map(|(entry, records)| workload(&entry.workload, records, named, &device.arch, tables))
            .collect(),
    }
}

fn workload(
    workload: &Workload,
    records: &Records,
    named: [Option<&AlgoId>; 3],
    arch: &Arch,
    tables: &mut Tables,
) -> WorkloadRow {
    let timer = Timer::of(arch);
    let preferred = records.preferred();
    let timed = preferred.iter().filter_map(|record| Some((*record, record.timing()?)));
    let mut timed: Vec<(&Record, &Timing)> = timed.collect();
    timed.sort_by(|a, b| timer.time_ns(a.1).total_cmp(&timer.time_ns(b.1)));
    let (count, quarantined) = (timed.len(), preferred.len() - timed.len());
    let best = timed
        .into_iter()
        .enumerate()
        .filter(|(place, (record, _))| *place < FASTEST || named.contains(&Some(&record.algo)));
    let best = best.map(|(_, (record, timing))| {
        CandidateRow(
            tables.algorithm(&record.algo),
            timer.time_ns(timing).round() as u64,
            short(timing.relative_spread()),
            timing.samples,
            matches!(record.outcome, Outcome::Beaten(_)),
            timing.share_ns(),
        )
    });
    WorkloadRow {
        best: best.collect(),
        cloud: tables.cloud(&workload.cloud),
        rows_in: workload.rows_in,
        rows_out: workload.rows_out,
        pairs: workload.pairs,
        batch: workload.batch,
        cold: workload.cold,
        timed: count,
        quarantined,
    }
}
