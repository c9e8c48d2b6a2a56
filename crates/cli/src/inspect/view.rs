//! What a cache holds, arranged for showing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use voxtune_cache::{
    CacheDir, CacheError, Decision, Decisions, EntryKey, Evidence, FileKind, FileName, KernelHash,
    Outcome, Reason, Record, decide, decode_decisions, decode_evidence,
};
use voxtune_types::{Arch, DeviceIdentity, ShapeKey, printable_path};

use crate::selection::Selection;

/// The cache of one architecture.
#[derive(Debug, Serialize)]
pub(super) struct View {
    /// File or folder.
    pub(super) path: String,
    /// Architecture.
    pub(super) arch: String,
    /// By device, then key.
    pub(super) keys: Vec<KeyView>,
    /// What may not win anywhere, in the same order.
    pub(super) quarantined: Vec<QuarantineView>,
}

/// An algorithm that may not win an entry.
#[derive(Debug, Serialize)]
pub(super) struct QuarantineView {
    #[serde(flatten)]
    entry: EntryKey,
    algo: String,
    kernel_hash: KernelHash,
    reason: Reason,
    detail: String,
}

/// One key on one device.
#[derive(Debug, Serialize)]
pub(super) struct KeyView {
    pub(super) device: DeviceIdentity,
    pub(super) key: ShapeKey,
    /// What the runtime does; absent where every candidate is quarantined.
    pub(super) decision: Option<DecisionView>,
    /// What was measured; empty where only decisions are there.
    pub(super) workloads: Vec<WorkloadView>,
}

/// A decision without its key.
#[derive(Debug, Serialize)]
pub(super) struct DecisionView {
    pub(super) winner: String,
    pub(super) runner_up: Option<String>,
    pub(super) without_libraries: Option<String>,
    pub(super) safe: Vec<String>,
}

/// A key measured on one cloud.
#[derive(Debug, Serialize)]
pub(super) struct WorkloadView {
    pub(super) workload: voxtune_cache::Workload,
    /// Fastest first, with what they are charged; quarantined ones last.
    pub(super) candidates: Vec<Record>,
}

impl View {
    /// What a decision or evidence file holds.
    pub(super) fn of_file(path: &Path) -> Result<Self, String> {
        let bytes = voxtune_files::read(path)
            .map_err(|error| format!("failed to read {}: {error}", printable_path(path)))?;
        let text = |error: CacheError| error.to_string();
        let Some(name) = FileName::of(path) else {
            return Err(format!(
                "{}: not the name of a cache: expected ARCH.msgpack or ARCH.evidence.msgpack",
                printable_path(path)
            ));
        };
        let (decisions, evidence) = match name.kind {
            FileKind::Decisions => {
                (decode_decisions(&bytes, path).map_err(text)?, Evidence::default())
            }
            FileKind::Evidence => {
                let evidence = decode_evidence(&bytes, path).map_err(text)?;
                (decide(&evidence), evidence)
            }
        };
        Ok(Self::new(&path.display().to_string(), name.arch, &decisions, &evidence))
    }

    /// What a folder holds for an architecture. If one of the two files is damaged, the other is
    /// shown all the same.
    pub(super) fn of_arch(cache: &CacheDir, arch: Arch) -> Vec<Result<Self, String>> {
        let mut views = Vec::new();
        let mut readable = |error: CacheError| views.push(Err(error.to_string()));
        let (decisions, evidence) = cache
            .read_together(arch, |cache| (cache.read_decisions(arch), cache.read_evidence(arch)));
        let decisions = decisions.unwrap_or_else(|error| {
            readable(error);
            None
        });
        let evidence = evidence.unwrap_or_else(|error| {
            readable(error);
            None
        });
        if decisions.is_some() || evidence.is_some() {
            let path = cache.path().display().to_string();
            let (decisions, evidence) =
                (decisions.unwrap_or_default(), evidence.unwrap_or_default());
            views.push(Ok(Self::new(&path, arch, &decisions, &evidence)));
        }
        views
    }

    fn new(path: &str, arch: Arch, decisions: &Decisions, evidence: &Evidence) -> Self {
        let mut keys: BTreeMap<(DeviceIdentity, ShapeKey), KeyView> = BTreeMap::new();
        for decision in decisions.iter() {
            let view = KeyView::new(decision.device.clone(), decision.key);
            keys.entry((decision.device.clone(), decision.key)).or_insert(view).decision =
                Some(DecisionView::new(&decision));
        }
        for (entry, records) in evidence.entries() {
            let EntryKey { device, key, workload } = entry;
            let view = KeyView::new(device.clone(), *key);
            let mut candidates: Vec<Record> = records.iter().cloned().collect();
            candidates.sort_by_key(|record| match &record.outcome {
                Outcome::Measured(timing) | Outcome::Beaten(timing) => {
                    (0, timing.charged_median_ns())
                }
                Outcome::Quarantined { .. } => (1, 0),
            });
            let workload = WorkloadView { workload: workload.clone(), candidates };
            keys.entry((device.clone(), *key)).or_insert(view).workloads.push(workload);
        }
        let keys = keys.into_values().collect();
        let quarantined =
            evidence.quarantine().filter_map(|(entry, record)| QuarantineView::new(entry, record));
        Self {
            path: path.to_owned(),
            arch: arch.to_string(),
            keys,
            quarantined: quarantined.collect(),
        }
    }

    /// Only what a selection admits, and at most `limit` candidates of each entry: the winner and
    /// the fastest others.
    pub(super) fn narrowed(mut self, selection: &Selection, limit: Option<usize>) -> Self {
        self.keys.retain(|view| selection.admits(&view.device, &view.key));
        self.quarantined.retain(|view| selection.admits_entry(&view.entry));
        let Some(limit) = limit else { return self };
        for view in &mut self.keys {
            let winner = view.decision.as_ref().map(|decision| decision.winner.as_str());
            for workload in &mut view.workloads {
                workload.candidates.sort_by_key(|record| Some(record.algo.as_str()) != winner);
                workload.candidates.truncate(limit);
            }
        }
        self
    }
}

impl View {
    /// Only the candidates that may not win, and where.
    pub(super) fn quarantine_alone(mut self) -> Self {
        for view in &mut self.keys {
            for workload in &mut view.workloads {
                workload.candidates.retain(|record| record.timing().is_none());
            }
            view.workloads.retain(|workload| !workload.candidates.is_empty());
        }
        self.keys.retain(|view| !view.workloads.is_empty());
        self
    }
}

impl QuarantineView {
    fn new(entry: &EntryKey, record: &Record) -> Option<Self> {
        let Outcome::Quarantined { reason, detail } = &record.outcome else { return None };
        Some(Self {
            entry: entry.clone(),
            algo: record.algo.to_string(),
            kernel_hash: record.kernel_hash,
            reason: *reason,
            detail: detail.clone(),
        })
    }
}

impl KeyView {
    const fn new(device: DeviceIdentity, key: ShapeKey) -> Self {
        Self { device, key, decision: None, workloads: Vec::new() }
    }
}

impl DecisionView {
    fn new(decision: &Decision) -> Self {
        Self {
            winner: decision.winner.to_string(),
            runner_up: decision.runner_up.as_ref().map(ToString::to_string),
            without_libraries: decision.without_libraries.as_ref().map(ToString::to_string),
            safe: decision.safe.iter().map(ToString::to_string).collect(),
        }
    }
}
