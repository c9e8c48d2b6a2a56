//! What was tuned while the program runs.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustc_hash::FxBuildHasher;
use voxtune_types::{DeviceIdentity, ShapeKey};

use super::decision_cache::DecisionCache;
use super::policy::{Miss, TuneOnMiss};

/// Decisions that grow, one key at a time. Reading them takes no lock.
#[derive(Debug, Default)]
pub(super) struct Tuned {
    first: Next,
    /// Held while tuning, so that one call at a time measures.
    tuning: Mutex<()>,
    /// What was tried, with success or without: nothing is tried twice. Held for no longer than a
    /// look, since every call of a key that failed takes one.
    tried: Mutex<HashSet<(DeviceIdentity, ShapeKey), FxBuildHasher>>,
}

type Next = OnceLock<Box<Link>>;

#[derive(Debug)]
struct Link {
    decision_cache: DecisionCache,
    next: Next,
}

impl Tuned {
    /// The decisions, oldest first.
    pub(super) fn decision_caches(&self) -> impl Iterator<Item = &DecisionCache> {
        let mut next = &self.first;
        std::iter::from_fn(move || {
            let link = next.get()?;
            next = &link.next;
            Some(&link.decision_cache)
        })
    }

    /// Measures a key, unless that was tried before. True if there may be more decisions now than
    /// when the caller looked.
    pub(super) fn tune(&self, hook: &dyn TuneOnMiss, miss: &Miss<'_>) -> bool {
        let asked = (miss.device.identity().clone(), *miss.key);
        if let Some(known) = self.outcome(&asked) {
            return known;
        }
        let _tuning = self.tuning.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have tuned it meanwhile.
        if let Some(known) = self.outcome(&asked) {
            return known;
        }
        let tuned = hook.tune(miss);
        if let Err(error) = &tuned {
            tracing::warn!(key = %miss.key, %error, "a key could not be tuned");
        }
        let is_tuned = tuned.map(|decisions| self.push(DecisionCache::new([decisions]))).is_ok();
        // After the decisions: who sees this sees them.
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
        is_tuned
    }

    /// Whether a key has decisions, if that is settled.
    fn outcome(&self, asked: &(DeviceIdentity, ShapeKey)) -> Option<bool> {
        let was_tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner).contains(asked);
        let (device, key) = asked;
        let is_decided = self.decision_caches().any(|one| one.table.exact(device, key).is_some());
        (was_tried || is_decided).then_some(is_decided)
    }

    /// Only under the lock of `tuning`, so that no two look for the end at once.
    fn push(&self, decision_cache: DecisionCache) {
        let mut next = &self.first;
        while let Some(link) = next.get() {
            next = &link.next;
        }
        next.get_or_init(|| Box::new(Link { decision_cache, next: Next::new() }));
    }
}
