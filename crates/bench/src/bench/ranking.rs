//! What a race came to: a ranking by the medians of all samples, and who failed.

use voxtune_cache::{Outcome, Record};
use voxtune_tune::evidence::entry::Measured;
use voxtune_tune::race::statistics::{median, median_absolute_deviation};

use super::report::Ranked;

/// The candidates that computed the right result, the fastest first.
pub(super) fn ranking(measured: &Measured) -> Vec<Ranked> {
    let ranked = |record: &Record| {
        record.timing()?;
        let rounds = measured.rounds.iter().find(|rounds| rounds.algo == record.algo)?;
        let times_ms: Vec<f64> =
            rounds.rounds_ns.iter().flatten().map(|&ns| ns as f64 / 1e6).collect();
        Some(Ranked {
            algorithm: record.algo.to_string(),
            default: record.default,
            median_ms: median(&times_ms)?,
            deviation_ms: median_absolute_deviation(&times_ms)?,
            least_ms: times_ms.iter().copied().fold(f64::INFINITY, f64::min),
            samples: times_ms.len(),
        })
    };
    let mut ranking: Vec<Ranked> = measured.records.iter().filter_map(ranked).collect();
    ranking.sort_by(|a, b| a.median_ms.total_cmp(&b.median_ms));
    ranking
}

/// The candidates that failed or computed something else, a line each.
pub(super) fn failures(measured: &Measured) -> impl Iterator<Item = String> {
    let operation = measured.entry.key.operation;
    measured.records.iter().filter_map(move |record| match &record.outcome {
        Outcome::Quarantined { detail, .. } => {
            Some(format!("{} on {operation}: {detail}", record.algo))
        }
        _ => None,
    })
}
