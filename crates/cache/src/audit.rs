//! Whether decisions follow from evidence, and entries lie under their own keys.
//!
//! What decoding finds (damage, an order, a number out of range) is not repeated here.

use std::collections::BTreeMap;

use serde::Serialize;
use voxtune_types::{DeviceIdentity, ShapeKey};

use crate::decide::decide;
use crate::decision::{Decision, Decisions};
use crate::entry::EntryKey;
use crate::evidence::Evidence;

/// One thing about which the two files of an architecture contradict each other or themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Inconsistency {
    /// The evidence says something else than the decision.
    Underived {
        /// What the file holds.
        stored: Box<Decision>,
        /// What follows from the evidence.
        derived: Box<Decision>,
    },
    /// The evidence decides a key, and the file is silent about it.
    Undecided {
        /// What follows from the evidence.
        derived: Box<Decision>,
    },
    /// A key was measured, nothing may win it, and the file has a winner.
    Unfounded {
        /// What the file holds.
        stored: Box<Decision>,
    },
    /// Nothing was measured for a decision. It may have come from another machine without its
    /// evidence, so this is a doubt and no contradiction.
    Unproven {
        /// What the file holds.
        stored: Box<Decision>,
    },
    /// An entry lies under another key than that of its rows and pairs.
    Misfiled {
        /// The entry.
        entry: Box<EntryKey>,
        /// The key of its workload.
        expected: ShapeKey,
    },
    /// A workload with more pairs than a kernel of its size can make.
    ImpossiblePairs {
        /// The entry.
        entry: Box<EntryKey>,
        /// The most that there can be.
        most_pairs: u64,
    },
}

impl Inconsistency {
    /// Whether something must be wrong, rather than unknown.
    #[must_use]
    pub const fn is_contradiction(&self) -> bool {
        !matches!(self, Self::Unproven { .. })
    }

    /// The device and the key that it is about.
    #[must_use]
    pub fn place(&self) -> (&DeviceIdentity, &ShapeKey) {
        match self {
            Self::Underived { stored: one, .. }
            | Self::Undecided { derived: one }
            | Self::Unfounded { stored: one }
            | Self::Unproven { stored: one } => (&one.device, &one.key),
            Self::Misfiled { entry, .. } | Self::ImpossiblePairs { entry, .. } => {
                (&entry.device, &entry.key)
            }
        }
    }
}

/// The decisions that a file with these ones should hold: what follows from the evidence, and what
/// is there for keys that were never measured here.
#[must_use]
pub fn rederive(stored: &Decisions, evidence: &Evidence) -> Decisions {
    let foreign = stored.iter().filter(|one| !evidence.has_key(&one.device, &one.key));
    foreign.chain(decide(evidence).iter()).collect()
}

/// Every inconsistency of an architecture's two files, by device and key.
///
/// If none of the first three kinds is among them, [`rederive`] gives the stored decisions, and so
/// the stored bytes.
#[must_use]
pub fn audit(stored: &Decisions, evidence: &Evidence) -> Vec<Inconsistency> {
    let mut found = compare(stored, evidence);
    for (entry, _) in evidence.entries() {
        found.extend(misfiled(entry));
        found.extend(impossible_pairs(entry));
    }
    found.sort_by(|a, b| a.place().cmp(&b.place()));
    found
}

fn compare(stored: &Decisions, evidence: &Evidence) -> Vec<Inconsistency> {
    let mut derived: BTreeMap<(DeviceIdentity, ShapeKey), Decision> =
        decide(evidence).iter().map(|one| ((one.device.clone(), one.key), one)).collect();
    let mut found = Vec::new();
    for stored in stored.iter() {
        let stored = Box::new(stored);
        match derived.remove(&(stored.device.clone(), stored.key)) {
            Some(derived) if derived == *stored => {}
            Some(derived) => {
                found.push(Inconsistency::Underived { stored, derived: Box::new(derived) });
            }
            None if evidence.has_key(&stored.device, &stored.key) => {
                found.push(Inconsistency::Unfounded { stored });
            }
            None => found.push(Inconsistency::Unproven { stored }),
        }
    }
    let silent = derived.into_values();
    found.extend(silent.map(|derived| Inconsistency::Undecided { derived: Box::new(derived) }));
    found
}

fn misfiled(entry: &EntryKey) -> Option<Inconsistency> {
    let workload = &entry.workload;
    // A count past the address space fits no key of this machine, and is no row count either.
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let expected = ShapeKey::new(
        entry.key.operation,
        count(workload.rows_in),
        count(workload.rows_out),
        count(workload.pairs),
    );
    (expected != entry.key)
        .then(|| Inconsistency::Misfiled { entry: Box::new(entry.clone()), expected })
}

fn impossible_pairs(entry: &EntryKey) -> Option<Inconsistency> {
    let workload = &entry.workload;
    let volume = entry.key.operation.kernel.volume() as u64;
    let most_pairs = workload.rows_out.saturating_mul(volume);
    (workload.pairs > most_pairs)
        .then(|| Inconsistency::ImpossiblePairs { entry: Box::new(entry.clone()), most_pairs })
}
