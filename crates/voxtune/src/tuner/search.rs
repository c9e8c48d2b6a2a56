//! From a key to an algorithm, grade by grade.
//!
//! Looking up and explaining are the same walk; explaining listens to it. Nothing here allocates.

use std::sync::Arc;

use voxtune_cache::DecisionRef;
use voxtune_types::{AlgoId, AlgoMode, DeviceIdentity, ShapeKey};

use super::layer::Layer;
use super::near::guess;
use super::why::Why;
use super::{Grade, GradeKind, MissPolicy, Source};
use crate::{Algorithm, ConvError, Registry};

/// Where a key is to run.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) device: &'a DeviceIdentity,
    pub(super) registry: &'a Registry,
    /// Whether a call may wait until the device has counted the map's pairs.
    pub(super) waits: bool,
}

/// What a walk looks at.
pub(super) struct Search<'a, L> {
    pub(super) site: Site<'a>,
    pub(super) key: &'a ShapeKey,
    pub(super) mode: &'a AlgoMode,
    pub(super) policy: &'a MissPolicy,
    /// Gives the caches in the order of their authority.
    pub(super) layers: L,
}

/// A grade that did not answer, and why; the cache, where the grade asks caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) kind: GradeKind,
    pub(super) source: Option<Source>,
    pub(super) why: Why,
}

/// An answer.
pub(super) struct Found<'t> {
    pub(super) algorithm: Arc<dyn Algorithm>,
    pub(super) grade: Grade,
    /// What was measured, where a cache answered.
    pub(super) entry: Option<DecisionRef<'t>>,
}

type Answer<'t> = Result<Found<'t>, Why>;

impl<'a, 't, L, I> Search<'a, L>
where
    L: Fn() -> I,
    I: Iterator<Item = (Source, &'t Layer)>,
{
    /// The first grade that answers. `passed` hears of those before it.
    pub(super) fn run(&self, passed: impl FnMut(Passed)) -> Result<Found<'t>, ConvError> {
        let found = self.first(passed)?;
        Ok(if self.site.waits { found } else { self.without_waiting(found) })
    }

    fn first(&self, mut passed: impl FnMut(Passed)) -> Result<Found<'t>, ConvError> {
        let Self { site, key, mode, .. } = *self;
        if let AlgoMode::Named(names) = mode {
            return self.pinned(names).ok_or_else(|| ConvError::Pinned {
                names: mode.to_string(),
                device: site.device.clone(),
                operation: key.operation,
            });
        }
        passed(Passed { kind: GradeKind::Pinned, source: None, why: Why::NothingPinned });
        if let Some(found) =
            self.ask(GradeKind::Exact, &mut passed, |source, layer| self.exact(source, layer))
        {
            return Ok(found);
        }
        if matches!(self.policy, MissPolicy::Fail) {
            return Err(ConvError::Miss { device: site.device.clone(), key: *key });
        }
        self.ask(GradeKind::Sibling, &mut passed, |source, layer| self.sibling(source, layer))
            .or_else(|| {
                self.ask(GradeKind::Near, &mut passed, |source, layer| self.near(source, layer))
            })
            .or_else(|| self.modelled(&mut passed))
            .or_else(|| self.default())
            .ok_or_else(|| ConvError::NoAlgorithm {
                device: site.device.clone(),
                operation: key.operation,
            })
    }

    /// What runs where nobody waits for the device's counts: the answer itself, or what its decision
    /// names next that needs none, or the default.
    fn without_waiting(&self, found: Found<'t>) -> Found<'t> {
        let operation = &self.key.operation;
        let waits = |algorithm: &Arc<dyn Algorithm>| algorithm.waits_for_counts(operation);
        if !waits(&found.algorithm) {
            return found;
        }
        let registry = self.site.registry;
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
        passed: &mut impl FnMut(Passed),
        answer: impl Fn(Source, &'t Layer) -> Answer<'t>,
    ) -> Option<Found<'t>> {
        (self.layers)().find_map(|(source, layer)| {
            answer(source, layer)
                .map_err(|why| {
                    let why = if layer.table.is_empty() { Why::NoDecisions } else { why };
                    passed(Passed { kind, source: Some(source), why });
                })
                .ok()
        })
    }

    /// Among the named algorithms, the way of a walk without names: the best that caches know for the key, for
    /// another device, for neighbouring keys, else of the first name that has one what suits the key.
    fn pinned(&self, names: &[AlgoId]) -> Option<Found<'t>> {
        let Self { site: Site { device, registry, .. }, key, mode, .. } = *self;
        let admitted = |id: &&AlgoId| mode.admits(id);
        let by_decision = |entry: DecisionRef<'t>| {
            let names = entry.preferred().chain(entry.safe()).filter(admitted);
            self.usable(names, Some(entry), || Grade::Pinned).ok()
        };
        let layers = || (self.layers)().map(|(_, layer)| layer);
        let exact = |layer: &'t Layer| by_decision(layer.decision(device, key).ok()?);
        let sibling = |layer: &'t Layer| by_decision(layer.table.same_arch(device, key)?.1);
        let near = |layer: &'t Layer| {
            let guess = guess(&layer.table, device, key).ok()?;
            let names = guess.names().filter(admitted);
            self.usable(names, Some(guess.from), || Grade::Pinned).ok()
        };
        layers()
            .find_map(exact)
            .or_else(|| layers().find_map(sibling))
            .or_else(|| layers().find_map(near))
            .or_else(|| {
                let algorithm = names.iter().find_map(|name| registry.suited(name, key))?;
                Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Pinned, entry: None })
            })
    }

    fn exact(&self, source: Source, layer: &'t Layer) -> Answer<'t> {
        let Site { device, registry, .. } = self.site;
        let (algorithm, entry) = layer.exact(registry, device, self.key)?;
        let (algorithm, grade) = (Arc::clone(algorithm), Grade::Exact { source });
        Ok(Found { algorithm, grade, entry: Some(entry) })
    }

    fn sibling(&self, source: Source, layer: &'t Layer) -> Answer<'t> {
        let (device, entry) =
            layer.table.same_arch(self.site.device, self.key).ok_or(Why::NoSibling)?;
        let grade = || Grade::Sibling { source, device: Arc::clone(device) };
        self.usable(entry.preferred(), Some(entry), grade)
    }

    fn near(&self, source: Source, layer: &'t Layer) -> Answer<'t> {
        let guess = guess(&layer.table, self.site.device, self.key)?;
        let grade = || Grade::Near { source, key: guess.from.key() };
        self.usable(guess.names(), Some(guess.from), grade)
    }

    fn modelled(&self, passed: &mut impl FnMut(Passed)) -> Option<Found<'t>> {
        let Some(algorithm) = self.site.registry.modelled_for(self.key) else {
            passed(Passed { kind: GradeKind::Model, source: None, why: Why::NothingFaster });
            return None;
        };
        Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Model, entry: None })
    }

    fn default(&self) -> Option<Found<'t>> {
        let algorithm = self.site.registry.default_for(&self.key.operation)?;
        Some(Found { algorithm: Arc::clone(algorithm), grade: Grade::Default, entry: None })
    }

    fn usable<'n>(
        &self,
        mut names: impl Iterator<Item = &'n AlgoId>,
        entry: Option<DecisionRef<'t>>,
        grade: impl FnOnce() -> Grade,
    ) -> Answer<'t> {
        let operation = &self.key.operation;
        let algorithm = names.find_map(|id| self.site.registry.usable(id, operation));
        let algorithm = Arc::clone(algorithm.ok_or(Why::Unusable)?);
        Ok(Found { algorithm, grade: grade(), entry })
    }
}
