//! Leaving out kernels whose loss costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use voxtune::{AlgoId, Operation};
use voxtune_cache::{Decision, Decisions, EntryKey, Evidence, Outcome, Records};
use voxtune_cuda::{Instance, algorithm, default_algorithm};

use super::contents::{Contents, Role};

/// A kernel that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Pruned {
    /// Which.
    pub instance: Instance,
    /// How many entries ran it.
    pub entries: usize,
    /// The most that an entry loses, against its winner: 0.01 for one percent. Losses of kernels
    /// left out before count.
    pub worst_loss: f64,
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, entries, worst_loss } = self;
        write!(f, "{instance}: won {entries} entries, of which none loses {:.2} %", {
            // Rounded up: a loss is never more than what is said.
            (worst_loss * 1e4).ceil() / 100.0
        })
    }
}

/// What one measured workload of a decision loses with the kernels that are left.
struct Entry {
    /// Instance and time of the algorithms in the order in which a runtime tries them.
    tried: Vec<(Instance, u64)>,
}

impl Entry {
    fn new(decision: &Decision, entry: &EntryKey, records: &Records) -> Option<Self> {
        let operation = &entry.key.operation;
        let default = default_algorithm(operation).id();
        let named = [
            Some(&decision.winner),
            decision.runner_up.as_ref(),
            decision.without_libraries.as_ref(),
            Some(default),
        ];
        // Where the winner was not measured, what is lost against it is not known.
        median_ns(records, &decision.winner)?;
        let timed = |id: &AlgoId| Some((instance(id, operation)?, median_ns(records, id)?));
        let tried: Vec<_> = named.into_iter().flatten().filter_map(timed).collect();
        (!tried.is_empty()).then_some(Self { tried })
    }

    /// The loss against the winner; infinite where nothing is left that was timed.
    fn loss(&self, is_there: impl Fn(&Instance) -> bool) -> f64 {
        let winner_ns = self.tried[0].1.max(1) as f64;
        let ran = self.tried.iter().find(|(instance, _)| is_there(instance));
        ran.map_or(f64::INFINITY, |(_, ns)| *ns as f64 / winner_ns - 1.0)
    }
}

fn instance(id: &AlgoId, operation: &Operation) -> Option<Instance> {
    algorithm(id)?.instance(operation)
}

fn median_ns(records: &Records, id: &AlgoId) -> Option<u64> {
    let preferred = records.preferred();
    let record = preferred.into_iter().find(|record| record.algo == *id)?;
    match &record.outcome {
        Outcome::Measured(timing) => Some(timing.charged_median_ns()),
        Outcome::Beaten(_) | Outcome::Quarantined { .. } => None,
    }
}

/// What measured entries lose without a kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Without {
    /// The most that one loses.
    worst_loss: f64,
    /// By how much the sum of the squares of their losses grows.
    squares: f64,
}

impl Without {
    /// Adds an entry that loses `before` with the kernel and `then` without it.
    fn with(self, before: f64, then: f64) -> Self {
        // Of what nothing is left either way nothing is lost.
        let grown = if before.is_finite() { then * then - before * before } else { 0.0 };
        Self { worst_loss: self.worst_loss.max(then), squares: self.squares + grown }
    }
}

/// Takes chosen kernels out of a pack's contents, the cheapest first, as long as the next one costs
/// less than `limit`. What then runs is what a runtime would take, the runner-up or the default.
/// Defaults and utilities stay.
///
/// What a kernel costs is the root of the sum of the squares of what measured entries lose without
/// it. So one that a single entry needs may go where one that many need stays, and no entry loses
/// `limit`.
pub fn prune(
    contents: &mut Contents,
    decisions: &Decisions,
    evidence: &Evidence,
    limit: f64,
) -> Vec<Pruned> {
    let mut entries = Vec::new();
    for decision in decisions.iter() {
        let workloads = evidence.decisive_workloads(&decision.device, &decision.key);
        entries
            .extend(workloads.filter_map(|(entry, records)| Entry::new(&decision, entry, records)));
    }
    let mut users: BTreeMap<&Instance, Vec<&Entry>> = BTreeMap::new();
    for entry in &entries {
        let distinct: BTreeSet<&Instance> =
            entry.tried.iter().map(|(instance, _)| instance).collect();
        for instance in distinct {
            users.entry(instance).or_default().push(entry);
        }
    }
    let mut pruned = Vec::new();
    loop {
        let is_there = |instance: &Instance| contents.instances.contains_key(instance);
        let without = |instance: &Instance| {
            let is_left = |one: &Instance| one != instance && is_there(one);
            let users = users.get(instance).map_or(&[][..], Vec::as_slice);
            users.iter().fold(Without::default(), |so_far, entry| {
                so_far.with(entry.loss(is_there), entry.loss(is_left))
            })
        };
        let chosen = contents.instances.iter().filter(|(_, role)| **role == Role::Choice);
        let cheapest = chosen
            .map(|(instance, _)| (without(instance), instance))
            .filter(|(without, _)| without.worst_loss < limit && without.squares < limit * limit)
            .min_by(|(a, one), (b, other)| {
                a.squares.total_cmp(&b.squares).then_with(|| one.cmp(other))
            });
        let Some((Without { worst_loss, .. }, instance)) = cheapest else { return pruned };
        let instance = instance.clone();
        let won = entries.iter().filter(|entry| entry.tried[0].0 == instance).count();
        contents.instances.remove(&instance);
        pruned.push(Pruned { instance, entries: won, worst_loss: worst_loss.max(0.0) });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use voxtune::Arch;
    use voxtune_cache::CacheDir;

    use super::*;

    /// Over the measurements that ship: more may be lost where more is allowed, defaults stay, and
    /// no entry loses more than the limit.
    #[test]
    fn no_entry_loses_the_limit() {
        let caches = CacheDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../caches"));
        let arch = Arch::sm(9, 0);
        let decisions = caches.read_decisions(arch).unwrap().unwrap();
        let evidence = caches.read_evidence(arch).unwrap().unwrap();
        let whole = Contents::of("sm_90".parse().unwrap(), Some(&decisions), None);
        let mut sizes = Vec::new();
        for limit in [0.0, 0.01, 0.05, 0.5] {
            let mut contents = whole.clone();
            let pruned = prune(&mut contents, &decisions, &evidence, limit);
            assert!(pruned.iter().all(|one| one.worst_loss < limit.max(f64::MIN_POSITIVE)));
            assert_eq!(contents.instances.len() + pruned.len(), whole.instances.len());
            for role in [Role::Utility, Role::Default] {
                assert_eq!(contents.count(role), whole.count(role));
            }
            for decision in decisions.iter() {
                for (entry, records) in evidence.workloads(&decision.device, &decision.key) {
                    let Some(entry) = Entry::new(&decision, entry, records) else { continue };
                    let before = entry.loss(|one| whole.instances.contains_key(one));
                    let after = entry.loss(|one| contents.instances.contains_key(one));
                    assert!(after < limit || after <= before, "{after} of {limit}");
                }
            }
            sizes.push(contents.instances.len());
        }
        assert!(sizes.is_sorted_by(|more, less| more >= less), "{sizes:?}");
        assert!(sizes[3] < sizes[0], "{sizes:?}");
    }
}
