//! Caches as a tree.

use voxtune_cache::{Outcome, Record, Timing};

use super::view::{KeyView, View, WorkloadView};
use crate::duration::{charge, fine};
use crate::styled::{Line, Meaning, Text};
use crate::versus::beside_default;

/// All views, one below the other.
pub(super) fn render(views: &[View]) -> Text {
    let mut text = Text::default();
    for view in views {
        render_view(&mut text, view);
    }
    if views.is_empty() {
        text.line(0).push("no caches");
    }
    text
}

fn render_view(text: &mut Text, view: &View) {
    let entries: usize = view.keys.iter().map(|key| key.workloads.len()).sum();
    let keys = view.keys.len();
    text.line(2).push(&view.path);
    let line = text.line(5);
    line.push(format_args!("└─ {}: {keys} keys, {entries} entries", view.arch));
    if !view.quarantined.is_empty() {
        let count = format!("{} quarantined", view.quarantined.len());
        line.push(", ").push_as(Meaning::Warning, count);
    }
    let mut device = None;
    for key in &view.keys {
        if device != Some(&key.device) {
            device = Some(&key.device);
            text.line(8).push(format_args!("   └─ {}", key.device));
        }
        render_key(text, key);
    }
}

fn render_key(text: &mut Text, view: &KeyView) {
    let winner = view.decision.as_ref().map(|decision| &*decision.winner);
    let line = text.line(11);
    line.push(format_args!("      ├─ {} → ", view.key));
    match winner {
        Some(winner) => line.push_as(Meaning::Winner, winner),
        None => line.push_as(Meaning::Error, "no winner"),
    };
    for workload in &view.workloads {
        render_workload(text, workload, winner, view.device.arch.is_cuda());
    }
}

fn render_workload(text: &mut Text, view: &WorkloadView, winner: Option<&str>, on_gpu: bool) {
    let workload = &view.workload;
    let pairs_per_row = workload.pairs as f64 / workload.rows_out.max(1) as f64;
    // A CPU has no choice of what its caches hold when a sample begins.
    let l2_state = match (on_gpu, workload.cold) {
        (false, _) => "",
        (true, true) => ", cold",
        (true, false) => ", warm",
    };
    text.line(11).push(format_args!(
        "      │  {} of {} voxels, {pairs_per_row:.2} pairs per row, batch {}{l2_state}",
        workload.cloud, workload.rows_out, workload.batch
    ));
    let mut least_ns = u64::MAX;
    for record in &view.candidates {
        let is_winner = Some(record.algo.as_str()) == winner;
        let line = text.line(15);
        line.push("      │  ").push(if is_winner { "* " } else { "  " });
        let meaning = is_winner.then_some(Meaning::Winner);
        candidate(line, record, meaning);
        if let Some(timing) = record.timing() {
            let time_ns = timing.charged_median_ns();
            if is_winner && least_ns < time_ns {
                line.push("; others are not proven faster");
            }
            least_ns = least_ns.min(time_ns);
        }
    }
}

fn candidate(line: &mut Line, record: &Record, meaning: Option<Meaning>) {
    let name = |line: &mut Line| {
        match meaning {
            Some(meaning) => line.push_as(meaning, &record.algo),
            None => line.push(&record.algo),
        };
        if record.default {
            line.push(" (default)");
        }
        if record.shipped {
            line.push(" (shipped)");
        }
    };
    match &record.outcome {
        Outcome::Measured(timing) | Outcome::Beaten(timing) => {
            measured(line, timing, record.default);
            name(line);
            if matches!(record.outcome, Outcome::Beaten(_)) {
                line.push(" (beaten)");
            }
        }
        Outcome::Quarantined { reason, detail } => {
            line.push_as(Meaning::Error, format_args!("quarantined ({reason})")).push(": ");
            name(line);
            line.push(": ").push(detail);
        }
    }
}

fn measured(line: &mut Line, timing: &Timing, is_default: bool) {
    let spread = timing.relative_spread() * 100.0;
    let (time, samples) = (fine(timing.median_ns), timing.samples);
    line.push(format_args!("{time:>10} ±{spread:.1} % n={samples}{}, ", charge(timing)));
    if let Some(ratio) = timing.ratio_to_default.filter(|_| !is_default) {
        line.push(beside_default(ratio)).push(", ");
    }
    // The error stands with the name, wherever that is.
    line.label("error", 6).label(format_args!("{:.1e}", timing.max_error), 9);
}
