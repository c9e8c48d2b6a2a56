//! The result table: a line for each direction and cloud of a configuration.

use voxtune_tune::evidence::commit::Committed;
use voxtune_tune::plan::grid::{Configuration, layer_text};
use voxtune_tune::run::event::EntryReport;
use voxtune_types::printable;

use crate::duration::fine;

pub(super) fn header() -> String {
    format!(
        "{:>8}  {:>9}  {:>2}  {:<8}  {:<10}  {:<8}  {:>10}  {:>9}  {:<8}  winner",
        "voxels", "channels", "k", "dtype", "cloud", "pass", "time", "x default", "cache"
    )
}

pub(super) fn row(configuration: &Configuration, report: &EntryReport) -> String {
    let entry = &report.measured.entry;
    let winner = report.winner.as_ref();
    let timing = report
        .measured
        .records
        .iter()
        .find(|record| Some(&record.algo) == winner)
        .and_then(|record| record.timing());
    // A stored winner need not have been among those measured.
    let none = || "-".to_owned();
    let time = timing.map_or_else(none, |timing| fine(timing.median_ns));
    let ratio = timing
        .and_then(|timing| timing.ratio_to_default)
        .map_or_else(none, |ratio| format!("{:.3}", ratio.median));
    let committed = match report.committed {
        Committed::Added => "added",
        Committed::Kept => "kept",
        Committed::Replaced => "replaced",
    };
    format!(
        "{:>8}  {:>9}  {:>2}  {:<8}  {:<10}  {:<8}  {:>10}  {:>9}  {:<8}  {}",
        entry.workload.rows_out,
        configuration.channels,
        layer_text(&configuration.layer),
        configuration.dtype,
        printable(&entry.workload.cloud),
        entry.key.operation.direction,
        time,
        ratio,
        committed,
        winner.map_or("none: every candidate failed", |id| id.as_str())
    )
}
