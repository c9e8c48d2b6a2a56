//! What merging leaves out, and by which rule.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use crate::entry::EntryKey;
use crate::evidence::Evidence;
use crate::record::Record;

/// Which part of the rule for collisions chose a record, see [`Evidence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// It is a quarantine, and the other one is not: what fails now and then has failed.
    Quarantined,
    /// It raced beside the default, and the other one did not.
    MetDefault,
    /// It has more samples.
    MoreSamples,
    /// It has as many samples and a smaller spread.
    SmallerSpread,
    /// Nothing but its encoding, which is smaller, tells it from the other.
    SmallerEncoding,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Quarantined => "a quarantine goes before a measurement",
            Self::MetDefault => "raced beside the default",
            Self::MoreSamples => "more samples",
            Self::SmallerSpread => "smaller spread",
            Self::SmallerEncoding => "smaller encoding",
        })
    }
}

/// Two different records in one place: the same code of the same algorithm, measured twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    /// What was measured.
    pub entry: EntryKey,
    /// The record that merging keeps.
    pub kept: Record,
    /// The one that it drops.
    pub dropped: Record,
    /// Whether the kept one was there before, rather than in what is added.
    pub kept_is_ours: bool,
    /// Why.
    pub rule: Rule,
}

/// The conflicts that merging `theirs` into `ours` will decide, by entry, algorithm and version.
#[must_use]
pub fn conflicts(ours: &Evidence, theirs: &Evidence) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (entry, theirs) in theirs.entries() {
        let Some(ours) = ours.records(entry) else { continue };
        for their in theirs.iter() {
            let Some(our) = ours.get(&their.algo, their.kernel_hash) else { continue };
            found.extend(conflict(entry, our, their));
        }
    }
    found
}

fn conflict(entry: &EntryKey, our: &Record, their: &Record) -> Option<Conflict> {
    let kept_is_ours = match our.trust_order(their) {
        Ordering::Equal => return None,
        Ordering::Less => true,
        Ordering::Greater => false,
    };
    let (kept, dropped) = if kept_is_ours { (our, their) } else { (their, our) };
    Some(Conflict {
        entry: entry.clone(),
        kept: kept.clone(),
        dropped: dropped.clone(),
        kept_is_ours,
        rule: rule(kept, dropped),
    })
}

/// The first part of the rule that tells the two apart.
fn rule(kept: &Record, dropped: &Record) -> Rule {
    match (kept.timing(), dropped.timing()) {
        (None, Some(_)) => Rule::Quarantined,
        (Some(kept), Some(dropped)) if kept.met_default() != dropped.met_default() => {
            Rule::MetDefault
        }
        (Some(kept), Some(dropped)) if kept.samples != dropped.samples => Rule::MoreSamples,
        (Some(kept), Some(dropped)) if kept.spread_ns != dropped.spread_ns => Rule::SmallerSpread,
        _ => Rule::SmallerEncoding,
    }
}
