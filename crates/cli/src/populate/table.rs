//! The result table: below each layer and cloud a line for each direction.

use voxtune_tune::evidence::commit::Committed;
use voxtune_tune::plan::grid::{Configuration, layer_text};
use voxtune_tune::run::event::EntryReport;
use voxtune_types::AlgoId;

use crate::duration::{charge, fine};
use crate::styled::{Meaning, Text};
use crate::versus::less_or_more;

/// Where the winner's name begins if it does not fit behind the rest.
const HANG: usize = 6;

/// The titles, once before all rows.
pub(super) fn header(text: &mut Text) {
    text.line(HANG).push(format_args!(
        "  {:<8} {:>10}  {:<12}  {:<8}  winner",
        "pass", "time", "than default", "cache"
    ));
}

/// The rows of a configuration that has ended.
pub(super) fn rows(text: &mut Text, configuration: &Configuration, reports: &[EntryReport]) {
    let mut shown = None;
    for report in reports {
        let workload = &report.measured.entry.workload;
        if shown != Some(workload) {
            shown = Some(workload);
            let Configuration { channels, groups, layer, dtype, .. } = configuration;
            let layer = layer_text(layer);
            let line = text.line(2);
            line.push(format_args!(
                "{} voxels of {}, {channels}, kernel {layer}, {dtype}",
                workload.rows_out, workload.cloud
            ));
            if *groups != 1 {
                line.push(format_args!(", {groups} groups"));
            }
        }
        row(text, report);
    }
}

/// How a winner's time is to the default's, both of one race.
pub(super) fn than_default(report: &EntryReport, winner: Option<&AlgoId>) -> Option<f64> {
    let mut records = report.measured.records.iter();
    let record = records.find(|record| Some(&record.algo) == winner)?;
    let ratio = record.timing()?.ratio_to_default.map(|ratio| ratio.median);
    ratio.or_else(|| record.default.then_some(1.0))
}

/// What became of an entry.
pub(super) const fn committed_text(committed: Committed) -> &'static str {
    match committed {
        Committed::Added => "added",
        Committed::Kept => "kept",
        Committed::Replaced => "replaced",
    }
}

fn row(text: &mut Text, report: &EntryReport) {
    let winner = report.winner.as_ref();
    let mut records = report.measured.records.iter();
    let record = records.find(|record| Some(&record.algo) == winner);
    // A stored winner need not have been among those measured.
    let none = || "-".to_owned();
    let timing = record.and_then(|record| record.timing());
    let time = timing.map_or_else(none, |timing| fine(timing.median_ns));
    let than_default = match record {
        Some(record) if record.default => "the default".to_owned(),
        _ => than_default(report, winner).map_or_else(none, less_or_more),
    };
    let direction = report.measured.entry.key.operation.direction;
    let committed = committed_text(report.committed);
    let line = text.line(HANG);
    line.push(format_args!("  {direction:<8} {time:>10}  {than_default:<12}  {committed:<8}  "));
    match winner {
        Some(id) => {
            line.push_as(Meaning::Winner, id);
            line.push(timing.map_or_else(String::new, charge))
        }
        None => line.push_as(Meaning::Error, "none: every candidate failed"),
    };
}
