//! What may not win, and why.

use serde::Serialize;
use voxtune_cache::Outcome;

use super::{Part, Tables};

/// A candidate that may not win a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuarantineRow {
    /// Which population.
    pub population: usize,
    /// Which operation.
    pub operation: usize,
    /// Which cloud.
    pub cloud: usize,
    /// Rows that the layer makes.
    pub rows_out: u64,
    /// Which algorithm.
    pub algorithm: usize,
    /// The class of the failure.
    pub reason: &'static str,
    /// What compiler, driver or comparison said.
    pub detail: usize,
}

/// What is in quarantine in a part.
pub(super) fn rows(population: usize, part: &Part<'_>, tables: &mut Tables) -> Vec<QuarantineRow> {
    let quarantine = part.population.evidence.quarantine();
    let rows = quarantine.filter_map(|(entry, record)| {
        let Outcome::Quarantined { reason, detail } = &record.outcome else { return None };
        Some(QuarantineRow {
            population,
            operation: tables.operation(&entry.key.operation),
            cloud: tables.cloud(&entry.workload.cloud),
            rows_out: entry.workload.rows_out,
            algorithm: tables.algorithm(&record.algo),
            reason: reason.as_str(),
            detail: tables.detail(detail),
        })
    });
    rows.collect()
}
