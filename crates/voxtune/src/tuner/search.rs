//! From a key to an algorithm, grade by grade.
//!
//! Looking up and explaining are the same walk; explaining listens to it. Nothing here allocates.

use std::sync::Arc;

use voxtune_cache::DecisionRef;
use voxtune_types::{AlgoId, AlgoMode, DeviceIdentity, ShapeKey};

use super::decision_cache::DecisionCache;
use super::near::guess;
use super::skip_reason::SkipReason;
use super::{Grade, GradeKind, MissPolicy, Source};
use crate::{Algorithm, ConvError, Registry};

/// The device that a key is resolved for.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) device: &'a DeviceIdentity,
    pub(super) registry: &'a Registry,
    /// Whether a call may wait until the device has counted the map's pairs.
    pub(super) waits: bool,
}

/// The inputs of a resolution.
pub(super) struct Search<'a, L> {
    pub(super) query: Query<'a>,
    pub(super) key: &'a ShapeKey,
    pub(super) mode: &'a AlgoMode,
    pub(super) policy: &'a MissPolicy,
    /// Gives the caches in the order of their authority.
    pub(super) decision_caches: L,
}

/// A grade that did not answer, and why; the cache, where the grade asks caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SkippedStep {
    pub(super) kind: GradeKind,
    pub(super) source: Option<Source>,
    pub(super) reason: SkipReason,
}

/// The algorithm that a grade answers with.
pub(super) struct Found<'t> {
    pub(super) algorithm: Arc<dyn Algorithm>,
    pub(super) grade: Grade,
    /// What was measured, where a cache answered.
    pub(super) entry: Option<DecisionRef<'t>>,
}

/// What one cache has for a grade.
type Lookup<'t> = Result<Found<'t>, SkipReason>;

