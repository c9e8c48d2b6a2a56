//! Caches as a tree.

use std::fmt::Write;

use voxtune_cache::{Outcome, Record};
use voxtune_types::printable;

use super::view::{KeyView, View, WorkloadView};
use crate::duration::fine;

/// All views, one below the other.
pub(super) fn render(views: &[View]) -> String {
    let mut text = String::new();
    for view in views {
        // Writing to a string cannot fail.
        let _ = render_view(&mut text, view);
    }
    if views.is_empty() {
        text.push_str("no caches\n");
    }
    text
}

fn render_view(text: &mut String, view: &View) -> std::fmt::Result {
    let entries: usize = view.keys.iter().map(|key| key.workloads.len()).sum();
    let keys = view.keys.len();
    writeln!(text, "{}", printable(&view.path))?;
    let quarantined = match view.quarantined.len() {
        0 => String::new(),
        count => format!(", {count} quarantined"),
    };
    writeln!(text, "└─ {}: {keys} keys, {entries} entries{quarantined}", view.arch)?;
    let mut device = None;
    for key in &view.keys {
        if device != Some(&key.device) {
            device = Some(&key.device);
            writeln!(text, "   └─ {}", key.device)?;
        }
        render_key(text, key)?;
    }
    Ok(())
}

fn render_key(text: &mut String, view: &KeyView) -> std::fmt::Result {
    let winner = view.decision.as_ref().map_or("no winner", |decision| &decision.winner);
    writeln!(text, "      ├─ {} → {winner}", view.key)?;
    for workload in &view.workloads {
        render_workload(text, workload, winner)?;
    }
    Ok(())
}

fn render_workload(text: &mut String, view: &WorkloadView, winner: &str) -> std::fmt::Result {
    let workload = &view.workload;
    let pairs_per_row = workload.pairs as f64 / workload.rows_out.max(1) as f64;
    let regime = if workload.cold { "cold" } else { "warm" };
    writeln!(
        text,
        "      │    {} of {} voxels, {pairs_per_row:.2} pairs a row, batch {}, {regime}",
        printable(&workload.cloud),
        workload.rows_out,
        workload.batch
    )?;
    for record in &view.candidates {
        let mark = if record.algo.as_str() == winner { '*' } else { ' ' };
        writeln!(text, "      │    {mark} {}", candidate(record))?;
    }
    Ok(())
}

fn candidate(record: &Record) -> String {
    let default = if record.default { " (default)" } else { "" };
    match &record.outcome {
        Outcome::Measured(timing) | Outcome::Beaten(timing) => {
            let beaten = matches!(record.outcome, Outcome::Beaten(_));
            let beaten = if beaten { " (beaten)" } else { "" };
            let spread = timing.relative_spread() * 100.0;
            let ratio = timing.ratio_to_default.map_or_else(String::new, |ratio| {
                format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high)
            });
            format!(
                "{:>10} ±{spread:>4.1} % n={:<2} {ratio:<22} error {:.1e}  {}{default}{beaten}",
                fine(timing.median_ns),
                timing.samples,
                timing.max_error,
                record.algo
            )
        }
        Outcome::Quarantined { reason, detail } => {
            format!("quarantined ({reason}): {}{default}: {}", record.algo, printable(detail))
        }
    }
}
