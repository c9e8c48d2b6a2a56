//! Auditing caches without a device: what is wrong with them, and what is no longer known to be
//! right.
//!
//! | question | module |
//! |---|---|
//! | do the decisions follow from the evidence? | [`voxtune_cache::audit()`] |
//! | could a device be that fast? | [`roofline`] |
//! | is it still the same code? | [`code`] |
//! | is anything of a preset missing? | [`coverage`](mod@coverage) |
//! | all of it, for one architecture of a folder | [`audit_arch`] |

pub mod code;
pub mod coverage;
pub mod roofline;

mod finding;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use voxtune::Arch;
use voxtune_cache::decide::TIMER_STEP_NS;
use voxtune_cache::{
    CacheDir, CacheError, Decisions, EntryKey, Evidence, FileName, Inconsistency, Record, Records,
    audit, decode_decisions, decode_evidence, encode_decisions, read_file, rederive,
};

use crate::fit::{ModelFileError, is_stale, model_path};

pub use code::{BuiltCode, Code, CurrentCode};
pub use coverage::{Coverage, Gap, coverage};
pub use finding::{Finding, Remedy, Severity};

/// What an audit of one architecture saw.
#[derive(Clone, Debug, Serialize)]
pub struct ArchAudit {
    /// The folder.
    pub folder: String,
    /// The architecture.
    pub arch: Arch,
    /// Decisions in the file.
    pub decision_count: usize,
    /// Entries of the evidence.
    pub entry_count: usize,
    /// Records that hold a timing.
    pub timing_count: usize,
    /// Of these, those whose code is not compiled here: whether it changed is not known.
    pub unknown_code_count: usize,
    /// What is wrong, stale or unproven.
    pub findings: Vec<Finding>,
    /// The decisions, as far as they can be read.
    #[serde(skip)]
    pub decisions: Decisions,
    /// The evidence, as far as it can be read.
    #[serde(skip)]
    pub evidence: Evidence,
}

/// Audits the files of an architecture in a folder.
#[must_use]
pub fn audit_arch(folder: &CacheDir, arch: Arch, code: &mut dyn CurrentCode) -> ArchAudit {
    let Files { decisions, evidence, mut findings, learned } =
        folder.read_together(arch, |folder| {
            let mut findings = Vec::new();
            let decisions = read(&folder.decisions_path(arch), &mut findings, |bytes, path| {
                decode_decisions(bytes, path).map(|decisions| (bytes.to_vec(), decisions))
            });
            let model = model_path(folder.path(), arch);
            let mut learned = None;
            let evidence = read(&folder.evidence_path(arch), &mut findings, |bytes, path| {
                learned = Some(is_stale(&model, bytes));
                decode_evidence(bytes, path)
            });
            Files {
                decisions,
                evidence,
                findings,
                learned: learned.and_then(|one| of_model(&model, one)),
            }
        });
    // Of two files one of which cannot be read, nothing more is known.
    let both_readable = findings.is_empty();
    let (bytes, decisions) = decisions.unwrap_or_default();
    let evidence = evidence.unwrap_or_default();
    if both_readable {
        findings.extend(compare(folder, arch, &bytes, &decisions, &evidence));
    }
    findings.extend(learned);
    let mut audit = ArchAudit {
        folder: folder.path().display().to_string(),
        arch,
        decision_count: decisions.len(),
        entry_count: evidence.len(),
        timing_count: 0,
        unknown_code_count: 0,
        findings,
        decisions,
        evidence: Evidence::new(),
    };
    for (entry, records) in evidence.entries() {
        audit.entry(entry, records, code);
    }
    audit.evidence = evidence;
    audit
}

/// What lies in a folder at one moment.
struct Files {
    /// The bytes, and what they say.
    decisions: Option<(Vec<u8>, Decisions)>,
    evidence: Option<Evidence>,
    /// What cannot be read.
    findings: Vec<Finding>,
    /// What is wrong with the model that was learned from the evidence.
    learned: Option<Finding>,
}

