//! A report as text: a block an architecture, a line a finding, the counts last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use voxtune::AlgoId;
use voxtune_analyze::audit::{ArchAudit, Coverage, Finding, Remedy};
use voxtune_types::printable;

use super::{Report, Totals};
use crate::program;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(&mut text, report);
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    for audit in &report.archs {
        write_audit(text, audit, &report.kernels)?;
    }
    for finding in &report.files {
        write_finding(text, finding)?;
    }
    for coverage in &report.coverage {
        write_coverage(text, coverage)?;
    }
    let Totals { wrong, stale, unproven, unchecked, missing } = report.totals;
    write!(text, "{wrong} wrong, {stale} stale, {unproven} unproven, {unchecked} not checked")?;
    if !report.coverage.is_empty() {
        write!(text, ", {missing} missing")?;
    }
    writeln!(text)
}

fn write_audit(text: &mut String, audit: &ArchAudit, kernels: &str) -> std::fmt::Result {
    let ArchAudit { arch, decision_count, entry_count, timing_count, .. } = audit;
    let (folder, kernels) = (printable(&audit.folder), printable(kernels));
    writeln!(
        text,
        "{folder}: {arch}: {decision_count} decisions, {entry_count} entries, {timing_count} timings"
    )?;
    for finding in &audit.findings {
        // Losers with other code are many and say little one by one.
        if !matches!(finding, Finding::Stale { decides: false, .. }) {
            write_finding(text, finding)?;
        }
    }
    for (algo, count) in stale_losers(audit) {
        writeln!(
            text,
            "     stale  {algo}: {count} timings of losers, of other code than today's"
        )?;
    }
    if audit.unknown_code_count > 0 {
        let count = audit.unknown_code_count;
        writeln!(
            text,
            " unchecked  {count} timings whose kernels are not compiled in {kernels}: staleness \
             unknown (--compile makes them)"
        )?;
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
        };
        writeln!(text, "{:>10}  {} {effect}", "mend", program::command(&command))?;
    }
    Ok(())
}

fn write_finding(text: &mut String, finding: &Finding) -> std::fmt::Result {
    // Files name clouds and devices as they like, and a finding is one line.
    let line = finding.to_string();
    writeln!(text, "{:>10}  {}", finding.severity(), printable(&line))
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

fn write_coverage(text: &mut String, coverage: &Coverage) -> std::fmt::Result {
    let Coverage { device, preset, wanted, missing } = coverage;
    let there = wanted - missing.len();
    writeln!(text, "{preset}: {there} of {wanted} entries on {device}")?;
    for gap in missing {
        writeln!(text, "{:>10}  {gap}", "missing")?;
    }
    Ok(())
}