impl<'a, 't, L, I> Search<'a, L>
where
    L: Fn() -> I,
    I: Iterator<Item = (Source, &'t DecisionCache)>,
{
    /// The first grade that answers. `skipped` hears of those before it.
    pub(super) fn run(&self, skipped: impl FnMut(SkippedStep)) -> Result<Found<'t>, ConvError> {
        let found = self.first(skipped)?;
        Ok(if self.query.waits { found } else { self.without_waiting(found) })
    }

    fn first(&self, mut skipped: impl FnMut(SkippedStep)) -> Result<Found<'t>, ConvError> {
        let Self { query, key, mode, .. } = *self;
        if let AlgoMode::Named(names) = mode {
            return self.pinned(names).ok_or_else(|| ConvError::Pinned {
                names: mode.to_string(),
                device: query.device.clone(),
                operation: key.operation,
            });
        }
        skipped(SkippedStep {
            kind: GradeKind::Pinned,
            source: None,
            reason: SkipReason::NothingPinned,
        });
        if let Some(found) = self.ask(GradeKind::Exact, &mut skipped, |source, decision_cache| {
            self.exact(source, decision_cache)
        }) {
            return Ok(found);
        }
        if matches!(self.policy, MissPolicy::Fail) {
            return Err(ConvError::Miss { device: query.device.clone(), key: *key });
        }
        self.ask(GradeKind::Sibling, &mut skipped, |source, decision_cache| {
            self.sibling(source, decision_cache)
        })
        .or_else(|| {
            self.ask(GradeKind::Near, &mut skipped, |source, decision_cache| {
                self.near(source, decision_cache)
            })
        })
        .or_else(|| self.modelled(&mut skipped))
        .or_else(|| self.default())
        .ok_or_else(|| ConvError::NoAlgorithm {
            device: query.device.clone(),
            operation: key.operation,
        })
    }

    /// What runs where the host does not wait for the device's counts: the answer itself, or what
    /// its decision names next that needs none, or the default.
    fn without_waiting(&self, found: Found<'t>) -> Found<'t> {
        let operation = &self.key.operation;
        let waits = |algorithm: &Arc<dyn Algorithm>| algorithm.waits_for_counts(operation);
        if !waits(&found.algorithm) {
            return found;
        }
        let registry = self.query.registry;
        let named = found.entry.into_iter().flat_map(|entry| entry.preferred().chain(entry.safe()));
        let mut usable = named.filter_map(|id| registry.usable(id, operation));
        match usable.find(|algorithm| !waits(algorithm)) {
            Some(algorithm) => Found { algorithm: Arc::clone(algorithm), ..found },
            None => self.default().filter(|default| !waits(&default.algorithm)).unwrap_or(found),
        }
    }

    /// One grade's answer from the first cache that has one.
    fn ask(
        &self,
        kind: GradeKind,
        skipped: &mut impl FnMut(SkippedStep),
        answer: impl Fn(Source, &'t DecisionCache) -> Lookup<'t>,
    ) -> Option<Found<'t>> {
        (self.decision_caches)().find_map(|(source, decision_cache)| {
            answer(source, decision_cache)
                .map_err(|reason| {
                    let reason = if decision_cache.table.is_empty() {
                        SkipReason::NoDecisions
                    } else {
                        reason
                    };
                    skipped(SkippedStep { kind, source: Some(source), reason });
                })
                .ok()
        })
    }

    /// Among the named algorithms, the way of a walk without names. It takes the best that caches
    /// know for the key, for another device, or for neighbouring keys. Else it takes what suits the
    /// key of the first name that has one.
    fn pinned(&self, names: &[AlgoId]) -> Option<Found<'t>> {
        let Self { query: Query { device, registry, .. }, key, mode, .. } = *self;
        let admitted = |id: &&AlgoId| mode.admits(id);
        let by_decision = |entry: DecisionRef<'t>| {
            let names = entry.preferred().chain(entry.safe()).filter(admitted);
            self.usable(names, Some(entry), || Grade::Pinned).ok()
        };
        let decision_caches = || (self.decision_caches)().map(|(_, decision_cache)| decision_cache);
        let exact = |decision_cache: &'t DecisionCache| {
            by_decision(decision_cache.decision(device, key).ok()?)
        };
        let sibling = |decision_cache: &'t DecisionCache| {
            by_decision(decision_cache.table.same_arch(device, key)?.1)
        };
        let near = |decision_cache: &'t DecisionCache| {
            let guess = guess(&decision_cache.table, device, key).ok()?;
            let names = guess.names().filter(admitted);
            self.usable(names, Some(guess.from), || Grade::Pinned).ok()
        };
        decision_caches()
            .find_map(exact)
            .or_else(|| decision_caches().find_map(sibling))
            .or_else(|| decision_caches().find_map(near))
            .or_else(|| {
                let algorithm = names.iter().find_map(|name| registry.suited(name, key))?;
                Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Pinned, entry: None })
            })
    }

    fn exact(&self, source: Source, decision_cache: &'t DecisionCache) -> Lookup<'t> {
        let Query { device, registry, .. } = self.query;
        let (algorithm, entry) = decision_cache.exact(registry, device, self.key)?;
        let (algorithm, grade) = (Arc::clone(algorithm), Grade::Exact { source });
        Ok(Found { algorithm, grade, entry: Some(entry) })
    }

    fn sibling(&self, source: Source, decision_cache: &'t DecisionCache) -> Lookup<'t> {
        let (device, entry) = decision_cache
            .table
            .same_arch(self.query.device, self.key)
            .ok_or(SkipReason::NoSibling)?;
        let grade = || Grade::Sibling { source, device: Arc::clone(device) };
        self.usable(entry.preferred(), Some(entry), grade)
    }

    fn near(&self, source: Source, decision_cache: &'t DecisionCache) -> Lookup<'t> {
        let guess = guess(&decision_cache.table, self.query.device, self.key)?;
        let registry = self.query.registry;
        let algorithm =
            decision_cache.near(registry, self.key, guess).ok_or(SkipReason::Unusable)?;
        let grade = Grade::Near { source, key: guess.from.key() };
        Ok(Found { algorithm: Arc::clone(algorithm), grade, entry: Some(guess.from) })
    }

    fn modelled(&self, skipped: &mut impl FnMut(SkippedStep)) -> Option<Found<'t>> {
        let Some(algorithm) = self.query.registry.modelled_for(self.key) else {
            skipped(SkippedStep {
                kind: GradeKind::Model,
                source: None,
                reason: SkipReason::NothingFaster,
            });
            return None;
        };
        Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Model, entry: None })
    }

    fn default(&self) -> Option<Found<'t>> {
        let algorithm = self.query.registry.default_for(&self.key.operation)?;
        Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Default, entry: None })
    }

    fn usable<'n>(
        &self,
        mut names: impl Iterator<Item = &'n AlgoId>,
        entry: Option<DecisionRef<'t>>,
        grade: impl FnOnce() -> Grade,
    ) -> Lookup<'t> {
        let operation = &self.key.operation;
        let algorithm = names.find_map(|id| self.query.registry.usable(id, operation));
        let algorithm = Arc::clone(algorithm.ok_or(SkipReason::Unusable)?);
        Ok(Found { algorithm, grade: grade(), entry })
    }
}