fn of_model(path: &Path, is_stale: Result<Option<bool>, ModelFileError>) -> Option<Finding> {
    let path = path.display().to_string();
    match is_stale {
        Ok(None | Some(false)) => None,
        Ok(Some(true)) => Some(Finding::OtherEvidence { path }),
        Err(ModelFileError::Unread(error)) => Some(Finding::unreadable(&error)),
        Err(ModelFileError::Damaged(error)) => {
            Some(Finding::Unreadable { path, reason: error.reason })
        }
    }
}

fn read<T>(
    path: &Path,
    findings: &mut Vec<Finding>,
    decode: impl FnOnce(&[u8], &Path) -> Result<T, CacheError>,
) -> Option<T> {
    let decoded =
        read_file(path).and_then(|bytes| bytes.map(|bytes| decode(&bytes, path)).transpose());
    decoded.map_err(|error| findings.push(Finding::unreadable(&error))).ok().flatten()
}

/// Whether the bytes of the decision file are those that follow from the evidence; if not, why.
fn compare(
    folder: &CacheDir,
    arch: Arch,
    bytes: &[u8],
    decisions: &Decisions,
    evidence: &Evidence,
) -> Vec<Finding> {
    let inconsistencies = audit(decisions, evidence);
    let mut explained = false;
    let mut findings = Vec::with_capacity(inconsistencies.len());
    for inconsistency in inconsistencies {
        explained |= matches!(
            inconsistency,
            Inconsistency::Underived { .. }
                | Inconsistency::Undecided { .. }
                | Inconsistency::Unfounded { .. }
        );
        findings.push(Finding::Inconsistent(inconsistency));
    }
    let expected = rederive(decisions, evidence);
    // Where nothing is decided there need be no file.
    let same = (bytes.is_empty() && expected.is_empty())
        || encode_decisions(arch, &expected).is_ok_and(|expected| expected == bytes);
    if !same && !explained {
        let path = folder.decisions_path(arch).display().to_string();
        findings.push(Finding::OtherBytes { path });
    }
    findings
}

impl ArchAudit {
    fn entry(&mut self, entry: &EntryKey, records: &Records, code: &mut dyn CurrentCode) {
        let bound = roofline::bound(entry);
        // A time may be off by a step of the timer, which matters to the shortest.
        let least_ns =
            bound.least.ns - if entry.device.arch.is_cuda() { TIMER_STEP_NS } else { 0.0 };
        for record in records.iter() {
            let Some(timing) = record.timing() else { continue };
            self.timing_count += 1;
            if (timing.min_ns as f64) < least_ns.max(1.0) {
                self.findings.push(Finding::FasterThanRoofline {
                    entry: Box::new(entry.clone()),
                    algo: record.algo.clone(),
                    min_ns: timing.min_ns,
                    bound,
                });
            }
            self.code(entry, record, code);
        }
    }

    fn code(&mut self, entry: &EntryKey, record: &Record, code: &mut dyn CurrentCode) {
        let current = match code.of(entry.device.arch, &record.algo, &entry.key.operation) {
            Code::Unknown => {
                self.unknown_code_count += 1;
                return;
            }
            Code::Runs(hash) if hash == record.kernel_hash => return,
            Code::Runs(hash) => Some(hash),
            Code::Retired => None,
        };
        self.findings.push(Finding::Stale {
            entry: Box::new(entry.clone()),
            algo: record.algo.clone(),
            kernel_hash: record.kernel_hash,
            current,
            decides: self
                .decisions
                .get(&entry.device, &entry.key)
                .is_some_and(|decision| decision.winner == record.algo),
        });
    }

    /// How many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity() == severity).count()
    }
}

/// Files of a folder that claim to be caches and are none, and damaged ones that were set aside.
///
/// # Errors
/// If the folder cannot be listed.
pub fn audit_names(folder: &Path) -> std::io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = path.display().to_string();
        if name.contains(".msgpack.corrupt-") {
            findings.push(Finding::SetAside { path: text });
        } else if name.ends_with(".msgpack")
            && !name.starts_with('.')
            && FileName::of(&path).is_none()
        {
            findings.push(Finding::Unreadable {
                path: text,
                reason: "not the name of a cache: expected ARCH.msgpack or ARCH.evidence.msgpack"
                    .to_owned(),
            });
        }
    }
    findings.sort_by_key(|finding| finding.to_string());
    Ok(findings)
}
