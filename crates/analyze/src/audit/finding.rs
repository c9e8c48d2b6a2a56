//! What an audit finds.

use std::fmt;

use serde::Serialize;
use voxtune::{AlgoId, DeviceIdentity, KernelHash, ShapeKey};
use voxtune_cache::{CacheError, EntryKey, Inconsistency};

use super::roofline::Bound;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot be right.
    Wrong,
    /// It was right for code that has changed since.
    Stale,
    /// Nothing says that it is right.
    Unproven,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wrong => "wrong",
            Self::Stale => "stale",
            Self::Unproven => "unproven",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A file is damaged, of a later version, misnamed, not in canonical form or no cache.
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The two files contradict each other or themselves.
    Inconsistent(Inconsistency),
    /// The decision file's bytes are not those that its evidence gives.
    OtherBytes {
        /// The file.
        path: String,
    },
    /// A time that no device reaches.
    FasterThanRoofline {
        /// What was measured.
        entry: Box<EntryKey>,
        /// Which candidate.
        algo: AlgoId,
        /// Its smallest sample.
        ///
        /// # Units
        /// Nanoseconds.
        min_ns: u64,
        /// The least that is possible.
        bound: Bound,
    },
    /// A timing of code that has changed or gone.
    Stale {
        /// What was measured.
        entry: Box<EntryKey>,
        /// Which candidate.
        algo: AlgoId,
        /// The code that ran.
        kernel_hash: KernelHash,
        /// The code of today; none where the algorithm is gone.
        current: Option<KernelHash>,
        /// Whether this candidate is the winner of its key.
        decides: bool,
    },
    /// A kernel pack that is damaged, or was not made from these sources and decisions.
    Pack {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// What it is for, such as `sm_90`.
        target: String,
    },
    /// What the model of cost has learned, from other evidence than lies beside it.
    OtherEvidence {
        /// The file.
        path: String,
    },
    /// A damaged file that a writer moved out of the way.
    SetAside {
        /// Where it is now.
        path: String,
    },
}

/// What repairs a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// To decide by the evidence again, as merging does.
    Decide,
    /// To forget what cannot be, or is of an algorithm that is gone, and measure the entry again.
    Forget,
    /// To measure what has changed, beside the stored leaders.
    TopUp,
    /// To learn from the evidence again.
    Fit,
}

impl Finding {
    /// What repairs it, where a command does that says so of a whole folder.
    #[must_use]
    pub const fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::OtherBytes { .. }
            | Self::Inconsistent(
                Inconsistency::Underived { .. }
                | Inconsistency::Undecided { .. }
                | Inconsistency::Unfounded { .. },
            ) => Some(Remedy::Decide),
            Self::FasterThanRoofline { .. }
            | Self::Inconsistent(
                Inconsistency::Misfiled { .. } | Inconsistency::ImpossiblePairs { .. },
            ) => Some(Remedy::Forget),
            Self::Stale { current: Some(_), .. } => Some(Remedy::TopUp),
            Self::OtherEvidence { .. } => Some(Remedy::Fit),
            // A top-up races who is there.
            Self::Stale { current: None, .. } => Some(Remedy::Forget),
            _ => None,
        }
    }

    pub(super) fn unreadable(error: &CacheError) -> Self {
        let path = error.path().display().to_string();
        let text = error.to_string();
        // The error begins with the path, which is kept apart here.
        let reason = text.strip_prefix(&format!("{path}: ")).unwrap_or(&text).to_owned();
        Self::Unreadable { path, reason }
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Unreadable { .. }
            | Self::OtherBytes { .. }
            | Self::FasterThanRoofline { .. }
            | Self::Pack { .. } => Severity::Wrong,
            Self::Inconsistent(inconsistency) if inconsistency.is_contradiction() => {
                Severity::Wrong
            }
            Self::Inconsistent(_) | Self::SetAside { .. } => Severity::Unproven,
            Self::Stale { .. } | Self::OtherEvidence { .. } => Severity::Stale,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "{path}: {reason}"),
            Self::OtherBytes { path } => {
                write!(f, "{path}: other bytes than follow from the evidence beside it")
            }
            Self::Inconsistent(inconsistency) => {
                let (device, key) = inconsistency.place();
                write_place(f, device, key)?;
                write_inconsistency(f, inconsistency)
            }
            Self::FasterThanRoofline { entry, algo, min_ns, bound } => {
                write_entry(f, entry)?;
                let (ns, source) = (bound.least.ns, bound.source);
                write!(
                    f,
                    "{algo} took {min_ns} ns, and no device takes less than {ns:.0} ns ({source})"
                )
            }
            Self::Stale { entry, algo, kernel_hash, current, decides } => {
                write_entry(f, entry)?;
                let role = if *decides { " (the winner)" } else { "" };
                write!(f, "{algo}{role} was measured with code {kernel_hash}, ")?;
                match current {
                    Some(current) => write!(f, "and is {current} now"),
                    None => f.write_str("and is gone"),
                }
            }
            Self::Pack { path, reason, target } => {
                write!(f, "{path}: {reason}; repair it with `voxtune pack --arch {target}`")
            }
            Self::OtherEvidence { path } => {
                write!(f, "{path}: learned from other evidence than lies beside it")
            }
            Self::SetAside { path } => write!(f, "{path}: damaged, set aside by a writer"),
        }
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, device: &DeviceIdentity, key: &ShapeKey) -> fmt::Result {
    write!(f, "{device}: {key}: ")
}

fn write_entry(f: &mut fmt::Formatter<'_>, entry: &EntryKey) -> fmt::Result {
    write!(f, "{}: {} on {}: ", entry.device, entry.key, entry.workload.cloud)
}

fn write_inconsistency(f: &mut fmt::Formatter<'_>, found: &Inconsistency) -> fmt::Result {
    match found {
        Inconsistency::Underived { stored, derived } if stored.winner != derived.winner => {
            write!(f, "decided for {}, and the evidence for {}", stored.winner, derived.winner)
        }
        Inconsistency::Underived { stored, .. } => {
            write!(f, "decided for {}, as the evidence, and with other alternatives", stored.winner)
        }
        Inconsistency::Undecided { derived } => {
            write!(f, "not decided, and the evidence is for {}", derived.winner)
        }
        Inconsistency::Unfounded { stored } => {
            write!(f, "decided for {}, and by the evidence nothing may win", stored.winner)
        }
        Inconsistency::Unproven { stored } => {
            write!(f, "decided for {} without evidence", stored.winner)
        }
        Inconsistency::Misfiled { entry, expected } => {
            let cloud = &entry.workload.cloud;
            write!(f, "holds a measurement on {cloud} that belongs to {expected}")
        }
        Inconsistency::ImpossiblePairs { entry, most_pairs } => {
            let pairs = entry.workload.pairs;
            write!(f, "claims {pairs} pairs where there are at most {most_pairs}")
        }
        // The enum may grow.
        other => write!(f, "{other:?}"),
    }
}
