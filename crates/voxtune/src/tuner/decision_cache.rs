//! The decisions of one cache that a tuner asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use voxtune_cache::{DecisionId, DecisionRef, Decisions, Table};
use voxtune_types::{DeviceIdentity, ShapeKey};

use super::near::Guess;
use super::skip_reason::SkipReason;
use crate::{Algorithm, Registry};

/// The decisions of one cache, with a number by which registries remember what they resolve to.
#[derive(Debug)]
pub(super) struct DecisionCache {
    number: u64,
    pub(super) table: Table,
}

impl DecisionCache {
    pub(super) fn new(sets: impl IntoIterator<Item = Decisions>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), table: Table::new(sets) }
    }

    /// The decision for a key on this very device.
    pub(super) fn decision(
        &self,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Result<DecisionRef<'_>, SkipReason> {
        Ok(self.table.decision(self.find(device, key)?))
    }

    fn find(&self, device: &DeviceIdentity, key: &ShapeKey) -> Result<DecisionId, SkipReason> {
        let device = self.table.device_id(device).ok_or(SkipReason::DeviceUnknown)?;
        self.table.find(device, key).ok_or(SkipReason::KeyUnknown)
    }

    /// What that decision comes to.
    pub(super) fn exact<'r>(
        &self,
        registry: &'r Registry,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Result<(&'r Arc<dyn Algorithm>, DecisionRef<'_>), SkipReason> {
        let id = self.find(device, key)?;
        let entry = self.table.decision(id);
        let names = || entry.preferred();
        let algorithm = registry.decided(self.number, id.index(), &key.operation, names);
        Ok((algorithm.ok_or(SkipReason::Unusable)?, entry))
    }

    /// What a guess comes to.
    pub(super) fn near<'r>(
        &self,
        registry: &'r Registry,
        key: &ShapeKey,
        guess: Guess<'_>,
    ) -> Option<&'r Arc<dyn Algorithm>> {
        registry.guessed(self.number, (key, &guess.from.key()), || guess.names())
    }
}

impl Default for DecisionCache {
    fn default() -> Self {
        Self::new([])
    }
}
