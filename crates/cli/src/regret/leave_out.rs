//! `regret --leave-out`: what would run had a part of the evidence never been measured.

use std::path::PathBuf;

use voxtune::{Arch, KernelSource};
use voxtune_analyze::regret::{LeaveOut, LeftOut, leave_out, plot_left_out};
use voxtune_bench::table;
use voxtune_cache::{CacheDir, Evidence, FileKind, FileName, decode_evidence, read_file};
use voxtune_types::printable_path;

use super::rows::{Row, TITLES, distribution};
use crate::exit::{Exit, Failure};
use crate::json_file::JsonReport;
use crate::output;
use crate::output_file::OutputFile;

/// How many parts are named.
const SHOWN: usize = 5;

/// The evidence of the files named, or of a folder, by architecture.
fn evidence(files: &[PathBuf], cache: &CacheDir) -> Result<Vec<(Arch, Evidence)>, Failure> {
    let mut all = Vec::new();
    if files.is_empty() {
        for arch in cache.archs().map_err(Failure::failed)? {
            let found = cache.read_evidence(arch).map_err(Failure::failed)?;
            all.extend(found.map(|evidence| (arch, evidence)));
        }
    }
    for file in files {
        let named = FileName::of(file).filter(|name| name.kind == FileKind::Evidence);
        let Some(FileName { arch, .. }) = named else {
            return Err(Failure::usage(format!(
                "{}: --leave-out hides parts of stored evidence: expected <arch>.evidence.msgpack",
                printable_path(file)
            )));
        };
        all.push((arch, of_file(file)?));
    }
    Ok(all)
}

/// The evidence of a file, which must be there.
pub(super) fn of_file(file: &std::path::Path) -> Result<Evidence, Failure> {
    let bytes = read_file(file).map_err(Failure::failed)?.ok_or_else(|| {
        Failure::failed(format!("{}: there is no such file", printable_path(file)))
    })?;
    decode_evidence(&bytes, file).map_err(Failure::failed)
}

pub(super) fn run(
    hidden: LeaveOut,
    (files, cache): (&[PathBuf], &CacheDir),
    kernels: Option<&KernelSource>,
    (json, svg): (&JsonReport, Option<&OutputFile>),
) -> Result<Exit, Failure> {
    let evidence = evidence(files, cache)?;
    // The architecture with most of it: others are named, and have files of their own.
    let largest = evidence.iter().max_by_key(|(_, evidence)| evidence.len());
    let Some((arch, evidence_of)) = largest else {
        let place = printable_path(cache.path());
        return Err(Failure::failed(format!("{place}: no evidence here")));
    };
    for (other, _) in evidence.iter().filter(|(other, _)| other != arch) {
        let file = printable_path(&cache.evidence_path(*other));
        output::status("Skipped", format_args!("{other}: name {file} to look at it instead"));
    }
    let report = leave_out(evidence_of, *arch, hidden, kernels);
    output::results(&table(*arch, &report));
    let written = json.write(&report);
    if let Some(file) = svg {
        file.write(&plot_left_out(&report).map_err(Failure::failed)?)?;
    }
    written?;
    Ok(Exit::Success)
}

fn table(arch: Arch, report: &LeftOut) -> String {
    let devices: Vec<String> = report
        .devices
        .iter()
        .map(|device| voxtune_types::printable(&device.name).to_string())
        .collect();
    let mut text = format!(
        "{arch}, {}: {} left out, {} parts in turn\n",
        devices.join(" and "),
        report.hidden,
        report.parts
    );
    let mut rows = vec![Row::of("what would run", &report.resolved)];
    rows.extend(Row::graded(&report.grades));
    rows.push(Row::of("the model alone", &report.model));
    rows.push(Row::of("the default", &report.default));
    text.push_str(&table::table(&TITLES, rows.into_iter().map(Row::cells)));
    for part in report.by_part.iter().take(SHOWN) {
        let [mean, _, p95, worst] = distribution(part.regret);
        let count = part.regret.map_or(0, |regret| regret.count);
        text.push_str(&format!(
            "  without {}: {count} entries, mean {mean}, p95 {p95}, worst {worst}\n",
            part.name
        ));
    }
    text
}
