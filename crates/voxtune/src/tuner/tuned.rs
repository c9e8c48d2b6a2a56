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
    /// What was tried, with success or without: nothing is tried twice. Held while tuning, so that
    /// one call at a time measures.
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
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let device = miss.device.identity();
        if self
            .decision_caches()
            .any(|decision_cache| decision_cache.table.exact(device, miss.key).is_some())
        {
            return true;
        }
        if !tried.insert((device.clone(), *miss.key)) {
            return false;
        }
        match hook.tune(miss) {
            Ok(decisions) => {
                self.push(DecisionCache::new([decisions]));
                true
            }
            Err(error) => {
                tracing::warn!(key = %miss.key, %error, "a key could not be tuned");
                false
            }
        }
    }

    /// Only under the lock of `tried`, so that no two look for the end at once.
    fn push(&self, decision_cache: DecisionCache) {
        let mut next = &self.first;
        while let Some(link) = next.get() {
            next = &link.next;
        }
        next.get_or_init(|| Box::new(Link { decision_cache, next: Next::new() }));
    }
}
