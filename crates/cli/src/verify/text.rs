//! A report as text: a block an architecture, a line a finding, the counts last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use voxtune::AlgoId;
use voxtune_analyze::audit::{ArchAudit, Coverage, Finding, Remedy, Severity};

use super::{Report, Totals};
use crate::program;
use crate::styled::{Line, Meaning, Text};

/// Where what stands behind a severity begins.
const HANG: usize = 12;

pub(super) fn render(report: &Report) -> Text {
    let mut text = Text::default();
    for audit in &report.archs {
        write_audit(&mut text, audit, &report.kernels);
    }
    for finding in &report.files {
        write_finding(&mut text, finding);
    }
    for coverage in &report.coverage {
        write_coverage(&mut text, coverage);
    }
    let Totals { wrong, stale, unproven, unchecked, missing } = report.totals;
    let line = text.line(2);
    let wrongs = format!("{wrong} wrong");
    if wrong > 0 {
        line.push_as(Meaning::Error, wrongs)
    } else {
        line.push(wrongs)
    };
    line.push(format_args!(", {stale} stale, {unproven} unproven, {unchecked} not checked"));
    if !report.coverage.is_empty() {
        line.push(format_args!(", {missing} missing"));
    }
    text
}

fn write_audit(text: &mut Text, audit: &ArchAudit, kernels: &str) {
    let ArchAudit { arch, decision_count, entry_count, timing_count, folder, .. } = audit;
    text.line(2).push(format_args!(
        "{folder}: {arch}: {decision_count} decisions, {entry_count} entries, {timing_count} timings"
    ));
    for finding in &audit.findings {
        // Losers with other code are many and say little one by one.
        if !matches!(finding, Finding::Stale { decides: false, .. }) {
            write_finding(text, finding);
        }
    }
    for (algo, count) in stale_losers(audit) {
        let why = "timings of losers, of other code than today's";
        labelled(text, &Severity::Stale).push(format_args!("{algo}: {count} {why}"));
    }
    if audit.unknown_code_count > 0 {
        let count = audit.unknown_code_count;
        labelled(text, &"unchecked").push(format_args!(
            "{count} timings whose kernels are not compiled in {kernels}: staleness unknown \
             (--compile makes them)"
        ));
    }
    let remedies: BTreeSet<Remedy> = audit.findings.iter().filter_map(Finding::remedy).collect();
    for remedy in remedies {
        let (command, effect) = match remedy {
            Remedy::Decide => {
                (format!("merge {folder} -o {folder}"), "decides by the evidence again")
            }
            Remedy::Forget => (
                format!("forget --out {folder} --channels C,C"),
                "drops what cannot be or is gone, and populate measures it again",
            ),
            Remedy::TopUp => (
                format!("populate --top-up --out {folder}"),
                "measures what is stale of its grid again",
            ),
            Remedy::Fit => (format!("fit --out {folder}"), "learns from the evidence again"),
        };
        labelled(text, &"repair").push(format_args!("{} {effect}", program::command(&command)));
    }
}

/// Files name clouds and devices as they like, and a finding is one line.
fn write_finding(text: &mut Text, finding: &Finding) {
    labelled(text, &finding.severity()).push(finding);
}

/// A line behind a severity or another label.
fn labelled<'t>(text: &'t mut Text, label: &dyn Display) -> &'t mut Line {
    let label = label.to_string();
    let meaning = match &*label {
        "wrong" => Some(Meaning::Error),
        "stale" | "unproven" | "missing" => Some(Meaning::Warning),
        _ => None,
    };
    let (line, label) = (text.line(HANG), format!("{label:>10}"));
    match meaning {
        Some(meaning) => line.push_as(meaning, label),
        None => line.push(label),
    };
    line.label("", 2)
}

fn stale_losers(audit: &ArchAudit) -> BTreeMap<&AlgoId, usize> {
    let mut counts = BTreeMap::new();
    for finding in &audit.findings {
        if let Finding::Stale { algo, decides: false, .. } = finding {
            *counts.entry(algo).or_insert(0) += 1;
        }
    }
    counts
}

fn write_coverage(text: &mut Text, coverage: &Coverage) {
    let Coverage { device, preset, wanted, missing } = coverage;
    let there = wanted - missing.len();
    text.line(2).push(format_args!("{preset}: {there} of {wanted} entries on {device}"));
    for gap in missing {
        labelled(text, &"missing").push(gap);
    }
}
